"""Every row of docs/bad_input.md is tried: the message has the phrases in the table, in their order."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AlbertConfig, EvalPrediction, pipeline

from bert_multilabel import (
    Explainer,
    MultiLabelConfig,
    MultiLabelPredictor,
    MultiLabelTokenizer,
    compute_metrics,
    from_backbone,
    hamming_score,
)
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_files import read_label_descriptions
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from tests.conftest import LABELS

TABLE = Path(__file__).resolve().parents[2] / "docs" / "bad_input.md"
CASES = {}


def case(function):
    CASES[function.__doc__] = function
    return function


def load(folder, name, content, **spec):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    load_splits(DataSpec(**spec), {"train": str(path)})


def script(folder, *words):
    base = ["--output_dir", str(folder / "out"), "--use_cpu", "--disable_tqdm", "true"]
    run(parse_arguments([*base, *map(str, words)]))


@case
def _(folder, backbone):
    """config: `strategy="clz"`"""
    MultiLabelConfig(label_names=LABELS, strategy="clz")


@case
def _(folder, backbone):
    """config: a label name twice"""
    MultiLabelConfig(label_names=["gift", "price", "gift"])


@case
def _(folder, backbone):
    """config: a blank label name"""
    MultiLabelConfig(label_names=["gift", ""])


@case
def _(folder, backbone):
    """config: `threshold=1.5`"""
    MultiLabelConfig(label_names=LABELS, threshold=1.5)


@case
def _(folder, backbone):
    """config: two thresholds for three labels"""
    MultiLabelConfig(label_names=LABELS, threshold=[0.5, 0.5])


@case
def _(folder, backbone):
    """config: `num_labels=4` with three names"""
    MultiLabelConfig(label_names=LABELS, num_labels=4)


@case
def _(folder, backbone):
    """config: `label_layers=13` of 12 layers"""
    MultiLabelConfig(label_names=LABELS, strategy="label_tokens", label_layers=13)


@case
def _(folder, backbone):
    """config: `label_attention="isolated"` without label tokens"""
    MultiLabelConfig(label_names=LABELS, strategy="cls", label_attention="isolated")


@case
def _(folder, backbone):
    """tokenizer: `max_length=5` with three label tokens"""
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy="label_tokens")
    tokenizer("good", truncation=True, max_length=5)


@case
def _(folder, backbone):
    """tokenizer: special tokens read in texts"""
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy="label_tokens")
    tokenizer("[OPINION1]", split_special_tokens=False)


@case
def _(folder, backbone):
    """tokenizer: half of a surrogate pair"""
    MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS)("good \ud83d")


@case
def _(folder, backbone):
    """model: a label token masked out in one row"""
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    batch = tokenizer(["good", "price"], return_tensors="pt")
    batch["label_mask"][1, 2] = 0
    model(**batch)


@case
def _(folder, backbone):
    """model: a subset of labels that depend on each other"""
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    model(**tokenizer("good", return_tensors="pt"), subset=torch.tensor([0]))


@case
def _(folder, backbone):
    """model: class ids in place of multi-hot labels"""
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    model(**tokenizer(["good", "price"], return_tensors="pt"), labels=torch.tensor([0, 2]))


@case
def _(folder, backbone):
    """model: a label added that is there already"""
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    model.add_labels(["new", "gift"], tokenizer)


@case
def _(folder, backbone):
    """model: more labels added than leave room for text"""
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    model.add_labels([f"label {number}" for number in range(60)], tokenizer)


@case
def _(folder, backbone):
    """model: a label added to `cls`"""
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    model.add_labels(["new"], tokenizer)


@case
def _(folder, backbone):
    """backbone: an encoder that is no BERT, such as ALBERT"""
    AlbertConfig().save_pretrained(folder)
    from_backbone(folder, LABELS, "cls")


@case
def _(folder, backbone):
    """backbone: more label tokens than positions"""
    from_backbone(backbone, [f"label {number}" for number in range(60)], "label_tokens")


@case
def _(folder, backbone):
    """backbone: a trained folder with other labels"""
    for part in from_backbone(backbone, LABELS, "label_tokens"):
        part.save_pretrained(folder)
    from_backbone(folder, [*LABELS, "new"], "label_tokens")


@case
def _(folder, backbone):
    """backbone: weights as a pickle"""
    shutil.copytree(backbone, folder, dirs_exist_ok=True)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    from_backbone(folder, LABELS, "cls")


@case
def _(folder, backbone):
    """backbone: weights outside the folder"""
    shutil.copytree(backbone, folder, dirs_exist_ok=True)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../other.safetensors"}}')
    from_backbone(folder, LABELS, "cls")


@case
def _(folder, backbone):
    """backbone: adapters of another model"""
    shutil.copytree(backbone, folder, dirs_exist_ok=True)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "google-bert/bert-base-uncased"}')
    from_backbone(folder, LABELS, "cls")


def answer(backbone, inputs, **arguments):
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    pipeline("multilabel-classification", model=model, tokenizer=tokenizer)(inputs, **arguments)


@case
def _(folder, backbone):
    """pipeline: a misspelt argument"""
    answer(backbone, "good", topk=1)


@case
def _(folder, backbone):
    """pipeline: a threshold for an unknown label"""
    answer(backbone, "good", threshold={"prise": 0.3})


@case
def _(folder, backbone):
    """pipeline: a number in place of a text"""
    answer(backbone, ["good", 7])


@case
def _(folder, backbone):
    """pipeline: windows without room for text"""
    answer(backbone, "good", stride=62)


@case
def _(folder, backbone):
    """pipeline: a pair that leaves windows no room"""
    answer(backbone, {"text": "good " * 99, "text_pair": "gift " * 60}, stride=8)


@case
def _(folder, backbone):
    """explain: a misspelt label"""
    Explainer(*from_backbone(backbone, LABELS, "cls")).explain("good", labels=["prise"])


@case
def _(folder, backbone):
    """explain: a text without words"""
    Explainer(*from_backbone(backbone, LABELS, "cls")).explain(" ")


@case
def _(folder, backbone):
    """explain: no steps"""
    Explainer(*from_backbone(backbone, LABELS, "cls"), steps=0)


@case
def _(folder, backbone):
    """metrics: probabilities in place of decisions"""
    hamming_score([[0.7, 0.1]], [[1, 0]])


@case
def _(folder, backbone):
    """metrics: labels of another shape than the logits"""
    compute_metrics(EvalPrediction(np.zeros((2, 3)), np.zeros((2, 5))))


@case
def _(folder, backbone):
    """data: an unknown label"""
    load(folder, "train.csv", "text,labels\ngood,price\nbad,prise\n", label_names=["price", "quality"])


@case
def _(folder, backbone):
    """data: an empty label"""
    load(folder, "train.csv", "text,labels\ngood,price||quality\n")


@case
def _(folder, backbone):
    """data: a 2 in a 0/1 column"""
    load(folder, "train.csv", "text,rude,spam\ngood,0,1\nbad,2,0\n", label_column=["rude", "spam"])


@case
def _(folder, backbone):
    """data: a missing column"""
    load(folder, "train.csv", "text,labels\ngood,price\n", text_column="sentence")


@case
def _(folder, backbone):
    """data: mixed label forms"""
    load(folder, "train.jsonl", '{"text": "a", "labels": ["price"]}\n{"text": "b", "labels": "price"}\n')


@case
def _(folder, backbone):
    """data: an empty text in training"""
    load(folder, "train.csv", "text,labels\n ,price\n")


@case
def _(folder, backbone):
    """data: Latin-1 in place of UTF-8"""
    load(folder, "train.csv", "text,labels\nna\u00efve,price\n".encode("latin-1"))


@case
def _(folder, backbone):
    """data: a broken JSON line, and two more faults"""
    rows = ['{"text": "a", "labels": ["price"]}', '{"text": "b", "labels": ["price"}']
    rows += ['{"text": 7, "labels": ["price", ""]}']
    load(folder, "train.jsonl", "\n".join(rows))


@case
def _(folder, backbone):
    """data: no rows"""
    load(folder, "train.csv", "text,labels\n")


@case
def _(folder, backbone):
    """data: a quote that never closes"""
    load(folder, "train.csv", 'text,labels\n"good, really,price\nbad,\n')


@case
def _(folder, backbone):
    """data: labels that look misread"""
    load(folder, "train.csv", "text;labels\ngood;(1\nbad;0)\n")


@case
def _(folder, backbone):
    """data: a comma that may separate labels"""
    load(folder, "train.csv", 'text,labels\ngood,"price,quality"\nbad,price\n')


@case
def _(folder, backbone):
    """data: ids without names"""
    load(folder, "train.jsonl", '{"text": "a", "labels": [0, 2]}\n{"text": "b", "labels": [1]}\n')


@case
def _(folder, backbone):
    """data: vectors without names"""
    load(folder, "train.csv", 'text,labels\ngood,"(1, 0, 1)"\nbad,"(0, 0, 1)"\n')


@case
def _(folder, backbone):
    """data: columns of votes"""
    load(folder, "train.csv", "text,rude,loud\ngood,0,3\nbad,2,1\n")


@case
def _(folder, backbone):
    """data: a flag among 0/1 columns"""
    load(folder, "train.csv", "text,is_reply,rude\ngood,0,1\nbad,1,0\n")


@case
def _(folder, backbone):
    """data: two texts"""
    load(folder, "train.csv", "review,body,labels\ngood,really good,price\n")


@case
def _(folder, backbone):
    """data: annotators who disagree"""
    annotations = [{"label": "price", "user": 1}, {"label": "gift", "user": 2}]
    load(folder, "train.jsonl", json.dumps({"text": "good", "annotations": annotations}))


@case
def _(folder, backbone):
    """data: a field too many"""
    load(folder, "train.csv", "text,labels\ngood, really good,price\n")


@case
def _(folder, backbone):
    """data: JSON that is nested too deeply"""
    load(folder, "train.json", "[" * 100_000)


@case
def _(folder, backbone):
    """data: a column of ids for labels"""
    rows = "".join(f"good,row {number}\n" for number in range(10_001))
    load(folder, "train.csv", f"text,labels\n{rows}")


@case
def _(folder, backbone):
    """data: a parquet file that expands"""
    table = pa.table({"text": ["a" * 2**23], "labels": ["price"]})
    pq.write_table(table, folder / "train.parquet", compression="zstd", use_dictionary=False)
    load(folder, "train.parquet", (folder / "train.parquet").read_bytes())


@case
def _(folder, backbone):
    """data: descriptions of an unknown label, and a blank one"""
    (folder / "about.json").write_text('{"prise": "What it costs", "quality": ""}')
    read_label_descriptions(str(folder / "about.json"), ["price", "quality"])


@case
def _(folder, backbone):
    """script: a misspelt option"""
    script(folder, "--model_name_or_path", backbone, "--do_train", "--train_fil", "train.csv")


@case
def _(folder, backbone):
    """script: a misspelt key in the JSON file"""
    arguments = {"model_name_or_path": "x", "output_dir": "y", "do_train": True, "learning_rat": 1}
    (folder / "run.json").write_text(json.dumps(arguments))
    parse_arguments([str(folder / "run.json")])


@case
def _(folder, backbone):
    """script: nothing to do"""
    script(folder, "--model_name_or_path", backbone)


@case
def _(folder, backbone):
    """script: an option of another loss"""
    script(folder, "--model_name_or_path", backbone, "--do_train", "--train_file", "train.csv", "--focal_gamma", 3)


@case
def _(folder, backbone):
    """script: prediction without a file"""
    script(folder, "--model_name_or_path", backbone, "--do_train", "--train_file", "train.csv", "--do_predict")


@case
def _(folder, backbone):
    """script: prediction with a plain BERT"""
    script(folder, "--model_name_or_path", str(backbone), "--do_predict", "--test_file", "new.csv")


@case
def _(folder, backbone):
    """script: a pair that leaves windows no room"""
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(folder / "model")
    (folder / "new.csv").write_text(f"text,pair\ngood,gift\n{'good ' * 99},{'gift ' * 60}\n")
    words = ("--test_file", folder / "new.csv", "--text_pair_column", "pair", "--stride", 8)
    script(folder, "--model_name_or_path", folder / "model", "--do_predict", *words)


@case
def _(folder, backbone):
    """predictor: a cell that is no text"""
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(folder / "model")
    MultiLabelPredictor(folder / "model")({"text": ["good", None]})


@case
def _(folder, backbone):
    """predictor: a column that is there already"""
    for part in from_backbone(backbone, LABELS, "cls"):
        part.save_pretrained(folder / "model")
    MultiLabelPredictor(folder / "model")({"text": ["good"], "labels": [["gift"]]})


@case
def _(folder, backbone):
    """script: a pair that leaves windows no room in training"""
    (folder / "train.csv").write_text(f"text,labels,pair\ngood,gift,a\n{'good ' * 99},gift,{'gift ' * 60}\n")
    words = ("--train_file", folder / "train.csv", "--text_pair_column", "pair", "--stride", 8)
    script(folder, "--model_name_or_path", backbone, "--do_train", *words)


@case
def _(folder, backbone):
    """script: a report without an evaluation"""
    script(folder, "--model_name_or_path", backbone, "--do_predict", "--report")


@case
def _(folder, backbone):
    """script: `max_seq_length` beyond the model"""
    (folder / "train.csv").write_text("text,labels\ngood,price\nbad,quality\n")
    words = ["--do_train", "--train_file", folder / "train.csv", "--max_seq_length", 512]
    script(folder, "--model_name_or_path", backbone, *words)


@case
def _(folder, backbone):
    """script: a goal that thresholds cannot have"""
    script(folder, "--model_name_or_path", backbone, "--do_train", "--threshold_goal", "precision=90")


@case
def _(folder, backbone):
    """script: a decision option with nothing to fit on"""
    (folder / "train.csv").write_text("text,labels\ngood,price\nbad,quality\n")
    words = ["--do_train", "--train_file", folder / "train.csv", "--min_labels", 1]
    script(folder, "--model_name_or_path", backbone, *words)


@case
def _(folder, backbone):
    """script: early stopping without evaluations"""
    script(folder, "--model_name_or_path", backbone, "--do_train", "--early_stopping_patience", 2)


@case
def _(folder, backbone):
    """script: a learning rate below 0"""
    script(
        folder, "--model_name_or_path", backbone, "--do_train", "--train_file", "train.csv", "--learning_rate", -0.1
    )


@case
def _(folder, backbone):
    """script: an output folder that is a file"""
    (folder / "out").touch()
    script(folder, "--model_name_or_path", backbone, "--do_train", "--train_file", "train.csv")


@case
def _(folder, backbone):
    """script: a folder with a model of another origin"""
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text("{}")
    (folder / "train.csv").write_text("text,labels\ngood,price\nbad,quality\n")
    script(folder, "--model_name_or_path", backbone, "--do_train", "--train_file", folder / "train.csv")


@case
def _(folder, backbone):
    """script: a teacher of other labels"""
    for part in from_backbone(backbone, ["price", "gift"], "cls"):
        part.save_pretrained(folder / "model")
    (folder / "train.csv").write_text("text,labels\ngood,price\nbad,quality\n")
    words = ["--do_train", "--train_file", folder / "train.csv", "--teacher", folder / "model"]
    script(folder, "--model_name_or_path", backbone, *words)


@case
def _(folder, backbone):
    """script: scores of a teacher for too few rows"""
    (folder / "train.csv").write_text("text,labels\ngood,price\nbad,quality\n")
    (folder / "scores.jsonl").write_text('{"scores": {"price": 0.5, "quality": 0.5}}')
    words = ["--do_train", "--train_file", folder / "train.csv", "--teacher", folder / "scores.jsonl"]
    script(folder, "--model_name_or_path", backbone, *words)


def message(function, folder, backbone):
    with pytest.raises(ValueError) as caught:
        function(folder, backbone)
    return str(caught.value).replace(f"{folder}/", "").replace(str(folder), "folder").replace(str(backbone), "bert")


def phrases():
    """Return the phrases of each row by its input; "…" separates them."""
    cells = [re.split(r"(?<!\\) \| ", line.strip("| \n")) for line in TABLE.read_text(encoding="utf-8").splitlines()]
    rows = {row[0]: row[1].replace("\\|", "|") for row in cells if len(row) == 2 and ": " in row[0]}
    return {name: [phrase.strip() for phrase in row.split("…") if phrase.strip()] for name, row in rows.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_message_has_the_phrases_of_the_table(name, tmp_path, backbone):
    text = message(CASES[name], tmp_path, backbone)
    # A message may begin with a capital letter or not.
    assert re.search(".*".join(map(re.escape, phrases()[name])), text, re.DOTALL | re.IGNORECASE), text
    out = tmp_path / "out"
    # Nothing was written: Trainer makes the folder, and a case puts a configuration there.
    assert not out.is_dir() or {path.name for path in out.iterdir()} <= {"config.json"}


def test_the_table_holds_every_case_and_no_other():
    assert list(phrases()) == list(CASES)
