"""The options that say where the examples are and how to read them."""

from dataclasses import dataclass, fields

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.option_parser import document_fields, option

from .columns import DataSpec
from .reading import read_label_names


@document_fields
@dataclass(kw_only=True)
class ColumnArguments:
    """How to read a file."""

    text_column: str | None = option("Column of the text. Default: by common names.")
    text_pair_column: str | None = option(
        'Column of the second text; "" for none. Default: as trained, else text_pair or sentence2.'
    )
    label_column: list[str] | None = option(
        "Column of the labels, or one 0/1 column per label. Default: by common names."
    )
    label_delimiter: str | None = option("Separates labels in one cell. Default: the first of | ; , that occurs.")
    max_seq_length: int | None = option(
        "Longest input in tokens; label tokens count unless they are encoded separately (isolated, or "
        "only in the last layers). Default: the model's limit."
    )

    def __post_init__(self) -> None:
        check_at_least_one("max_seq_length", self.max_seq_length)

    def spec(self, label_names: list[str] | None) -> DataSpec:
        """Return these arguments as a `DataSpec` with the label names of the model, if it has some."""
        values = {field.name: getattr(self, field.name, None) for field in fields(DataSpec)}
        return DataSpec(**values | {"label_names": label_names})


@document_fields
@dataclass(kw_only=True)
class DataArguments(ColumnArguments):
    """Where the examples are and how to read them."""

    train_file: str | None = option("csv, tsv, json, jsonl or parquet to train on.")
    validation_file: str | None = option("File to evaluate on. Default: a stratified part of the training data.")
    test_file: str | None = option("File to predict; its labels are optional.")
    dataset_name: str | None = option("Name or local folder for datasets.load_dataset, instead of the files.")
    dataset_config_name: str | None = option("Configuration of that dataset.")
    id_column: str | None = option(
        "Column of identifiers, copied to the predictions. Default: by common names, or none."
    )
    label_names_file: str | None = option("Label names, one per line, in order. Default: those in the training data.")
    validation_fraction: float = option(
        "Share of the training examples split off if there is no validation data.", default=0.1
    )
    max_train_samples: int | None = option("Train on this many examples, drawn at random with the seed.")
    top_scores: int | None = option("Write only this many of the highest scores per prediction.")

    def __post_init__(self) -> None:
        super().__post_init__()
        files = [name for name in ("train_file", "validation_file", "test_file") if getattr(self, name) is not None]
        if self.dataset_name is not None and files:
            raise MultiLabelError(f"--dataset_name {self.dataset_name} and --{files[0]} exclude each other: drop one")
        if self.dataset_config_name is not None and self.dataset_name is None:
            raise MultiLabelError(f"--dataset_config_name {self.dataset_config_name} needs --dataset_name")
        for name in ("max_train_samples", "top_scores"):
            check_at_least_one(name, getattr(self, name))

    def spec(self, label_names: list[str] | None) -> DataSpec:
        """Return these arguments as a `DataSpec`; a names file takes precedence over `label_names`."""
        names = read_label_names(self.label_names_file) if self.label_names_file else label_names
        return super().spec(names)
