import gzip
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_multilabel.data.dataset_sources import open_dataset, open_source
from bert_multilabel.data.sources import is_dataset_folder, open_files
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import SPLITS, Table, located
from bert_multilabel.errors import DataError

SPEC = DataSpec()


def rows_in(source):
    return [
        dict(zip(batch.columns, cells, strict=True))
        for batch in source.reader.batches()
        for cells in zip(*batch.columns.values(), strict=True)
    ]


def texts(source):
    return [row["text"] for row in rows_in(source)]


def numbers_in(source):
    return [number for batch in source.reader.batches() for number in batch.numbers]


@pytest.fixture
def folder(tmp_path):
    """A folder of three csv files."""
    (tmp_path / "parts").mkdir()
    for number, rows in enumerate(("good,price\nbad,\n", "nice,quality\n", "cheap,price\n")):
        (tmp_path / "parts" / f"part-{number}.csv").write_text(f"text,labels\n{rows}")
    return tmp_path / "parts"


# Files


def test_files_come_in_the_order_of_the_splits(write):
    files = {split: write(f"{split}.csv", f"text,labels\n{split},a\n") for split in reversed(SPLITS)}
    sources = open_files(files, SPEC)
    assert list(sources) == ["train", "validation", "test"]
    assert [texts(source) for source in sources.values()] == [["train"], ["validation"], ["test"]]
    assert sources["test"].name == files["test"]


@pytest.mark.parametrize("files", [{}, {"dev": "a.csv"}])
def test_files_go_by_split_name(files):
    with pytest.raises(ValueError, match=f"by split name .*got {files!r}"):
        open_files(files, SPEC)


def test_a_missing_file_is_quoted():
    with pytest.raises(DataError, match="there is no file 'nowhere/train.csv'"):
        open_files({"train": "nowhere/train.csv"}, SPEC)


def test_the_digest_of_a_file_is_that_of_its_bytes_and_extensions(write):
    first, same, other = (
        open_source(write(name, f"text,labels\n{text},a\n"), SPEC, "train")
        for name, text in (("a.csv", "good"), ("b.csv", "good"), ("c.csv", "bad"))
    )
    assert first.digest() == same.digest() != other.digest()
    tab = open_source(write("a.tsv", "text,labels\ngood,a\n"), SPEC, "train")
    assert tab.digest() != first.digest()


@pytest.mark.parametrize("pattern", ["", "/*.csv", "/part-?.csv"])
def test_several_files_are_read_one_after_another(folder, pattern):
    source = open_source(f"{folder}{pattern}", SPEC, "train")
    assert source.name == f"{folder}{pattern}"
    assert texts(source) == ["good", "bad", "nice", "cheap"]
    assert numbers_in(source) == [1, 2, 3, 4]
    assert source.reader.said == "3 files, the first: csv separated by ','"
    assert rows_in(source._replace(reader=pickle.loads(pickle.dumps(source.reader)))) == rows_in(source)


def test_hidden_files_and_those_of_spark_are_left_out(folder):
    for name in (".DS_Store", "_SUCCESS", ".part-0.csv.crc"):
        (folder / name).write_bytes(b"\0")
    assert texts(open_source(folder, SPEC, "train")) == ["good", "bad", "nice", "cheap"]


def test_compressed_files_have_the_form_of_what_is_in_them(folder):
    (folder / "part-3.csv.gz").write_bytes(gzip.compress(b"text,labels\nlast,price\n"))
    assert texts(open_source(folder, SPEC, "train"))[-1] == "last"


def test_files_of_several_forms_are_refused(folder):
    (folder / "more.jsonl").write_text('{"text": "good"}')
    with pytest.raises(DataError, match=r"several forms: .jsonl \('more.jsonl'\), .csv \('part-0.csv'\); pass those"):
        open_source(folder, SPEC, "train")


def test_no_file_is_told(tmp_path):
    with pytest.raises(DataError, match="there is no file in"):
        open_source(tmp_path, SPEC, "train")
    with pytest.raises(DataError, match="there is no file like '.*nothing-.*csv'"):
        open_source(f"{tmp_path}/nothing-*.csv", SPEC, "train")


