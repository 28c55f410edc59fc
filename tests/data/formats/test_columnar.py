import datetime
import gzip
import pickle
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.formats import columnar
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

SPEC = DataSpec()
ROWS = [{"text": "The breakfast was cold", "labels": ["food"]}, {"text": "Nice rooms", "labels": []}]


def open_file(path, spec=SPEC):
    return columnar.read(take_sample(str(path), spec), spec)


def rows_in(reader):
    return [
        dict(zip(batch.columns, cells, strict=True))
        for batch in reader.batches()
        for cells in zip(*batch.columns.values(), strict=True)
    ]


def write_parquet(table, path):
    pq.write_table(table, path, row_group_size=1)


def write_stream(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=1)


def write_file(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=1)


def write_feather(table, path):
    pyarrow.feather.write_feather(table, str(path))


FORMS = {
    "a.parquet": (write_parquet, "parquet"),
    "b.pq": (write_parquet, "parquet"),
    "parquet": (write_parquet, "parquet"),
    "a.arrow": (write_file, "an Arrow file"),
    "stream.arrow": (write_stream, "an Arrow stream"),
    "a.feather": (write_feather, "an Arrow file"),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_read(tmp_path, name):
    write, said = FORMS[name]
    path = tmp_path / name
    write(pa.Table.from_pylist(ROWS), path)
    assert columnar.recognizes(take_sample(str(path), SPEC), SPEC)
    reader = open_file(path)
    assert reader.said == said
    assert rows_in(reader) == rows_in(pickle.loads(pickle.dumps(reader))) == ROWS
    assert [number for batch in reader.batches() for number in batch.numbers] == [1, 2]
    assert reader.lines([1]) == {}


def test_compressed_parquet_is_read(tmp_path):
    write_parquet(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    path = tmp_path / "b.parquet.gz"
    path.write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert rows_in(open_file(path)) == ROWS


@pytest.mark.parametrize("write", [write_parquet, write_file])
def test_every_nesting_becomes_values_of_python(tmp_path, write):
    moment = datetime.datetime(2024, 5, 17, 12, 30)
    row = {
        "text": "A long stay",
        "about": {"guest": {"nights": 3}, "tags": ["family"]},
        "spans": [{"start": 0, "label": "stay"}],
        "votes": [("food", 2), ("rooms", 0)],
        "paid": Decimal("12.50"),
        "at": moment,
        "blob": b"\xff",
    }
    kinds = [pa.large_string(), None, None, pa.map_(pa.string(), pa.int64()), pa.decimal128(6, 2), None, pa.binary()]
    arrays = [pa.array([value], kind) for value, kind in zip(row.values(), kinds, strict=True)]
    write(pa.table(arrays, names=[*row]), tmp_path / "a")
    assert rows_in(open_file(tmp_path / "a")) == [row | {"votes": {"food": 2, "rooms": 0}}]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary("int32", "string")])
def test_a_null_in_a_column_of_texts_is_an_empty_text(tmp_path, kind):
    write_file(pa.table({"text": pa.array(["good", None], kind), "votes": [1, None]}), tmp_path / "a")
    assert rows_in(open_file(tmp_path / "a")) == [{"text": "good", "votes": 1}, {"text": "", "votes": None}]


def test_columns_of_categories_are_columns_of_texts(tmp_path):
    write_parquet(pa.table({"text": pa.array(["good", None]).dictionary_encode()}), tmp_path / "a.parquet")
    assert rows_in(open_file(tmp_path / "a.parquet")) == [{"text": "good"}, {"text": ""}]


def test_the_index_of_pandas_is_left_out(tmp_path):
    frame = pd.DataFrame({"Unnamed: 0": [0, 1], "text": ["good", "bad"]}, index=[7, 9])
    frame.to_parquet(tmp_path / "a.parquet")
    assert pq.read_schema(tmp_path / "a.parquet").names == ["Unnamed: 0", "text", "__index_level_0__"]
    assert rows_in(open_file(tmp_path / "a.parquet")) == [{"text": "good"}, {"text": "bad"}]
    named = DataSpec(id_column="__index_level_0__")
    assert [row["__index_level_0__"] for row in rows_in(open_file(tmp_path / "a.parquet", named))] == [7, 9]


