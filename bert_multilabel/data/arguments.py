"""The options that say where the examples are and how to read them."""

from dataclasses import dataclass, field, replace

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.checks import check_at_least_one

from .columns import DataSpec
from .reading import read_label_names


@dataclass
class ColumnArguments:
    """How to read the rows of a file."""

    text_column: str | None = field(default=None, metadata={"help": "Column of the text. Default: by common names."})
    text_pair_column: str | None = field(
        default=None,
        metadata={
            "help": 'Column of the second text; "" for none. Default: as the model was trained, else by common names.'
        },
    )
    label_column: list[str] | None = field(
        default=None,
        metadata={"help": "Column of the labels, or one 0/1 column per label. Default: by common names."},
    )
    label_delimiter: str | None = field(
        default=None, metadata={"help": "What separates labels in one cell. Default: the first of | ; , that occurs."}
    )
    max_seq_length: int | None = field(
        default=None,
        metadata={
            "help": "Longest input in tokens; label tokens count unless they stand apart (isolated, or in the last "
            "layers only). Default: the model's limit."
        },
    )

    def __post_init__(self) -> None:
        check_at_least_one("max_seq_length", self.max_seq_length)

    def spec(self, label_names: list[str] | None) -> DataSpec:
        """Return what these arguments say about columns and labels.

        Args:
            label_names: Labels of the model, if it has some.

        Raises:
            DataError: If a names file cannot be read, or names or delimiter are refused.
        """
        return DataSpec(
            text_column=self.text_column,
            text_pair_column=self.text_pair_column,
            label_column=self.label_column,
            label_names=label_names,
            label_delimiter=self.label_delimiter,
        )


@dataclass
class DataArguments(ColumnArguments):
    """Where the rows are and how to read them."""

    train_file: str | None = field(default=None, metadata={"help": "csv, tsv, json, jsonl or parquet to train on."})
    validation_file: str | None = field(
        default=None, metadata={"help": "File to evaluate on. Default: a stratified part of the training data."}
    )
    test_file: str | None = field(default=None, metadata={"help": "File to predict; its labels are optional."})
    dataset_name: str | None = field(
        default=None, metadata={"help": "Name or local folder for datasets.load_dataset, in place of the files."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of that data set."})
    id_column: str | None = field(
        default=None,
        metadata={"help": "Column that names a row in the predictions. Default: by common names, or none."},
    )
    label_names_file: str | None = field(
        default=None, metadata={"help": "Label names, one a line, in order. Default: what the training data holds."}
    )
    validation_fraction: float = field(
        default=0.1, metadata={"help": "Share of the training rows split off where validation data is missing."}
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on this many rows, drawn at random by the seed."}
    )
    top_scores: int | None = field(
        default=None, metadata={"help": "Write only this many of the highest scores per predicted row."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        files = {"train_file": self.train_file, "validation_file": self.validation_file, "test_file": self.test_file}
        given = [f"--{name}" for name, path in files.items() if path is not None]
        if self.dataset_name is not None and given:
            raise MultiLabelError(
                f"--dataset_name {self.dataset_name} and {', '.join(given)} exclude each other: drop one"
            )
        if self.dataset_config_name is not None and self.dataset_name is None:
            raise MultiLabelError(f"--dataset_config_name {self.dataset_config_name} needs --dataset_name")
        for name in ("max_train_samples", "top_scores"):
            check_at_least_one(name, getattr(self, name))

    def spec(self, label_names: list[str] | None) -> DataSpec:
        """Return what these arguments say about columns and labels, the names file going before `label_names`."""
        names = read_label_names(self.label_names_file) if self.label_names_file else label_names
        return replace(super().spec(names), id_column=self.id_column)
