"""Files of label names: every form gives the names and ids that it states, and what is none of them is refused."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data import label_names
from bert_multilabel.data.label_names import LabelNames, read_label_names
from bert_multilabel.errors import DataError
from tests import hostile

NAMES = ["gift", "good value", "too_expensive"]
PLAIN = LabelNames(NAMES)
WITH_IDS = LabelNames(NAMES, [0, 1, 2])
MAP = {"0": "gift", "1": "good value", "2": "too_expensive"}


@pytest.mark.parametrize(
    "content",
    [
        "gift\ngood value\ntoo_expensive\n",
        "\ufeffgift\r\n\r\n  good value  \r\ntoo_expensive",
        '"gift"\n"good value"\n"too_expensive"\n',
        json.dumps(NAMES),
        json.dumps(NAMES, indent=2),
        "['gift', 'good value', 'too_expensive']",
        json.dumps([{"name": name, "color": "#fff"} for name in NAMES]),
        "\n".join(json.dumps({"label": name}) for name in NAMES),
        json.dumps([{"text": name, "suffix_key": name[0], "background_color": "#209cee"} for name in NAMES]),
        json.dumps({"labels": NAMES}),
        json.dumps({"label_names": NAMES, "id2label": MAP, "model_type": "bert_multilabel", "labels": 3}),
        "label,description\ngift,A present\ngood value,Worth it\ntoo_expensive,\n",
        "label,category\ngift,a\ngood value,b\ntoo_expensive,b\n",
        "label;count\ngift;7\ngood value;7\ntoo_expensive;5\n",
    ],
)
def test_names_without_ids_keep_the_order_of_the_file(write, content):
    assert read_label_names(write("labels.txt", content)) == PLAIN


@pytest.mark.parametrize(
    "content",
    [
        "0,gift\n1,good value\n2,too_expensive\n",
        "2\ttoo_expensive\n0\tgift\n1\tgood value\n",
        "gift;0\ngood value;1\ntoo_expensive;2\n",
        "0: gift\n1: good value\n2: too_expensive\n",
        '"0","gift"\n"1","good value"\n"2","too_expensive"\n',
        "id,label\n0,gift\n1,good value\n2,too_expensive\n",
        "Name;Label ID\ngood value;1\ngift;0\ntoo_expensive;2\n",
        "id\tname\tdescription\n0\tgift\tA present\n1\tgood value\t\n2\ttoo_expensive\t\n",
        "label,name\n0,gift\n1,good value\n2,too_expensive\n",
        ",label\n0,gift\n1,good value\n2,too_expensive\n",
        "\t0\n0\tgift\n1\tgood value\n2\ttoo_expensive\n",
        "sep=;\nid;label\n0;gift\n1;good value\n2;too_expensive\n",
        json.dumps(MAP),
        json.dumps(dict(reversed(MAP.items()))),
        json.dumps({name: int(label_id) for label_id, name in MAP.items()}),
        json.dumps({name: label_id for label_id, name in MAP.items()}),
        "{0: 'gift', 1: 'good value', 2: 'too_expensive'}",
        json.dumps([{"id": int(label_id), "name": name} for label_id, name in MAP.items()]),
        "\n".join(json.dumps({"label": name, "label_id": int(label_id)}) for label_id, name in MAP.items()),
        json.dumps([{"id": int(label_id), "name": name, "about": {"color": "red"}} for label_id, name in MAP.items()]),
        json.dumps({"categories": [{"id": int(label_id), "name": name} for label_id, name in MAP.items()]}),
        json.dumps([[0, "gift"], [1, "good value"], [2, "too_expensive"]]),
        json.dumps({"model_type": "bert", "num_labels": 3, "id2label": MAP, "label2id": {"gift": 9}}),
    ],
)
def test_ids_that_the_file_states_are_kept_and_sort_the_names(write, content):
    assert read_label_names(write("labels.csv", content)) == WITH_IDS


def test_ids_need_not_be_positions(write):
    path = write("labels.csv", "id,label\n70,gift\n3,price\n")
    assert read_label_names(path) == LabelNames(["price", "gift"], [3, 70])


@pytest.mark.parametrize("header", ["class", "Label", "name", "CATEGORY", "label name"])
def test_a_header_is_left_out_with_a_warning(write, monkeypatch, header):
    warned = []
    monkeypatch.setattr(label_names.logger, "warning", lambda text, *values: warned.append(text % values))
    assert read_label_names(write("a.csv", f"{header}\ngift\ngood value\ntoo_expensive\n")) == PLAIN
    assert warned == [f"names file: header {header!r} left out"]


@pytest.mark.parametrize(
    "names",
    [
        ["name"],
        ["Beds, linen", "Food, drinks", "Staff"],
        ["Beds, linen", "Food, drinks"],
        ["Name, first", "Name, last"],
        ["topic:price", "topic:quality"],
        ["stars: 1", "stars: 2"],
        ["stars 0", "stars 1", "stars 2"],
        ["1", "2", "3"],
        ["2019 model", "2020 model"],
        ["price (total)", "customer's choice", "C++ & more", "price > 100", 'the "best" one', "-", "#sale"],
        ["价格", "质量；服务", "Größe"],
    ],
)
def test_names_stay_as_they_are(write, names):
    assert read_label_names(write("labels.txt", "\n".join(names))) == LabelNames(names)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_found(write, encoding):
    assert read_label_names(write("labels.txt", "Größe\nPreis\n".encode(encoding))).names == ["Größe", "Preis"]


def test_a_compressed_file_is_read(write):
    assert read_label_names(write("labels.json.gz", gzip.compress(json.dumps(NAMES).encode()))) == PLAIN


def test_the_encoding_is_for_files_that_are_not_utf_8(write):
    latin, utf_8 = (write(f"{encoding}.txt", "Größe".encode(encoding)) for encoding in ("cp1252", "utf-8"))
    assert [read_label_names(path, "cp1252").names for path in (latin, utf_8)] == [["Größe"], ["Größe"]]


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (" \n", "holds no label name; write one per line"),
        ("a\n\nb\na\n", "line 4: label 'a' is on line 1 already"),
        (b"a\nb\xe4\n", "line 2: byte 0xe4 is not UTF-8"),
        ("0,gift\n1,\n", "line 2: a blank name"),
        ("0,gift\n0,price\n", "line 2: id 0 is on line 1 already"),
        ("0,gift\n1,gift\n", "line 2: label 'gift' is on line 1 already"),
        ("0,gift\n1,price\nquality\n", "line 3: 'quality' is no id and name as other lines are"),
        ("nr,wording\n0,gift\n1,price\n", "line 1: 'nr,wording' is no id and name as other lines are"),
        ("id,label\nA,gift\n", "line 2: 'A' is no id"),
        ("id,label\n0,gift,x\n", "line 2: 3 fields where the header has 2; quote a name that holds ','"),
        ("0,gift,A present\n1,price,Money\n", "line 1: '0,gift,A present' has 3 fields; quote a name that holds ','"),
        ("0,1\n1,2\n", "line 1: '0,1' does not say which number is the name"),
        ("gift,price,quality", "'gift,price,quality' is the only line; write one name per line"),
        ("gift\tA present\nprice\tMoney\n", "line 1: 'gift\\tA present' holds a tab"),
        ("text,gift,price\nnice,0,1\nwell,1,0\n", "line 1: 'text,gift,price' has 3 fields, as on the other lines"),
        ("0 gift\n1 price\n", "line 1: '0 gift' may be an id and a name; write '0,gift'"),
        ("1. gift\n2. price\n", "line 1: '1. gift' may be an id and a name"),
        ("'gift',\n'price',\n", "line 1: 2 of 2 names look like parts of another format: \"'gift',\", \"'price',\""),
        ("names:\n- gift\n- price\n- size\n", "line 1: 4 of 4 names look like parts of another format: 'names:'"),
        (
            "gift\n<price>\n(size\n[x]\n{y",
            "line 2: 4 of 5 names look like parts of another format: '<price>', '(size', '[x]';",
        ),
        ("gift\nprice\ngift|price\n", "line 3: 1 of 3 names are other names, joined: 'gift|price'; write one"),
        ("[gift]\n[price]\n", "line 1: '[gift]' looks like JSON, but it is broken"),
        ("['gift' 'price']", "looks like JSON, but it is broken"),
        ('["gift", ', "looks like JSON, but it is broken"),
        ("[" * 100_000, "looks like JSON, but it is broken (maximum recursion"),
        ("[]", "holds an empty list"),
        ("{}", "{} is no map of ids and names"),
        ('["gift", 7]', "entry 2: 7 is not text but of type int"),
        ('["gift", null]', "entry 2: None is not text"),
        ('["gift", "gift"]', "entry 2: label 'gift' is entry 1 already"),
        ('["gift", "\\ud800"]', "entry 2: '\\ud800' holds a lone surrogate"),
        ("[\"['gift'\", \"'price']\"]", "entry 1: 2 of 2 names look like parts of another format"),
        ('{"gift": "Bought for somebody else"}', "is no map of ids and names"),
        ('{"gift": -1}', "is no map of ids and names"),
        ('{"gift": true}', "is no map of ids and names"),
        ('{"hidden_size": 8, "model_type": "bert"}', "is no map of ids and names"),
        ('[{"id": 0, "name": "gift"}, {"id": 1}]', "entry 2: None is not text"),
        ('[{"id": "x", "name": "gift"}]', "entry 1: 'x' is no id"),
        ('{"text": "so nice", "labels": ["gift"]}\n{"text": "well", "labels": []}', "'labels': ['gift']} has no name"),
        ('[{"text": "so nice", "labels": ["gift"]}]', "entry 1: {'text': 'so nice', 'labels': ['gift']} has no name"),
    ],
)
def test_what_is_no_names_file_is_refused(write, content, phrase):
    path = write("labels.txt", content)
    with pytest.raises(DataError) as caught:
        read_label_names(path)
    assert phrase in str(caught.value) and str(caught.value).startswith(path)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="there is no file 'nowhere.txt'"):
        read_label_names("nowhere.txt")


@pytest.mark.parametrize("names", [["[gift]", "<price>", "it's (not"], ["0 gift", "1 price"], ["gift,price"]])
def test_suspicious_names_are_read_when_asked(write, names):
    path = write("labels.txt", "\n".join(names))
    with pytest.raises(DataError):
        read_label_names(path)
    assert read_label_names(path, as_they_are=True) == LabelNames(names)


_PIECES = st.sampled_from(
    ["0", "1", "gift", ",", ";", "\t", "|", ":", "\n", "\r\n", '"', "'", "[", "]", "{", "}", "id", " "]
)


@given(content=st.lists(_PIECES | hostile.any_texts, max_size=12).map("".join) | hostile.json_values.map(json.dumps))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_unique_names_or_an_error_that_names_the_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "labels.txt"
    path.write_text(content, "utf-8", errors="surrogatepass", newline="")
    try:
        names, ids = read_label_names(str(path))
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert names and len(set(names)) == len(names) and all(name.strip() == name != "" for name in names)
        assert ids is None or ids == sorted(set(ids)) and len(ids) == len(names)
