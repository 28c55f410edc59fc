import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline

from bert_multilabel import from_backbone, hamming_score
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.hub.model_card import plain
from bert_multilabel.loading import load_trained
from bert_multilabel.model import configuration_multilabel
from bert_multilabel.model.choices import POOLINGS
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from bert_multilabel.output_dir.checkpoints import read_run
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.prepare import prepare_run
from bert_multilabel.training.run import run
from tests.conftest import LABELS, make_rows, mark_unfinished

SCRIPT = Path(__file__).resolve().parents[2] / "run_multilabel.py"

CONTRACT_FILES = {
    *("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "all_results.json"),
    *("configuration_multilabel.py", "modeling_multilabel.py", "tokenization_multilabel.py"),
    *("pipeline_multilabel.py", "handler.py"),
}


def arguments_of(**arguments):
    words = []
    for name, value in {"use_cpu": True, "disable_tqdm": True, **arguments}.items():
        words += [f"--{name}", *([str(part) for part in value] if isinstance(value, list) else [str(value)])]
    return parse_arguments(words)


def run_script(**arguments):
    return run(arguments_of(**arguments))


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def train_and_predict(backbone, files, output_dir, **arguments):
    return run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        validation_file=files["validation"],
        test_file=files["test"],
        output_dir=output_dir,
        do_train=True,
        do_eval=True,
        do_predict=True,
        learning_rate=3e-3,
        per_device_train_batch_size=8,
        **{"num_train_epochs": 12, **arguments},
    )


@pytest.fixture(scope="module", params=["cls", "label_tokens"])
def trained(request, backbone, files, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp(request.param) / "out"
    results = train_and_predict(backbone, files, output_dir, strategy=request.param)
    return output_dir, results


def test_both_strategies_learn_what_is_in_the_words(trained):
    _, results = trained
    assert results["eval_hamming_score"] > 0.9
    assert results["test_hamming_score"] > 0.9


def test_the_output_folder_holds_what_the_contract_says(trained):
    output_dir, results = trained
    names = {path.name for path in output_dir.iterdir()}
    assert CONTRACT_FILES <= names
    assert not any(name.endswith((".bin", ".pkl", ".pt", ".unfinished")) for name in names)
    saved = json.loads((output_dir / "all_results.json").read_text())
    assert saved == results


def test_the_decisions_that_were_fitted_travel_with_the_model(trained):
    output_dir, results = trained
    config = json.loads((output_dir / "config.json").read_text())
    assert config["temperature"] != 1.0  # 24 rows are enough to find another one
    assert AutoModel.from_pretrained(output_dir).config.temperature == config["temperature"]
    for name in ("hamming_score", "macro_f1", "samples_f1"):
        assert {f"eval_{name}", f"eval_{name}_at_half", f"test_{name}", f"test_{name}_at_half"} <= set(results)


def test_the_model_card_tells_of_the_run_and_not_of_the_machine(trained, files, backbone):
    output_dir, results = trained
    path = output_dir / "README.md"
    card = ModelCard.load(path)
    assert f"| hamming score (mean samples Jaccard) | {results['eval_hamming_score']:.4f} (" in card.text
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found["macro F1"] == round(results["eval_macro_f1"], 4)
    counts = {name: sum(name in row["labels"] for row in make_rows(64)) for name in LABELS}
    support = {name: sum(name in row["labels"] for row in make_rows(24)) for name in LABELS}
    for name in LABELS:
        assert f"| {plain(name)} | {counts[name]} | {support[name]} |" in card.text
    for phrase in (
        "64 examples of “train.jsonl”",
        "24 examples of “validation.jsonl”",
        "0.003 for the encoder, 0.06 for the",
    ):
        assert phrase in card.text
    assert "had the best hamming score on the validation examples" in card.text
    assert card.data.base_model is None and "widget" not in card.data.to_dict()
    text = path.read_text(encoding="utf-8")
    known = [output_dir, output_dir.parent, backbone, Path(files["train"]).parent, Path.home(), Path.cwd()]
    assert not [folder for folder in known if str(folder) in text]
    assert "the price is not" not in text


def test_the_card_shows_what_was_asked_for(backbone, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = json.loads((backbone / "config.json").read_text())
    shutil.copytree(backbone, "models/base")  # which could be a name on the Hub, too
    Path("models/base/config.json").write_text(json.dumps({**config, "_name_or_path": "somebody/bert-tiny"}))
    common = {"model_name_or_path": "models/base", "train_file": files["train"], "do_train": True}
    asked = {"card_examples": 2, "card_language": ["en", "de"], "card_license": "mit"}
    run_script(
        **common,
        **asked,
        output_dir=tmp_path / "out",
        do_eval=True,
        max_steps=1,
        save_strategy="no",
        eval_strategy="no",
    )
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.language, card.data.license) == (["en", "de"], "mit")
    assert card.data.base_model == "somebody/bert-tiny"
    assert len(card.data.widget) == 2
    assert {example["text"] for example in card.data.widget} <= {row["text"] for row in make_rows(64)}
    assert 'name = "."' in card.text and "“train.jsonl (a part split off)”" in card.text


def test_examples_of_pairs_are_refused(backbone, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("text,text_pair,labels\ngood,price,gift\nnot good,quality,price\n")
    with pytest.raises(ValueError, match="--card_examples 1 shows single texts, but there are pairs .'text_pair'"):
        run_script(
            model_name_or_path=backbone,
            train_file=path,
            validation_file=path,
            output_dir=tmp_path / "out",
            do_train=True,
            do_eval=True,
            card_examples=1,
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ({"do_predict": True, "min_labels": 1}, "--min_labels 1 is for thresholds fitted on validation data"),
        ({"do_train": True, "threshold_goal": "macro_f1"}, "--threshold_goal macro_f1 is for thresholds fitted"),
        ({"do_train": True, "do_eval": True, "min_labels": 4}, "to the number of labels, 3, got 4"),
        (
            {"do_train": True, "do_eval": True, "metric_for_best_model": "f2"},
            "f2 is not evaluated: choose one of loss,",
        ),
    ],
)
def test_decisions_that_cannot_be_tuned_are_refused_before_training(trained, files, tmp_path, arguments, phrase):
    paths = {f"{split}_file": files[split] for split in ("train", "validation", "test")}
    with pytest.raises(ValueError, match=phrase):
        run_script(model_name_or_path=trained[0], output_dir=tmp_path / "out", **paths, **arguments)
    assert not (tmp_path / "out").exists()


def test_the_goal_of_thresholds_chooses_the_epoch(backbone, files, tmp_path):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "validation_file": files["validation"]}
    run_script(
        **common, output_dir=tmp_path, do_train=True, do_eval=True, num_train_epochs=1, threshold_goal="micro_f1"
    )
    assert read_run(tmp_path)["arguments"]["metric_for_best_model"] == "micro_f1"


