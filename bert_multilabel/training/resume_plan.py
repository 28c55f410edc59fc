"""What a training run may do in its output folder: begin, or go on where another call of the same run has ended."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers.trainer_utils import sort_checkpoints
from transformers.utils import logging

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.output_dir.atomic_save import remove_checkpoint, remove_model_files, remove_unfinished
from bert_multilabel.output_dir.checkpoints import (
    PREDICTIONS_FILE,
    REPORT_FILES,
    RESULTS_FILE,
    RUN_FILE,
    SEARCH_FILE,
    best_checkpoint,
    check_resumable,
    describe_damage,
    describe_damage_of_best,
    read_run,
)
from bert_multilabel.utils.files import explain_write_errors, sha256, write_json

from .arguments import ModelArguments, MultiLabelTrainingArguments

logger = logging.get_logger(__name__)

# In the record of the run, behind the name of an argument that names a file: what the file holds.
CONTENT = " (SHA-256)"

# What may differ between two calls that continue the same run: where it goes, what it shows and what comes after it.
_NOT_OF_THE_RUN = {
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "do_predict", "test_file", "top_scores"),
    *("predict_precision", "stride", "pooling", "save_total_limit", "restore_callback_states_from_checkpoint"),
    *("per_device_eval_batch_size", "eval_accumulation_steps", "dataloader_num_workers", "dataloader_pin_memory"),
    *("dataloader_persistent_workers", "dataloader_prefetch_factor", "report", "disable_tqdm", "log_level"),
    *("log_level_replica", "logging_strategy", "logging_steps", "logging_first_step", "report_to", "run_name"),
    *("project", "trackio_space_id", "ddp_timeout", "ddp_backend"),
    *("card_examples", "card_language", "card_license"),
    *("push_to_hub", "hub_token", "hub_model_id", "hub_revision", "hub_strategy", "hub_private_repo"),
    *("hub_always_push", "allow_pickle"),
}


@dataclass(frozen=True)
class Claim:
    """What a training run will do in its output folder, once it is sure to begin.

    Attributes:
        output_dir: The folder; it need not exist.
        arguments: Everything that decides the result, as JSON values.
        overwrite: Remove what the folder holds, also of this run.
        named: The checkpoint that was asked for, if one was.
        is_same: Whether the folder belongs to this very run.
        checkpoint: Where to go on from; None: begin anew.
        damaged: Newer checkpoints, and what is wrong with each.
    """

    output_dir: Path
    arguments: dict[str, Any]
    overwrite: bool
    named: Path | None
    is_same: bool
    checkpoint: Path | None
    damaged: dict[Path, str]

    def take(self) -> Path | None:
        """Take possession of the folder, and write down that the run has begun.

        Damaged checkpoints are named and removed: the run comes by them again.

        Returns:
            The checkpoint to go on from, or None to begin anew.

        Raises:
            FileError: If the folder cannot be written, or somebody has written into it since it was looked at.
        """
        self._look_again()
        with explain_write_errors(self.output_dir):
            if self.overwrite:
                remove_model_files(self.output_dir)
                for name in (RUN_FILE, RESULTS_FILE, PREDICTIONS_FILE, *REPORT_FILES):
                    (self.output_dir / name).unlink(missing_ok=True)
                for checkpoint in _newest_first(self.output_dir):
                    remove_checkpoint(checkpoint)
            if not self.is_same:
                (self.output_dir / SEARCH_FILE).unlink(missing_ok=True)  # what it found was for another run
            remove_unfinished(self.output_dir)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_json(self.output_dir / RUN_FILE, {"finished": False, "arguments": self.arguments})
            for checkpoint, damage in self.damaged.items():
                logger.warning(f"{checkpoint} is not whole ({damage}): removing it and looking for the one before it")
                remove_checkpoint(checkpoint)
        if self.checkpoint is not None:
            logger.warning(f"going on from {self.checkpoint}")
        return self.checkpoint

    def _look_again(self) -> None:
        """Refuse to go on by what no longer holds, because another run was quicker."""
        try:
            reason = None if check_folder(self.output_dir, self.arguments, self.overwrite, self.named) == self else ""
        except ValueError as error:
            reason = f" ({error})"
        if reason is not None:
            raise FileError(f"another run has written into {self.output_dir} meanwhile{reason}: start this one again")


def deciding_arguments(
    model_args: ModelArguments,
    data_args: DataArguments,
    decision_args: DecisionArguments,
    training_args: MultiLabelTrainingArguments,
    pair_column: str | None,
) -> dict[str, Any]:
    """Return all that decides what a training run comes to, as JSON values.

    Args:
        model_args: Which model the run starts from.
        data_args: Where its rows are.
        decision_args: What is fitted on the validation rows.
        training_args: How it trains, and in how many processes.
        pair_column: Where the second texts were found; None: there are none.
    """
    arguments = training_args.to_dict()
    for group in (model_args, data_args, decision_args):
        arguments |= asdict(group)
    arguments = {name: value for name, value in arguments.items() if name not in _NOT_OF_THE_RUN}
    arguments["processes"] = training_args.world_size  # a step has the rows of all
    arguments["text_pair_column"] = pair_column or ""  # as found: `trained_pair_column` reads it
    for name in ("train_file", "validation_file", "label_names_file", "label_descriptions"):
        if arguments[name] is not None:
            # A file that was changed in between would make two halves of different runs into one.
            arguments[name + CONTENT] = sha256(Path(arguments[name]))
    return arguments


def check_folder(
    output_dir: Path, arguments: dict[str, Any], overwrite: bool = False, named: Path | None = None
) -> Claim:
    """Find out what a training run may do in its output folder; nothing is changed yet.

    An unfinished run with the same arguments goes on from its newest whole checkpoint, or behind its last trial.

    Args:
        output_dir: The folder; it need not exist.
        arguments: Everything that decides the result, as JSON values.
        overwrite: Begin anew whatever the folder holds.
        named: The checkpoint to go on from: one here in place of the newest whole one, one elsewhere if none is here.

    Raises:
        FileError: If the record of the run cannot be read.
        MultiLabelError: If the folder holds a finished run, a run with other arguments, a model of another origin, or
            checkpoints that are whole but lack what training would go on with; or if the named one is no such.
    """
    if Path(arguments["model_name_or_path"]).resolve() == output_dir.resolve():
        raise MultiLabelError(
            f"--output_dir {output_dir} is --model_name_or_path, too, so after an interruption nothing would be left "
            "to start from: choose another --output_dir"
        )
    if overwrite and named is not None:
        raise MultiLabelError(
            f"cannot go on from --resume_from_checkpoint {named}: --overwrite_output_dir would remove it"
        )
    if overwrite:
        return Claim(output_dir, arguments, overwrite, named, is_same=False, checkpoint=None, damaged={})
    checkpoints = _newest_first(output_dir)
    run = read_run(output_dir)
    if run is None and (checkpoints or (output_dir / "config.json").exists()):
        raise MultiLabelError(
            f"{output_dir} holds a model but no record of its training ({RUN_FILE}): choose another --output_dir, or "
            "replace it with --overwrite_output_dir"
        )
    is_worth_keeping = bool(checkpoints) or (output_dir / SEARCH_FILE).exists()
    is_same = run is not None and _check_same_run(output_dir, run, arguments, is_worth_keeping)
    checkpoint: Path | None = None
    damaged: dict[Path, str] = {}
    if named is None or (is_same and named.parent.resolve() != output_dir.resolve()):
        # Also where the same command has gone on from one elsewhere, and was interrupted in its turn.
        checkpoint, damaged = _find_whole(checkpoints, arguments)
    if named is not None and (checkpoint is None or named.is_dir()):
        _check_named(named, arguments)
    return Claim(output_dir, arguments, overwrite, named, is_same, checkpoint or named, damaged)


def _newest_first(output_dir: Path) -> list[Path]:
    paths = sort_checkpoints(str(output_dir)) if output_dir.is_dir() else []
    return [Path(path) for path in reversed(paths)]


def _check_named(checkpoint: Path, arguments: dict[str, Any]) -> None:
    """Refuse to go on from what is no whole checkpoint of a run with the same arguments, here or elsewhere."""
    reason = describe_damage(checkpoint) or _find_damage_of_best(checkpoint, arguments)
    if reason is None:
        check_resumable(checkpoint)
        run = read_run(checkpoint.parent)
        if run is None:
            reason = f"nothing is known of its run, for there is no {checkpoint.parent / RUN_FILE}"
        elif changed := _find_changes(run, arguments):
            reason = f"it is of a run with other arguments ({'; '.join(changed)})"
    if reason is not None:
        raise MultiLabelError(f"cannot go on from --resume_from_checkpoint {checkpoint}: {reason}")


def _find_whole(checkpoints: Iterable[Path], arguments: dict[str, Any]) -> tuple[Path | None, dict[Path, str]]:
    """Return the first checkpoint that is whole, and what is wrong with those before it."""
    damaged: dict[Path, str] = {}
    lost: list[str] = []
    for checkpoint in checkpoints:
        damage = describe_damage(checkpoint)
        if damage is None:
            damage = _find_damage_of_best(checkpoint, arguments)
            if damage is None:
                check_resumable(checkpoint)
                return checkpoint, damaged
            best = best_checkpoint(checkpoint)
            if best is not None and best.parent.resolve() != checkpoint.parent.resolve():
                lost.append(f"{checkpoint} is whole, but {best}, the best so far")
        damaged[checkpoint] = damage
    if lost:
        raise MultiLabelError(
            f"{lost[0]}, with which the run may have to end, is gone or damaged: bring it back, or begin anew with "
            "--overwrite_output_dir"
        )
    return None, damaged


def _find_damage_of_best(checkpoint: Path, arguments: dict[str, Any]) -> str | None:
    return describe_damage_of_best(checkpoint) if arguments.get("load_best_model_at_end") else None


def _check_same_run(output_dir: Path, run: dict[str, Any], arguments: dict[str, Any], is_worth_keeping: bool) -> bool:
    """Return whether a run has the arguments of the one before; refuse it where the work of that one would be lost."""
    if run["finished"]:
        raise MultiLabelError(
            f"{output_dir} holds a finished run: choose another --output_dir, or replace it with "
            "--overwrite_output_dir"
        )
    changed = _find_changes(run, arguments)
    if changed and is_worth_keeping:
        raise MultiLabelError(
            f"{output_dir} holds an unfinished run with other arguments ({'; '.join(changed)}): go back to them to go "
            "on, choose another --output_dir, or replace it with --overwrite_output_dir"
        )
    return not changed


def _find_changes(run: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """Say which arguments are others than those of a run before."""
    before, now = run["arguments"], json.loads(json.dumps(arguments))
    return [
        f"what {now[name.removesuffix(CONTENT)]} holds was changed"
        if name.endswith(CONTENT)
        else f"{name} was {before[name]!r}, now {now[name]!r}"
        # Another version of Transformers may know options that this one does not.
        for name in sorted(before.keys() & now.keys())
        # Of a file it is what it holds that counts, and not where it lies.
        if before[name] != now[name] and not (name + CONTENT in before and name + CONTENT in now)
    ]
