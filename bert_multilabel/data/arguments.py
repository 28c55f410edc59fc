"""The options that say where the examples are and how to read them."""

from dataclasses import dataclass, fields

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.option_parser import document_fields, option

from .label_names import read_label_names
from .spec import ANNOTATORS, DataSpec


@document_fields
@dataclass(kw_only=True)
class ColumnArguments:
    """How to read a file."""

    text_column: list[str] | None = option(
        "Column of the text, or several that are joined in this order. Default: by common names."
    )
    text_pair_column: str | None = option(
        'Column of the second text; "" for none. Default: as trained, else text_pair or sentence2.'
    )
    label_column: list[str] | None = option(
        "Column of the labels, or several: 0/1 columns, or a name in each. Default: by common names, else 0/1 columns."
    )
    label_delimiter: str | None = option(
        "Separates the labels in one cell, such as ',' or '\\n'. Default: | or ;, or what joins labels that also "
        "occur by themselves."
    )
    label_values: str | None = option(
        "How numbers in label columns are read: 'shares' from 0 to 1, or 'votes>=2' for at least 2 votes. "
        "Default: 0 and 1."
    )
    name_text_columns: bool = option("Begin each of several joined texts with the name of its column.", False)
    join_lists: bool = option("Join texts that are lists of texts or words.", False)
    one_label_per_line: bool = option("Make one example of all rows with the same id, or else the same text.", False)
    annotators: str | None = option(
        "How the judgements of several annotators become labels: what most of them say, the share of them, or only "
        "what all agree on.",
        choices=ANNOTATORS,
    )
    use_suggestions: bool = option("Take the labels that a model suggested where no annotator has answered.", False)
    labels_as_they_are: bool = option("Accept suspicious labels, and take each text in a label column as one.", False)
    ignore_unknown_labels: bool = option(
        "Leave out names of labels that the model, --label_names_file or else the training split does not have.", False
    )
    encoding: str | None = option("Encoding of text files, such as cp1252. Default: UTF-8, or UTF-16 if marked.")
    column_names: list[str] | None = option("Names of the columns of a csv or tsv file without a header line.")
    rows_key: str | None = option("Key of the rows in a JSON file with several lists, or sheet of an xlsx file.")
    max_seq_length: int | None = option(
        "Longest input in tokens; label tokens count unless they are encoded separately (isolated, or "
        "only in the last layers). Default: the model's limit."
    )

    def __post_init__(self) -> None:
        check_at_least_one("max_seq_length", self.max_seq_length)
        for name in ("text_column", "label_column", "column_names"):  # a file of options may hold one name as a text
            if isinstance(value := getattr(self, name), str):
                setattr(self, name, [value])

    def spec(self, label_names: list[str] | None) -> DataSpec:
        """Return these arguments as a `DataSpec`; an option for a names file takes precedence over `label_names`."""
        label_ids = None
        if (path := getattr(self, "label_names_file", None)) is not None:
            label_names, label_ids = read_label_names(path, self.encoding, self.labels_as_they_are)
        values = {field.name: getattr(self, field.name) for field in fields(DataSpec) if hasattr(self, field.name)}
        return DataSpec(**values, label_names=label_names, label_ids=label_ids)


@document_fields
@dataclass(kw_only=True)
class DataArguments(ColumnArguments):
    """Where the examples are and how to read them."""

    train_file: str | None = option(
        "csv, tsv, json, jsonl, parquet or another file of examples to train on; a folder or pattern of files."
    )
    validation_file: str | None = option("File to evaluate on. Default: a stratified part of the training data.")
    test_file: str | None = option("File to predict; its labels are optional.")
    dataset_name: str | None = option("Name or local folder for datasets.load_dataset, instead of the files.")
    dataset_config_name: str | None = option("Configuration of that dataset.")
    id_column: str | None = option(
        "Column of identifiers, copied to the predictions. Default: by common names, or none."
    )
    unlabelled_file: str | None = option(
        "File of more texts to train on, which the models of --teacher label; labels in it are not read."
    )
    weight_column: str | None = option(
        "Column of the weights of examples in training, numbers from 0 up. Default: all weigh the same."
    )
    label_names_file: str | None = option(
        "Label names: one per line in order, or a table or JSON with ids. Default: those in the training data."
    )
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
