"""Tunes the decisions of a trained model on labelled rows: `python -m bert_multilabel.tune MODEL_DIR --file rows.csv`.

Temperature, thresholds and `min_labels` go into the model's `config.json`, where every later use of the model finds
them. The rows must not be those that it was trained on.
"""

import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from transformers import HfArgumentParser

from .arguments import ColumnArguments, DecisionArguments, unknown_arguments
from .backbone import load_trained
from .checkpoints import read_results, read_run, write_results
from .configuration_multilabel import MultiLabelConfig
from .data import load_splits, multi_hot
from .decisions import FEWEST_ROWS, Decisions, tune
from .encoding import encode_rows
from .files import write_json
from .model_card import write_model_card
from .prediction import predict_rows
from .scoring_multilabel import PRECISIONS, MultiLabelScorer, text_reader
from .training import trained_pair_column

# What is shown, of all that goes into `all_results.json`.
_SHOWN = (
    *("hamming_score", "subset_accuracy", "micro_f1", "micro_precision", "micro_recall", "macro_f1"),
    *("expected_calibration_error", "brier_score"),
)


@dataclass
class TuneArguments(ColumnArguments):
    """The rows to tune on."""

    file: str = field(kw_only=True, metadata={"help": "csv, tsv, json, jsonl or parquet with labels, not trained on."})
    precision: str = field(
        default="float32",
        metadata={"help": "Precision of the encoder's matrix products.", "choices": list(PRECISIONS)},
    )


def tune_folder(model_dir: Path, rows: TuneArguments, wanted: DecisionArguments) -> dict[str, dict[str, float]]:
    """Tune a trained model and store the result in its folder.

    Args:
        model_dir: A folder that the script trained, or that `save_pretrained` wrote.
        rows: Where the labelled rows are, and how to read them.
        wanted: What to tune, and for which goal.

    Returns:
        The scores of the decisions "before" and, cross-fitted, "after", by the names of `metrics.evaluate`.

    Raises:
        ValueError: If the folder holds no model of ours, or if the rows are bad or have no labels.
    """
    model, tokenizer = load_trained(model_dir)
    config = model.config
    if rows.text_pair_column is None:
        rows = replace(rows, text_pair_column=trained_pair_column(model_dir))
    labelled = load_splits(rows.spec(config.label_names), {"validation": rows.file}).splits["validation"]
    scorer = MultiLabelScorer(model, tokenizer, rows.precision)
    encoded = encode_rows(labelled, text_reader(tokenizer, config), rows.max_seq_length)
    if len(encoded) < FEWEST_ROWS:
        raise ValueError(f"{rows.file} has {len(encoded)} rows: tuning takes at least {FEWEST_ROWS}")
    logits, predicted = predict_rows(scorer, encoded)  # (N, L)
    labels = multi_hot(encoded)  # (N, L)
    before = {name.removeprefix("test_"): value for name, value in predicted.items()}
    decisions, after = tune(logits, labels, config, wanted)
    decisions.store(config)
    _write(model_dir, config, decisions, {"loss": before["loss"], **after, "samples": len(labels)})
    return {"before": before, "after": after}


def _write(model_dir: Path, config: MultiLabelConfig, decisions: Decisions, scores: dict[str, float]) -> None:
    path = model_dir / "config.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **asdict(decisions)})
    write_results(model_dir, "eval", {f"eval_{name}": value for name, value in scores.items()})
    run = read_run(model_dir)
    if run is not None:  # else the card is someone else's
        base_model = run["arguments"]["model_name_or_path"]
        write_model_card(model_dir / "README.md", config, base_model, read_results(model_dir))


def main(arguments: list[str] | None = None) -> None:
    """Tune, and print what the scores were before and are after."""
    parser = HfArgumentParser((TuneArguments, DecisionArguments), description=__doc__, allow_abbrev=False)  # type: ignore[arg-type]
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model; its config.json is changed.")
    rows, wanted, others, unknown = parser.parse_args_into_dataclasses(
        arguments, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        parser.error(unknown_arguments(unknown))
    scores = tune_folder(others.model_dir, rows, wanted)
    print(
        "before: as stored, which flatters on rows that it was fitted on; after: on rows that the fit has not seen\n"
    )
    print(f"{'':28}before    after")
    for name in _SHOWN:
        print(f"{name.replace('_', ' '):28}{scores['before'][name]:.4f}    {scores['after'][name]:.4f}")
    print(f"stored in {others.model_dir / 'config.json'}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        # The message says what is wrong with which input; a traceback would only show where in our code.
        sys.exit(str(error))
