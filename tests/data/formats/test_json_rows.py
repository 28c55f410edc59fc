import gzip
import json
import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import json_rows
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError
from tests import hostile

SPEC = DataSpec()
ROWS = [
    {"text": "I would buy it again", "labels": ["purchase intent", "quality"]},
    {"text": "Too expensive", "labels": ["price"]},
    {"text": "It came on Monday", "labels": []},
]


def open_file(path, spec=SPEC):
    return json_rows.read(take_sample(path, spec), spec)


def rows_in(reader):
    """The rows of one pass, in their order, without cells that are missing."""
    return [
        {name: cell for name, cell in zip(batch.columns, cells, strict=True)}
        for batch in reader.batches()
        for cells in zip(*batch.columns.values(), strict=True)
    ]


def problems_in(reader):
    return {number: problem for batch in reader.batches() for number, problem in batch.problems.items()}


def lines(rows, end="\n"):
    return "".join(f"{json.dumps(row)}{end}" for row in rows)


# Shapes

FRAME = {name: {str(number): row[name] for number, row in enumerate(ROWS)} for name in ("text", "labels")}
SHAPES = {
    "lines": ("a.jsonl", lines(ROWS), "JSON lines"),
    "lines with blank ones between": ("a.ndjson", "\n" + lines(ROWS, "\r\n \r\n"), "JSON lines"),
    "lines in a file for an array": ("a.json", lines(ROWS), "JSON lines"),
    "lines of old doccano": ("a.json1", lines(ROWS), "JSON lines"),
    "lines with a byte order mark": ("a.jsonl", "\ufeff" + lines(ROWS), "JSON lines"),
    "lines without an extension": ("a", lines(ROWS), "JSON lines"),
    "lines that end with commas": ("a.jsonl", lines(ROWS, ",\n"), "JSON objects one after another"),
    "an array": ("a.json", json.dumps(ROWS), "a JSON array"),
    "an array in a file for lines": ("a.jsonl", json.dumps(ROWS), "a JSON array"),
    "an indented array": ("a.jsonl", json.dumps(ROWS, indent=1), "a JSON array"),
    "an array with a row per line": ("a.json", "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]", "a JSON array"),
    "an array that begins with its first row": (
        "a.json",
        "[" + ",\n".join(map(json.dumps, ROWS)) + "]",
        "a JSON array",
    ),
    "indented objects": (
        "a.jsonl",
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        "JSON objects one after another",
    ),
    "objects without a separator": ("a.json", lines(ROWS, ""), "JSON objects one after another"),
    "indented objects with commas": (
        "a.json",
        ",\n".join(json.dumps(row, indent=2) for row in ROWS),
        "JSON objects one after another",
    ),
    "rows under a key": ("a.json", json.dumps({"version": 1, "data": ROWS}), "JSON, rows under the key 'data'"),
    "rows under three keys": (
        "a.json",
        json.dumps({"a": {"about": "hotels", "b": {"c": ROWS}}}, indent=2),
        "JSON, rows under the key 'a.b.c'",
    ),
    "columns as lists": (
        "a.json",
        json.dumps({name: [row[name] for row in ROWS] for name in ("text", "labels")}),
        "JSON columns as lists",
    ),
    "pandas, orient=columns": ("a.json", json.dumps(FRAME), "JSON as pandas writes it with orient='columns'"),
    "pandas, orient=index": ("a.json", json.dumps(dict(enumerate(ROWS))), "JSON rows by their names"),
    "pandas, orient=split": (
        "a.json",
        json.dumps(
            {"columns": ["text", "labels"], "index": [0, 1, 2], "data": [[*row.values()] for row in ROWS]}, indent=1
        ),
        "JSON as pandas writes it with orient='split'",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_read(write, shape):
    name, content, said = SHAPES[shape]
    path = write(name, content)
    assert json_rows.recognizes(take_sample(path, SPEC), SPEC)
    reader = open_file(path)
    assert reader.said == said
    assert rows_in(reader) == ROWS
    assert rows_in(pickle.loads(pickle.dumps(reader))) == ROWS
    assert [number for batch in reader.batches() for number in batch.numbers] == [1, 2, 3]
    assert problems_in(reader) == {}


def test_compressed_lines_are_read(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines(ROWS).encode()))
    assert rows_in(open_file(str(path))) == ROWS


def test_lines_in_utf_16_are_read(write):
    assert rows_in(open_file(write("a.jsonl", lines(ROWS).encode("utf-16")))) == ROWS


def test_rows_by_names_keep_the_names_as_ids(write):
    path = write("a.json", json.dumps({f"review-{number}": row for number, row in enumerate(ROWS)}))
    assert rows_in(open_file(path)) == [{"id": f"review-{number}", **row} for number, row in enumerate(ROWS)]


def test_more_rows_than_a_batch_holds_are_numbered_through(write):
    rows = [{"text": f"room {number}"} for number in range(2500)]
    for name, content in (("a.jsonl", lines(rows)), ("a.json", json.dumps(rows)), ("b.json", lines(rows, ""))):
        reader = open_file(write(name, content))
        assert rows_in(reader) == rows
        assert [number for batch in reader.batches() for number in batch.numbers] == [*range(1, 2501)]


def test_rows_may_lack_columns_that_others_have(write):
    rows = [{"text": "a"} if number % 300 else {"text": "b", "votes": number} for number in range(1500)]
    rows[700:900] = [{"votes": 1}] * 200
    read = rows_in(open_file(write("a.jsonl", lines(rows))))
    assert [{name: cell for name, cell in row.items() if cell is not None} for row in read] == rows


def test_objects_longer_than_the_buffer_are_read(write):
    rows = [{"text": "a clean room " * 30_000}, {"text": "\\" * 70_000}, {"text": "small"}]
    content = "\n".join(json.dumps(row, indent=1) for row in rows)
    assert rows_in(open_file(write("a.json", content))) == rows


def test_lists_of_one_length_are_rows_with_numbered_columns(write):
    pairs = [["A quiet hotel", {"cats": {"noise": 0.0}}], ["Loud at night", {"cats": {"noise": 1.0}}]]
    expected = [{"0": text, "1": about} for text, about in pairs]
    for name, content in (("a.json", json.dumps(pairs)), ("a.jsonl", lines(pairs))):
        assert rows_in(open_file(write(name, content))) == expected


def test_lists_of_other_lengths_lack_columns(write):
    rows = [["A quiet hotel", ["noise"]], ["Loud at night"]]
    expected = [{"0": "A quiet hotel", "1": ["noise"]}, {"0": "Loud at night", "1": None}]
    assert rows_in(open_file(write("a.json", json.dumps(rows)))) == expected


def test_nan_is_missing(write):
    path = write("a.jsonl", '{"text": NaN, "price": Infinity, "scores": [NaN, 1.0]}\n{"text": "good", "price": 2}\n')
    assert rows_in(open_file(path)) == [
        {"text": None, "price": math.inf, "scores": [None, 1.0]},
        {"text": "good", "price": 2, "scores": None},
    ]


# One object: a row, or what holds rows


def test_one_object_without_rows_is_a_row(write):
    row = {"text": "Nice", "labels": ["quality"]}
    for name, content in (("a.jsonl", json.dumps(row)), ("a.json", json.dumps(row, indent=1))):
        assert rows_in(open_file(write(name, content))) == [row]


def test_one_line_is_a_row_even_if_its_labels_are_objects(write):
    row = {"text": "Nice", "labels": [{"name": "quality"}, {"name": "price"}]}
    path = write("a.jsonl", json.dumps(row))
    assert rows_in(open_file(path)) == [row]
    assert rows_in(open_file(path, DataSpec(rows_key="labels"))) == row["labels"]


def test_several_lists_of_rows_are_asked_for(write):
    content = json.dumps({"splits": {"test": ROWS[:1], "train": ROWS}})
    path = write("a.json", content)
    with pytest.raises(DataError) as caught:
        open_file(path)
    message = "several lists of rows: 'splits.test (1 row)', 'splits.train (3 rows)'; choose one, such as --rows_key"
    assert str(caught.value) == f"{path} holds {message} splits.train"
    assert rows_in(open_file(path, DataSpec(rows_key="splits.test"))) == ROWS[:1]


def test_only_the_first_of_many_lists_are_named(write):
    path = write("a.json", json.dumps({f"{number}{'x' * 500}": ROWS for number in range(500)}))
    with pytest.raises(DataError, match="several lists of rows: '0xxx.* and 497 more; choose one") as caught:
        open_file(path)
    assert len(str(caught.value)) < 1500


def test_the_key_may_hold_dots_and_columns(write):
    path = write("a.json", json.dumps({"v1.2": {"text": ["a", "b"], "labels": [["x"], []]}, "v1": ROWS}))
    assert rows_in(open_file(path, DataSpec(rows_key="v1.2"))) == [
        {"text": "a", "labels": ["x"]},
        {"text": "b", "labels": []},
    ]
    with pytest.raises(DataError, match="no rows under the key 'v2'; its keys are 'v1.2', 'v1'"):
        open_file(path, DataSpec(rows_key="v2"))


def test_columns_of_different_lengths_are_refused(write):
    path = write("a.json", '{"text": ["a", "b"], "labels": [["x"]]}')
    with pytest.raises(DataError, match=r"columns of different lengths \('text 2', 'labels 1'\)"):
        open_file(path)


# What cannot be read


def test_a_broken_line_among_good_ones_is_a_problem_of_its_row(write):
    path = write("a.jsonl", lines(ROWS) + '\n{"text": "good"\n7\n{"a": ' + "[" * 100_000 + "\n" + lines(ROWS))
    reader = open_file(path)
    assert rows_in(reader) == ROWS + ROWS
    problems = problems_in(reader)
    assert list(problems) == [4, 5, 6]
    assert problems[4].startswith("broken JSON: Expecting ',' delimiter")
    assert problems[5] == '7 is not a JSON object; write a row like {"text": "..."}'
    assert problems[6] == "broken JSON: nested too deeply"
    assert reader.lines([1, 4, 7]) == {1: 1, 4: 5, 7: 8}


@pytest.mark.parametrize(
    "content",
    ['{"text":\n"a"}\n\n{"text": "b"\n}{"text": "c"}', '[{"text":\n"a"}\n,\n{"text": "b"\n},{"text": "c"}\n]'],
)
def test_rows_know_the_lines_on_which_they_start(write, content):
    reader = open_file(write("a.json", content))
    assert [row["text"] for row in rows_in(reader)] == ["a", "b", "c"]
    assert reader.lines([1, 2, 3]) == {1: 1, 2: 4, 3: 5}


@pytest.mark.parametrize("content", ['[{"text": "a"},\n{"text": "b"},\n]', '[{"text": "a"}\n{"text": "b"}]'])
def test_commas_between_rows_do_not_matter(write, content):
    assert rows_in(open_file(write("a.json", content))) == [{"text": "a"}, {"text": "b"}]


def test_a_bad_item_of_an_array_is_a_problem(write):
    reader = open_file(write("a.json", json.dumps([ROWS[0], 7])))
    assert rows_in(reader) == ROWS[:1]
    assert problems_in(reader) == {2: '7 is not a JSON object; write a row like {"text": "..."}'}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (str(ROWS), r"line 1: .* is Python, not JSON: print rows by json.dumps\(row\)"),
        ("\n".join(map(str, ROWS)), "line 1: .* is Python, not JSON"),
        ('[{"text": "good",\n"labels": None}]', "line 2: 'None}]' is Python, not JSON"),
        ('[{"text": "good",}]', "line 1: broken JSON: Expecting property name enclosed in double quotes, at '}]'"),
        ('[{"text": "good"},\n{"text" "bad"}]', """line 2: broken JSON: Expecting ':' delimiter, at '"bad"}]'"""),
        ('{"text": "good"}\n' + '{"text": "bad"\n' * 9, "line 3: broken JSON: Expecting ',' delimiter"),
        ('{"data": [{"text": "never closed"}', "line 1: broken JSON: Expecting ',' delimiter, at ''"),
        ("good\nbad\n", r"line 1: broken JSON: Expecting value, at 'good\\nbad\\n'"),
        ("[" * 100_000, "line 1: broken JSON: nested too deeply"),
        ("\n" + '{"a":' * 100_000, "line 2: broken JSON: nested too deeply"),
        ("[" + "9" * 5000 + "]", "line 1: broken JSON: Exceeds the limit"),
        ('[{"text": "good"},\n', "line 2: broken JSON: the file ends before its array does"),
        ("[{}]\n\n[{}]{}\n[{}", "line 3: more JSON behind the first array"),
    ],
)
def test_a_broken_file_is_one_message(write, content, message):
    path = write("a.json", content)
    with pytest.raises(DataError, match=message) as caught:
        list(open_file(path).batches())
    assert str(caught.value).startswith(f"{path}, line ")
    assert "\n" not in str(caught.value)


