"""Tunes the decisions of a trained model on labelled rows: `python -m bert_multilabel.tune MODEL_DIR --file rows.csv`.

Temperature, thresholds and `min_labels` go into the model's `config.json`, where every later use of the model finds
them, and its card, `README.md`, is written anew. The rows must not be those that it was trained on.
"""

import copy
import json
from dataclasses import asdict
from pathlib import Path

from transformers.utils import logging

from bert_multilabel.cli.labelled_file import LabelledFile, score_labelled_file
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import FEWEST_ROWS, Decisions, Tuned, fingerprint, tune
from bert_multilabel.hub.model_card import write_model_card
from bert_multilabel.hub.run_facts import read_facts
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.output_dir.checkpoints import TUNED_ON, add_to_run, read_results, read_run, write_results
from bert_multilabel.utils.files import write_json
from bert_multilabel.utils.option_parser import OptionParser

logger = logging.get_logger(__name__)

# What is shown, of all that goes into `all_results.json`.
_SHOWN = (
    *("hamming_score", "subset_accuracy", "micro_f1", "micro_precision", "micro_recall", "macro_f1"),
    *("expected_calibration_error", "brier_score"),
)


def tune_folder(model_dir: Path, source: LabelledFile, wanted: DecisionArguments) -> tuple[dict[str, float], Tuned]:
    """Tune a trained model and store the result in its folder.

    Where the rows are those to which the stored decisions were fitted, these have an advantage over whatever is fitted
    on a part of the rows, so the fit begins anew.

    Args:
        model_dir: A folder that the script trained, or that `save_pretrained` wrote.
        source: Where the labelled rows are, and how to read them.
        wanted: What to tune, and for which goal.

    Returns:
        The scores of the decisions before, by the names of `metrics.evaluate`, and what tuning came to.

    Raises:
        MultiLabelError: If the folder holds no model of ours, or if the rows are bad or have no labels.
    """
    read_results(model_dir)  # to which the scores are added in the end
    scored = score_labelled_file(model_dir, source)
    if len(scored.rows) < FEWEST_ROWS:
        raise MultiLabelError(f"{source.file} has {len(scored.rows)} rows: tuning takes at least {FEWEST_ROWS}")
    config, rows = scored.config, fingerprint(scored.labels)
    run = read_run(model_dir)
    start = copy.copy(config)
    if wanted.thresholds != "keep" and run is not None and run.get(TUNED_ON) == rows:
        logger.warning(f"the stored decisions were fitted to the rows of {source.file}: they are fitted anew")
        Decisions.of(MultiLabelConfig(min_labels=config.min_labels)).store(start)
    tuned = tune(scored.logits, scored.labels, start, wanted)
    tuned.decisions.store(config)
    if run is not None and tuned.is_unseen:
        add_to_run(model_dir, **{TUNED_ON: rows})
    _write(model_dir, config, tuned, {"loss": scored.metrics["loss"], **tuned.scores, "samples": len(scored.rows)})
    _write_card(model_dir / "README.md", config, tuned, Path(source.file).name)
    return scored.metrics, tuned


def _write(model_dir: Path, config: MultiLabelConfig, tuned: Tuned, scores: dict[str, float]) -> None:
    path = model_dir / "config.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **asdict(tuned.decisions)})
    write_results(model_dir, "eval", {f"eval_{name}": value for name, value in scores.items()})


def _write_card(path: Path, config: MultiLabelConfig, tuned: Tuned, source: str) -> None:
    facts = read_facts(path.parent)
    if facts is not None:
        write_model_card(path, config, facts, tuned, source)
    elif path.is_file():
        logger.warning(
            f"{path} stays as it is, for nothing is known of the training: what it says of thresholds and "
            "scores is that of before"
        )


def main(arguments: list[str] | None = None) -> None:
    """Tune, and print what the scores were before and are after."""
    parser = OptionParser((LabelledFile, DecisionArguments), prog="bert-multilabel tune", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model; its config.json is changed.")
    source, wanted, others = parser.parse(arguments)
    before, tuned = tune_folder(others.model_dir, source, wanted)
    after = (
        "each row by a fit on others"
        if tuned.is_unseen
        else "with the same thresholds, as none fitted on these rows did better on rows that they were not fitted on"
    )
    print(f"before: as stored, which flatters on rows that it was fitted on; after: {after}\n")
    print(f"{'':28}before    after")
    for name in _SHOWN:
        print(f"{name.replace('_', ' '):28}{before[name]:.4f}    {tuned.scores[name]:.4f}")
    print(f"stored in {others.model_dir / 'config.json'}")