@pytest.mark.parametrize(
    ("names", "is_dataset"),
    [
        (["a.json", "b.json"], False),
        (["part-0.csv", "part-1.csv", "_SUCCESS", ".part-0.csv.crc"], False),
        (["train-1.csv", "latest.csv"], False),
        (["train.csv", "validation.csv"], True),
        (["train_0.parquet", "test_0.parquet"], True),
        (["README.md", "reviews.csv"], True),
        (["data/train.csv"], True),
    ],
)
def test_a_folder_of_training_files_is_no_dataset_with_splits(tmp_path, names, is_dataset):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert is_dataset_folder(str(tmp_path)) is is_dataset
    assert not is_dataset_folder(str(tmp_path / "none"))


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(write):
    assert texts(open_source(write("a[1].csv", "text,labels\ngood,price\n"), SPEC, "train")) == ["good"]


def test_problems_name_the_file_and_its_own_row(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "c"}\n\n{"text": \n{"text": "d"}\n')
    source = open_source(tmp_path, SPEC, "train")
    assert texts(source) == ["a", "b", "c", "d"]
    assert numbers_in(source) == [1, 2, 3, 5]
    ((number, problem),) = [item for batch in source.reader.batches() for item in batch.problems.items()]
    listed = located(source.name, source.reader, [(number, problem), (2, "bad"), (5, "worse")])
    assert number == 4
    assert listed == [
        f"{tmp_path}/a.jsonl, row 2 (line 2), bad",
        f"{tmp_path}/b.jsonl, row 2 (line 3), {problem}",
        f"{tmp_path}/b.jsonl, row 3 (line 4), worse",
    ]


def test_a_file_without_rows_among_others_moves_no_number(tmp_path):
    for name, rows in (("a", [{"text": "x"}]), ("b", []), ("c", [{"text": "y"}])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    source = open_source(tmp_path, SPEC, "train")
    assert numbers_in(source) == [1, 2]
    assert located(source.name, source.reader, [(2, "bad")]) == [f"{tmp_path}/c.json, row 1 (line 1), bad"]


def test_the_digest_of_several_files_is_that_of_all(folder):
    before = open_source(folder, SPEC, "train").digest()
    assert open_source(folder, SPEC, "train").digest() == before
    (folder / "part-2.csv").write_text("text,labels\ncheap,\n")
    assert open_source(folder, SPEC, "train").digest() != before


# Data frames


def test_a_frame_becomes_values_of_python():
    frame = pd.DataFrame(
        {
            "Unnamed: 0": [0, 1],
            "text": ["good", None],
            "labels": [["price"], np.array(["gift"], object)],
            "late": np.array([1, 0], np.int8),
            "share": [0.5, np.nan],
            7: pd.array([1, None], "Int64"),
        },
        index=["a", "b"],
    )
    source = open_source(frame, SPEC, "train")
    assert source.name == "the train data"
    assert rows_in(source) == [
        {"text": "good", "labels": ["price"], "late": 1, "share": 0.5, "7": 1},
        {"text": "", "labels": ["gift"], "late": 0, "share": None, "7": None},
    ]
    assert {type(row["late"]) for row in rows_in(source)} == {int}
    assert numbers_in(source) == [1, 2]
    assert rows_in(source._replace(reader=pickle.loads(pickle.dumps(source.reader)))) == rows_in(source)
    named = open_source(frame, DataSpec(id_column="Unnamed: 0"), "train")
    assert [row["Unnamed: 0"] for row in rows_in(named)] == [0, 1]


def test_a_frame_is_read_in_batches():
    source = open_source(pd.DataFrame({"text": [f"room {number}" for number in range(2500)]}), SPEC, "train")
    assert [len(batch.numbers) for batch in source.reader.batches()] == [1000, 1000, 500]
    assert numbers_in(source) == [*range(1, 2501)]


def test_columns_of_a_frame_go_by_their_names():
    with pytest.raises(DataError, match="the test data: column name '1' occurs twice"):
        open_source(pd.DataFrame([["a", "b"]], columns=[1, "1"]), SPEC, "test")


def test_the_digest_of_a_frame_is_that_of_its_values():
    def digest(*labels):
        frame = pd.DataFrame({"text": ["good", "bad"], "labels": labels})
        return open_source(frame, SPEC, "train").digest()

    assert digest(["a"], []) == digest(["a"], []) != digest([], ["a"])


def test_other_data_is_refused():
    with pytest.raises(ValueError, match="cannot read data of type list: pass a path, a DataFrame, a Dataset"):
        open_source([{"text": "good"}], SPEC, "train")


# Datasets

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["b", "a"])})


