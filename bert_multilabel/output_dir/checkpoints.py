"""The files of a run in its output directory, and which of its checkpoints can be resumed from."""

import json
import re
from pathlib import Path
from typing import Any

from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.utils.files import CHECKSUMS_FILE, find_truncated_file, verify_checksums, write_json

# As Trainer names them; importing it takes seconds.
TRAINER_STATE_FILE = "trainer_state.json"
TRAINING_ARGS_FILE = "training_args.bin"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
RUN_FILE = "training_run.json"
TUNED_ON = "tuned_on"  # entry of the run file: fingerprint of the examples that the thresholds were fitted to
CONTENT = " (SHA-256)"  # ends the names of those `arguments` of the run file that are digests of files
RESULTS_FILE = "all_results.json"
PREDICTIONS_FILE = "predictions.jsonl"
SHARDS_FOLDER = "predictions.unfinished"
SEARCH_FILE = "hyperparameter_search.json"
# In a checkpoint, with averaging: the trained weights that `model.safetensors` does not hold.
AVERAGED_WEIGHTS_FILE = "averaged_weights.safetensors"
RAW_WEIGHTS_FILE = "raw_weights.safetensors"
REPORT_FILES = ("report.html", "report.json")  # both hold texts of examples


def read_run(output_dir: Path) -> dict[str, Any] | None:
    """Return the record of the run in a directory, with `finished` and `arguments`; None if there is none."""
    run_file = output_dir / RUN_FILE
    if not run_file.is_file():
        return None
    run = read_record(run_file, "finished", "arguments")
    if not isinstance(run["arguments"], dict):
        raise damaged_record_error(run_file, f"its arguments are a {type(run['arguments']).__name__}")
    return run


def trained_pair_column(model_dir: Path) -> str | None:
    """Return the pair column that a model was trained with, "" if it had none, or None if that is unknown."""
    # `trained_on_pairs` in `config.json` says whether there were pairs; only the record of the run has the column.
    config_file = model_dir / "config.json"
    on_pairs = read_record(config_file).get("trained_on_pairs") if config_file.is_file() else None
    run = read_run(model_dir)
    column = None if run is None else run["arguments"].get("text_pair_column")
    if on_pairs is None:  # trained by an earlier version
        return column
    return (column or None) if on_pairs else ""


def add_to_run(output_dir: Path, **entries: Any) -> None:
    """Add entries, JSON values, to the record of the run in a directory."""
    write_json(output_dir / RUN_FILE, {**(read_run(output_dir) or {}), **entries})


def write_results(output_dir: Path, split: str, metrics: dict[str, float]) -> None:
    """Replace the metrics of a split ("train", "eval" or "test", the prefix of their names) in `all_results.json`."""
    output_dir.mkdir(parents=True, exist_ok=True)
    others = {name: value for name, value in read_results(output_dir).items() if not name.startswith(f"{split}_")}
    write_json(output_dir / RESULTS_FILE, {**others, **metrics})


def read_results(output_dir: Path) -> dict[str, float]:
    """Return the contents of `all_results.json`, empty without the file."""
    path = output_dir / RESULTS_FILE
    return read_record(path) if path.exists() else {}


def read_history(output_dir: Path) -> list[dict[str, float]]:
    """Return Trainer's log history of a run up to its newest checkpoint, empty without checkpoints."""
    checkpoints = list_checkpoints(output_dir)
    if not checkpoints or not (state_file := checkpoints[-1] / TRAINER_STATE_FILE).is_file():
        return []
    return list(read_record(state_file, "log_history")["log_history"])


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints in a directory, the oldest first; none if there is no such directory."""
    steps = {path: _CHECKPOINT.fullmatch(path.name) for path in output_dir.glob("checkpoint-*") if path.is_dir()}
    return sorted((path for path, step in steps.items() if step), key=lambda path: int(path.name.partition("-")[2]))


def describe_damage(checkpoint: Path) -> str | None:
    """Return what is damaged or missing in a checkpoint, or None."""
    change = verify_checksums(checkpoint)
    if change is not None or (checkpoint / CHECKSUMS_FILE).is_file():
        return change
    if not checkpoint.is_dir():
        return "no such directory"
    # A checkpoint of Trainer, which writes its state last.
    missing = [name for name in (TRAINER_STATE_FILE, "model.safetensors") if not (checkpoint / name).is_file()]
    return f"missing {', '.join(missing)}" if missing else find_truncated_file(checkpoint)


def check_resumable(checkpoint: Path) -> None:
    """Raise a MultiLabelError if a checkpoint has no state of the optimizer or of the random numbers."""
    # In one file or several, by Trainer, FSDP or DeepSpeed.
    has_optimizer = any(checkpoint.glob("optimizer*")) or any(checkpoint.glob("global_step*"))
    if not has_optimizer or not any(checkpoint.glob("rng_state*.pth")):
        raise MultiLabelError(
            f"{checkpoint} holds only weights (saved with --save_only_model?) and cannot be resumed from: use it as "
            "--model_name_or_path, or start again with --overwrite_output_dir"
        )


def best_checkpoint(checkpoint: Path) -> Path | None:
    """Return the best checkpoint at the time when this one was saved, or None."""
    path = read_record(checkpoint / TRAINER_STATE_FILE).get("best_model_checkpoint")
    if path is None:
        return None
    best = checkpoint.with_name(Path(path).name)  # first, since the directory may have been moved
    return best if best.is_dir() else Path(path)


def describe_damage_of_best(checkpoint: Path) -> str | None:
    """Return what is damaged in the best checkpoint at the time when this one was saved, or None."""
    best = best_checkpoint(checkpoint)
    if best is None or best == checkpoint:
        return None
    damage = describe_damage(best)
    return None if damage is None else f"the best checkpoint so far, {best.name}, is damaged: {damage}"


def read_record(path: Path, *needed: str) -> dict[str, Any]:
    """Read a JSON object; raise a FileError if it is damaged or lacks entries that are needed."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged_record_error(path, error) from error
    if not isinstance(record, dict):
        raise damaged_record_error(path, f"expected a JSON object, got a {type(record).__name__}")
    if missing := [name for name in needed if name not in record]:
        raise damaged_record_error(path, f"missing {', '.join(missing)}")
    return record


def damaged_record_error(path: Path, reason: object) -> FileError:
    """Return the error for a file that this package did not write in this form."""
    return FileError(f"{path} is damaged ({reason}): repair or remove it")
