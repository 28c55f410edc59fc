"""The page's parts, what it answers, and the page itself in a real browser."""

import copy
import html
import json
import re
import runpy
import sys
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from huggingface_hub import ModelCard, RepoCard
from markupsafe import escape

from bert_multilabel import from_backbone
from bert_multilabel.explain.explainer import Explanation, LabelExplanation, Word
from bert_multilabel.explain.html import words_html
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.page.cli import main
from bert_multilabel.page.html import bars_html, message_html
from bert_multilabel.page.model import NO_TEXT, Page, PageModel, move_thresholds
from tests.conftest import LABELS
from tests.forked import PATIENCE

NASTY = "<script>alert(1)</script> \"&' ${1+1} {{value}}"


@pytest.fixture(scope="module")
def model_dir(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "tiny"
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens", label_attention="isolated")
    model.config.threshold = [0.3, 0.5, 0.7]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "checkpoint-7").mkdir()
    (folder / "predictions.jsonl").write_text("private")
    card = ModelCard("---\nwidget:\n- text: the price is good\n- text: too expensive\n---\n# tiny\n")
    card.save(folder / "README.md")
    return folder


@pytest.fixture(scope="module")
def model(model_dir):
    return PageModel.load(model_dir)


def read_bars(page):
    """What the bars say: each label, whether it is predicted, and its comparison."""
    rows = re.findall(r'data-label="(.*?)".*?class="unseen">, (.*?), </span>(.*?)</span>', page)
    return [
        (html.unescape(label), decision == "predicted", html.unescape(compared)) for label, decision, compared in rows
    ]


@pytest.mark.parametrize(("shift", "own"), [(0.0, {}), (0.25, {}), (-0.4, {"gift": 0.9}), (0.5, {"good value": 0.0})])
def test_bars_decide_as_the_configuration_does(model, shift, own):
    logits = torch.tensor([-0.5, 1.5, 0.9])
    config = move_thresholds(model.config, shift, own)
    rows = read_bars(bars_html("tiny", logits, config))
    probabilities, decisions = (row[0].tolist() for row in config.decide(logits[None]))
    assert [label for label, _, _ in rows] == ["too_expensive", "gift", "good value"]
    assert {label: given for label, given, _ in rows} == dict(zip(LABELS, decisions, strict=True))
    for label, given, compared in rows:
        index = LABELS.index(label)
        sign = "≥" if given else "<"
        assert compared == f"{probabilities[index]:.2f} {sign} {config.label_thresholds[index]:.2f}"


def test_moved_thresholds_stay_in_their_range_and_own_ones_win(model):
    assert move_thresholds(model.config, 0.0, {}).label_thresholds == [0.3, 0.5, 0.7]
    moved = move_thresholds(model.config, 0.5, {"gift": 0.1})
    assert moved.label_thresholds == [0.8, 1.0, 0.1]
    assert model.config.label_thresholds == [0.3, 0.5, 0.7]


def test_bars_show_where_two_digits_would_hide_the_larger(model):
    logits = torch.logit(torch.tensor([0.2996, 0.1, 0.1]))
    assert read_bars(bars_html("tiny", logits, model.config))[0] == ("good value", False, "0.2996 < 0.3000")


def test_bars_say_why_a_label_below_its_threshold_is_given(model):
    logits, config = torch.tensor([-4.0, -3.0, -2.0]), model.config.with_decision(min_labels=1)
    assert ("gift", True, "0.12 < 0.70") in read_bars(bars_html("tiny", logits, config))
    assert "(at least 1 for every text)" in bars_html("tiny", logits, config)
    assert "at least" not in bars_html("tiny", logits + 9, config)


def test_bars_say_where_rules_decide(model):
    config = copy.copy(model.config)
    config.label_rules = {"exclusive": [LABELS]}
    both = bars_html("tiny", torch.tensor([1.0, 0.5, -4.0]), config)
    assert ("too_expensive", False, "0.62 ≥ 0.50") in read_bars(both) and "by the label rules of the model" in both
    assert "label rules" not in bars_html("tiny", torch.tensor([1.0, -4.0, -4.0]), config)


def explanation_of(text, pair=None, attributions=(2.0, -1.0, 0.1), truncated=False):
    """An explanation of the first word of a text and the first two of its pair, or of the first three of a text."""
    words = []
    for is_pair, source in ((False, text), (True, pair or "")):
        words += [Word(match[0], *match.span(), is_pair) for match in re.finditer(r"\S+", source)]
    label = LabelExplanation("<gift>", True, 0.75, 1.5, -0.5, list(attributions), None, 0.02, 0.01, 0.3)
    return Explanation(text, pair, truncated, words, [label])


