"""Training from Python gives what the command line gives, whatever holds the data."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List, Value

from bert_multilabel import train
from bert_multilabel.errors import MultiLabelError

TEXTS = [f"the price of item {number} is {'good' if number % 2 else 'high'}" for number in range(12)]
GIVEN = [["price"] if number % 2 else ["price", "gift"] for number in range(12)]
FAST = {"num_train_epochs": 1, "max_seq_length": 32, "use_cpu": True, "save_strategy": "no", "strategy": "cls"}


def as_files(folder):
    for split in ("train", "validation"):
        rows = [json.dumps({"text": text, "labels": labels}) for text, labels in zip(TEXTS, GIVEN, strict=True)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    return {split: folder / f"{split}.jsonl" for split in ("train", "validation")}


def as_frames(folder):
    return {
        split: pd.DataFrame({"text": TEXTS, "labels": GIVEN}, index=range(5, 17)) for split in ("train", "validation")
    }


def as_datasets(folder):
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["gift", "price"]))})
    rows = Dataset.from_dict({"text": TEXTS, "labels": GIVEN}, features)
    return DatasetDict({"train": rows, "validation": rows})


@pytest.fixture(scope="module")
def from_files(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return train(as_files(folder), backbone, folder / "run", **FAST)


@pytest.mark.parametrize("make", [as_frames, as_datasets])
def test_data_in_memory_trains_what_files_train(make, from_files, backbone, tmp_path):
    result = train(make(tmp_path), str(backbone), tmp_path / "run", **FAST)
    assert result.scores["eval_loss"] == from_files.scores["eval_loss"]
    assert result.model.config.label_names == ["gift", "price"]
    assert "Linear" not in repr(result) and "eval_loss" in repr(result)
    for name, values in from_files.model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], values), name


def test_the_result_has_what_the_folder_has(from_files):
    stored = json.loads((from_files.folder / "all_results.json").read_text())
    assert stored["eval_hamming_score"] == from_files.scores["eval_hamming_score"]
    assert not from_files.model.training
    logits = from_files.model(**from_files.tokenizer(TEXTS[:2], padding=True, return_tensors="pt")).logits
    assert logits.shape == (2, 2)


def test_a_notebook_shows_the_scores_as_a_table(from_files):
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", from_files._repr_html_())
    rows = {name: numbers for name, *numbers in zip(*[iter(cells[3:])] * 3, strict=True)}
    assert list(rows) == ["hamming score", "micro F1", "macro F1", "samples F1", "subset accuracy"]
    scores = [from_files.scores[f"eval_macro_f1{end}"] for end in ("", "_at_half")]
    assert rows["macro F1"] == [f"{score:.3f}" for score in scores]
    assert replace(from_files, scores={"train_loss": 0.5})._repr_html_() is None


def test_a_test_split_is_predicted_and_the_same_data_trains_longer(backbone, tmp_path):
    data = {**as_frames(tmp_path), "test": pd.DataFrame({"text": ["new"]})}
    options = {**FAST, "save_strategy": "epoch"}
    train(data, backbone, tmp_path / "run", **options)
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 1
    with pytest.raises(MultiLabelError, match="holds a finished run"):
        train(data, backbone, tmp_path / "run", **options)
    longer = train(data, backbone, tmp_path / "run", **{**options, "num_train_epochs": 2})
    assert longer.scores["epoch"] == 2
    with pytest.raises(MultiLabelError, match="the train data has changed"):
        data["train"] = data["train"].iloc[:-1]
        train(data, backbone, tmp_path / "run", **{**options, "num_train_epochs": 3})


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (as_frames, {"num_train_epoch": 1}, "unknown arguments: --num_train_epoch"),
        (as_frames, {"num_train_epochs": "many"}, "num_train_epochs.*'many'"),
        (as_frames, {"strategy": "clz"}, "'clz'"),
        (as_frames, {"train_file": "other.csv"}, "train_file='other.csv' is passed twice"),
        (lambda _: {"test": "new.csv"}, {}, "train and perhaps validation and test; it has test"),
        (lambda _: IterableDataset.from_generator(lambda: iter([])), {}, "of type IterableDataset: pass a path"),
        (lambda _: pd.DataFrame([["a", "x", "y"]], columns=["text", "1", 1]), {}, "train data has two columns '1'"),
        (lambda _: "", {}, "name of the data file is empty"),
        (as_frames, {"label_column": {"labels"}}, "label_column={'labels'} cannot be of type set"),
        (as_frames, {"text_column": "-x"}, "no column '-x'"),
        (lambda _: pd.DataFrame({"text": ["a", 1], "labels": [["x"], 2]}), {}, "train data .* mixed types"),
        (
            lambda _: pd.DataFrame({"text": ["a", " "], "labels": [["x"], ["x"]]}),
            {},
            "^1 problem in the train data:\nthe train data, row 2",
        ),
        (
            lambda _: pd.DataFrame({"text": ["a", "b"], "labels": ["x, y", "x"]}),
            {},
            r"--label_delimiter ','.*\n\(In Python, an option such as --label_delimiter is a keyword: label_delim",
        ),
        (as_frames, {"help": True}, "'help' is no option here"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(data, options, message, backbone, tmp_path):
    with pytest.raises(MultiLabelError, match=message):
        train(data(tmp_path), backbone, tmp_path / "run", **{**FAST, **options})
    assert not (tmp_path / "run").exists()
