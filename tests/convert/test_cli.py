"""Files of several forms become clean rows, and these are read without options as the same examples."""

import json
import math

import pytest

from bert_multilabel.convert.cli import main
from bert_multilabel.data.examples import load_examples

PLAIN = [
    {"text": "Too dear for one night", "labels": ["price"], "id": "a1"},
    {"text": "Lovely staff, fair price", "labels": ["price", "staff"], "id": "a2"},
    {"text": "We will see", "labels": [], "id": "a3"},
    {"text": "They brought us flowers", "labels": ["staff"], "id": "a4"},
]
WITHOUT_IDS = [{name: value for name, value in row.items() if name != "id"} for row in PLAIN]
TEXTS = [row["text"] for row in PLAIN]


def _csv(rows, separator=","):
    return "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)


FORMS = {
    "a.csv": (_csv([("id", "text", "labels"), *((r["id"], r["text"], "|".join(r["labels"])) for r in PLAIN)]), PLAIN),
    "b.csv": (_csv([("review", "tags"), *((r["text"], str(r["labels"])) for r in PLAIN)], ";"), WITHOUT_IDS),
    "c.tsv": (
        _csv([("text", "price", "staff"), *zip(TEXTS, "1100", "0101", strict=True)], "\t"),
        WITHOUT_IDS,
    ),
    "d.txt": (
        "".join(" ".join([*(f"__label__{name}" for name in r["labels"]), r["text"], "\n"]) for r in PLAIN),
        WITHOUT_IDS,
    ),
    "e.json": (
        json.dumps(
            [
                {
                    "id": number,
                    "data": {"text": row["text"]},
                    "annotations": [
                        {
                            "completed_by": 1,
                            "was_cancelled": False,
                            "result": [
                                {
                                    "from_name": "topic",
                                    "to_name": "text",
                                    "type": "choices",
                                    "value": {"choices": row["labels"]},
                                }
                            ],
                        }
                    ],
                }
                for number, row in enumerate(PLAIN)
            ]
        ),
        [{**row, "id": number} for number, row in enumerate(WITHOUT_IDS)],
    ),
}


def _convert(path, tmp_path, *options):
    output = tmp_path / "out.jsonl"
    assert main([path, str(output), *options]) == 0
    return output, [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def _examples(data, **known):
    """All that is read, with NaN as a text that is equal to itself."""
    loaded = load_examples(str(data), **known)
    rows = [
        {**row, "labels": ["nan" if math.isnan(number) else number for number in row["labels"]]}
        for row in loaded.splits["train"]
    ]
    return loaded.label_names, rows


@pytest.mark.parametrize("name", FORMS)
def test_a_file_becomes_rows_that_are_read_as_the_same_examples(write, tmp_path, capsys, name):
    content, expected = FORMS[name]
    path = write(name, content)
    output, rows = _convert(path, tmp_path)
    assert rows == expected
    assert f"4 rows with 2 labels written to {output}" in capsys.readouterr().out
    assert _examples(output) == _examples(path)


def test_second_texts_are_kept(write, tmp_path):
    path = write("a.csv", "question,answer,labels\nHow much?,Too much,price\nHow was it?,Great staff,staff|price\n")
    output, rows = _convert(path, tmp_path, "--text_column", "question", "--text_pair_column", "answer")
    assert rows == [
        {"text": "How much?", "text_pair": "Too much", "labels": ["price"]},
        {"text": "How was it?", "text_pair": "Great staff", "labels": ["price", "staff"]},
    ]
    assert _examples(output) == _examples(path, text_column="question", text_pair_column="answer")


def test_labels_that_are_not_annotated_are_null(write, tmp_path, capsys):
    path = write("a.csv", "text,price,staff\nToo dear,1,\nKind people,0,1\nWe will see,,0\n")
    output, rows = _convert(path, tmp_path)
    assert [row["labels"] for row in rows] == [
        {"price": 1, "staff": None},
        {"price": 0, "staff": 1},
        {"price": None, "staff": 0},
    ]
    assert "null: not annotated" in capsys.readouterr().out
    assert _examples(output) == _examples(path)


def test_soft_labels_keep_their_numbers(write, tmp_path):
    rows = [
        {"text": "Too dear", "labels": {"price": 0.9, "staff": 0.1}},
        {"text": "Kind", "labels": {"price": 0, "staff": 1}},
    ]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    output, written = _convert(path, tmp_path)
    assert written == rows
    assert _examples(output) == _examples(path)


def test_ids_of_labels_become_their_names(write, tmp_path, capsys):
    names = write("names.csv", "id,label\n3,price\n5,staff\n9,noise\n")
    path = write("a.jsonl", '{"text": "Too dear", "labels": [3]}\n{"text": "Kind and cheap", "labels": [5, 3]}\n')
    _, rows = _convert(path, tmp_path, "--label_names_file", names)
    assert [row["labels"] for row in rows] == [["price"], ["price", "staff"]]
    assert "No row has 'noise': pass --label_names_file to keep them in training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["rows.csv", "out.csv"], "give out.csv the extension .jsonl"),
        (["rows.csv", "there.jsonl"], "there.jsonl exists: write another file, or replace it with --overwrite"),
        (["there.jsonl", "there.jsonl", "--overwrite"], "there.jsonl is the file to convert: write another one"),
        (["nowhere.csv", "out.jsonl"], "nowhere.csv"),
        (["empty.csv", "out.jsonl"], "empty.csv: no row has a label in column 'labels'"),
        (["bad.csv", "out.jsonl"], "bad.csv, row 2 (line 3), 3 fields where the header has 2"),
        (["rows.csv", "missing/out.jsonl"], "missing/out.jsonl could not be written"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_nothing_is_written(
    write, tmp_path, monkeypatch, capsys, words, phrase
):
    monkeypatch.chdir(tmp_path)
    write("rows.csv", FORMS["a.csv"][0])
    write("bad.csv", "text,labels\ngood,price\nToo, dear,price\n")
    write("empty.csv", "text,labels\ngood,\nToo dear,\n")
    write("there.jsonl", "mine")
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert phrase in " ".join(capsys.readouterr().err.split())
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "bad.csv", "empty.csv", "there.jsonl"}
    assert (tmp_path / "there.jsonl").read_text() == "mine"


def test_an_existing_file_is_replaced_on_request(write, tmp_path):
    path = write("rows.csv", FORMS["a.csv"][0])
    write("out.jsonl", "mine")
    assert _convert(path, tmp_path, "--overwrite")[1] == PLAIN
