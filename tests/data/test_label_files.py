import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.label_files import read_label_descriptions
from bert_multilabel.errors import DataError
from tests import hostile

NAMES = ["gift", "price", "quality"]
TEXTS = {"price": "It costs too much, or little.", "gift": "Bought for somebody else"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(TEXTS, indent=2)),
        ("a.csv", 'label,description\nprice,"It costs too much, or little."\n gift , Bought for somebody else\n'),
        ("a.tsv", "description\tlabel\nIt costs too much, or little.\tprice\nBought for somebody else\tgift\n"),
        ("a.jsonl", "\n".join(json.dumps({"label": name, "description": text}) for name, text in TEXTS.items())),
    ],
)
def test_every_form_gives_the_same_descriptions(write, name, content):
    assert read_label_descriptions(write(name, content), NAMES) == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [
        ("a.json", '{"prise": "x"}', "row 1, unknown label 'prise'; did you mean 'price'?"),
        (
            "a.json",
            '{"gift": "x", "price": " "}',
            "row 2, label 'price': a blank description",
        ),
        ("a.json", '{"gift": {"a": 1}}', "row 1, label 'gift': a blank description"),
        ("a.json", '{"gift": "x", "gift": "y"}', "row 2, label 'gift' has a description already"),
        ("a.json", '["gift"]', 'must hold one object such as {"gift": "..."}, got a list'),
        ("a.json", '{"gift": ', "broken JSON"),
        ("a.json", '{"gift":' * 100_000, "broken JSON: nested too deeply"),
        ("a.json", "{}", "has no rows"),
        ("a.csv", "label,text\ngift,x\n", "columns 'label' and 'description', but it has ['label', 'text']"),
        (
            "a.csv",
            "label,description\nprice,x\ngift,\n",
            "row 2 (line 3), label 'gift': a blank description",
        ),
        ("a.csv", "label,description\n,x\n", "row 1 (line 2), unknown label ''"),
        ("a.csv", "label,description\ngift,x,y\n", "row 1 (line 2), 3 fields where the header has 2"),
        ("a.txt", "gift", "its extension must be one of"),
    ],
)
def test_bad_files_are_refused_by_row(write, name, content, phrase):
    with pytest.raises(DataError) as caught:
        read_label_descriptions(write(name, content), NAMES)
    assert phrase in str(caught.value)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="there is no file 'missing.json'"):
        read_label_descriptions("missing.json", NAMES)


@given(value=hostile.json_values | st.dictionaries(st.sampled_from(NAMES), hostile.json_values), rows=st.booleans())
@settings(max_examples=30, deadline=None)
def test_any_value_is_read_or_an_error_that_names_the_file(tmp_path_factory, value, rows):
    path = tmp_path_factory.getbasetemp() / ("a.jsonl" if rows else "a.json")
    path.write_text(json.dumps({"label": "gift", "description": value} if rows else value))
    try:
        found = read_label_descriptions(str(path), NAMES)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert set(found) <= set(NAMES) and all(text.strip() for text in found.values())