def test_a_goal_that_was_missed_is_said_once_at_the_end(backbone, files, tmp_path, caplog):
    caplog.set_level("INFO", logger="bert_multilabel")
    results = run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        validation_file=files["validation"],
        output_dir=tmp_path / "out",
        do_train=True,
        do_eval=True,
        num_train_epochs=2,
        threshold_goal="precision=0.99",
        min_labels=1,
    )
    assert results["eval_micro_precision"] < 0.99
    messages = [record.getMessage() for record in caplog.records if "precision=0.99 was not reached" in record.message]
    assert len(messages) == 1  # though there were three evaluations
    scores = [results[f"eval_hamming_score{which}"] for which in ("", "_at_half")]
    decided = [record.getMessage() for record in caplog.records if "the model decides at" in record.message]
    assert len(decided) == 1
    assert decided[0].endswith("(validation hamming score {:.4f}, at 0.5 {:.4f})".format(*scores))
    assert f"is {results['eval_micro_precision']:.3f} on examples" in messages[0] and "min_labels 1" in messages[0]


def test_training_stops_where_evaluations_get_no_better(backbone, files, tmp_path):
    results = run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        validation_file=files["validation"],
        output_dir=tmp_path / "out",
        do_train=True,
        do_eval=True,
        num_train_epochs=20,
        learning_rate=1e-12,
        early_stopping_patience=2,
    )
    assert results["epoch"] == 3


def test_predictions_stand_in_the_order_of_the_rows(trained, files):
    output_dir, results = trained
    predictions = read_jsonl(output_dir / "predictions.jsonl")
    rows = read_jsonl(Path(files["test"]))
    assert [prediction["id"] for prediction in predictions] == [row["id"] for row in rows]

    def multi_hot(records):
        return [[int(name in record["labels"]) for name in LABELS] for record in records]

    assert hamming_score(multi_hot(predictions), multi_hot(rows)) == pytest.approx(results["test_hamming_score"])


