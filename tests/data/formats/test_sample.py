"""Files are opened whatever their compression, and broken ones are refused by name."""

import bz2
import gzip
import io
import lzma
import zipfile
from importlib.util import find_spec

import pytest

from bert_multilabel.data.formats.sample import read_lines, take_sample
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

TEXT = "text,labels\nThe room was clean,price\n" * 50


def _zipped(content, name="rows.csv"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": _zipped}


@pytest.mark.parametrize("suffix", list(COMPRESS))
def test_a_compressed_file_has_the_suffix_and_the_lines_of_the_file_in_it(write, suffix):
    path = write(f"rows.csv{suffix}", COMPRESS[suffix](TEXT.encode()))
    sample = take_sample(path, DataSpec())
    assert (sample.suffix, sample.encoding, sample.lines) == (".csv", "utf-8", TEXT.splitlines(keepends=True))


@pytest.mark.parametrize("suffix", list(COMPRESS))
def test_a_damaged_file_is_refused_by_name(write, suffix):
    content = bytearray(COMPRESS[suffix](TEXT.encode()))
    content[len(content) // 3 : len(content) // 3 + 8] = b"\xff" * 8
    path = write(f"rows.csv{suffix}", bytes(content))
    with pytest.raises(DataError) as caught:
        list(read_lines(path))
    assert str(caught.value).startswith(path)


def test_a_zip_from_macos_holds_one_file(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("__MACOSX/._rows.csv", "data/", "data/rows.csv", "data/.DS_Store"):
            archive.writestr(name, TEXT if name == "data/rows.csv" else "")
    assert "".join(take_sample(write("rows.csv.zip", file.getvalue()), DataSpec()).lines) == TEXT
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.csv", TEXT)
    with pytest.raises(DataError, match="holds 2 files: unpack it, and pass one of them"):
        take_sample(write("two.zip", file.getvalue()), DataSpec())


def test_an_encrypted_zip_is_refused(write):
    content = bytearray(_zipped(TEXT.encode()))
    content[6] |= 1  # the flag, in the header of the file and in the table of contents
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="is encrypted, password required"):
        take_sample(write("rows.csv.zip", bytes(content)), DataSpec())


def test_a_zip_of_several_files_is_refused(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(DataError, match="holds 2 files: unpack it, and pass one of them"):
        take_sample(write("rows.zip", file.getvalue()), DataSpec())


@pytest.mark.skipif(find_spec("zstandard") is not None, reason="zstandard is installed")
def test_zst_names_the_package_that_it_needs(write):
    with pytest.raises(DataError, match="rows.csv.zst cannot be decompressed: pip install zstandard"):
        take_sample(write("rows.csv.zst", b"(\xb5/\xfd"), DataSpec())
