"""What holds for any bytes in a file of lines: each row is read or has a problem, or an error names the file."""

from bert_multilabel.errors import DataError


def reader_of_any_bytes(path, content, recognized, reader_of):
    """Write and read a file; return its reader and the numbers of its rows, or None after an error with its path."""
    path.write_bytes(content)
    try:
        recognized(str(path))
        reader = reader_of(str(path))
        numbers = [number for batch in reader.batches() for number in (*batch.numbers, *batch.problems)]
    except DataError as error:
        assert str(path) in str(error)
        return None
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    return reader, numbers
