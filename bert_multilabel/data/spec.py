"""What is known about the data before it is read."""

from dataclasses import dataclass

from bert_multilabel.errors import DataError

from .values import shorten

SHUFFLE_BUFFER = 10_000  # a streamed example is drawn from this many: shuffle a file that is sorted by label
ANNOTATORS = ("majority", "share", "unanimous")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The columns, the labels and the form of the files, as far as they are known; None: determined from the data.

    Attributes:
        text_column: Column of the text, or columns that are joined in this order.
        text_pair_column: Column of the second text; "" for none.
        label_column: Column of the labels, or 0/1 columns, one per label.
        id_column: Column of identifiers.
        weight_column: Column of the weights of examples in training.
        label_names: The L label names in their order.
        label_ids: The id of each label name, where ids are not the positions of the names.
        label_delimiter: Separates the labels in one cell; such as "|".
        label_values: How numbers in columns of labels are read: "shares", "votes>=K", or None for 0 and 1.
        name_text_columns: Whether each of several joined texts begins with the name of its column.
        join_lists: Whether texts that are lists are joined.
        one_label_per_line: Whether rows with the same id, or else the same text, are one example.
        annotators: How the judgements of several annotators on one text become its labels: one of `ANNOTATORS`.
        use_suggestions: Whether labels that a model suggested are taken where no annotator has answered.
        labels_as_they_are: Whether suspicious labels are accepted, and cells hold one label each.
        ignore_unknown_labels: Whether names of labels that are not among the known ones are left out.
        encoding: Encoding of text files; default: UTF-8, or UTF-16 with a byte order mark.
        column_names: Names of the columns of files without a header line.
        rows_key: Key of the rows in a JSON file that holds several lists.

    Raises:
        DataError: If label names are missing, repeated or blank, an attribute has an unknown value, or two exclude
            each other.
    """

    text_column: str | list[str] | None = None
    text_pair_column: str | None = None
    label_column: str | list[str] | None = None
    id_column: str | None = None
    weight_column: str | None = None
    label_names: list[str] | None = None
    label_ids: list[int] | None = None
    label_delimiter: str | None = None
    label_values: str | None = None
    name_text_columns: bool = False
    join_lists: bool = False
    one_label_per_line: bool = False
    annotators: str | None = None
    use_suggestions: bool = False
    labels_as_they_are: bool = False
    ignore_unknown_labels: bool = False
    encoding: str | None = None
    column_names: list[str] | None = None
    rows_key: str | None = None

    def __post_init__(self) -> None:
        if self.label_delimiter == "":
            raise DataError("the label delimiter is empty: leave it out, or pass a character such as '|'")
        if self.annotators not in (None, *ANNOTATORS):
            raise DataError(f"annotators must be one of {', '.join(ANNOTATORS)}, got {self.annotators!r}")
        if self.one_label_per_line and self.annotators is not None:
            raise DataError(
                "a line holds one label of its text (one_label_per_line) or what one annotator says (annotators), not "
                "both: drop one"
            )
        if self.weight_column is not None and (self.one_label_per_line or self.annotators is not None):
            raise DataError(
                f"weight_column {self.weight_column!r} has a weight for each row, but several rows become one example "
                "(one_label_per_line, annotators): drop one"
            )
        if self.label_names is not None:
            blank = not self.label_names or not all(name.strip() for name in self.label_names)
            if blank or len(set(self.label_names)) < len(self.label_names):
                raise DataError(f"label names must be unique and not blank, got {shorten(self.label_names)}")

    @property
    def label_columns(self) -> list[str]:
        """The named label columns: none, one, or several."""
        return [self.label_column] if isinstance(self.label_column, str) else list(self.label_column or [])

    @property
    def text_columns(self) -> list[str]:
        """The named text columns: none, one, or several that are joined."""
        return [self.text_column] if isinstance(self.text_column, str) else list(self.text_column or [])

    @property
    def named_columns(self) -> frozenset[str]:
        """All columns that are named, whatever their role."""
        names = [*self.text_columns, *self.label_columns, self.id_column, self.text_pair_column, self.weight_column]
        return frozenset(name for name in names if name)
