"""Shows how a trained model does on labeled examples: `bert-multilabel report MODEL_DIR --file FILE`.

Writes `report.html`, a single page that needs no other file, and its figures as `report.json`: scores with confidence
intervals, every label, which labels are confused, calibration, learning curves, the worst examples and those that look
mislabeled. Both files contain texts of the data: keep them where the data may be.
"""

from bert_multilabel.cli.labelled_file import LabelledFile
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import OptionParser, path_argument


def main(arguments: list[str] | None = None) -> None:
    """Score the examples of a file, and write the report."""
    parser = OptionParser(LabelledFile, prog="bert-multilabel report", description=__doc__)
    parser.add_argument("model_dir", type=path_argument, help="Folder of the trained model.")
    parser.add_argument(
        "--output_dir", type=path_argument, help="Where the report goes. Default: into the model's folder."
    )
    source, others = parser.parse(arguments)
    check_installed("a report", "report")
    from .labelled import report_on  # only now what takes seconds to import

    paths = report_on(others.model_dir, source).write(others.output_dir or others.model_dir)
    print(f"written, with texts of the data in them: {', '.join(map(str, paths))}")
