"""Opens files, whatever their compression and encoding, and takes a sample from which their format is recognized."""

import codecs
import io
import lzma
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.errors import DataError

SAMPLE_SIZE = 2**18  # characters
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# By the first bytes, files that hold no lines of text.
_KINDS = {
    b"PAR1": "parquet",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"FEA1": "feather 1",
    b"PK\x03\x04": "zip",
    b"\x93NUMPY": "numpy",
    b"\x89HDF": "hdf5",
    b"\xd0\xcf\x11\xe0": "office",
    b"%PDF-": "pdf",
    b"SQLite format 3": "sqlite",
    b"\x1f\x8b": "gzip",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ": "xz",
    **{bytes([0x80, protocol]): "pickle" for protocol in range(2, 6)},
}


@dataclass(frozen=True)
class Sample:
    """The beginning of a file.

    Attributes:
        path: Of the file.
        suffix: The extension in lower case, without that of a compression: ".csv" of "a.csv.gz".
        kind: Of a binary file: what its first bytes say, decompressed; "" of other files.
        encoding: Of its text.
        lines: The first lines with their ends, at most about `SAMPLE_SIZE` characters; none of a binary file.
    """

    path: str
    suffix: str
    kind: str
    encoding: str
    lines: list[str]

    @property
    def first(self) -> str:
        """The first line that is not blank, without surrounding blanks."""
        return next((line.strip() for line in self.lines if line.strip()), "")


def take_sample(path: str, spec: DataSpec) -> Sample:
    """Read the beginning of a file.

    Raises:
        DataError: If there is no such file, it cannot be read, or its text has another encoding.
    """
    check_is_file(path)
    suffixes = Path(path).suffixes
    if suffixes and suffixes[-1].lower() in _COMPRESSIONS:
        suffixes.pop()
    suffix = suffixes[-1].lower() if suffixes else ""
    with open_bytes(path) as file:
        head = file.read(4096)
    encoding = spec.encoding or next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), "")
    return Sample(path, suffix, kind, encoding, [] if kind else list(_first(read_lines(path, encoding))))


def check_is_file(path: str) -> None:
    """Raise a DataError if there is no such file."""
    if not Path(path).is_file():
        raise DataError(f"there is no file {path!r}")


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Open a file, decompressed; errors of the operating system become a `DataError` that names the file."""
    compression = _COMPRESSIONS.get(Path(path).suffix.lower())
    try:
        with _open_bytes(path, compression) as file:
            yield file
    except DataError:
        raise
    except (OSError, EOFError, *_BROKEN) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except ValueError as error:
        if compression is None or isinstance(error, UnicodeError):
            raise
        if "not supported" in str(error):  # by fsspec: no package reads it
            raise DataError(f"{path} cannot be decompressed: pip install zstandard, or decompress it") from error
        raise DataError(f"{path} cannot be decompressed: {error}") from error


def _open_bytes(path: str, compression: str | None) -> AbstractContextManager[IO[bytes]]:
    if compression is None:
        return Path(path).open("rb")
    if compression == "zip":
        return _open_zip(path)
    import fsspec  # as long as a fifth of all that reads a plain file

    opened: AbstractContextManager[IO[bytes]] = fsspec.open(path, "rb", compression=compression)
    return opened


def _open_zip(path: str) -> IO[bytes]:
    """Open the one file in an archive; those that the Finder of macOS adds do not count."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = [name for name in archive.namelist() if not name.startswith("__MACOSX/") and name[-1:] != "/"]
            names = [name for name in files if not Path(name).name.startswith(".")]
            if len(names) != 1:
                raise DataError(f"{path} holds {len(names)} files: unpack it, and pass one of them")
            return archive.open(names[0])  # it stays open behind this block
    except (RuntimeError, UnicodeError) as error:  # encrypted, compressed in an unknown way, or a damaged name
        raise DataError(f"{path} cannot be read: {error}") from error


def read_lines(path: str, encoding: str = "utf-8") -> Iterator[str]:
    """Yield the lines of a text file with their ends, decompressed and without a byte order mark.

    Raises:
        DataError: At a byte that the encoding does not know, and at a NUL.
    """
    number = 0
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix("\ufeff")  # not "utf-8-sig": it reads a part of the mark as an empty file
                if "\0" in line:
                    advice = "this is no text file, or pass its encoding, such as --encoding utf-16-le"
                    raise DataError(f"{path}, line {number}: a NUL byte, which {encoding} does not have; {advice}")
                yield line
    except UnicodeError as error:
        raise DataError(_bad_byte(path, encoding, error)) from error
    except LookupError as error:
        raise DataError(f"{error}: pass another encoding, such as cp1252") from error


def filled_lines(path: str, encoding: str) -> Iterator[str]:
    """Yield the lines that are not blank."""
    return filter(str.strip, read_lines(path, encoding))


def lines_of_rows(path: str, encoding: str, numbers: Collection[int]) -> dict[int, int]:
    """Return the line of each of these rows, in a file with a row on each line that is not blank."""
    filled = (line for line, text in enumerate(read_lines(path, encoding), 1) if text.strip())
    return {number: line for number, line in enumerate(filled, 1) if number in numbers}


def _bad_byte(path: str, encoding: str, error: UnicodeError) -> str:
    """Say which byte of which line cannot be decoded; the decoder reads ahead of the lines."""
    advice = "save the file as UTF-8, or pass its encoding, such as --encoding cp1252"
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as found:
                byte = line[found.start]
                return f"{path}, line {number}: byte 0x{byte:02x} is not {encoding.upper()}; {advice}"
            if encoding.startswith("utf-16"):
                break  # its lines do not end at bytes
    return f"{path} is not {encoding.upper()} ({error}); {advice}"


def _first(lines: Iterator[str]) -> Iterator[str]:
    size = 0
    for line in islice(lines, 1000):
        yield line
        size += len(line)
        if size > SAMPLE_SIZE:
            return
