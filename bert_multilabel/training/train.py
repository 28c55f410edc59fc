"""Trains from Python, as the command line does, with its options as keywords."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from bert_multilabel.data.sources import is_dataset_folder
from bert_multilabel.data.table import SPLITS
from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

from .arguments import read_options
from .run import run

_OPTION = re.compile(r"(?<![^\s(])--([a-z]\w*)")
_SCORES_SHOWN = ("hamming_score", "micro_f1", "macro_f1", "samples_f1", "subset_accuracy")


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Attributes:
        scores: As in `all_results.json`: `eval_hamming_score` and the others.
        folder: Holds the model and all that belongs to it.
        model: The trained model, in evaluation mode, on the CPU.
        tokenizer: Its tokenizer.
    """

    scores: dict[str, float]
    folder: Path
    model: MultiLabelPreTrainedModel = field(repr=False)
    tokenizer: MultiLabelTokenizer = field(repr=False)

    def _repr_html_(self) -> str | None:
        """Show the most important scores in a notebook, as a table; without scores, a notebook shows the text."""
        ends = {"validation": "", "at threshold 0.5": "_at_half"}
        table = pd.DataFrame(
            {column: [self.scores.get(f"eval_{name}{end}") for name in _SCORES_SHOWN] for column, end in ends.items()},
            index=[name.replace("_f1", " F1").replace("_", " ") for name in _SCORES_SHOWN],
        )
        shown = table.dropna(axis="columns", how="all")
        return None if shown.empty else str(shown.to_html(float_format="{:.3f}".format, na_rep="", border=0))


def train(data: Any, model_name_or_path: Any, output_dir: str | PathLike[str], **options: Any) -> TrainingResult:
    """Train a model and evaluate it, as `bert-multilabel train` does; the same call resumes an interrupted run.

    Args:
        data: A path (file, folder or pattern), a pandas DataFrame or a `datasets.Dataset`, all of which are the
            training split; or a `DatasetDict` or dictionary of these by split: train, validation, test. Without
            validation, a part of train is split off. A test split is predicted, too.
        model_name_or_path: The checkpoint to start from: a name on the Hub, or a folder.
        output_dir: Folder for the model and its files.
        **options: Options of the command line: `strategy="label_tokens"`, `num_train_epochs=3`.

    Returns:
        The scores, the folder, and the trained model with its tokenizer.

    Raises:
        MultiLabelError: If the data or an option is refused; says which and what to do.

    Examples:
        >>> from bert_multilabel import train
        >>> result = train("train.csv", "google-bert/bert-base-uncased", "runs/first")  # doctest: +SKIP
        >>> result.scores["eval_hamming_score"]  # doctest: +SKIP
        0.62
    """
    with TemporaryDirectory() as stored:
        sources = _sources(data, Path(stored))
        tasks = {"do_train": True, "do_eval": True, "do_predict": "test_file" in sources}
        own = {"model_name_or_path": model_name_or_path, "output_dir": output_dir}
        if twice := sorted((own.keys() | sources.keys()) & options.keys()):
            raise MultiLabelError(f"{twice[0]}={options[twice[0]]!r} is passed twice: leave it out of the options")
        with _naming_data(Path(stored)):
            scores = run(read_options({**tasks, **own, **sources, **options}))
    folder = Path(output_dir)
    return TrainingResult(scores, folder, *load_trained(folder))


def _sources(data: Any, folder: Path) -> dict[str, str]:
    """Return the options that name the data; what is in memory is stored in a folder."""
    if isinstance(data, str | PathLike) and is_dataset_folder(str(data)):
        return {"dataset_name": str(data)}
    by_split = data if isinstance(data, Mapping) else {"train": data}
    if "train" not in by_split or not set(by_split) <= set(SPLITS):
        names = ", ".join(map(str, by_split)) or "none"
        raise MultiLabelError(f"data must be passed by split, train and perhaps validation and test; it has {names}")
    return {f"{split}_file": _file_of(part, folder / f"{split}.parquet") for split, part in by_split.items()}


@contextmanager
def _naming_data(folder: Path) -> Iterator[None]:
    """Let errors name data in memory by their split, not by their file, and say how options are passed here."""
    try:
        yield
    except MultiLabelError as error:
        message = str(error)
        for split in SPLITS:
            message = message.replace(str(folder / f"{split}.parquet"), f"the {split} data")
        if option := _OPTION.search(message):
            message += f"\n(In Python, an option such as {option[0]} is a keyword: {option[1]}=...)"
        error.args = (message,)
        raise


def _file_of(data: Any, path: Path) -> str:
    if isinstance(data, str | PathLike):
        return str(data)
    if isinstance(data, Dataset):
        data.to_parquet(path)
    elif isinstance(data, pd.DataFrame):
        named = data.set_axis([*map(str, data.columns)], axis="columns")
        if not named.columns.is_unique:
            twice = named.columns[named.columns.duplicated()][0]
            raise DataError(f"the {path.stem} data has two columns {twice!r}: rename one")
        try:
            pq.write_table(pa.Table.from_pandas(named, preserve_index=False), path)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"the {path.stem} data has a column of mixed types: {error}") from error
    else:
        kind = type(data).__name__
        raise MultiLabelError(
            f"cannot train on data of type {kind}: pass a path, a DataFrame, a Dataset or a DatasetDict"
        )
    return str(path)
