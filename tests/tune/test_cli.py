import json
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel

from bert_multilabel import MultiLabelConfig, from_backbone
from bert_multilabel.evaluation.decisions import fingerprint
from bert_multilabel.hub.model_card import write_model_card
from bert_multilabel.hub.run_facts import store_facts
from bert_multilabel.loading import load_trained
from bert_multilabel.model.modeling_multilabel import multi_label_loss
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from bert_multilabel.output_dir.checkpoints import CONTENT, TUNED_ON, add_to_run
from bert_multilabel.tune.cli import _SHOWN, main
from bert_multilabel.utils.files import sha256
from tests.conftest import LABELS
from tests.hub.test_model_card import FACTS
from tests.model.test_decision import RULE

TEXTS = {"good value": "the price is good", "too_expensive": "too expensive", "gift": "a gift"}


@pytest.fixture
def model_dir(checkpoints, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = from_backbone(checkpoints["uncased"], LABELS, "label_tokens")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [f"{TEXTS[name]} {index},{name}" for index in range(20) for name in LABELS]
    path.write_text("\n".join(["text,labels", *lines]))
    return path


def tune(*words):
    return main([str(word) for word in words])


def test_the_stored_decisions_act_wherever_the_folder_is_loaded(model_dir, rows, capsys):
    before = json.loads((model_dir / "config.json").read_text())
    weights = (model_dir / "model.safetensors").read_bytes()
    (model_dir / "all_results.json").write_text(json.dumps({"train_loss": 0.5, "eval_stale": 1.0}))
    tune(model_dir, "--file", rows, "--min_labels", "1", "--calibration", "per_label")
    after = json.loads((model_dir / "config.json").read_text())
    changed = {name for name in after if before.get(name) != after[name]}
    assert {"temperature", "min_labels"} <= changed <= {"temperature", "min_labels", "threshold"}
    assert after["min_labels"] == 1
    assert len(after["temperature"]) == len(LABELS)
    assert AutoModel.from_pretrained(model_dir).config.temperature == after["temperature"]
    assert (model_dir / "model.safetensors").read_bytes() == weights
    results = json.loads((model_dir / "all_results.json").read_text())
    assert results["train_loss"] == 0.5 and "eval_stale" not in results
    assert results["eval_samples"] == 60
    assert f"{results['eval_hamming_score']:.4f}" in capsys.readouterr().out
    assert not (model_dir / "README.md").exists()  # this folder had no card of ours


def test_a_folder_whose_code_knows_only_thresholds_gets_no_other_rule(model_dir, rows, caplog):
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "bert_multilabel_version": "0.1.0"}))
    tune(model_dir, "--file", rows)
    assert "0.1.0, whose code decides by thresholds only, so no others are fitted" in caplog.text
    assert json.loads((model_dir / "config.json").read_text())["decision"] is None
    with pytest.raises(ValueError, match="for --thresholds expected_score, load the model and its tokenizer and save"):
        tune(model_dir, "--file", rows, "--thresholds", "expected_score")


def test_the_card_of_a_trained_folder_follows(model_dir, rows):
    facts = replace(FACTS, license="mit", examples=["a text"])
    write_model_card(model_dir / "README.md", MultiLabelConfig(label_names=LABELS), facts)
    run = {"finished": True, "arguments": {"text_pair_column": ""}}
    (model_dir / "training_run.json").write_text(json.dumps(run))
    store_facts(model_dir, facts)
    tune(model_dir, "--file", rows, "--threshold_goal", "precision=0.8", "--thresholds", "global", "--force")
    score = json.loads((model_dir / "all_results.json").read_text())["eval_hamming_score"]
    threshold = json.loads((model_dir / "config.json").read_text())["threshold"]
    card = ModelCard.load(model_dir / "README.md")
    assert (
        f"| hamming score (mean samples Jaccard) | {score:.4f} (" in card.text
        and f"its threshold ({threshold:.3g} for all)" in card.text
    )
    assert "On 60 examples of “rows.csv”" in card.text and "a precision of at least 0.8" in card.text
    # What was told of the training is told still.
    assert "100 examples of “train.csv”" in card.text and card.data.license == "mit"
    assert card.data.widget == [{"text": "a text"}]


