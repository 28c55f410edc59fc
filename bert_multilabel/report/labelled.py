"""Reports how a trained model does on a file of labelled examples."""

from os import PathLike
from pathlib import Path
from typing import Any

from bert_multilabel.cli.labelled_file import LabelledFile
from bert_multilabel.cli.scored_file import score_labelled_file
from bert_multilabel.evaluation.decisions import AS_STORED, tune
from bert_multilabel.output_dir.checkpoints import read_history
from bert_multilabel.utils.extras import check_installed

from .figures import Evaluation
from .html import Report


def make_report(model_dir: str | PathLike[str], file: str | PathLike[str], **options: Any) -> Report:
    """Score the examples of a file, as `bert-multilabel report` does; a notebook shows the result as a page.

    Args:
        model_dir: Folder of the trained model.
        file: File, folder or pattern of labelled examples that the model was not trained on.
        **options: Options of the command line: `text_pair_column="product"`.

    Returns:
        The report. Its `write(folder)` writes it as files, its `figures` are JSON values.

    Raises:
        MissingDependencyError: If the extra "report" is not installed.
        MultiLabelError: If the folder holds no model of ours, or if the examples are bad or have no labels.
    """
    return report_on(Path(model_dir), LabelledFile(file=str(file), **options))


def report_on(model_dir: Path, source: LabelledFile) -> Report:
    """Score the examples of a file; raises what `make_report` raises."""
    check_installed("a report", "report")
    scored = score_labelled_file(model_dir, source)
    evaluation = Evaluation(
        scored.config,
        tune(scored.logits, scored.labels, scored.config, AS_STORED),
        scored.rows,
        range(1, len(scored.rows) + 1),
        Path(source.file).name,
        read_history(model_dir),
    )
    return Report.of(model_dir.resolve().name, evaluation)