@pytest.fixture
def three_splits(save_dataset):
    return save_dataset(**{split: Dataset.from_dict({"text": [split]}) for split in SPLITS})


def test_a_dataset_keeps_its_ids_and_types():
    dataset = Dataset.from_dict({"text": ["x", None], "label": [1, None]}, features=FEATURES)
    source = open_source(dataset.with_format("numpy"), SPEC, "train")
    expected = [{"text": "x", "label": 1}, {"text": "", "label": None}]
    assert rows_in(source) == expected
    assert rows_in(source._replace(reader=pickle.loads(pickle.dumps(source.reader)))) == expected
    assert source.reader.known_columns["label"] == ["b", "a"]
    assert source.reader.lines([1]) == {}


def test_the_digest_of_a_dataset_is_that_of_its_values_and_a_stream_has_none():
    first, same, other = (Dataset.from_dict({"text": [text]}) for text in ("x", "x", "y"))
    digests = [open_source(dataset, SPEC, "train").digest() for dataset in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]
    stream = open_source(first.to_iterable_dataset(), SPEC, "train")
    assert stream.digest is None
    assert texts(stream) == texts(stream) == ["x"]


def yield_rows():
    yield {"text": "good", "labels": ["price"], "Unnamed: 0": 0}
    yield {"text": "bad", "labels": [], "Unnamed: 0": 1}


def yield_rows_that_end():
    yield from yield_rows()
    raise OSError("the disk is gone")


def test_a_stream_need_not_tell_its_types():
    source = open_source(IterableDataset.from_generator(yield_rows), SPEC, "train")
    assert source.reader.known_columns == {}
    assert rows_in(source) == [{"text": "good", "labels": ["price"]}, {"text": "bad", "labels": []}]
    assert numbers_in(source) == [1, 2]


def test_a_stream_that_cannot_be_read_is_named():
    source = open_source(IterableDataset.from_generator(yield_rows_that_end), SPEC, "train")
    with pytest.raises(DataError, match="the train data cannot be read: the disk is gone"):
        rows_in(source)


def test_the_index_of_pandas_is_left_out_of_a_dataset(save_dataset):
    rows = {"text": ["x"], "Unnamed: 0": [0], "__index_level_0__": [7]}
    name = save_dataset(train=Dataset.from_dict(rows))
    assert rows_in(open_dataset(name, None, SPEC)["train"]) == [{"text": "x"}]
    named = open_dataset(name, None, DataSpec(id_column="__index_level_0__"))["train"]
    assert rows_in(named) == [{"text": "x", "__index_level_0__": 7}]