def test_column_types_of_the_datasets_library_are_kept(tmp_path):
    class_label = ClassLabel(names=["quality", "price"])
    features = Features({"text": Value("string"), "many": List(class_label), "one": class_label})
    Dataset.from_dict({"text": ["good"], "many": [[1]], "one": [0]}, features=features).to_parquet(
        tmp_path / "a.parquet"
    )
    reader = open_file(tmp_path / "a.parquet")
    assert reader.known_columns["many"] == reader.known_columns["one"] == ["quality", "price"]
    assert reader.known_columns["text"] is None
    assert rows_in(reader) == [{"text": "good", "many": [1], "one": 0}]


# What is refused


@pytest.mark.parametrize(
    "features", [b"\xff", b"{", b"7", b'{"info": {"features": {"text": {"_type": "ClassLabel"}}}}']
)
def test_column_types_that_cannot_be_read_are_told(tmp_path, features):
    table = pa.table({"text": ["good"]}).replace_schema_metadata({"huggingface": features})
    write_parquet(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column types for the datasets library in .* cannot be read"):
        open_file(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([2**62], pa.timestamp("us")), "date value out of range"),
        (pa.array([b"caf\xe9"]).cast(pa.string(), safe=False), "'utf-8' codec can't decode byte 0xe9"),
    ],
)
def test_cells_that_python_cannot_hold_are_told(tmp_path, column, message):
    write_parquet(pa.table({"text": ["good"], "more": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"a.parquet cannot be read as parquet: {message}"):
        rows_in(open_file(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("names", "message"),
    [(["text", "text"], "column name 'text' occurs twice; rename one"), (["text", " "], "column 2 has no name")],
)
def test_columns_go_by_their_names(tmp_path, names, message):
    write_file(pa.table([["a"], ["b"]], names=names), tmp_path / "a.arrow")
    with pytest.raises(DataError, match=message):
        open_file(tmp_path / "a.arrow")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"text,labels\n", "a.parquet cannot be read as parquet"),
        ("a.parquet", b"", "a.parquet cannot be read as parquet"),
        ("a.feather", b"text", "a.feather cannot be read as an Arrow file"),
        ("a", b"ARROW1 and no more", "a cannot be read as an Arrow file"),
        ("a", b"PAR1 and no more", "a cannot be read as parquet"),
    ],
)
def test_damaged_files_are_told(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_file(tmp_path / name)


@pytest.mark.parametrize("content", [b"text,labels\ngood,price\n", b"\xff\xfet\x00", b""])
def test_other_files_are_not_recognized(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert columnar.recognizes(take_sample(str(tmp_path / "a.csv"), SPEC), SPEC) is None


# Any rows, any bytes


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "text": st.text(st.characters(exclude_categories=["Cs"])),
                "labels": st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3),
                "votes": st.integers(-(2**63), 2**63 - 1) | st.none(),
            }
        ),
        min_size=1,
        max_size=5,
    ),
    name=st.sampled_from(["a.parquet", "a.arrow", "stream.arrow", "a.feather"]),
)
def test_any_rows_come_back(tmp_path_factory, rows, name):
    path = tmp_path_factory.mktemp("rows") / name
    schema = pa.schema({"text": pa.string(), "labels": pa.list_(pa.string()), "votes": pa.int64()})
    FORMS[name][0](pa.Table.from_pylist(rows, schema), path)
    assert rows_in(open_file(path)) == rows


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(["a.parquet", "a.arrow", "stream.arrow", "a.feather"]))
def test_damaged_bytes_are_rows_or_an_error_that_names_the_file(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("bytes") / name
    FORMS[name][0](pa.Table.from_pylist(ROWS), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        rows_in(open_file(path))
    except DataError as error:
        assert str(path) in str(error)


def write_column(path, column, **options):
    pq.write_table(pa.table({"text": column, "labels": ["a"] * len(column)}), path, **options)
    return path


def test_a_file_that_becomes_far_larger_is_refused_before_it_is_read(tmp_path):
    page = write_column(tmp_path / "page.parquet", ["a" * 50_000_000], compression="zstd", use_dictionary=False)
    with pytest.raises(
        DataError, match="its rows become 47 MB when they are decompressed, more than 200 times the size"
    ):
        open_file(page)


def test_what_is_large_or_repeats_itself_is_read(tmp_path):
    text = " ".join(str(number**3) for number in range(600_000))  # 10 MB that compress to a third
    assert (
        rows_in(open_file(write_column(tmp_path / "a.parquet", [text, text], compression="zstd")))[1]["text"] == text
    )
    assert len(rows_in(open_file(write_column(tmp_path / "b.parquet", ["the same text"] * 200_000)))) == 200_000
