import io
import json
import re
import runpy
import sys
from dataclasses import asdict, replace

import pytest

from bert_multilabel import Explainer, from_backbone
from bert_multilabel.explain.cli import main
from bert_multilabel.explain.explainer import Explanation, LabelExplanation, Word
from bert_multilabel.explain.render import printable, render
from bert_multilabel.loading import load_trained
from tests.conftest import LABELS

OURS = re.compile(r"\x1b\[(30;48;5;\d+|0)m")


@pytest.fixture(scope="module")
def model_dir(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    for part in from_backbone(checkpoints["uncased"], LABELS, "label_tokens", label_attention="isolated"):
        part.save_pretrained(folder)
    return folder


def explain(*words):
    main([str(word) for word in words])


def explanation_of(text, attributions, attention=None, truncated=False, relative_error=0.01):
    """An explanation of a text whose words are set apart by blanks."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    words = [Word(text[start:end], start, end, is_pair=False) for start, end in spans]
    label = LabelExplanation("gift", True, 0.75, 1.5, -0.5, attributions, attention, 0.02, relative_error, 0.3)
    return Explanation(text, None, truncated, words, [label])


def test_words_and_file_say_what_the_explainer_says(model_dir, tmp_path, capsys):
    path = tmp_path / "why.json"
    texts = ["--text", "the price is good", "--pair", "a gift"]
    explain(model_dir, *texts, "--labels", "gift", "good value", "--steps", "8", "--json", path)
    expected = Explainer(*load_trained(model_dir), steps=8).explain(
        "the price is good", "a gift", ["gift", "good value"]
    )
    assert json.loads(path.read_text(encoding="utf-8")) == asdict(expected)
    printed = capsys.readouterr().out
    assert printed == "\n".join(render(expected)) + "\n"
    assert printed.index("gift: ") < printed.index("good value: ")
    assert "\x1b" not in printed  # this is no terminal


def test_the_heaviest_words_come_first_with_bars_for_and_against():
    lines = list(render(explanation_of("one two three four", [0.5, -2.0, 0.0, 3.0], [0.1, 0.2, 0.3, 0.25])))
    assert lines[0] == "gift: predicted, probability 0.750, at least 0.300"
    cells = [line.split() for line in lines[1:6]]
    assert cells[0] == ["word", "logit", "attention"]
    assert cells[1] == ["four", "+3.00", "25.0%", "+" * 30]
    assert cells[2] == ["two", "-2.00", "20.0%", "-" * 20]
    assert cells[3] == ["one", "+0.50", "10.0%", "+" * 5]
    assert cells[4] == ["three", "+0.00", "30.0%"]
    assert lines[6] == (
        "  All words together change the logit by +2.00, from -0.50 to 1.50. "
        "The numbers of all words add up to this with an error of 1.0%."
    )


def test_words_of_little_weight_are_summed_up():
    lines = list(render(explanation_of(" ".join(["word"] * 20), [2.0] * 12 + [0.25] * 8)))
    assert len(lines) == 17
    assert lines[-3].split() == ["...", "8", "other", "words", "+2.00"]


def test_long_words_are_cut_and_those_of_the_pair_marked():
    word = "unreasonably" * 3
    label = LabelExplanation("gift", False, 0.1, 0.0, 0.0, [1.0, 0.5], None, 0.0, None, 0.3)
    words = [Word(word, 0, 36, is_pair) for is_pair in (False, True)]
    lines = list(render(Explanation(word, word, False, words, [label])))
    assert lines[0] == "gift: not predicted, probability 0.100, below 0.300"
    assert lines[2].startswith("  unreasonablyunreasonabl…   +1.00")
    assert lines[3].startswith("  unreasonablyunre… (pair)   +0.50")


def test_a_large_error_and_a_cut_are_said():
    lines = "\n".join(render(explanation_of("one two", [1.0, 0.0], truncated=True, relative_error=0.2)))
    assert lines.startswith("The input is too long for the model, which has not read anything after: text: 'two'")
    assert "an error of 20.0%" in lines and "Increase --steps" in lines
    assert "Increase" not in "\n".join(render(explanation_of("one", [0.0], relative_error=None)))


def test_colours_mark_words_where_they_stand():
    lines = list(render(explanation_of(" one  two three.", [3.0, -0.4, 0.1]), colour=True))
    assert lines[1] == "   \x1b[30;48;5;75mone\x1b[0m  \x1b[30;48;5;223mtwo\x1b[0m three."


@pytest.mark.parametrize("colour", [False, True])
def test_no_text_commands_the_terminal(colour):
    text = "\x1b[2J\x9b31m ok\r\nup\u202e \x07bell \udce9"
    words = len(text.split())
    printed = "\n".join(render(explanation_of(text, [1.0] * words), colour))
    left = OURS.sub("", printed)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", left)
    left.encode()  # a lone surrogate would not be


def test_printable_keeps_letters_of_all_scripts_and_markup():
    assert printable("<b>café 这个</b>\t\n") == "<b>café 这个</b>  "


def test_colour_is_for_terminals_that_want_it(model_dir, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for wanted in (True, False):
        monkeypatch.setattr(sys, "stdout", Terminal())
        explain(model_dir, "--text", "good", "--steps", "1")
        assert bool(OURS.search(sys.stdout.getvalue())) == wanted
        monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "good", "--labels", "gifts"], "unknown label 'gifts'; did you mean 'gift'?"),
        (["--text", " "], "the text ' ' has no words to explain"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(model_dir, monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["explain", str(model_dir), *words])
    monkeypatch.delitem(
        sys.modules, "bert_multilabel.explain.__main__", raising=False
    )  # run_module wants to be the first
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("bert_multilabel.explain", run_name="__main__")
    assert message in str(ended.value)


def test_folders_that_are_not_ours_are_refused(checkpoints, tmp_path):
    with pytest.raises(ValueError, match="is not a model directory: .*config.json"):
        explain(tmp_path, "--text", "good")
    with pytest.raises(ValueError, match="is a 'bert' model without labels"):
        explain(checkpoints["uncased"], "--text", "good")


def test_misspelt_options_are_refused(model_dir, capsys):
    with pytest.raises(SystemExit, match="2"):
        explain(model_dir, "--text", "good", "--label", "gift")
    assert "--label" in capsys.readouterr().err


def test_a_notebook_shows_decisions_and_words_and_runs_nothing():
    hostile = "<script>alert(1)</script>"
    explained = replace(explanation_of(f"two {hostile} three", [0.5, -2.0, 4.0]), truncated=True)
    named = replace(explained.labels[0], name=hostile)
    shown = replace(explained, labels=[named, explained.labels[0]])._repr_html_()
    assert "<script" not in shown and shown.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert shown.count("predicted, probability 0.750, at least 0.300") == 2
    assert '<mark class="supports" style="--weight:0.50">three<small>+4.00</small></mark>' in shown
    assert shown.count("has not read its end") == shown.count("Words with less than a tenth") == 1
    assert not re.search(r"https?:|url\(|src=|@import", shown)
    # Black on white or white on black: the text keeps the colour of the notebook.
    assert not re.search(r"[^-]color:(?! inherit)", shown)