def test_a_trained_folder_predicts_unlabelled_rows_with_the_same_scores(trained, files, capsys, caplog):
    output_dir, _ = trained
    caplog.set_level("INFO", logger="bert_multilabel")
    before = read_jsonl(output_dir / "predictions.jsonl")
    results = run_script(
        model_name_or_path=output_dir,
        test_file=files["unlabelled"],
        output_dir=output_dir.parent / "predicted",
        do_predict=True,
        per_device_eval_batch_size=4,
    )
    assert "test_hamming_score" not in results and "metrics *****" not in capsys.readouterr().out
    assert re.search(r"predicted \d+ examples; .* has no labels, so there are no scores", caplog.text)
    assert ": speed: all_results.json; predictions: predictions.jsonl" in caplog.text
    assert json.loads((output_dir.parent / "predicted" / "all_results.json").read_text()) == results
    after = read_jsonl(output_dir.parent / "predicted" / "predictions.jsonl")
    assert [row["labels"] for row in after] == [row["labels"] for row in before]
    for old, new in zip(before, after, strict=True):
        assert new["scores"] == pytest.approx(old["scores"], abs=1e-5)


def test_training_goes_on_from_a_trained_folder(trained, files):
    output_dir, results = trained
    further = run_script(
        model_name_or_path=output_dir,
        train_file=files["train"],
        validation_file=files["validation"],
        output_dir=output_dir.parent / "further",
        do_train=True,
        do_eval=True,
        num_train_epochs=1,
        learning_rate=1e-5,
    )
    assert further["eval_hamming_score"] == pytest.approx(results["eval_hamming_score"], abs=0.05)


def test_a_finished_run_is_not_trained_again(trained, backbone, files):
    output_dir, _ = trained
    weights = (output_dir / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="holds a finished run"):
        run_script(
            model_name_or_path=backbone,
            train_file=files["train"],
            output_dir=output_dir,
            do_train=True,
            num_train_epochs=1,
        )
    assert (output_dir / "model.safetensors").read_bytes() == weights


def test_missing_validation_rows_are_split_off(backbone, files, tmp_path):
    results = run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        output_dir=tmp_path / "out",
        do_train=True,
        do_eval=True,
        validation_fraction=0.25,
        num_train_epochs=1,
    )
    assert (results["train_samples"], results["eval_samples"]) == (48, 16)


