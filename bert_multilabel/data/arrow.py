"""Numbers as NumPy arrays, and as the columns of Arrow that hold them."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def as_lists(numbers: NDArray[np.float32]) -> pa.ListArray:
    """Return numbers (N, L) as a column of N lists."""
    rows, size = numbers.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * size)
    return pa.ListArray.from_arrays(offsets, pa.array(numbers.reshape(-1)))


def as_numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return the numbers of a column: (N,), or (N, L) of lists of equal length."""
    values = column.combine_chunks()
    is_lists = pa.types.is_list(values.type)
    numbers: NDArray[Any] = (values.flatten() if is_lists else values).to_numpy(zero_copy_only=False)
    return numbers.reshape(len(values), -1) if is_lists else numbers