def test_a_file_without_rows_has_no_batches(write):
    for content in ("", "\n \n", "[]", "\ufeff"):
        assert list(open_file(write("a.json", content)).batches()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "text\tlabels\ngood\tprice\n"),
        ("a.csv", "{a},[b]\n1,2\n"),
        ("a.txt", "[sic] they said\n"),
        ("a.txt", "{late,dirty}\n"),
        ("a.json", b"PAR1\x15\x00"),
    ],
)
def test_other_files_are_not_recognized(write, name, content):
    assert json_rows.recognizes(take_sample(write(name, content), SPEC), SPEC) is None


def test_a_long_array_is_recognized_by_its_beginning(write):
    rows = [{"text": f"room {number}"} for number in range(5000)]
    path = write("a.txt", json.dumps(rows, indent=1))
    assert json_rows.recognizes(take_sample(path, SPEC), SPEC) == "it begins with a JSON array"
    assert rows_in(open_file(path)) == rows


# Any rows come back


def without_nan(value):
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list):
        return [*map(without_nan, value)]
    return {name: without_nan(cell) for name, cell in value.items()} if isinstance(value, dict) else value


def in_shapes(rows):
    yield "a.jsonl", lines(rows)
    yield "b.jsonl", lines(rows, ",\n")
    yield "a.json", json.dumps(rows)
    yield "b.json", json.dumps(rows, indent=1)
    yield "c.json", "".join(map(json.dumps, rows))
    yield "d.json", "\n".join(json.dumps(row, indent=1) for row in rows)
    yield "e.json", json.dumps({"version": 1, "data": rows})
    yield "f.json", json.dumps({name: [row[name] for row in rows] for name in rows[0]})
    yield "g.json", json.dumps({"columns": [*rows[0]], "data": [[row[name] for name in rows[0]] for row in rows]})
    yield "h.json", json.dumps({number: row for number, row in enumerate(rows)})


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"text": st.text(), "more": hostile.json_values}), min_size=2, max_size=5))
def test_any_rows_come_back_from_each_shape(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("shapes")
    for name, content in in_shapes(rows):
        (folder / name).write_text(content, encoding="utf-8")
        assert rows_in(open_file(str(folder / name))) == without_nan(rows), name


_PIECES = st.sampled_from(
    [
        '"',
        ",",
        "\n",
        "\r\n",
        "{",
        "}",
        "[",
        "]",
        ":",
        '"text"',
        '{"text": "a"}',
        "[[1]]",
        "\\",
        "\0",
        "null",
        "'",
        "NaN",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(_PIECES.map(str.encode) | hostile.texts.map(str.encode) | st.binary(max_size=4)).map(b"".join),
    name=st.sampled_from(["a.json", "a.jsonl", "a"]),
)
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    try:
        sample = take_sample(str(path), SPEC)
        json_rows.recognizes(sample, SPEC)
        reader = json_rows.read(sample, SPEC)
        for batch in reader.batches():
            assert {*map(len, batch.columns.values())} <= {len(batch.numbers)}
        reader.lines([1])
    except DataError as error:
        assert str(path) in str(error)