def test_rules_are_stored_and_obeyed_and_the_rows_that_break_them_named(backbone, files, tmp_path, caplog):
    rules = {"implies": {"gift": ["good value"]}, "exclusive": [["good value", "too_expensive"]]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    train_and_predict(
        backbone, files, tmp_path / "out", num_train_epochs=3, label_rules=tmp_path / "rules.json", strategy="cls"
    )
    # Of each 8 rows, the fifth and seventh have a gift alone, and the fourth and last both of the exclusive labels.
    assert (
        f"{files['train']}: 32 of 64 examples break label rules: 'gift' implies 'good value' (16: rows 5, 7, 13"
    ) in caplog.text
    assert "at most one of 'good value' and 'too_expensive' (16: rows 4, 8" in caplog.text
    assert f"{files['validation']}: " in caplog.text
    assert json.loads((tmp_path / "out" / "config.json").read_text())["label_rules"] == rules
    config = AutoConfig.from_pretrained(tmp_path / "out")
    names = config.label_names
    predicted = [[name in row["labels"] for name in names] for row in read_jsonl(tmp_path / "out/predictions.jsonl")]
    assert not config.checked_rules.broken(predicted)
    assert (
        "Every set of labels that it predicts obeys 1 implication and 1 exclusive group"
        in (tmp_path / "out" / "README.md").read_text()
    )
    decide = pipeline("multilabel-classification", model=str(tmp_path / "out"), trust_remote_code=True)
    answers = decide([row["text"] for row in read_jsonl(Path(files["test"]))])
    assert [[name in answer["labels"] for name in names] for answer in answers] == predicted
    with pytest.raises(MultiLabelError, match="--label_rules '' becomes part of the model that is trained"):
        run_script(
            model_name_or_path=tmp_path / "out",
            test_file=files["test"],
            output_dir=tmp_path / "predicted",
            do_predict=True,
            label_rules="",
        )


def test_max_train_samples_limits_the_rows(backbone, files, tmp_path):
    results = run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        output_dir=tmp_path / "out",
        do_train=True,
        max_train_samples=10,
        num_train_epochs=1,
        classifier_dropout=0.3,
    )
    assert results["train_samples"] == 10
    assert json.loads((tmp_path / "out" / "config.json").read_text())["classifier_dropout"] == 0.3


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ({"do_train": True}, "--do_train needs data: give --train_file"),
        ({"do_train": True, "do_predict": True, "train_file": "train"}, "--do_predict needs data: give --test_file"),
        ({"do_train": True, "do_eval": True, "validation_file": "validation"}, "--do_train needs data"),
        ({"do_predict": True, "test_file": "unlabelled"}, "is a 'bert' model that was never trained on labels"),
        ({"do_eval": True, "validation_file": "validation"}, "never trained on labels"),
        ({"do_train": True, "train_file": "train", "max_seq_length": 5}, "at least 6"),
    ],
)
def test_runs_without_what_they_need_are_refused(backbone, files, tmp_path, arguments, phrase):
    arguments = {name: files.get(value, value) for name, value in arguments.items()}
    with pytest.raises(ValueError, match=phrase):
        run_script(model_name_or_path=backbone, output_dir=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_the_saved_weights_are_those_of_the_best_checkpoint(backbone, files, tmp_path):
    run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        validation_file=files["validation"],
        output_dir=tmp_path / "out",
        do_train=True,
        do_eval=True,
        num_train_epochs=4,
        learning_rate=3e-3,
        metric_for_best_model="mean_average_precision",
        greater_is_better=False,  # so that the first epochs are the best
        save_total_limit=10,
    )
    *_, last = sorted((tmp_path / "out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    best = Path(json.loads((last / "trainer_state.json").read_text())["best_model_checkpoint"])
    assert best != last
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(weights, saved[name]) for name, weights in load_file(best / "model.safetensors").items())
    assert any(not torch.equal(weights, saved[n]) for n, weights in load_file(last / "model.safetensors").items())


def test_the_score_is_that_of_the_stored_decision(trained, files, tmp_path):
    output_dir, results = trained
    model = AutoModel.from_pretrained(output_dir)
    model.config.threshold = 0.0  # everything is given
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(output_dir).save_pretrained(tmp_path / "model")
    again = run_script(
        model_name_or_path=tmp_path / "model",
        validation_file=files["validation"],
        test_file=files["test"],
        output_dir=tmp_path / "out",
        do_eval=True,
        do_predict=True,
    )
    assert again["eval_hamming_score_at_half"] == pytest.approx(results["eval_hamming_score_at_half"])
    rows = read_jsonl(Path(files["validation"]))
    everything = sum(len(row["labels"]) / 3 for row in rows) / len(rows)
    assert again["eval_hamming_score"] == pytest.approx(everything)
    assert all(set(row["labels"]) == set(LABELS) for row in read_jsonl(tmp_path / "out" / "predictions.jsonl"))


def test_options_about_data_reach_the_rows(backbone, tmp_path):
    (tmp_path / "names.txt").write_text("gift\nprice\nquality\n")
    folder = tmp_path / "shop"
    folder.mkdir()
    header, *lines = "key,title,body,marks", "a,x,good,gift;price", "b,x,not good,", "c,y,the price,price"
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("\n".join([header, *lines * 4]))
    results = run_script(
        model_name_or_path=backbone,
        dataset_name=folder,
        text_column="body",
        text_pair_column="title",
        label_column="marks",
        id_column="key",
        label_names_file=tmp_path / "names.txt",
        label_delimiter=";",
        top_scores=2,
        output_dir=tmp_path / "out",
        do_train=True,
        do_predict=True,
        max_steps=1,
        save_strategy="no",
    )
    assert (results["train_samples"], results["test_samples"]) == (12, 12)
    predictions = read_jsonl(tmp_path / "out" / "predictions.jsonl")
    assert [row["id"] for row in predictions[:4]] == ["a", "b", "c", "a"]
    assert all(len(row["scores"]) == 2 and set(row["scores"]) < {"gift", "price", "quality"} for row in predictions)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["label_names"] == ["gift", "price", "quality"]
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "12 examples of “shop”" in card.text and str(tmp_path) not in card.text
    assert card.data.datasets is None  # a folder is no data set of the Hub


def test_pairs_are_given_to_the_model_that_was_trained_with_them(backbone, tmp_path, caplog):
    pairs, singles = tmp_path / "pairs.csv", tmp_path / "singles.csv"
    pairs.write_text("text,text_pair,labels\ngood,price,gift\nnot good,quality,price\n")
    singles.write_text("text,labels\ngood,gift\nnot good,price\n")

    def train(path, **options):
        out = tmp_path / f"{path.stem}-{len(options)}"
        common = {"model_name_or_path": backbone, "train_file": path, "do_train": True, "max_steps": 1}
        run_script(**common, **options, save_strategy="no", output_dir=out)
        return out

    def predict(model, path, name, **options):
        run_script(model_name_or_path=model, test_file=path, output_dir=tmp_path / name, do_predict=True, **options)
        return read_jsonl(tmp_path / name / "predictions.jsonl")

    with_pairs, without = train(pairs), train(singles)
    assert predict(without, pairs, "a") == predict(without, singles, "b")
    with pytest.raises(ValueError, match="no column 'text_pair' for the pair"):
        predict(with_pairs, singles, "c")
    assert (
        json.loads((train(pairs, text_pair_column="") / "training_run.json").read_text())["arguments"][
            "text_pair_column"
        ]
        == ""
    )

    # So it is in a copy without the record of the run.
    for folder, expected in ((with_pairs, True), (without, False)):
        for part in load_trained(folder):
            part.save_pretrained(tmp_path / "copy")
        assert AutoConfig.from_pretrained(tmp_path / "copy").trained_on_pairs is expected
        assert predict(tmp_path / "copy", pairs, f"copy-{expected}") == predict(folder, pairs, f"own-{expected}")
    configuration_multilabel.logger.warning_once.cache_clear()
    predict(with_pairs, singles, "d", text_pair_column="")
    assert "was trained on pairs of texts, but gets single texts" in caplog.text


def test_training_in_bfloat16_leaves_predictions_in_float32(backbone, files, tmp_path):
    common = {"test_file": files["test"], "do_predict": True, "predict_precision": "float32"}
    train = {"train_file": files["train"], "do_train": True, "max_steps": 2, "bf16": True}
    run_script(model_name_or_path=backbone, output_dir=tmp_path / "one", **common, **train)
    run_script(model_name_or_path=tmp_path / "one", output_dir=tmp_path / "two", **common)
    predictions = [(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("one", "two")]
    assert predictions[0] == predictions[1]


def test_the_script_ends_with_the_message_of_what_it_refuses(backbone, files, tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    words = f"--model_name_or_path {backbone} --train_file {files['train']} --do_train --output_dir {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["run_multilabel.py", *words.split(), "--use_cpu"])
    with pytest.raises(SystemExit, match=f"{tmp_path} holds a model but no record of its training"):
        runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_script_ends_with_the_message_of_what_is_not_installed(backbone, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    words = f"--model_name_or_path {backbone} --train_file {files['train']} --do_train --output_dir {tmp_path / 'out'}"
    monkeypatch.setattr(sys, "argv", ["run_multilabel.py", *words.split(), "--use_cpu", "--optim", "adamw_bnb_8bit"])
    with pytest.raises(SystemExit, match="You need to install `bitsandbytes`"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["file/out", "file", "/proc/nowhere/out"])
def test_an_output_folder_that_cannot_be_made_is_refused(backbone, files, tmp_path, name):
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(MultiLabelError, match=f"{path}.* (is a file: choose|nothing can be added to )"):
        run_script(model_name_or_path=backbone, train_file=files["train"], do_train=True, output_dir=path)


def test_a_schedule_that_refuses_its_settings_is_named(backbone, files, tmp_path):
    words = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "output_dir": tmp_path}
    with pytest.raises(MultiLabelError, match="--lr_scheduler_type linear is refused: .*'nope'"):
        run_script(**words, lr_scheduler_kwargs='{"nope": 1}')


def test_the_next_commands_are_named_after_training(backbone, files, tmp_path, caplog):
    caplog.set_level("INFO", logger="bert_multilabel")
    words = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "max_steps": 1}
    run_script(**words, output_dir=tmp_path / "my model")
    said = [record.getMessage() for record in caplog.records]
    assert f"predict a file: bert-multilabel predict '{tmp_path / 'my model'}' FILE --output_dir DIR" in said
    assert f"try the model on a page: bert-multilabel page '{tmp_path / 'my model'}'" in said


def test_a_run_into_the_folder_that_it_starts_from_is_refused(backbone, files, tmp_path):
    shutil.copytree(backbone, tmp_path / "bert")
    with pytest.raises(ValueError, match="is also --model_name_or_path: choose another"):
        run_script(
            model_name_or_path=tmp_path / "bert",
            train_file=files["train"],
            do_train=True,
            output_dir=tmp_path / "bert",
            overwrite_output_dir=True,
        )
    assert (tmp_path / "bert" / "config.json").exists()


def test_labels_apart_from_the_text_learn_and_predict_as_well(backbone, files, tmp_path):
    results = train_and_predict(
        backbone,
        files,
        tmp_path / "out",
        strategy="label_tokens",
        label_attention="isolated",
        label_layers=1,
    )
    assert results["eval_hamming_score"] > 0.9
    assert results["test_hamming_score"] > 0.9
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["label_attention"], config["label_layers"]) == ("isolated", 1)


def test_predictions_in_bfloat16_come_near_those_in_float32(trained, files, tmp_path):
    output_dir, _ = trained
    scores = []
    for precision in ("float32", "bfloat16"):
        folder = tmp_path / precision
        run_script(
            model_name_or_path=output_dir,
            test_file=files["test"],
            output_dir=folder,
            do_predict=True,
            predict_precision=precision,
        )
        scores.append([list(row["scores"].values()) for row in read_jsonl(folder / "predictions.jsonl")])
    assert scores[0] != scores[1]
    torch.testing.assert_close(torch.tensor(scores[0]), torch.tensor(scores[1]), atol=0.05, rtol=0)


def test_long_rows_are_predicted_in_windows_on_request(trained, tmp_path):
    output_dir, _ = trained
    texts = ["good " * 70 + "gift", "good value"]
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))

    def predict(folder, **arguments):
        common = {"model_name_or_path": output_dir, "test_file": tmp_path / "long.jsonl", "do_predict": True}
        run_script(**common, output_dir=tmp_path / folder, **arguments)
        return read_jsonl(tmp_path / folder / "predictions.jsonl")

    cut, read, narrow = predict("cut"), predict("read", stride=4), predict("narrow", stride=4, max_seq_length=20)
    answer = pipeline("multilabel-classification", model=str(output_dir), trust_remote_code=True, device="cpu")
    for row, expected in zip(read, answer(texts, stride=4), strict=True):
        assert row["labels"] == expected["labels"]
        assert row["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    assert len({str(rows[0]["scores"]) for rows in (cut, read, narrow)}) == 3
    with pytest.raises(ValueError, match="stride=60 must be less than "):
        predict("refused", stride=60, max_seq_length=30)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_evaluation_reads_the_windows_that_a_prediction_reads(backbone, files, tmp_path, pooling):
    long = tmp_path / "long.jsonl"
    rows = read_jsonl(Path(files["train"]))
    long.write_text(
        "\n".join(json.dumps({**row, "text": " ".join([row["text"]] * (1 + n % 5))}) for n, row in enumerate(rows))
    )
    common = {"validation_file": long, "do_eval": True, "stride": 3, "pooling": pooling, "max_seq_length": 14}
    common |= {"test_file": long, "do_predict": True, "min_labels": 1, "per_device_eval_batch_size": 7}
    results = run_script(
        model_name_or_path=backbone,
        train_file=files["train"],
        do_train=True,
        output_dir=tmp_path / "out",
        learning_rate=1e-3,
        **common,
    )
    # With the temperature that was fitted to it.
    assert load_trained(tmp_path / "out")[0].config.temperature != 1
    assert results["eval_samples"] == results["test_samples"] == len(rows)
    assert results["eval_loss"] == pytest.approx(results["test_loss"], abs=1e-5)

    del common["min_labels"]
    prepared, trainer = prepare_run(
        arguments_of(model_name_or_path=tmp_path / "out", output_dir=tmp_path / "again", **common)
    )
    assert len(prepared.encoded["validation"]) > len(rows)
    trainer.evaluate()
    tuned = prepared.tuned_metrics.tuned
    predicted = [list(row["scores"].values()) for row in read_jsonl(tmp_path / "out" / "predictions.jsonl")]
    torch.testing.assert_close(torch.tensor(tuned.probabilities), torch.tensor(predicted), atol=1e-5, rtol=0)
    logits = MultiLabelScorer(*load_trained(tmp_path / "out"), max_length=14).logits(
        prepared.data.splits["validation"]["text"], windows=Windows(3, pooling)
    )
    torch.testing.assert_close(torch.tensor(tuned.logits), logits, atol=1e-5, rtol=0)


def test_the_loss_is_of_the_run_and_not_of_the_model(backbone, files, tmp_path):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "num_train_epochs": 1}
    options = {"loss": "weighted_bce", "max_pos_weight": 5.0, "label_correlation": 0.25}
    run_script(**common, output_dir=tmp_path / "plain")
    run_script(**common, output_dir=tmp_path / "out", **options)
    saved = [{path.name for path in folder.iterdir()} for folder in (tmp_path / "plain", tmp_path / "out")]
    assert saved[0] == saved[1]
    configs = [(tmp_path / name / "config.json").read_text() for name in ("plain", "out")]
    assert configs[0] == configs[1]
    assert not [name for name in json.loads(configs[1]) if name in {*options, "focal_gamma"}]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "out")]
    assert weights[0] != weights[1]
    assert options.items() <= read_run(tmp_path / "out")["arguments"].items()
    mark_unfinished(tmp_path / "out")
    with pytest.raises(
        ValueError, match="other arguments .label_correlation was 0.25, now 0.0; loss was 'weighted_bce'"
    ):
        run_script(**common, output_dir=tmp_path / "out")


