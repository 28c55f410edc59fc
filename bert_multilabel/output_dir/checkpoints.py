"""What an output folder holds of a run, and which of its checkpoints the run can go on from."""

import json
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import sort_checkpoints

from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.utils.files import CHECKSUMS_FILE, find_truncated_file, verify_checksums, write_json

RUN_FILE = "training_run.json"
# In the record of the run: to which rows the stored decisions were fitted, as `decisions.fingerprint` has it.
TUNED_ON = "tuned_on"
RESULTS_FILE = "all_results.json"
PREDICTIONS_FILE = "predictions.jsonl"
# Of predictions, while not all are done.
SHARDS_FOLDER = "predictions.unfinished"
SEARCH_FILE = "hyperparameter_search.json"
# A page and its figures; both hold texts of the rows.
REPORT_FILES = ("report.html", "report.json")


def read_run(output_dir: Path) -> dict[str, Any] | None:
    """Return the record of the run in a folder, whether it is `finished` and its `arguments`, or None.

    Raises:
        FileError: If it is damaged.
    """
    run_file = output_dir / RUN_FILE
    if not run_file.is_file():
        return None
    run = read_record(run_file, "finished", "arguments")
    if not isinstance(run["arguments"], dict):
        raise damaged_record_error(run_file, "its arguments are no object")
    return run


def trained_pair_column(model_dir: Path) -> str | None:
    """Return the pair column that a model was trained with, "" if it had none, or None if that is unknown.

    `trained_on_pairs` in `config.json` says whether there were pairs; only the record of the run has the column.

    Args:
        model_dir: A directory that training wrote, or anything else.
    """
    config_file = model_dir / "config.json"
    on_pairs = read_record(config_file).get("trained_on_pairs") if config_file.is_file() else None
    run = read_run(model_dir)
    column = None if run is None else run["arguments"].get("text_pair_column")
    if on_pairs is None:  # trained by an earlier version
        return column
    return (column or None) if on_pairs else ""


def add_to_run(output_dir: Path, **entries: Any) -> None:
    """Put entries, JSON values, into the record of the run in a folder."""
    write_json(output_dir / RUN_FILE, {**(read_run(output_dir) or {}), **entries})


def mark_finished(output_dir: Path) -> None:
    """Write down that the run in a folder has ended well."""
    add_to_run(output_dir, finished=True)


def write_results(output_dir: Path, split: str, metrics: dict[str, float]) -> None:
    """Put the metrics of a split into `all_results.json`, in place of older ones of that split.

    Args:
        output_dir: The folder; it is made if need be.
        split: What the names of its metrics begin with: "train", "eval" or "test".
        metrics: By name.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    others = {name: value for name, value in read_results(output_dir).items() if not name.startswith(f"{split}_")}
    write_json(output_dir / RESULTS_FILE, {**others, **metrics})


def read_results(output_dir: Path) -> dict[str, float]:
    """Return what `all_results.json` holds, or nothing if there is none.

    Raises:
        FileError: If it is damaged.
    """
    path = output_dir / RESULTS_FILE
    return read_record(path) if path.exists() else {}


def read_history(output_dir: Path) -> list[dict[str, float]]:
    """Return what Trainer logged of the run in a folder, up to its newest checkpoint; nothing if none is left.

    Raises:
        FileError: If the record of the newest checkpoint is damaged.
    """
    checkpoints = sort_checkpoints(str(output_dir))
    if not checkpoints or not (state_file := Path(checkpoints[-1]) / TRAINER_STATE_NAME).is_file():
        return []
    history: list[dict[str, float]] = read_record(state_file, "log_history")["log_history"]
    return history


def describe_damage(checkpoint: Path) -> str | None:
    """Say what shows that a checkpoint is not as it was saved, or None if it is whole.

    Those of this package have checksums. Of others, Trainer wrote `trainer_state.json` last, so a save that was cut
    short lacks it or has it incomplete.
    """
    change = verify_checksums(checkpoint)
    if change is not None or (checkpoint / CHECKSUMS_FILE).is_file():
        return change
    if not checkpoint.is_dir():
        return "there is no such folder"
    missing = [name for name in (TRAINER_STATE_NAME, "model.safetensors") if not (checkpoint / name).is_file()]
    return f"missing {', '.join(missing)}" if missing else find_truncated_file(checkpoint)


def check_resumable(checkpoint: Path) -> None:
    """Refuse a whole checkpoint that lacks what training would go on with.

    Raises:
        MultiLabelError: If it was saved without the state of the optimizer.
    """
    # In one file or several, by Trainer, FSDP or DeepSpeed.
    has_optimizer = any(checkpoint.glob("optimizer*")) or any(checkpoint.glob("global_step*"))
    if not has_optimizer or not any(checkpoint.glob("rng_state*.pth")):
        raise MultiLabelError(
            f"{checkpoint} holds weights alone (saved with --save_only_model?), so training cannot go on from it: "
            "give it as --model_name_or_path of a new run, or start anew with --overwrite_output_dir"
        )


def best_checkpoint(checkpoint: Path) -> Path | None:
    """Return the best one when this one was saved, if one was: beside it, or in the run that was gone on from."""
    path = read_record(checkpoint / TRAINER_STATE_NAME).get("best_model_checkpoint")
    if path is None:
        return None
    best = checkpoint.with_name(Path(path).name)  # first, for the folder may have been moved
    return best if best.is_dir() else Path(path)


def describe_damage_of_best(checkpoint: Path) -> str | None:
    """Say what is wrong with the best checkpoint before this one, with which the run is to end."""
    best = best_checkpoint(checkpoint)
    if best is None or best == checkpoint:
        return None
    damage = describe_damage(best) if best.is_dir() else "it is gone"
    return None if damage is None else f"the best so far was {best.name}, which is not whole: {damage}"


def read_record(path: Path, *needed: str) -> dict[str, Any]:
    """Read the JSON object of a record with the entries that it needs.

    Raises:
        FileError: If it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in needed if name not in record]
        if not isinstance(record, dict) or missing:
            raise MultiLabelError(f"no object with {', '.join(needed) or 'entries'}")
    except (ValueError, TypeError) as error:
        raise damaged_record_error(path, error) from error
    return record


def damaged_record_error(path: Path, reason: object) -> FileError:
    """Return the error to raise where a record holds what none of ours would."""
    return FileError(f"{path} is damaged ({reason}): mend it, or remove it")
