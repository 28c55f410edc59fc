import json

import pytest
import torch
from datasets import Dataset

from bert_multilabel.errors import FileError
from bert_multilabel.inference.shards import Shards

TEXTS = ["a", "b", "c", "d", "e"]


def make_shards(folder, settings="", **changed):
    columns = {"text": TEXTS, "pair": [""] * 5, "id": [1, 2, 3, 4, None], "labels": [[1.0]] * 5}
    return Shards(folder, Dataset.from_dict({**columns, **changed}), 2, settings)


def write_all(shards, *without):
    for number in range(len(shards)):
        if number not in without:
            texts = shards.columns(number)["text"]
            shards.write(number, [{"text": text} for text in texts], torch.full((len(texts), 3), float(number)))


def names(shards):
    return [shards.path(number).name for number in range(len(shards))]


def test_shards_are_merged_in_the_order_of_the_rows(tmp_path):
    shards = make_shards(tmp_path / "parts")
    assert len(shards) == 3 and [list(shards.span(number)) for number in range(3)] == [[0, 1], [2, 3], [4]]
    for number in (2, 0, 1):
        shards.write(number, shards.columns(number)["text"], torch.full((len(shards.span(number)), 3), float(number)))
    shards.merge(tmp_path / "merged.jsonl")
    assert [json.loads(line) for line in (tmp_path / "merged.jsonl").read_text().splitlines()] == TEXTS
    assert shards.logits()[:, 0].tolist() == [0, 0, 1, 1, 2]
    shards.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["merged.jsonl"]


@pytest.mark.parametrize(
    ("changed", "moved"),
    [
        ({"text": [*TEXTS[:4], "E"]}, [2]),
        ({"text": ["a", "bc", "", "d", "e"]}, [0, 1]),  # the same characters, between other borders
        ({"pair": ["", "", "p", "", ""]}, [1]),
        ({"id": [1, 2, 3, 4, 0]}, [2]),
        ({"text": [*TEXTS, "f"], "pair": [""] * 6, "id": [*range(1, 5), None, 6], "labels": [[1.0]] * 6}, [2]),
        ({"labels": [[0.0]] * 5}, []),  # nothing is predicted from them
    ],
)
def test_a_shard_is_known_by_its_own_rows(tmp_path, changed, moved):
    before, after = names(make_shards(tmp_path)), names(make_shards(tmp_path, **changed))
    assert [number for number in range(3) if before[number] != after[number]] == moved


def test_a_shard_is_known_by_the_settings(tmp_path):
    write_all(make_shards(tmp_path, "a"))
    assert [make_shards(tmp_path, "a").is_done(number) for number in range(3)] == [True] * 3
    assert [make_shards(tmp_path, "b").is_done(number) for number in range(3)] == [False] * 3


def test_rows_have_the_same_digest_wherever_they_lie(tmp_path):
    shuffled = Dataset.from_dict({"text": TEXTS[::-1], "pair": [""] * 5, "id": [None, 4, 3, 2, 1]})
    selected = Shards(tmp_path, shuffled.select([4, 3, 2, 1, 0]), 2, "")
    assert names(selected) == names(make_shards(tmp_path))


def test_what_is_not_whole_is_not_merged(tmp_path):
    target = tmp_path / "merged.jsonl"
    target.write_text("old")
    shards = make_shards(tmp_path / "parts")
    write_all(shards, 1)
    with pytest.raises(FileError, match="1 of 3 shards are missing in .*, the first is 1"):
        shards.merge(target)
    write_all(shards)
    path = shards.path(1)
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(FileError, match="part-000001-.* has 1 lines for 2 examples. Remove it"):
        shards.merge(target)
    write_all(shards)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FileError, match="part-000001-.* has 1 lines for 2 examples. Remove it"):
        shards.merge(target)
    assert target.read_text() == "old"


def test_logits_that_were_cut_are_named(tmp_path):
    shards = make_shards(tmp_path / "parts")
    write_all(shards)
    path = shards.path(1).with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileError, match="part-000001-.*safetensors is damaged .* Remove it and part-000001-.*jsonl"):
        shards.logits()


def test_what_is_left_to_do_is_dealt_out_first(tmp_path):
    shards = make_shards(tmp_path / "parts")
    assert shards.unstarted_first() == [0, 1, 2]
    write_all(shards, 1)
    assert shards.unstarted_first() == [1, 0, 2]


def test_lines_end_where_json_lines_end(tmp_path):
    shards = make_shards(tmp_path / "parts")
    odd = "\u2028 \x85 \x0c \n \r"
    for number in range(3):
        shards.write(number, [odd for _ in shards.span(number)], None)
    shards.merge(tmp_path / "merged.jsonl")
    assert [json.loads(line) for line in (tmp_path / "merged.jsonl").open(newline="\n")] == [odd] * 5
