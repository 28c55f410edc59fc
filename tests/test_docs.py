"""The blocks of README and docs run as written, with tiny checkpoints in place of BERT.

A comment before a block says that it does not run here: `<!-- not run: WHY -->` or `<!-- tested by tests/… -->`.
(Plug-ins of pytest for Markdown run Python, some also shell, and skip other blocks without a word; none starts our
commands in processes that share what imports take.)
"""

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from transformers import AutoModelForSequenceClassification

from bert_multilabel import MultiLabelConfig, load_examples
from bert_multilabel.cli.main import COMMANDS
from bert_multilabel.data.label_files import read_label_descriptions
from bert_multilabel.hub.push import NOT_PUSHED
from bert_multilabel.utils.option_parser import OptionParser
from tests import forked
from tests.backbones import save_backbone
from tests.conftest import save_checkpoint
from tests.data.forms import FORMS

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
EXAMPLE = ROOT / "examples" / "purchase_intent"
OURS = re.compile(r"(?:bert-multilabel|.* -m bert_multilabel) (.*)")
# One epoch instead of three, on the CPU as the tests are, in place of what a page before has written.
EXTRA = {
    "train": ["--use_cpu", "--num_train_epochs", "1", "--overwrite_output_dir"],
    "predict": ["--use_cpu"],
}
# Blocks of data, which tests below read or commands are given.
READ = {("docs/first_model.md", kind) for kind in ("csv", "json")}
READ |= {(f"docs/{page}.md", "json") for page in ("choosing", "deciding", "label_rules")}
# Pages with other data, each in a folder of its own.
PLACES = {"docs/label_rules.md": "pets", "docs/engines.md": "engines", "docs/backbones.md": "stranger"}
EXEMPT = re.compile(r"<!-- (?:not run: \w.*|tested by (tests/[\w/.]+)) -->\s*")


@dataclass(frozen=True)
class Block:
    """A block of code, with the line before it if that is a comment."""

    page: str
    language: str
    content: str
    comment: str


def blocks_of(page):
    tokens = [None, *MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))]
    for before, token in pairwise(tokens):
        if token.type in ("fence", "code_block"):
            comment = before.content if before and before.type == "html_block" else ""
            yield Block(page, token.info.strip(), token.content, comment)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# The README and the first tutorial train the folders that the others use.
RUN = sorted(
    (block for block in BLOCKS if not block.comment), key=lambda b: b.page not in ("README.md", "docs/first_model.md")
)


def lines_of(block):
    """The lines of a block for a shell."""
    return [line for line in block.content.replace("\\\n", " ").splitlines() if line]


def commands_of(block):
    """Our commands in a block for a shell, as words, also those that a launcher starts."""
    matches = map(OURS.match, lines_of(block) if block.language == "sh" else [])
    return [shlex.split(match[1], comments=True) for match in matches if match]


def block_of(page, language):
    (found,) = (block.content for block in BLOCKS if (block.page, block.language) == (page, language))
    return found


def run_words(folder, words):
    from bert_multilabel.cli.main import run

    os.chdir(folder)
    raise SystemExit(run(words))


def run_python(folder, code):
    os.chdir(folder)
    exec(code, {"__name__": "__main__"})


def write_pets(folder):
    """Write the rules of the page, rows that obey them, and one that does not."""
    folder.mkdir()
    (folder / "rules.json").write_text(block_of("docs/label_rules.md", "json"))
    kinds = 10 * ["pug|dog|animal", "dog|animal", "cat|animal", ""]
    rows = [f"the {kind.replace('|', ' ')} {number},{kind}" for number, kind in enumerate(kinds)]
    for split, more in (("validation", []), ("train", ["the wolf,pug"])):
        (folder / f"{split}.csv").write_text("\n".join(["text,labels", *rows, *more]))


