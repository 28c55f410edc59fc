"""Files of every format: they give rows with the same numbers in each pass, or a `DataError`."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, List, Value

from bert_multilabel.data.formats.registry import CONTAINERS, open_file
from bert_multilabel.data.formats.sample import take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.table import Reader
from bert_multilabel.errors import DataError, MissingDependencyError

from .exports import ROWS
from .inputs import check_message, mutated_bytes, write

_SPECS = [
    *[DataSpec()] * 4,
    *(DataSpec(encoding=name) for name in ("cp1252", "utf-16", "nothing")),
    DataSpec(column_names=["text", "labels", "id"]),
    DataSpec(rows_key="train"),
    DataSpec(label_names=["price", "gift"], label_delimiter=","),
]


_LABELLED = [
    (labels, f"The {thing} was as good as we had hoped for")
    for thing in ("room", "breakfast", "view", "price", "staff")
    for labels in ("price", "price gift", "gift", "")
]


def targets() -> dict[str, Callable[[Random], None]]:
    """Return a target for each container, and one for all together."""
    return {**{name: partial(_run_one, name) for name in CONTAINERS}, "any": _run_any}


def _texts() -> dict[str, list[bytes]]:
    objects = [{"text": "So nice", "labels": ["price"], "id": 7}, {"text": "Too dear", "labels": [], "id": None}]
    lines = "\n".join(map(json.dumps, objects)).encode()
    exported = [json.dumps(rows).encode() for rows in ROWS.values()]
    return {
        "refused": [
            b"@relation 'hotels: -C 2'\n@attribute price {0,1}\n@attribute text string\n@data\n1,'So nice'\n",
            b"2 4 3\n0,2 0:0.5 1:0.1\n1 2:0.3\n",
            b"0,2 1:0.5 7:0.25\n1 3:1\n",
            b'{"messages": [{"role": "user", "content": "So nice"}]}\n',
            b"<rows><row Id='1' Title='So' Tags='&lt;a&gt;'/></rows>",
        ],
        "fasttext": [b"__label__price __label__gift So nice\n__label__gift Too dear\n Nothing\n"],
        "libmultilabel": [
            _lines(f"{number}\t{labels}\t{text}" for number, (labels, text) in enumerate(_LABELLED)),
            _lines(f"{labels}\t{text}" for labels, text in _LABELLED),
        ],
        "comprehend": [_lines(f'{labels.replace(" ", "|")},"{text}, again"' for labels, text in _LABELLED)],
        "json_rows": [
            lines,
            json.dumps(objects, indent=1).encode(),
            json.dumps({"version": 1, "data": objects}).encode(),
            json.dumps({"train": objects, "test": objects}).encode(),
            "\n".join(json.dumps(row, indent=2) for row in objects).encode(),
            lines.replace(b"\n", b",\n"),
            repr(objects).encode(),
            b'{"text": "a", "labels": ' + b"[" * 900 + b"]" * 900 + b"}",
            b'{"text": "\\ud800", "labels": "a;b"}\n{"text": null, "a": 1e999, "b": NaN}\n',
            *exported,
        ],
        "delimited": [
            b'text,labels\ngood,a|b\n"two\nlines, ""quoted""",\n',
            b"id\ttext\tpair\tlabels\n1\tgood\tthing\ta\n2\tbad\t\tb\n",
            b"text,a,b\ngood,0,1\nbad,,1\n",
            b"\xef\xbb\xbfid;text;labels\r\n1;good;a\r\n2;bad;b\r\n",
            b"sep=;\ntext;labels\ngood;a\n",
            b"# exported\ntext|labels\ngood|a\nbad|b\n",
            b"text, labels\ngood, a\nbad, b\n",
            b'text,labels\n"say \\"hi\\"",a\n',
            b"The price is good\t1,2\tid1\nToo dear\t3\tid2\n",
            "text,labels\nGröße,a\n".encode("utf-16"),
            "text,labels\nGröße,a\n".encode("cp1252"),
            b",text,labels\n0,good,a\n1,bad,b\n",
        ],
    }


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _binary() -> dict[str, list[bytes]]:
    columns = {"text": ["good", "bad", None], "labels": [["a"], [], None], "id": [1, 2, 3]}
    tables = [
        pa.table(columns),
        pa.table({"text": pa.array(["a", "b"]).dictionary_encode(), "at": pa.array([0, 2**62], pa.timestamp("us"))}),
        pa.table({"text": pa.array([b"a", b"\xff"]), "s": [{"x": 1}, None], "d": pa.array([1, 2], pa.duration("ns"))}),
    ]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["a", "b"]))})
    rows = Dataset.from_dict({"text": ["good", "bad"], "labels": [[0], [0, 1]]}, features=features)
    columnar = [_written(lambda file, t=table: pq.write_table(t, file, compression="snappy")) for table in tables]
    typed = rows.data.table.cast(rows.features.arrow_schema)  # as the datasets library writes it
    columnar.append(_written(lambda file: pq.write_table(typed, file)))
    for table in (tables[0], rows.data.table):
        for new in (pa.ipc.new_file, pa.ipc.new_stream):
            columnar.append(_written(lambda file, n=new, t=table: _write_arrow(n(file, t.schema), t)))
    return {"columnar": columnar, "workbook": _workbooks()}


