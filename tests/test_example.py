"""The bundled example is what its README says, and its Chinese rows go all the way through a Chinese BERT."""

import json
import runpy
from pathlib import Path

import pytest
from transformers import AutoTokenizer, TrainerState

from bert_multilabel import MultiLabelTokenizer
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.progress import short_lines
from bert_multilabel.training.run import run

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "purchase_intent"
CHINESE_LABELS = ["想买", "不会买", "太贵", "划算", "质量好", "质量差", "求建议", "送礼"]


@pytest.fixture(scope="module")
def english():
    names = read_label_names(str(EXAMPLE / "labels.txt")).names
    files = {split: str(EXAMPLE / f"{split}.csv") for split in ("train", "validation", "test")}
    return load_splits(DataSpec(text_pair_column="product", label_names=names), files)


def test_the_rows_and_opinions_are_those_of_the_readme(english):
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    counts = {split: sum(map(list, rows["labels"]), []) for split, rows in english.splits.items()}
    assert sum(map(len, english.splits.values())) >= 600
    for split, rows in english.splits.items():
        without = sum(not any(labels) for labels in rows["labels"])
        assert f"| `{split}.csv` | {len(rows)} | {without} |" in readme
    for position, name in enumerate(english.label_names):
        per_split = [str(int(sum(values[position::8]))) for values in counts.values()]
        assert f"| {' / '.join(per_split)} |" in next(
            line for line in readme.splitlines() if line.startswith(f"| {name} ")
        )


def test_no_sentence_stands_on_two_sides(english):
    sentences = [set(rows["text"]) for rows in english.splits.values()]
    assert not sentences[0] & sentences[1] and not sentences[0] & sentences[2] and not sentences[1] & sentences[2]
    for rows in english.splits.values():
        assert len(set(zip(rows["text"], rows["pair"], strict=True))) == len(rows)


def test_the_chinese_rows_round_trip_token_for_token(checkpoints, tmp_path):
    spec = DataSpec(text_pair_column="product", label_names=CHINESE_LABELS)
    rows = load_splits(spec, {"train": str(EXAMPLE / "chinese.csv")}).splits["train"]
    assert len(rows) >= 80
    texts, pairs = list(rows["text"]), list(rows["pair"])
    stock = AutoTokenizer.from_pretrained(checkpoints["chinese"])
    ours = MultiLabelTokenizer.from_pretrained(
        checkpoints["chinese"], label_names=CHINESE_LABELS, strategy="label_tokens"
    )
    ours.save_pretrained(tmp_path)
    encoded, loaded = ours(texts, pairs), AutoTokenizer.from_pretrained(tmp_path)(texts, pairs)
    assert dict(loaded) == dict(encoded)
    for own, plain in zip(encoded["input_ids"], stock(texts, pairs)["input_ids"], strict=True):
        assert [token for token in own if token not in ours.label_token_ids] == plain


def test_the_chinese_rows_can_be_trained_on(checkpoints, tmp_path):
    words = f"""--model_name_or_path {checkpoints["chinese"]} --train_file {EXAMPLE / "chinese.csv"} --do_train
        --do_eval --test_file {EXAMPLE / "chinese.csv"} --do_predict --num_train_epochs 1 --max_seq_length 48 --use_cpu
        --disable_tqdm true --output_dir {tmp_path / "out"}"""
    results = run(parse_arguments(words.split()))
    assert results["train_samples"] + results["eval_samples"] == results["test_samples"] == 100
    first = json.loads((tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["id"] == "zh-001"
    assert set(first["scores"]) == set(CHINESE_LABELS)


def test_the_demo_passes_known_options_and_recognizes_the_lines_of_epochs():
    demo = runpy.run_path(str(EXAMPLE / "demo.py"))
    words = [word for name, value in demo["OPTIONS"].items() for word in (f"--{name}", str(value))]
    assert parse_arguments([*words, "--do_predict"]).data.text_pair_column == "product"
    evaluated = {"epoch": 10.0, "eval_loss": 0.3, "eval_hamming_score": 0.6}
    lines = short_lines({"loss": 0.5}, TrainerState()) + short_lines(evaluated, TrainerState(), with_header=True)
    assert len(lines) == 4
    assert [bool(demo["EPOCH_LINE"].match(line)) for line in lines] == [False, False, False, True]