def test_descriptions_decide_where_the_training_starts(backbone, files, tmp_path):
    path = tmp_path / "descriptions.csv"
    path.write_text("label,description\ngift,wants to buy\n")
    common = {"train_file": files["train"], "do_train": True, "max_steps": 1, "learning_rate": 1e-9}
    run_script(model_name_or_path=backbone, label_descriptions=path, output_dir=tmp_path / "out", **common)
    expected, tokenizer = from_backbone(backbone, sorted(LABELS), "label_tokens", {"gift": "wants to buy"})
    token_id = tokenizer.label_token_ids[sorted(LABELS).index("gift")]
    rows = load_file(tmp_path / "out" / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(rows[token_id], expected.get_input_embeddings().weight[token_id].detach())
    with pytest.raises(ValueError, match="has trained the labels .'gift'. already"):
        run_script(
            model_name_or_path=tmp_path / "out", label_descriptions=path, output_dir=tmp_path / "more", **common
        )


def test_a_trained_folder_learns_more_labels(backbone, files, tmp_path):
    rows = read_jsonl(Path(files["train"]))
    names = {"gift": "a gift"}  # sorts before the others, and yet goes behind them
    new = [{**row, "labels": [names.get(name, name) for name in row["labels"]]} for row in rows]
    old = [{**row, "labels": [name for name in row["labels"] if name != "gift"]} for row in rows]
    for name, content in (("old", old), ("new", new)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, content)))
    common = {"do_train": True, "do_eval": True, "do_predict": True, "learning_rate": 3e-3}
    splits = {f"{split}_file": tmp_path / "new.jsonl" for split in ("train", "validation", "test")}
    run_script(
        model_name_or_path=backbone,
        train_file=tmp_path / "old.jsonl",
        output_dir=tmp_path / "old",
        do_train=True,
        num_train_epochs=12,
        learning_rate=3e-3,
        per_device_train_batch_size=8,
    )
    grow = {"model_name_or_path": tmp_path / "old", **common, **splits, "num_train_epochs": 12}
    with pytest.raises(ValueError, match="unknown label 'a gift'"):
        run_script(**grow, output_dir=tmp_path / "grown")
    results = run_script(**grow, add_labels=True, output_dir=tmp_path / "grown", per_device_train_batch_size=8)
    config = json.loads((tmp_path / "grown" / "config.json").read_text())
    assert config["label_names"] == ["good value", "too_expensive", "a gift"]
    assert results["eval_hamming_score"] > 0.9
    # Read by name, so that an order mixed up between data and model would show.
    given = [set(row["labels"]) for row in read_jsonl(tmp_path / "grown" / "predictions.jsonl")]
    assert sum(labels == set(row["labels"]) for labels, row in zip(given, new, strict=True)) > 0.9 * len(new)


def test_labels_are_added_only_in_training(backbone, files, tmp_path):
    with pytest.raises(ValueError, match="--add_labels needs --do_train"):
        run_script(
            model_name_or_path=backbone,
            add_labels=True,
            do_predict=True,
            test_file=files["test"],
            output_dir=tmp_path / "out",
        )
