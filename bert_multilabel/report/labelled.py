"""Reports how a trained model does on a file of labelled examples."""

from pathlib import Path

from bert_multilabel.cli.labelled_file import LabelledFile
from bert_multilabel.cli.scored_file import score_labelled_file
from bert_multilabel.evaluation.decisions import AS_STORED, tune
from bert_multilabel.output_dir.checkpoints import read_history

from .figures import Evaluation
from .html import write_report


def report_labelled(model_dir: Path, source: LabelledFile, output_dir: Path) -> list[Path]:
    """Score the examples of a file, write the report, and return the files written.

    Raises:
        MultiLabelError: If the folder holds no model of ours, or if the examples are bad or have no labels.
        FileError: If the report cannot be written.
    """
    scored = score_labelled_file(model_dir, source)
    evaluation = Evaluation(
        scored.config,
        tune(scored.logits, scored.labels, scored.config, AS_STORED),
        scored.rows,
        range(1, len(scored.rows) + 1),
        Path(source.file).name,
        read_history(model_dir),
    )
    return write_report(output_dir, model_dir.resolve().name, evaluation)
