"""The commands and Python blocks of README and docs run as written, with a tiny checkpoint in place of BERT."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from bert_multilabel.cli.main import COMMANDS
from tests import forked

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# In this order: the others use the folder that the first one trains.
RUN = ["README.md", *(f"docs/{name}.md" for name in ("first_model", "deciding", "explaining", "predicting"))]
# Commands that do not end, and blocks of other pages with the tests that run what they say.
ENDLESS = {"page", "serve"}
# One epoch instead of three, in tokens that the tiny checkpoint has.
EXTRA = {
    "train": ["--max_seq_length", "64", "--use_cpu", "--num_train_epochs", "1", "--overwrite_output_dir"],
    "predict": ["--max_seq_length", "64", "--use_cpu"],
}


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def commands(page):
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("bert-multilabel ")]


def run_command(folder, words):
    from bert_multilabel.cli.main import run

    os.chdir(folder)
    raise SystemExit(run(words))


def run_python(folder, code):
    os.chdir(folder)
    exec(code, {"__name__": "__main__"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    """A folder with the files that the docs name."""
    folder = tmp_path_factory.mktemp("reader")
    example = ROOT / "examples" / "purchase_intent"
    for name, source in (("train", "train"), ("validation", "validation"), ("new", "test")):
        shutil.copy(example / f"{source}.csv", folder / f"{name}.csv")
    (folder / "rules.json").write_text(json.dumps({"exclusive": [["wants to buy", "will not buy"]]}))
    shutil.copytree(backbone, folder / "google-bert" / "bert-base-uncased")
    return folder


def test_what_the_docs_say_runs(folder):
    shown = {}
    for page in RUN:
        for words in commands(page):
            if words[0] not in ENDLESS:
                log = folder / f"log-{len(shown)}"
                shown[" ".join(words)] = forked.run(run_command, folder, [*words, *EXTRA.get(words[0], [])], log=log)
        for code in blocks(page, "python"):
            shown[f"{page}: {code}"] = forked.run(run_python, folder, code, log=folder / f"log-{len(shown)}")
    by_command = {words.split()[0]: text for words, text in shown.items() if words.split()[0] in COMMANDS}
    assert "Findings: 0 errors, 0 warnings" in by_command["doctor"]
    assert "stored in runs/opinions/config.json" in by_command["tune"]
    assert "report.html" in by_command["report"]
    assert "all words" in by_command["explain"]
    predictions = (folder / "predicted" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(predictions[0])) == {"id", "labels", "scores"}
    pipelines = [text for code, text in shown.items() if "pipeline(" in code]
    assert len(pipelines) >= 3 and all("{'labels': [" in text for text in pipelines)


def test_the_pages_that_run_have_commands_and_all_commands_exist():
    named = {words[0] for page in PAGES for words in commands(page.relative_to(ROOT))}
    assert named <= set(COMMANDS)
    assert named >= {"train", "predict", "doctor", "tune", "report", "explain", "page"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    for name in re.findall(r"(?:\]\(|src=\"|srcset=\")([\w/.-]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).exists(), name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
