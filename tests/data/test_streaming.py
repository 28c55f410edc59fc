import json
import pickle

import numpy as np
import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from bert_multilabel import MultiLabelTokenizer
from bert_multilabel.data import streaming
from bert_multilabel.data.examples import label_frequencies, load_splits
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.streaming import ExampleStream, UnchangedExamples
from bert_multilabel.data.table import BadRows
from bert_multilabel.data.tokenizing import Collator
from bert_multilabel.errors import DataError
from tests import forked
from tests.conftest import LABELS, make_rows
from tests.training.test_run import read_jsonl, run_script

ROWS = [{"text": "a" * (number * 7 % 11), "labels": [number % 2], "id": number} for number in range(30)]


@pytest.fixture
def stream():
    return ExampleStream(lambda: ROWS, LabelFrequencies.of([[row["labels"]] for row in ROWS]))


def numbers(stream):
    return [row["id"] for row in stream]


def test_every_epoch_has_every_row_once_in_an_order_of_its_own(stream, monkeypatch):
    monkeypatch.setattr(streaming, "SHUFFLE_BUFFER", 8)
    first = stream.ordered("random", 4, seed=1)
    assert len(first) == len(ROWS)
    orders = {}
    for epoch in (0, 1):
        first.set_epoch(epoch)
        orders[epoch] = numbers(first)
        assert sorted(orders[epoch]) == list(range(30)) != orders[epoch]
    assert orders[0] != orders[1]
    assert numbers(stream.ordered("random", 4, seed=2)) != orders[0]
    again = stream.ordered("random", 4, seed=1)
    again.set_epoch(1)
    assert numbers(again) == orders[1]
    # No row comes before those that are waiting with it could.
    assert all(place >= number - 8 for place, number in enumerate(orders[0]))


def test_rows_come_as_they_are_or_by_length(stream, monkeypatch):
    assert numbers(stream.ordered("sequential", 4, seed=1)) == list(range(30))
    monkeypatch.setattr(streaming, "_BATCHES_GROUPED", 3)
    grouped = stream.ordered("group_by_length", 4, seed=1)
    lengths = [len(row["text"]) for row in grouped]
    for start in range(0, 30, 12):
        assert lengths[start : start + 12] == sorted(lengths[start : start + 12], reverse=True)
    assert sorted(numbers(grouped)) == list(range(30))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_give_each_epoch_its_own_order_and_each_row_once(stream, workers):
    rows = stream.ordered("random", 4, seed=1)
    loader = DataLoader(rows, 4, num_workers=workers, collate_fn=numbers)
    assert len(loader) == 8
    orders = []
    for epoch in (0, 1):
        rows.set_epoch(epoch)
        orders.append([number for batch in loader for number in batch])
        assert sorted(orders[epoch]) == list(range(30))
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (ROWS[:29], "29 rows, but 30 were checked"),
        ([*ROWS, ROWS[0]], "more than 30 rows, but 30 were checked"),
        ([*ROWS[:7], {**ROWS[7], "text": "b"}, *ROWS[8:]], "other rows than the 30 that were checked"),
        ([*ROWS[:7], {**ROWS[7], "labels": [0]}, *ROWS[8:]], "other rows than the 30 that were checked"),
        (ROWS[::-1], "other rows than the 30 that were checked"),
    ],
)
def test_rows_that_became_others_are_noticed(stream, monkeypatch, later, told):
    monkeypatch.setattr(streaming, "SHUFFLE_BUFFER", 8)
    passes = iter([ROWS, ROWS, later])
    rows = UnchangedExamples("train.csv", lambda: next(passes))
    assert list(rows.read()) == ROWS
    changed = ExampleStream(rows.read, stream.frequencies).ordered("random", 4, seed=1)
    assert sorted(numbers(changed)) == list(range(30))
    with pytest.raises(DataError, match=f"train.csv now has {told}: restore them"):
        list(changed)


def test_labels_change_their_places():
    rows = [{"text": "a", "labels": [1.0, 0.0, np.nan]}]
    moved = ExampleStream(lambda: rows, LabelFrequencies.of([[row["labels"] for row in rows]])).with_label_order(
        [2, 0, 1]
    )
    np.testing.assert_equal(next(iter(moved))["labels"], [np.nan, 1.0, 0.0])
    np.testing.assert_equal(moved.frequencies.positives, [0, 1, 0])
    np.testing.assert_equal(moved.frequencies.annotated, [0, 1, 1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 64), ("validation", 24)):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, make_rows(count))))
    return {path.stem: str(path) for path in folder.iterdir()}