def test_words_carry_their_sign_and_number():
    shown = words_html(explanation_of("one  <two> three"))
    assert (
        '<mark class="supports" style="--weight:0.50">one<small>+2.00</small></mark>  <mark class="opposes"' in shown
    )
    assert '--weight:0.25">&lt;two&gt;<small>−1.00</small></mark> three</p>' in shown
    assert "−) &lt;gift&gt;</h2>" in shown
    assert "All words together change the logit by +2.00, from -0.50 to 1.50." in shown
    assert "too long" not in shown
    assert "too long" in words_html(explanation_of("one two three", truncated=True))


def test_words_of_a_pair_are_separate():
    shown = words_html(explanation_of("one", "two three"))
    assert re.sub("<.*?>", "", "".join(re.findall('<p class="words.*?</p>', shown))) == (
        "Text: one+2.00Pair: two−1.00 three"
    )


def test_everything_is_escaped(backbone):
    (tiny, _), nasty = from_backbone(backbone, [NASTY, "gift"], "cls"), escape(NASTY)
    word = Explanation(NASTY, NASTY, False, [Word(NASTY, 0, len(NASTY), False)], explanation_of("a", "b c").labels)
    word.labels[0].attributions[:] = [1.0]
    for shown in (bars_html(NASTY, torch.tensor([9.0, 0.0]), tiny.config), words_html(word), message_html(NASTY)):
        assert nasty in shown
        assert "<script" not in shown


def test_thresholds_move_without_scoring_again(model):
    page = Page([model])
    view, hint = page.score(page.start(), "the price is good", " ")
    expected = model.scorer.logits(["the price is good"])[0]
    assert hint == ""
    assert torch.equal(view.logits[0], expected)
    assert page.bars(view) == [bars_html("tiny", expected, model.config)]
    view, hint = page.score(view, " \n", "")
    assert (hint, page.bars(view), view.logits) == (message_html(NO_TEXT), [""], [])
    assert "lone surrogate" in page.score(view, "a\ud800", "")[1]


def test_models_are_compared_each_by_its_own_labels(model, backbone, tmp_path):
    for part in from_backbone(backbone, ["gift", "other"], "cls"):
        part.save_pretrained(tmp_path / "second")
    page = Page([model, PageModel.load(tmp_path / "second")])
    view, _ = page.score(page.start(), "a gift", "for you")
    assert [len(read_bars(column)) for column in page.bars(view)] == [3, 2]
    view = replace(view, label="other", moved=[{}, {"other": 0.9}])
    assert page.thresholds(view) == [None, 0.9]
    words = page.words(view)
    assert "unknown label &#39;other&#39;" in words[0]
    assert "<mark" in words[1]


def test_files_are_predicted_by_the_current_thresholds(model, write, tmp_path):
    rows = [{"id": n, "text": "the price is good " * (n % 3)} for n in range(300)]
    path = Path(write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    page, target = Page([model]), tmp_path / "predictions.jsonl"
    view = replace(page.start(), shift=-0.2, moved=[{"gift": 0.01}])
    assert list(page.predict(view, path, [target])) == [(0, 300), (256, 300), (300, 300)]
    config = move_thresholds(model.config, -0.2, {"gift": 0.01})
    logits = model.scorer.logits([row["text"].strip() for row in rows])
    expected = list(prediction_records(logits, config, [row["id"] for row in rows]))
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(row["id"], row["labels"]) for row in written] == [(row["id"], row["labels"]) for row in expected]
    with pytest.raises(ValueError, match="no column"):
        list(page.predict(view, Path(write("bad.csv", "a,b\n1,2\n")), [target]))