def test_a_dataset_saved_to_disk_is_a_source(tmp_path):
    rows = Dataset.from_dict({"text": ["x"], "label": [1]}, features=FEATURES)
    DatasetDict(train=rows).save_to_disk(tmp_path / "disk")
    source = open_source(tmp_path / "disk" / "train", SPEC, "train")
    assert rows_in(source) == [{"text": "x", "label": 1}]
    assert source.reader.known_columns["label"] == ["b", "a"]
    with pytest.raises(DataError, match="holds the splits of a dataset: pass the folder of one split"):
        open_source(tmp_path / "disk", SPEC, "train")
    (tmp_path / "disk" / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot load the dataset saved in"):
        open_source(tmp_path / "disk" / "train", SPEC, "train")


@pytest.mark.usefixtures("save_dataset")  # for its cache
def test_all_splits_of_a_saved_dataset_are_loaded_by_its_name(tmp_path):
    rows = Dataset.from_dict({"text": ["x", "y"], "labels": [["a"], []]})
    DatasetDict(train=rows, test=rows.select([1])).save_to_disk(tmp_path / "disk")
    sources = open_dataset(str(tmp_path / "disk"), None, SPEC)
    assert (texts(sources["train"]), texts(sources["test"])) == (["x", "y"], ["y"])


@pytest.mark.parametrize(
    ("wanted", "train_too", "read"),
    [
        (SPLITS, False, ["train", "validation", "test"]),
        ({"test"}, False, ["test"]),
        (["test", "validation"], False, ["validation", "test"]),
        ({"test"}, True, ["train", "test"]),
        ({"train"}, True, ["train"]),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_only_wanted_splits_are_read(three_splits, wanted, train_too, read, streaming):
    sources = open_dataset(three_splits, None, SPEC, wanted, train_too, streaming)
    assert {split: texts(source) for split, source in sources.items()} == {split: [split] for split in read}
    assert list(sources) == read
    assert sources[read[0]].name == f"{three_splits}, split '{read[0]}'"
    assert {source.digest is None for source in sources.values()} == {streaming}


def test_a_dataset_may_lack_a_split(save_dataset):
    name = save_dataset(train=Dataset.from_dict({"text": ["x"]}))
    assert list(open_dataset(name, None, SPEC)) == ["train"]
    with pytest.raises(DataError, match="none of the splits validation, test; it has train"):
        open_dataset(name, None, SPEC, {"test", "validation"}, train_too=True)


@pytest.mark.parametrize("wanted", [[], ["train", "dev"], "test"])
def test_wanted_splits_go_by_name(three_splits, wanted):
    with pytest.raises(ValueError, match="wanted splits must be among train, validation, test, got") as caught:
        open_dataset(three_splits, None, SPEC, wanted)
    assert repr(wanted) in str(caught.value)


def test_datasets_that_cannot_be_used(save_dataset, tmp_path):
    with pytest.raises(DataError, match="cannot load the dataset"):
        open_dataset(str(tmp_path / "nowhere"), None, SPEC)
    with pytest.raises(DataError, match="cannot load the dataset 'nobody/nothing'"):
        open_dataset("nobody/nothing", None, SPEC)  # without the Hub
    name = save_dataset(**{"data/other-00000-of-00001": Dataset.from_dict({"text": ["x"]})})
    with pytest.raises(DataError, match="none of the splits train, validation, test; it has other"):
        open_dataset(name, None, SPEC)


@pytest.mark.usefixtures("save_dataset")  # for its cache
def test_a_dataset_of_broken_files_is_told(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.jsonl").write_text('{"text": "good"}\n{"text"\n')
    with pytest.raises(DataError, match="cannot load the dataset '.*broken'"):
        open_dataset(str(tmp_path / "broken"), None, SPEC)


def test_the_configuration_of_a_dataset(save_dataset, tmp_path):
    name = save_dataset(one=Dataset.from_dict({"text": ["x"]}), two=Dataset.from_dict({"text": ["y"]}))
    configs = [{"config_name": "one", "data_files": "one.parquet"}]
    configs += [{"config_name": "two", "data_files": [{"split": "test", "path": "two.parquet"}]}]
    (tmp_path / "data" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert texts(open_dataset(name, "one", SPEC)["train"]) == ["x"]
    assert texts(open_dataset(name, "two", SPEC)["test"]) == ["y"]


# Any rows come back

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(_TEXTS, st.lists(_TEXTS, max_size=3), st.integers(-9, 9)), min_size=1, max_size=5))
def test_any_rows_come_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    rows = [dict(zip(("text", "labels", "votes"), row, strict=True)) for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for number, row in enumerate(rows):
        (folder / f"{number}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    dataset = Dataset.from_dict(columns)
    for data in (folder, pd.DataFrame(columns), dataset, dataset.to_iterable_dataset()):
        source = open_source(data, SPEC, "train")
        assert rows_in(source) == rows
        assert Table(source.name, source.reader).rows == len(rows)
