"""What the datasets library knows about columns: the names of the ids that they hold."""

import pyarrow as pa
from datasets import ClassLabel, Features

from bert_multilabel.errors import DataError

from .table import KnownColumns


def columns_in_features(features: Features | None) -> KnownColumns:
    """Return the columns, and the names of the ids in those that are a ClassLabel or a list of them."""
    known: KnownColumns = {}
    for column, feature in (features or {}).items():
        item = getattr(feature, "feature", feature)  # the type of the items of a list
        known[column] = list(item.names) if isinstance(item, ClassLabel) else None
    return known


def columns_in_schema(path: str, schema: pa.Schema) -> KnownColumns:
    """Return the columns in a file of the datasets library.

    Raises:
        DataError: If what it wrote about them cannot be read.
    """
    try:
        return columns_in_features(Features.from_arrow_schema(schema))
    # The datasets library does not validate them.
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        types = f"the column types for the datasets library in {path}"
        raise DataError(f"{types} cannot be read ({error}): write the file again") from error