def test_a_space_holds_all_it_needs_and_nothing_private(model_dir, tmp_path, monkeypatch, capsys):
    space = tmp_path / "space"
    main([str(model_dir), "--space", str(space)])
    assert "hf upload --repo-type space" in capsys.readouterr().out
    needed = (space / "requirements.txt").read_text()
    for name in ("torch", "transformers", "gradio", "captum"):
        assert re.search(rf"^{name}\b", needed, re.MULTILINE)
    assert ";" not in needed and "pytest" not in needed
    head = RepoCard.load(space / "README.md").data
    assert (head.sdk, head.app_file, head.title) == ("gradio", "app.py", "Labels by tiny")
    files = {path.name for path in (space / "models" / "tiny").iterdir()}
    assert "model.safetensors" in files and not files & {"checkpoint-7", "predictions.jsonl", "training_run.json"}
    assert (space / "bert_multilabel" / "page" / "cli.py").is_file()
    page = runpy.run_path(str(space / "app.py"))["page"]
    assert page.title == "Labels by tiny"
    with pytest.raises(ValueError, match="is not an empty directory"):
        main([str(model_dir), "--space", str(space)])


@pytest.mark.parametrize(
    ("words", "message"), [(["nowhere"], "is not a model directory"), (["x", "--port", "0"], "--port must be from 1")]
)
def test_the_command_says_what_is_wrong_in_one_line(monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["page", *words])
    monkeypatch.delitem(
        sys.modules, "bert_multilabel.page.__main__", raising=False
    )  # run_module wants to be the first
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("bert_multilabel.page", run_name="__main__")
    assert message in str(ended.value) and "\n" not in str(ended.value)


def test_the_page_in_a_browser(model, tab, write):
    from bert_multilabel.page.app import launch, make_page  # imports gradio, which takes seconds

    blocks = make_page([model])
    url = launch(blocks, "127.0.0.1")
    try:
        complaints, requests = [], []
        tab.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(url)

        tab.get_by_text("tiny predicts any number of 3 labels for a text of up to 64 tokens").wait_for()
        tab.get_by_role("button", name="too expensive", exact=True).click()
        tab.wait_for_function("document.querySelector('#text textarea').value == 'too expensive'")
        find = tab.get_by_role("button", name="Find labels")
        tab.get_by_label("Text", exact=True).fill("")
        find.click()
        tab.get_by_role("alert").get_by_text(NO_TEXT).wait_for()
        text = f"the price is good {NASTY}"
        tab.get_by_label("Text", exact=True).fill(text)
        find.click()
        tab.get_by_role("button", name="gift").wait_for()
        logits = model.scorer.logits([text])[0]
        assert read_bars(tab.inner_html("#bars-0")) == read_bars(bars_html("tiny", logits, model.config))

        gift = tab.get_by_role("button", name="gift")
        gift.focus()
        tab.keyboard.press("Enter")
        tab.locator("#words-0 mark").first.wait_for()
        assert text in re.sub(r"[+−]\d+\.\d\d", "", tab.inner_text("#words-0 .words"))
        tab.locator('[data-label="gift"][aria-pressed="true"]').wait_for()
        assert tab.evaluate("document.activeElement.dataset.label") == "gift"

        was_predicted = "not predicted" not in gift.inner_text()
        threshold = tab.get_by_label("range slider for Threshold of gift")
        threshold.focus()
        tab.keyboard.press("End" if was_predicted else "Home")
        tab.get_by_role("button", name=f"gift , {'not ' * was_predicted}predicted").wait_for()

        tab.get_by_role("button", name="A file of texts").click()
        tab.set_input_files("#file input", write("rows.csv", "text\ngood\ngift\n"))
        tab.get_by_label("rows.csv").first.wait_for()
        tab.get_by_role("button", name="Predict its labels").click()
        with tab.expect_download() as download:
            tab.get_by_text("Download predictions.jsonl of tiny").click()
        labels = [json.loads(line)["labels"] for line in download.value.path().read_text().splitlines()]
        assert [("gift" in names) for names in labels] == [not was_predicted] * 2
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert complaints == []
        assert [asked for asked in requests if not asked.startswith((url, "data:", "blob:"))] == []
    finally:
        blocks.close()


def test_the_page_answers_for_its_own_hosts_alone(model):
    from bert_multilabel.page.app import launch, make_page  # imports gradio, which takes seconds

    blocks = make_page([model])
    address = urlsplit(launch(blocks, "127.0.0.1", None, ["page.example.com"]))
    try:
        own = f"http://127.0.0.1:{address.port}"
        for headers, status in (
            ({"Host": f"localhost:{address.port}"}, 200),
            ({"Host": "page.example.com"}, 200),
            ({"Origin": own}, 200),
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
        ):
            connection = HTTPConnection(address.netloc, timeout=PATIENCE)
            connection.request("GET", "/config", headers=headers)
            assert connection.getresponse().status == status, headers
            connection.close()
    finally:
        blocks.close()
