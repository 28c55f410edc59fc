"""Shows how a trained model does on labeled examples: `bert-multilabel report MODEL_DIR --file FILE`.

Writes `report.html`, a single page that needs no other file, and its figures as `report.json`: scores with confidence
intervals, every label, which labels are confused, calibration, learning curves, the worst examples and those that look
mislabeled. Both files contain texts of the data: keep them where the data may be.
"""

from pathlib import Path

from bert_multilabel.cli.labelled_file import LabelledFile, score_labelled_file
from bert_multilabel.evaluation.decisions import AS_STORED, tune
from bert_multilabel.output_dir.checkpoints import read_history
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import OptionParser

from .figures import Evaluation
from .html import write_report


def main(arguments: list[str] | None = None) -> None:
    """Score the examples of a file, and write the report."""
    parser = OptionParser(LabelledFile, prog="bert-multilabel report", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model.")
    parser.add_argument("--output_dir", type=Path, help="Where the report goes. Default: into the model's folder.")
    source, others = parser.parse(arguments)
    check_installed("a report", "report")
    scored = score_labelled_file(others.model_dir, source)
    evaluation = Evaluation(
        scored.config,
        tune(scored.logits, scored.labels, scored.config, AS_STORED),
        scored.rows,
        range(1, len(scored.rows) + 1),
        Path(source.file).name,
        read_history(others.model_dir),
    )
    name = others.model_dir.resolve().name
    paths = write_report(others.output_dir or others.model_dir, name, evaluation)
    print(f"written, with texts of the data in them: {', '.join(map(str, paths))}")
