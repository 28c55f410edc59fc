"""What an output folder holds of a run, and from where the run can go on."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import sort_checkpoints
from transformers.utils import logging

from .files import write_json

logger = logging.get_logger(__name__)

RUN_FILE = "training_run.json"
# In the record of the run: to which rows the stored decisions were fitted, as `decisions.fingerprint` has it.
TUNED_ON = "tuned_on"
RESULTS_FILE = "all_results.json"
PREDICTIONS_FILE = "predictions.jsonl"
SEARCH_FILE = "hyperparameter_search.json"
# A page and its figures; both hold texts of the rows.
REPORT_FILES = ("report.html", "report.json")


def start_or_resume(output_dir: Path, arguments: dict[str, Any], overwrite: bool) -> Path | None:
    """Decide what a training run may do in its output folder, and write down that it has begun.

    An unfinished run with the same arguments goes on from its newest whole checkpoint. Checkpoints that were cut
    short are named and removed, for what is written over their remains could look whole and be a mixture.

    Args:
        output_dir: The folder; it need not exist.
        arguments: Everything that decides the result, as JSON values.
        overwrite: Begin anew whatever the folder holds.

    Returns:
        The checkpoint to go on from, or None to begin anew.

    Raises:
        ValueError: If the folder holds a finished run, a run with other arguments, a model of another origin, or
            checkpoints that are whole but lack what training would go on with.
    """
    run = read_run(output_dir)
    checkpoints = [Path(path) for path in reversed(sort_checkpoints(str(output_dir)))] if output_dir.is_dir() else []
    is_same = False
    if overwrite:
        for name in (RUN_FILE, RESULTS_FILE, PREDICTIONS_FILE, *REPORT_FILES):
            (output_dir / name).unlink(missing_ok=True)
        for checkpoint in checkpoints:
            shutil.rmtree(checkpoint)
        checkpoints = []
    elif run is not None:
        is_same = _check_same_run(output_dir, run, arguments, has_checkpoints=bool(checkpoints))
    elif checkpoints or (output_dir / "config.json").exists():
        raise ValueError(
            f"{output_dir} holds a model but no record of its training ({RUN_FILE}): choose another --output_dir, or "
            "replace it with --overwrite_output_dir"
        )
    if not is_same:
        (output_dir / SEARCH_FILE).unlink(missing_ok=True)  # what it found was for another run
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(output_dir / RUN_FILE, {"finished": False, "arguments": arguments})
    for checkpoint in checkpoints:
        damage = find_damage(checkpoint)
        if damage is None:
            logger.warning(f"going on from {checkpoint}")
            return checkpoint
        logger.warning(f"{checkpoint} is not whole ({damage}): removing it and looking for the one before it")
        shutil.rmtree(checkpoint)
    return None


def read_run(output_dir: Path) -> dict[str, Any] | None:
    """Return the record of the run in a folder, whether it is `finished` and its `arguments`, or None."""
    run_file = output_dir / RUN_FILE
    if not run_file.is_file():
        return None
    run: dict[str, Any] = json.loads(run_file.read_text(encoding="utf-8"))
    return run


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
    """Return what `all_results.json` holds, or nothing if there is none."""
    path = output_dir / RESULTS_FILE
    results: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results


def read_history(output_dir: Path) -> list[dict[str, float]]:
    """Return what Trainer logged of the run in a folder, up to its newest checkpoint; nothing if none is left."""
    checkpoints = sort_checkpoints(str(output_dir))
    state = Path(checkpoints[-1]) / "trainer_state.json" if checkpoints else None
    if state is None or not state.is_file():
        return []
    history: list[dict[str, float]] = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    return history


def find_damage(checkpoint: Path) -> str | None:
    """Say what shows that a checkpoint of Trainer was cut short, or None if it is whole.

    Trainer writes `trainer_state.json` last, so a save that was cut short lacks it or has it incomplete.

    Raises:
        ValueError: If the checkpoint is whole, but was saved without the state of the optimizer.
    """
    missing = [name for name in ("trainer_state.json", "model.safetensors") if not (checkpoint / name).is_file()]
    if missing:
        return f"without {', '.join(missing)}"
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        with safe_open(checkpoint / "model.safetensors", framework="pt"):
            pass  # opening compares the header with the length of the file
    except (ValueError, SafetensorError) as error:
        return str(error)
    # The ones that torch writes are zip files, whose table of contents stands at the end.
    written = sorted([*checkpoint.glob("*.pt*"), *checkpoint.glob("*.bin")])
    cut = [path.name for path in written if not zipfile.is_zipfile(path)]
    if cut:
        return f"cut short: {', '.join(cut)}"
    # FSDP names it otherwise.
    has_optimizer = any((checkpoint / name).is_file() for name in ("optimizer.pt", "optimizer.bin"))
    if not has_optimizer or not any(checkpoint.glob("rng_state*.pth")):
        raise ValueError(
            f"{checkpoint} holds weights alone (saved with --save_only_model?), so training cannot go on from it: "
            "give it as --model_name_or_path of a new run, or start anew with --overwrite_output_dir"
        )
    return None


def _check_same_run(output_dir: Path, run: dict[str, Any], arguments: dict[str, Any], has_checkpoints: bool) -> bool:
    """Return whether a run has the arguments of the one before; refuse it where that one would be lost."""
    if run["finished"]:
        raise ValueError(
            f"{output_dir} holds a finished run: choose another --output_dir, or replace it with "
            "--overwrite_output_dir"
        )
    before, now = run["arguments"], json.loads(json.dumps(arguments))
    changed = [
        f"{name} was {before[name]!r}, now {now[name]!r}"
        # Another version of Transformers may know options that this one does not.
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]
    if changed and has_checkpoints:  # without one there is nothing to lose
        raise ValueError(
            f"{output_dir} holds an unfinished run with other arguments ({'; '.join(changed)}): repeat them to go on, "
            "choose another --output_dir, or replace it with --overwrite_output_dir"
        )
    return not changed
