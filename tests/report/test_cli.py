"""Figures are held against hand-made cases, the page against a reader of HTML and a browser."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from datasets import Dataset

from bert_multilabel import MultiLabelConfig, from_backbone, make_report
from bert_multilabel.evaluation.bootstrap import bootstrap_interval, percentile_interval, resampled_sums
from bert_multilabel.evaluation.decisions import AS_STORED, tune
from bert_multilabel.metrics import sample_hamming_scores
from bert_multilabel.report.charts import label_layers, losses
from bert_multilabel.report.cli import main
from bert_multilabel.report.figures import CHARACTERS_SHOWN, Evaluation, count_substitutions, gather_figures
from bert_multilabel.report.html import Report, render
from bert_multilabel.report.label_issues import find_label_issues
from tests.conftest import LABELS, make_rows
from tests.training.test_run import run_script

HOSTILE = '</script><script>document.title = "run"</script><img src=x onerror=alert(1)> {{ 7 * 7 }} & $x$'


def evaluation_of(logits, labels, names=None, texts=None, history=(), **config):
    names = names or [f"label {number}" for number in range(len(labels[0]))]
    config = MultiLabelConfig(label_names=names, **config)
    tuned = tune(np.asarray(logits, dtype=np.float32), labels, config, AS_STORED)
    rows = Dataset.from_dict({"text": texts or [f"text {number}" for number in range(len(labels))]})
    return Evaluation(config, tuned, rows, range(1, len(rows) + 1), "rows.csv", list(history))


def made_rows(num_labels, num_rows=60):
    rng = np.random.default_rng(0)
    labels = (rng.random((num_rows, num_labels)) < 0.3).astype(np.float32)
    return labels * 4 - 2 + rng.normal(size=labels.shape) * 1.5, labels


def page_of(evaluation):
    return render({"model": "model", **gather_figures(evaluation)})


class Page(HTMLParser):
    """What a browser would fetch or run of a page, and the text that a reader sees."""

    def __init__(self, html):
        super().__init__()
        self.references, self.tags, self.handlers, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_a_substitution_is_a_wrong_label_of_an_example_that_lacks_a_right_one():
    true = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    predicted = np.array([[0, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 1]], dtype=bool)
    annotated = np.ones_like(true)
    # Twice label 1 for label 0, once label 2; the third row has nothing wrong, the fourth misses nothing.
    assert count_substitutions(predicted, true, annotated).tolist() == [[0, 2, 1], [0, 0, 0], [0, 0, 0]]
    annotated[1, 1] = False
    predicted &= annotated
    assert count_substitutions(predicted, true, annotated).tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_confusion_and_cooccurrence_name_the_pairs():
    labels = [[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]
    predicted = [[1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    figures = gather_figures(evaluation_of(np.where(predicted, 3.0, -3.0), labels, ["a", "b", "c"]))
    confusion, together = figures["confusion"], figures["cooccurrence"]
    assert confusion["pairs"] == [
        {"missed": "a", "predicted": "c", "rows": 2, "of": 3},
        {"missed": "b", "predicted": "c", "rows": 1, "of": 2},
    ]
    assert confusion["rows"] == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert (together["labels"], together["true"], together["predicted"]) == (
        ["a", "b"],
        [[3, 2], [2, 2]],
        [[1, 1], [1, 1]],
    )
    assert together["pairs"] == [{"labels": ["a", "b"], "true": 2, "predicted": 1}]


def test_curve_histogram_and_threshold_of_a_label():
    labels, probabilities = [[1], [0], [1], [0]], np.array([[0.9], [0.8], [0.4], [0.1]])
    logits = np.log(probabilities / (1 - probabilities))
    (label,) = gather_figures(evaluation_of(logits, labels, threshold=0.85))["label_scores"]
    assert list(zip(label["curve"]["recall"], label["curve"]["precision"], strict=True)) == [
        (1.0, 0.5),  # all rows
        (1.0, 0.6667),
        (0.5, 1.0),
    ]
    assert label["curve"]["at_threshold"] == [0.5, 1.0]
    assert label["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert [i for i, count in enumerate(label["histogram"]["with"]) if count] == [8, 18]
    assert sum(label["histogram"]["without"]) == 2
    assert (label["support"], label["predicted"], label["precision"], label["recall"]) == (2, 1, 1.0, 0.5)


def test_scores_stand_in_their_intervals():
    evaluation = evaluation_of(*made_rows(4))
    scores = {score["score"]: score for score in gather_figures(evaluation)["scores"]}
    for name, score in scores.items():
        assert score["value"] == evaluation.tuned.scores[name]
        if score["low"] is not None:
            assert score["low"] < score["value"] < score["high"], name
    # As the model card has it.
    expected = bootstrap_interval(sample_hamming_scores(evaluation.tuned.predicted, evaluation.tuned.labels))
    assert (scores["hamming_score"]["low"], scores["hamming_score"]["high"]) == expected
    assert [name for name, score in scores.items() if score["low"] is None] == [
        *("mean_average_precision", "expected_calibration_error", "brier_score")
    ]


def test_sums_are_redrawn_as_means_are():
    values = np.random.default_rng(0).random((200, 1))
    interval = percentile_interval(resampled_sums(values)[:, 0] / 200)
    assert interval == pytest.approx(bootstrap_interval(values[:, 0]), abs=0.005)


def test_calibration_sums_up_to_the_error():
    evaluation = evaluation_of(*made_rows(4))
    bins = gather_figures(evaluation)["calibration"]
    cells = np.asarray(bins["cells"])
    error = (cells * np.abs(np.subtract(bins["probability"], bins["true"]))).sum() / cells.sum()
    assert cells.sum() == 240 and error == pytest.approx(evaluation.tuned.scores["expected_calibration_error"])


def test_cells_that_nobody_annotated_count_nowhere():
    logits, labels = made_rows(3)
    holes = np.random.default_rng(1).random(labels.shape) < 0.3
    partly = np.where(holes, np.nan, labels)
    figures = [
        # Whatever the model says of them, and however they are marked.
        gather_figures(evaluation_of(np.where(holes, said, logits), np.where(holes, mark, labels)))
        for said, mark in ((9, np.nan), (-9, -100))
    ]
    shown = [{name: part for name, part in part.items() if not name.endswith("_rows")} for part in figures]
    assert shown[0] == shown[1]
    assert figures[0]["annotated"] == pytest.approx(1 - holes.mean())
    assert {label["label"]: label["support"] for label in figures[0]["label_scores"]} == {
        f"label {label}": np.nansum(partly[:, label]) for label in range(3)
    }


def test_the_first_evaluation_of_a_step_counts():
    history = [
        {"loss": 0.5, "epoch": 0.5, "step": 5},
        {"eval_loss": 0.4, "eval_hamming_score": 0.1, "eval_micro_f1": 0.2, "epoch": 1.0, "step": 10},
        {"train_loss": 0.45, "epoch": 1.0, "step": 10},
        {"eval_loss": 0.3, "eval_hamming_score": 0.9, "eval_micro_f1": 0.9, "epoch": 1.0, "step": 10},
    ]
    learning = gather_figures(evaluation_of(*made_rows(2), history=history))["learning"]
    assert learning == {
        "training": {"epoch": [0.5], "loss": [0.5]},
        "evaluation": {"epoch": [1.0], "loss": [0.4], "hamming_score": [0.1], "micro_f1": [0.2], "macro_f1": [None]},
    }


def test_a_legend_names_only_what_is_drawn():
    evaluation = {"epoch": [1.0, 2.0], "loss": [0.4, 0.3]}
    short = losses({"training": {"epoch": [], "loss": []}, "evaluation": evaluation})
    whole = losses({"training": {"epoch": [0.5], "loss": [0.5]}, "evaluation": evaluation})
    assert ">training<" not in short and ">evaluation<" in short
    assert ">training<" in whole and ">evaluation<" in whole


def test_the_worst_rows_come_first():
    labels = [[1, 0], [1, 0], [1, 1], [0, 1]]
    logits = [[-2, 2], [-6, 2], [3, -1], [-3, 3]]  # wrong, more so, half right, right
    rows = gather_figures(evaluation_of(logits, labels, ["a", "b"], texts=["w", "x" * 2000, "y", "z"]))["worst_rows"]
    assert [(row["number"], row["hamming_score"]) for row in rows] == [(2, 0), (1, 0), (3, 0.5)]
    assert (rows[1]["true"], rows[1]["predicted"], list(rows[1]["scores"])) == (["a"], ["b"], ["b", "a"])
    assert rows[0]["text"] == "x" * CHARACTERS_SHOWN + " … (1,000 characters more)"


def test_annotations_that_were_turned_round_are_suspected():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.3).astype(np.float32)
    labels[:, 2] = 0  # the same in all rows: nothing to compare
    probabilities = np.clip(np.abs(labels - 0.1) + rng.normal(size=labels.shape) * 0.02, 0, 1)
    wrong = {3: 0, 50: 1}
    for row, label in wrong.items():
        labels[row, label] = 1 - labels[row, label]
    labels[7, 1] = np.nan
    issues = find_label_issues(probabilities, labels)
    assert {issue.example: issue.labels for issue in issues} == {row: [label] for row, label in wrong.items()}
    assert [issue.quality for issue in issues] == sorted(issue.quality for issue in issues)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[2], [-2]], [[1], [0]]),  # one label, all right
        ([[-2, -2], [-2, -2]], [[1, np.nan], [0, np.nan]]),  # nothing predicted, and a label that nobody annotated
        ([[2, 1], [1, 2]], [[0, 0], [0, 0]]),  # nothing true
    ],
)
def test_small_and_empty_cases_make_a_page(logits, labels):
    figures = gather_figures(evaluation_of(logits, labels))
    json.dumps(figures, allow_nan=False)
    assert "Suspect examples" in Page(render({"model": "model", **figures})).text


def test_the_page_needs_nothing_and_runs_nothing_of_the_data():
    names = ["plain", HOSTILE, '"quoted" <b>', "x" * 300]
    logits, labels = made_rows(4)
    history = [{"eval_loss": 0.4, "eval_hamming_score": 0.1, "epoch": 1.0, "step": 10}]
    html = page_of(evaluation_of(logits, labels, names, [HOSTILE] * len(labels), history))
    page = Page(html)
    assert not re.search(r"https?:|@import|//[a-z]", html)
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert (page.tags.count("script"), page.tags.count("img"), page.handlers) == (1, 0, [])
    assert page.text.count(HOSTILE) > 20


def test_a_page_of_260_labels_has_a_moderate_size():
    figures = gather_figures(evaluation_of(*made_rows(4, num_rows=300)))
    # Charts of labels are most of a page; beside them stand few of a fixed size.
    per_label = np.mean([len("".join(layers)) for layers in label_layers(figures["label_scores"], most_rows=300)])
    rest = len(render({"model": "model", **figures})) - 5 * per_label  # the first stands there twice
    assert rest + 261 * per_label < 2_000_000


@pytest.fixture(scope="module")
def model_dir(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in make_rows(24)))
    return path


def test_the_command_writes_the_page_and_its_figures(model_dir, rows_file, tmp_path, capsys):
    state = model_dir / "checkpoint-3" / "trainer_state.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"log_history": [{"loss": 0.5, "epoch": 0.5, "step": 3}]}))
    main([str(model_dir), "--file", str(rows_file), "--output_dir", str(tmp_path / "out")])
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    assert figures["learning"]["training"]["loss"] == [0.5]
    assert (figures["rows"], figures["source"], figures["cross_fitted"]) == (24, "rows.jsonl", False)
    texts = [row["text"] for row in make_rows(24)]
    assert all(row["text"] == texts[row["number"] - 1] for row in figures["worst_rows"])
    assert figures["worst_rows"][0]["id"] == f"row-{figures['worst_rows'][0]['number'] - 1}"
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Losses over the epochs" in html and f"Report on {model_dir.name}" in html
    assert str(tmp_path / "out" / "report.html") in capsys.readouterr().out
    assert not (model_dir / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text_column", "body"], "rows.jsonl has no column 'body'"),
        (["--label_column", "id"], "unknown label 'row-0'"),
    ],
)
def test_bad_rows_are_refused(model_dir, rows_file, words, message):
    with pytest.raises(ValueError, match=message):
        main([str(model_dir), "--file", str(rows_file), *words])


def test_a_folder_without_a_model_is_refused(rows_file, tmp_path):
    with pytest.raises(ValueError, match="is not a model directory"):
        main([str(tmp_path), "--file", str(rows_file)])


def test_a_run_reports_its_own_evaluation(backbone, rows_file, tmp_path):
    shared = {"do_eval": True, "report": True, "validation_file": rows_file}
    training = {"train_file": rows_file, "do_train": True, "num_train_epochs": 2, "learning_rate": 3e-3}
    results = run_script(model_name_or_path=backbone, output_dir=tmp_path / "run", **shared, **training)
    figures = json.loads((tmp_path / "run" / "report.json").read_text())
    scores = {score["score"]: score["value"] for score in figures["scores"]}
    assert scores["hamming_score"] == results["eval_hamming_score"]
    assert len(figures["learning"]["evaluation"]["epoch"]) == 2
    texts = [row["text"] for row in make_rows(24)]
    assert figures["worst_rows"] and all(row["text"] == texts[row["number"] - 1] for row in figures["worst_rows"])
    # Without training, the stored decisions are reported, and the run before tells of the learning.
    results = run_script(model_name_or_path=tmp_path / "run", output_dir=tmp_path / "again", **shared)
    again = json.loads((tmp_path / "again" / "report.json").read_text())
    assert again["scores"][0]["value"] == results["eval_hamming_score"]
    assert again["learning"] == figures["learning"] and not again["cross_fitted"]


def test_in_a_browser_tables_are_sorted_and_labels_chosen(tab, tmp_path):
    logits, labels = made_rows(12)
    labels[:, 5] = 0  # no row has it, so it has no recall
    names = [f"label {number}" for number in range(11)] + [HOSTILE]
    path, _ = Report.of("model", evaluation_of(logits, labels, names, [HOSTILE] * len(labels))).write(tmp_path)
    seen = []
    tab.on("console", lambda message: seen.append(message.text))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.route("**", lambda route: seen.append(route.request.url) or route.continue_())
    tab.goto(path.as_uri())

    def column(number):
        return [cell.strip() for cell in tab.locator(f"#label-table td:nth-child({number})").all_inner_texts()]

    for click, state in enumerate(("descending", "ascending")):
        tab.focus("#label-table th:nth-child(4) button")
        tab.keyboard.press("Enter")
        recalls = column(4)
        assert recalls[-1] == "–"
        assert [float(recall) for recall in recalls[:-1]] == sorted(
            (float(recall) for recall in recalls[:-1]), reverse=not click
        )
        assert tab.locator("th[aria-sort]").all_inner_texts() == ["recall"]
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == state
    before = tab.locator("#curve").inner_html()
    tab.click("#label-table >> text=label 5")
    assert tab.locator("#summary").inner_text().startswith("label 5: ")
    assert "no example has this label" in tab.locator("#curve").inner_html() != before
    tab.select_option("#chooser", label=HOSTILE)
    assert tab.locator("#summary").inner_text().startswith(HOSTILE)
    assert tab.locator("#curve svg").count() == tab.locator("#histogram svg").count() == 1
    assert not tab.locator("ol.rows").first.is_visible()
    for summary in tab.locator("summary").all():
        summary.click()
    assert tab.locator("ol.rows").first.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") == 390  # nothing sticks out of a phone
    assert tab.title() == "Report on model"
    assert seen == [path.as_uri()]


def test_a_notebook_shows_the_page_in_a_frame_that_runs_alone(tab):
    logits, labels = made_rows(3)
    names = ["label 0", "label 1", HOSTILE]
    report = Report.of(HOSTILE, evaluation_of(logits, labels, names, [HOSTILE] * len(labels)))
    assert HOSTILE not in repr(report)
    seen = []
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.route("**", lambda route: seen.append(route.request.url) or route.continue_())
    tab.set_content(f"<title>notebook</title>{report._repr_html_()}<p>the next output</p>")
    _, frame = tab.frames
    frame.click("nav >> text=Calibration")
    frame.select_option("#chooser", label=HOSTILE)
    assert frame.locator("#summary").inner_text().startswith(HOSTILE)
    assert frame.title() == f"Report on {HOSTILE}"
    assert tab.title() == "notebook" and tab.locator("p").inner_text() == "the next output"
    assert seen == []


def test_the_report_of_a_file_is_that_of_the_command(backbone, tmp_path):
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in make_rows(12)))
    report = make_report(tmp_path / "model", rows, max_seq_length=32)
    main([str(tmp_path / "model"), "--file", str(rows), "--max_seq_length", "32"])
    assert json.loads((tmp_path / "model" / "report.json").read_text()) == json.loads(json.dumps(report.figures))