def test_a_stream_has_the_rows_that_would_be_stored(files):
    stored, streamed = (load_splits(DataSpec(), files, streaming=streaming) for streaming in (False, True))
    assert list(streamed.train) == stored.splits["train"].to_list() and "train" not in streamed.splits
    assert streamed.label_names == stored.label_names
    assert streamed.splits["validation"].to_list() == stored.splits["validation"].to_list()
    for one, other in zip(label_frequencies(streamed.train), label_frequencies(stored.train), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_data_set_can_be_streamed(save_dataset, files):
    name = save_dataset(train=Dataset.from_list([*make_rows(64)]), validation=Dataset.from_list([*make_rows(24)]))
    streamed = load_splits(DataSpec(), dataset_name=name, streaming=True)
    stored = load_splits(DataSpec(), files)
    assert list(streamed.train) == stored.splits["train"].to_list()
    assert streamed.splits["validation"].to_list() == stored.splits["validation"].to_list()
    assert not streamed.splits["validation"].cache_files


@pytest.mark.slow
@pytest.mark.dependency  # of how torch and datasets share what workers read
@pytest.mark.parametrize("source", ["file", "dataset"])
def test_workers_that_share_no_memory_read_the_same_rows(files, save_dataset, backbone, source):
    if source == "file":
        arguments = {"files": files}
    else:
        splits = {name: Dataset.from_list([*make_rows(count)]) for name, count in (("train", 64), ("validation", 24))}
        arguments = {"dataset_name": save_dataset(**splits)}
    stream = load_splits(DataSpec(), **arguments, streaming=True).ordered_as(sorted(LABELS, reverse=True)).train
    tokenizer = MultiLabelTokenizer.from_pretrained(
        backbone, label_names=sorted(LABELS, reverse=True), strategy="label_tokens", model_max_length=64
    )
    collate = Collator(tokenizer)

    def batches(stream, workers):
        context = forked.FORKSERVER if workers else None
        loader = DataLoader(stream, 8, num_workers=workers, multiprocessing_context=context, collate_fn=collate)
        rows = [row for batch in loader for row in zip(batch["input_ids"], batch["labels"], strict=True)]
        return sorted(([i for i in ids.tolist() if i], labels.tolist()) for ids, labels in rows)

    expected = batches(stream, 0)
    assert len(expected) == 64
    assert batches(stream.ordered("group_by_length", 8, seed=1), 2) == expected
    assert list(pickle.loads(pickle.dumps(stream))) == list(stream)


def test_bad_rows_are_all_found_before_training(write):
    path = write(
        "train.jsonl", '{"text": "", "labels": ["a"]}\n{"text": "x", "labels": ["a"]}\n{"text": 1, "labels": []}'
    )
    with pytest.raises(BadRows) as caught:
        load_splits(DataSpec(), {"train": path}, streaming=True)
    assert [problem.split(",")[1] for problem in caught.value.problems[path]] == [" row 1 (line 1)", " row 3 (line 3)"]


def test_a_streamed_run_learns_and_goes_on_from_within_an_epoch(backbone, files, tmp_path):
    common = {
        "model_name_or_path": backbone,
        "train_file": files["train"],
        "validation_file": files["validation"],
        "test_file": files["validation"],
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "streaming": True,
        "loss": "weighted_bce",
        "num_train_epochs": 12,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 8,
        "save_total_limit": 20,
        "save_strategy": "steps",
        "save_steps": 20,  # an epoch has 8
        "load_best_model_at_end": False,
    }
    results = run_script(**common, output_dir=tmp_path / "whole")
    assert results["epoch"] == 12 and results["train_samples"] == 64
    assert results["eval_hamming_score"] > 0.9
    assert len(read_jsonl(tmp_path / "whole" / "predictions.jsonl")) == 24
    checkpoint = tmp_path / "whole" / "checkpoint-20"
    run_script(**common, output_dir=tmp_path / "again", resume_from_checkpoint=checkpoint)
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ({"do_predict": True, "test_file": "train"}, "--streaming is about training data: add --do_train"),
        (
            {"do_train": True, "train_file": "train", "max_train_samples": 9},
            "--max_train_samples 9 needs stored examples",
        ),
        # Said before the file is read.
        (
            {"do_train": True, "do_eval": True, "train_file": "none.csv"},
            "give a --validation_file, .*--do_train alone",
        ),
    ],
)
def test_what_streaming_cannot_do_is_refused(backbone, files, tmp_path, arguments, phrase):
    arguments = {name: files.get(value, value) for name, value in arguments.items()}
    with pytest.raises(ValueError, match=phrase):
        run_script(model_name_or_path=backbone, output_dir=tmp_path / "out", streaming=True, **arguments)