def _written(write_to: Callable[[Any], Any]) -> bytes:
    file = io.BytesIO()
    write_to(file)
    return file.getvalue()


def _write_arrow(writer: Any, table: pa.Table) -> None:
    with writer:
        writer.write_table(table)


def _workbooks() -> list[bytes]:
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        '<row r="1"><c r="A1" t="inlineStr"><is><t>text</t></is></c>'
        '<c r="B1" t="inlineStr"><is><t>labels</t></is></c></row>'
        '<row r="2"><c r="A2" t="inlineStr"><is><t>good</t></is></c><c r="B2"><v>1</v></c></row>'
        "</sheetData></worksheet>"
    )
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{main}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{main}.worksheet+xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        f'xmlns:r="{relations}"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        f'relationships"><Relationship Id="r1" Type="{relations}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": sheet,
    }
    return [_written(lambda file: _write_zip(file, parts))]


def _write_zip(file: Any, parts: Mapping[str, str | bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


SEEDS = {**_texts(), **_binary()}
_SUFFIXES = {
    "refused": [".arff", ".txt", ".jsonl", ".xml", ".pkl"],
    "columnar": [".parquet", ".arrow", ".feather"],
    "workbook": [".xlsx", ".xls"],
    "fasttext": [".txt", ".train", ""],
    "json_rows": [".json", ".jsonl", ".ndjson", ".json1", ".txt"],
    "libmultilabel": [".txt", ".tsv"],
    "comprehend": [".csv"],
    "delimited": [".csv", ".tsv", ".txt", ".data", ""],
}
_ALL_SUFFIXES = sorted({suffix for suffixes in _SUFFIXES.values() for suffix in suffixes})
_COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": partial(gzip.compress, compresslevel=1),
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),
    ".zip": lambda data: _written(lambda file: _write_zip(file, {"rows": data})),
}


def _run_one(name: str, generator: Random) -> None:
    """Read a file that a container recognizes."""
    container = import_module(f"bert_multilabel.data.formats.{name}")
    path, spec = _file(generator, SEEDS[name], _SUFFIXES[name]), generator.choice(_SPECS)
    try:
        sample = take_sample(path, spec)
        reason = container.recognizes(sample, spec)
        assert reason is None or 0 < len(reason) < 1000
        if reason is not None:
            _read(container.read(sample, spec))
    except (DataError, MissingDependencyError) as error:  # without openpyxl
        check_message(error)


def _run_any(generator: Random) -> None:
    """Open a file of any format under any name, perhaps compressed."""
    with suppress(DataError, MissingDependencyError):
        _read(open_file(mutated_file(generator), generator.choice(_SPECS)))


def mutated_file(generator: Random) -> str:
    """Write a file of any format under any name, and return its path."""
    return _file(generator, SEEDS[generator.choice(list(SEEDS))], _ALL_SUFFIXES)


def _file(generator: Random, seeds: list[bytes], suffixes: list[str]) -> str:
    data, suffix = mutated_bytes(generator, seeds), generator.choice(suffixes)
    if generator.random() < 0.03:
        compression = generator.choice(list(_COMPRESSIONS))
        data, suffix = _COMPRESSIONS[compression](data), suffix + compression
        data = mutated_bytes(generator, [data])
    return write(f"rows{suffix}", data)


def _read(reader: Reader) -> None:
    passes = []
    for _ in "12":
        numbers, problems = [], []
        for batch in reader.batches():
            assert all(len(cells) == len(batch.numbers) for cells in batch.columns.values())
            assert list(batch.numbers) == sorted(batch.numbers) and not set(batch.numbers) & set(batch.problems)
            numbers += batch.numbers
            problems += batch.problems
        assert not set(numbers) & set(problems) and min([*numbers, *problems], default=1) >= 1
        assert len(problems) == len(set(problems))
        passes.append((numbers, problems))
    assert passes[0] == passes[1]
    lines = reader.lines(set(passes[0][1]))
    assert set(lines) <= set(passes[0][1]) and all(line >= 1 for line in lines.values())
    assert isinstance(reader.said, str) and reader.said