def write_stranger(folder):
    """Save a multi-label classifier as others train it, with the labels of the example."""
    names = (EXAMPLE / "labels.txt").read_text(encoding="utf-8").splitlines()
    save_backbone(
        folder,
        "roberta",
        AutoModelForSequenceClassification,
        max_position_embeddings=514,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        problem_type="multi_label_classification",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the docs name."""
    folder = tmp_path_factory.mktemp("reader")
    for name, source in (("train", "train"), ("validation", "validation"), ("new", "test")):
        shutil.copy(EXAMPLE / f"{source}.csv", folder / f"{name}.csv")
    rows = load_examples(folder / "new.csv", text_pair_column="product").splits["train"]
    rows.remove_columns("labels").rename_column("pair", "product").to_json(folder / "new.jsonl")
    (folder / "rules.json").write_text(json.dumps({"exclusive": [["wants to buy", "will not buy"]]}))
    next(form for form in FORMS if form.name == "reviews.csv").write(folder)
    save_checkpoint(folder / "google-bert" / "bert-base-uncased", "uncased", max_position_embeddings=512)
    write_pets(folder / "pets")
    write_stranger(folder / "stranger" / "somebody" / "roberta-emotions")
    (folder / "engines" / "runs").mkdir(parents=True)
    # By the strategy that has all formats.
    (folder / "engines" / "runs" / "opinions").symlink_to(folder / "runs" / "python")
    (folder / "pets" / "google-bert").symlink_to(folder / "google-bert")
    for place in ("engines", "stranger"):
        shutil.copy(folder / "validation.csv", folder / place)
    return folder


def test_what_the_docs_say_runs(folder):
    shown = {}  # what each block printed
    for block in RUN:
        place, log = folder / PLACES.get(block.page, ""), folder / f"log-{len(shown)}"
        if block.language == "python":
            forked.run(run_python, place, block.content, log=log)
        for words in commands_of(block):
            forked.run(run_words, place, [*words, *EXTRA.get(words[0], [])], log=log)
        shown[block] = log.read_text(encoding="utf-8") if log.exists() else ""

    def printed(page, word):
        return next(text for block, text in shown.items() if block.page == page and word in block.content)

    assert "Findings: 0 errors, 0 warnings" in printed("docs/first_model.md", "doctor")
    assert re.search(r"(stored|changed) in runs/opinions/config\.json", printed("docs/deciding.md", "tune"))
    assert "report.html" in printed("docs/explaining.md", "report")
    assert "all words" in printed("docs/explaining.md", "explain")
    assert "break label rules: 'pug' implies 'dog' (1: row 41)" in printed("docs/label_rules.md", "train")
    predictions = (folder / "predicted" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(predictions[0])) == set(json.loads(block_of("docs/first_model.md", "json")))
    pipelines = [text for block, text in shown.items() if "pipeline(" in block.content]
    assert len(pipelines) >= 3 and all("{'labels': [" in text for text in pipelines)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs_or_says_why_not(page):
    for block in (block for block in BLOCKS if block.page == page):
        if block.comment:
            match = EXEMPT.fullmatch(block.comment)
            assert match, f"not a comment that exempts: {block.comment}"
            assert match[1] is None or (ROOT / match[1]).exists(), block.comment
        elif block.language == "sh":
            assert all(line.startswith("bert-multilabel ") for line in lines_of(block)), block
        else:
            assert block.language == "python" or (page, block.language) in READ, block


def test_data_that_pages_show_is_read(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(block_of("docs/first_model.md", "csv"), encoding="utf-8")
    data = load_examples(rows, text_pair_column="product")
    assert data.label_names == ["good quality", "needs advice", "too expensive", "will not buy"]
    assert [sum(labels) for labels in data.splits["train"]["labels"]] == [3, 1, 0]
    decision = json.loads(f"{{{block_of('docs/deciding.md', 'json')}}}")
    assert MultiLabelConfig(label_names=["a", "b"], **decision).decision["shift"] == -0.4
    about = tmp_path / "about.json"
    about.write_text(block_of("docs/choosing.md", "json"))
    names = (EXAMPLE / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert [*read_label_descriptions(str(about), names)] == ["for a gift", "needs advice"]


def test_what_is_private_is_not_pushed_by_hand_either():
    (push,) = (shlex.split(line) for block in BLOCKS for line in lines_of(block) if line.startswith("hf upload"))
    assert {word for before, word in pairwise(push) if before == "--exclude"} == {*NOT_PUSHED}


class Parsed(Exception):
    """A command line was read."""


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_do_not_run_here_have_options_that_exist(page, monkeypatch):
    parse = OptionParser.parse_known_args

    def stop(parser, words, namespace=None):
        _, unknown = parse(parser, words)
        assert not unknown
        raise Parsed

    monkeypatch.setattr(OptionParser, "parse_known_args", stop)
    for block in (block for block in BLOCKS if block.page == page and block.comment):
        for words in commands_of(block):
            with pytest.raises(Parsed):
                import_module(COMMANDS[words[0]][0]).main(words[1:])


def test_all_commands_are_named():
    table = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [*COMMANDS]
    assert {words[0] for block in BLOCKS for words in commands_of(block)} >= {*COMMANDS} - {"convert"}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_to_exists(page):
    path = ROOT / page
    for name in re.findall(r"(?:\]\(|src=\"|srcset=\")([\w/.-]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / name).exists(), name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_the_hamming_score_is_not_left_to_guesses(page):
    text = (ROOT / page).read_text(encoding="utf-8").replace("\n", " ").replace("**", "")
    first = re.search(r"(?i)(?<!_)hamming score", text)
    assert first is None or re.search("samples Jaccard.{,80}not 1 - Hamming loss", text[first.start() :][:400])