def test_tuning_on_the_rows_of_the_stored_fit_begins_anew(model_dir, rows, caplog):
    (model_dir / "training_run.json").write_text(json.dumps({"finished": True, "arguments": {"text_pair_column": ""}}))
    asked = ("--file", rows, "--threshold_goal", "recall=0.9")
    tune(model_dir, *asked)
    first = {name: (model_dir / name).read_bytes() for name in ("config.json", "all_results.json")}
    assert "the fit starts from 0.5" not in caplog.text
    # In another order they are the same rows.
    header, *lines = rows.read_text().splitlines()
    rows.write_text("\n".join([header, *reversed(lines)]))
    tune(model_dir, *asked)
    assert "the old decisions were fitted on the examples of" in caplog.text
    assert (
        json.loads(first["config.json"])["threshold"]
        == json.loads((model_dir / "config.json").read_text())["threshold"]
    )
    tune(model_dir, "--file", rows, "--threshold_goal", "macro_f1", "--min_labels", 3)
    config = json.loads((model_dir / "config.json").read_text())
    # A goal that is not reached by what was fitted for another is not left to it.
    assert config["threshold"] != json.loads(first["config.json"])["threshold"]
    tune(model_dir, "--file", rows)
    # Of all that was stored, the fit that begins anew keeps `min_labels` alone.
    assert json.loads((model_dir / "config.json").read_text())["min_labels"] == 3


@pytest.mark.parametrize("is_same", [False, True])
def test_a_file_that_the_model_was_trained_on_is_warned_of(model_dir, rows, caplog, is_same):
    digest = sha256(rows) if is_same else "0" * 64
    add_to_run(model_dir, finished=True, arguments={"train_file" + CONTENT: digest})
    tune(model_dir, "--file", rows)
    assert (f"{model_dir} was trained on {rows}: scores" in caplog.text) == is_same


def test_long_texts_are_tuned_as_windows(model_dir, tmp_path):
    texts = [f"{'the price is not good ' * (1 + number % 4)}{number}" for number in range(12)]
    rows = tmp_path / "long.csv"
    rows.write_text("\n".join(["text,labels", *(f"{text},{LABELS[n % 3]}" for n, text in enumerate(texts))]))
    windows = ("--max_seq_length", "14", "--stride", "3", "--pooling", "mean")
    tune(model_dir, "--file", rows, *windows)
    results = json.loads((model_dir / "all_results.json").read_text())
    scorer = MultiLabelScorer(*load_trained(model_dir), max_length=14)
    labels = torch.tensor([[float(n % 3 == label) for label in range(3)] for n in range(12)])
    loss = multi_label_loss(scorer.logits(texts, windows=Windows(3, "mean")), labels)
    assert results["eval_loss"] == pytest.approx(float(loss), abs=1e-5)
    tune(model_dir, "--file", rows, *windows[:2])
    assert json.loads((model_dir / "all_results.json").read_text())["eval_loss"] != pytest.approx(
        float(loss), abs=1e-4
    )
    with pytest.raises(ValueError, match="pooling='max' is for windows over long texts: pass a stride, too"):
        tune(model_dir, "--file", rows, "--pooling", "max")


def test_a_card_of_another_origin_is_said_to_be_out_of_date(model_dir, rows, caplog):
    (model_dir / "README.md").write_text("by hand")
    tune(model_dir, "--file", rows)
    assert (model_dir / "README.md").read_text() == "by hand"
    assert "the folder has no record of the training" in caplog.text


def shown(output):
    """The printed table: names of its columns, and values by score."""
    table = output.split("\n\n")[1].splitlines()[: 1 + len(_SHOWN)]  # then comes where it was stored
    return table[0].split(), {line[:28].strip(): [float(value) for value in line[28:].split()] for line in table[1:]}


