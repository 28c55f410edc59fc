"""Tunes the decisions of a trained model on labeled examples: `bert-multilabel tune MODEL_DIR --file FILE`.

Temperature, thresholds, `min_labels` and label rules go into the model's `config.json`, where every later use of the
model finds them, and its card, `README.md`, is written again. The model must not have been trained on these examples.
"""

import logging
from pathlib import Path

from bert_multilabel.cli.labelled_file import LabelledFile
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.utils.files import write_json
from bert_multilabel.utils.option_parser import OptionParser, path_argument

logger = logging.getLogger(__name__)

# What is shown, of all that goes into `all_results.json`.
_SHOWN = (
    *("hamming_score", "subset_accuracy", "micro_f1", "micro_precision", "micro_recall", "macro_f1"),
    *("expected_calibration_error", "brier_score"),
)


def main(arguments: list[str] | None = None) -> int:
    """Tune, and print the scores before and after.

    Returns:
        0 if the decisions were stored, or the old ones kept, 1 if they are worse than those before.
    """
    parser = OptionParser(
        (LabelledFile, DecisionArguments),
        prog="bert-multilabel tune",
        description=__doc__,
        epilog="Exit code: 0 when the decisions were stored, or the old ones kept; 1 if they are worse than those "
        "before, or if input is refused; 2 for a wrong command line.",
    )
    parser.add_argument(
        "model_dir", type=path_argument, help="Folder of the trained model; its config.json is changed."
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="Store decisions that serve the goal less than those of the folder, too, and what --thresholds names "
        "(per_label, global or expected_score) even if it is not better than the old decisions.",
    )
    parser.add_argument("--json", metavar="PATH", help="Also write the scores before and after to this JSON file.")
    source, wanted, others = parser.parse(arguments)
    from .folder import title, tune_folder  # only now what takes seconds to import

    result = tune_folder(others.model_dir, source, wanted, others.force)
    columns = result.columns()
    print(f"{result.describe_columns()}\n")
    print(f"{'':28}{''.join(f'{name:14}' for name in columns)}")
    for name in _SHOWN:
        print(f"{title(name):28}{''.join(f'{scores[name]:<14.4f}' for scores in columns.values())}")
    if others.json is not None:
        write_json(Path(others.json), {**columns, "in_sample": result.is_in_sample, "stored": result.is_stored})
    print(result.describe_outcome(others.model_dir / "config.json"))
    for warning in result.warnings():
        logger.warning(warning)
    return 0 if result.is_stored else 1