def test_before_and_after_are_compared_on_the_same_ground(model_dir, rows, capsys):
    (model_dir / "training_run.json").write_text(json.dumps({"finished": True, "arguments": {"text_pair_column": ""}}))
    tune(model_dir, "--file", rows, "--threshold_goal", "recall=0.9")
    output = capsys.readouterr().out
    columns, first = shown(output)
    assert output.startswith("hamming score: mean samples Jaccard")
    assert columns == ["before", "after"] and "each example decided by a fit on the others" in output
    results = json.loads((model_dir / "all_results.json").read_text())
    assert first["hamming score"][1] == pytest.approx(results["eval_hamming_score"], abs=1e-4)
    config = json.loads((model_dir / "config.json").read_text())
    tune(model_dir, "--file", rows, "--threshold_goal", "recall=0.9")
    output = capsys.readouterr().out
    columns, second = shown(output)
    # The same examples and the same fit: both in sample, and equal; cross-fitted, what they were.
    assert columns == ["before", "after", "cross-fitted"] and "examples that each was fitted on" in output
    assert json.loads((model_dir / "config.json").read_text()) == config
    assert all(before == after for before, after, _ in second.values())
    assert {name: values[2] for name, values in second.items()} == {name: values[1] for name, values in first.items()}


def test_a_goal_that_was_not_reached_and_a_lower_score_are_said_at_the_end(model_dir, rows, capsys, caplog):
    tune(model_dir, "--file", rows, "--threshold_goal", "precision=0.95", "--min_labels", "1")
    _, values = shown(capsys.readouterr().out)
    assert values["micro precision"][1] < 0.95
    reached = (
        f"the goal precision=0.95 was not reached: precision over all labels is {values['micro precision'][1]:.3f}"
    )
    assert reached in caplog.text and "min_labels 1 predicts labels below their thresholds" in caplog.text
    caplog.clear()
    tune(model_dir, "--file", rows, "--threshold_goal", "precision=0.99", "--min_labels", "0")
    _, values = shown(capsys.readouterr().out)
    before, after = values["hamming score"]
    assert after < before
    assert (
        f"the new decisions lower the hamming score from {before:.4f} to {after:.4f}, with the goal precision=0.99 "
        f"(precision reached: {values['micro precision'][1]:.4f})"
    ) in caplog.text


@pytest.fixture
def fitted(model_dir, tmp_path):
    """A folder whose thresholds were fitted on the rows of a file, and decide them all right."""
    model, tokenizer = load_trained(model_dir)
    texts = [f"{text} {index}" for index in range(20) for text in TEXTS.values()]
    probabilities = MultiLabelScorer(model, tokenizer).logits(texts).sigmoid()  # (60, 3)
    thresholds = probabilities.median(dim=0).values
    given = probabilities >= thresholds
    names = [[name for name, chosen in zip(LABELS, row, strict=True) if chosen] for row in given.tolist()]
    lines = [json.dumps({"text": text, "labels": own}) for text, own in zip(texts, names, strict=True)]
    (tmp_path / "fitted.jsonl").write_text("\n".join(lines))
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "threshold": thresholds.tolist()}))
    run = {"finished": True, "arguments": {"text_pair_column": ""}}
    add_to_run(model_dir, **run, **{TUNED_ON: fingerprint(given.numpy())})
    return model_dir


def test_decisions_that_serve_the_goal_less_are_stored_only_by_force(fitted, tmp_path, capsys):
    stored = {path.name: path.read_bytes() for path in fitted.iterdir()}
    words = [fitted, "--file", tmp_path / "fitted.jsonl", "--thresholds", "global", "--json", tmp_path / "scores.json"]
    assert tune(*words) == 1
    assert {path.name: path.read_bytes() for path in fitted.iterdir()} == stored
    output = capsys.readouterr().out
    assert "nothing was stored, since it would serve the goal less than the old decisions do" in output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["after"]["hamming_score"] < 0.9 < scores["before"]["hamming_score"] and not scores["stored"]
    assert tune(*words, "--force") == 0
    assert isinstance(json.loads((fitted / "config.json").read_text())["threshold"], float)


@pytest.fixture
def ruled(model_dir, tmp_path):
    """A folder with a stored rule, and 60 rows that it decides all right."""
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "decision": RULE}))
    model, tokenizer = load_trained(model_dir)
    texts = [f"{text} {index}" for index in range(20) for text in TEXTS.values()]
    given = model.config.decide(MultiLabelScorer(model, tokenizer).logits(texts))[1].tolist()  # (60, 3)
    names = [[name for name, chosen in zip(LABELS, row, strict=True) if chosen] for row in given]
    lines = [json.dumps({"text": text, "labels": own}) for text, own in zip(texts, names, strict=True)]
    (tmp_path / "ruled.jsonl").write_text("\n".join(lines))
    return model_dir, tmp_path / "ruled.jsonl"


@pytest.mark.parametrize(("thresholds", "kind"), [("per_label", list), ("global", float)])
def test_thresholds_that_are_named_replace_a_stored_rule_by_force(ruled, thresholds, kind, capsys):
    folder, rows = ruled
    stored = json.loads((folder / "config.json").read_text())
    words = [folder, "--file", rows, "--calibration", "keep", "--thresholds"]
    assert tune(*words, thresholds) == 0
    assert json.loads((folder / "config.json").read_text()) == stored
    output = capsys.readouterr().out
    assert f"nothing was changed in {folder / 'config.json'}" in output and "stored in" not in output.split("\n\n")[1]
    assert "the rule of the expected score stays: none fitted on 60 examples did better on unseen ones" in output
    assert tune(*words, "auto", "--force") == 0  # names none
    assert json.loads((folder / "config.json").read_text())["decision"] == RULE
    capsys.readouterr()
    assert tune(*words, thresholds, "--force") == 0
    config = json.loads((folder / "config.json").read_text())
    assert config["decision"] is None and isinstance(config["threshold"], kind)
    assert (output := capsys.readouterr().out).endswith(f"stored in {folder / 'config.json'}\n")
    assert "did better" not in output


def test_a_new_temperature_alone_is_said(ruled, capsys):
    folder, rows = ruled
    assert tune(folder, "--file", rows) == 0
    config = json.loads((folder / "config.json").read_text())
    assert config["temperature"] != 1.0 and config["decision"]["temperature"] != RULE["temperature"]
    output = capsys.readouterr().out
    assert f"only the temperature was changed in {folder / 'config.json'}" in output
    assert "the rule of the expected score stays: none fitted on 60 examples" in output
    assert tune(folder, "--file", rows, "--min_labels", "1") == 0
    assert f"stored in {folder / 'config.json'}" in capsys.readouterr().out


def test_min_labels_that_are_asked_for_are_stored_whatever_they_cost(model_dir, rows, tmp_path):
    tune(model_dir, "--file", rows)
    words = [model_dir, "--file", rows, "--min_labels", "3", "--json", tmp_path / "scores.json"]  # all labels
    assert tune(*words) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["after"]["hamming_score"] == pytest.approx(1 / 3) and scores["stored"]
    assert scores["after"]["hamming_score"] < scores["before"]["hamming_score"]
    assert json.loads((model_dir / "config.json").read_text())["min_labels"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min_labels", "4"], "min_labels must be a whole number from 0 to the number of labels, 3, got 4"),
        (["--text_column", "body"], "rows.csv has no column 'body'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_changed(model_dir, rows, words, message):
    before = {path: path.read_bytes() for path in model_dir.iterdir()}
    with pytest.raises(ValueError, match=message):
        tune(model_dir, "--file", rows, *words)
    assert {path: path.read_bytes() for path in model_dir.iterdir()} == before


def test_a_plain_backbone_is_refused(checkpoints, rows):
    with pytest.raises(ValueError, match="is a 'bert' model without labels"):
        tune(checkpoints["uncased"], "--file", rows)


def test_misspelt_options_are_refused(model_dir, rows, capsys):
    with pytest.raises(SystemExit, match="2"):
        tune(model_dir, "--file", rows, "--goal", "macro_f1")
    assert "--goal" in capsys.readouterr().err


def test_rules_are_stored_kept_and_dropped(model_dir, rows, tmp_path, caplog):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"implies": {"gift": ["good value"]}}))
    tune(model_dir, "--file", rows, "--label_rules", path)
    assert "20 of 60 examples break label rules: 'gift' implies 'good value' (20: rows 3, 6" in caplog.text
    stored = MultiLabelConfig.from_pretrained(model_dir)
    assert stored.label_rules == {"implies": {"gift": ["good value"]}}
    tune(model_dir, "--file", rows)
    assert MultiLabelConfig.from_pretrained(model_dir).label_rules == stored.label_rules
    tune(model_dir, "--file", rows, "--label_rules", "")
    assert MultiLabelConfig.from_pretrained(model_dir).label_rules is None
    path.write_text(json.dumps({"implies": {"present": ["good value"]}}))
    with pytest.raises(ValueError, match=r"rules.json: label_rules name labels .* does not have: 'present'"):
        tune(model_dir, "--file", rows, "--label_rules", path)
