"""Decides what a training run does in its output folder: start, resume from a checkpoint, or extend a finished run.

`deciding_arguments` lists what makes two runs the same, `plan_run` compares a run with that in the folder and changes
nothing, and `ResumePlan.apply` prepares the folder.
"""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bert_multilabel.data.sources import content_digest
from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.output_dir.atomic_save import remove_checkpoint, remove_model_files, remove_unfinished
from bert_multilabel.output_dir.checkpoints import (
    CONTENT,
    PREDICTIONS_FILE,
    REPORT_FILES,
    RESULTS_FILE,
    RUN_FILE,
    SEARCH_FILE,
    TRAINER_STATE_FILE,
    best_checkpoint,
    check_resumable,
    describe_damage,
    describe_damage_of_best,
    list_checkpoints,
    read_record,
    read_run,
)
from bert_multilabel.utils.files import explain_write_errors, write_json

from .arguments import RunArguments
from .teachers import teacher_digest

logger = logging.getLogger(__name__)

# How long to train: may change when a run is resumed.
LENGTH = ("num_train_epochs", "max_steps")
# Options that name a file. Its content decides, not its path, so the record also holds its SHA-256.
_FILES = (
    "train_file validation_file unlabelled_file label_names_file label_descriptions label_rules label_weights"
).split()
# Options that may name a folder, which can be spelled in several ways.
_FOLDERS = ("model_name_or_path", "dataset_name")
# Options that decide the result of training: a resumed run must have the same ones.
_DECIDING = (
    # the model
    "model_name_or_path strategy label_attention label_layers classifier_dropout label_descriptions add_labels "
    "keep_head lora_rank "
    # the data
    "train_file validation_file dataset_name dataset_config_name text_column text_pair_column label_column "
    "label_delimiter label_values name_text_columns join_lists one_label_per_line annotators use_suggestions "
    "labels_as_they_are ignore_unknown_labels encoding column_names rows_key label_names_file max_seq_length stride "
    "pooling max_train_samples do_eval validation_fraction unlabelled_file "
    # the order of the examples and their batches
    "seed data_seed train_sampling_strategy streaming per_device_train_batch_size processes "
    "gradient_accumulation_steps auto_find_batch_size dataloader_drop_last accelerator_config ignore_data_skip "
    # the loss
    "loss focal_gamma max_pos_weight label_weights weight_column label_correlation average_tokens_across_devices "
    "teacher teacher_weight "
    # the optimizer, whose state is restored, and its schedule
    "optim optim_args optim_target_modules learning_rate head_learning_rate weight_decay adam_beta1 adam_beta2 "
    "adam_epsilon max_grad_norm neftune_noise_alpha bf16 fp16 lr_scheduler_type lr_scheduler_kwargs warmup_steps "
    "weight_averaging hyperparameter_search fsdp deepspeed "
    # the best checkpoint
    "load_best_model_at_end metric_for_best_model greater_is_better early_stopping_patience threshold_goal thresholds "
    "calibration min_labels label_rules"
).split()
# What the refusals of a folder advise.
_OTHERWISE = "choose another --output_dir, or replace it with --overwrite_output_dir"
_FURTHER = "train its model further with --model_name_or_path {} and another --output_dir"


def deciding_arguments(arguments: RunArguments, pair_column: str | None) -> dict[str, Any]:
    """Return everything that decides the result of a training run, and its length, as JSON values.

    Args:
        arguments: The options of the run.
        pair_column: Column of the second texts; None: there are none.
    """
    values = arguments.training.to_dict()
    for group in (arguments.model, arguments.data, arguments.decisions):
        values |= asdict(group)
    values["processes"] = arguments.training.world_size
    values["text_pair_column"] = pair_column or ""  # as found: `trained_pair_column` reads it
    if len(values["text_column"] or ()) == 1:
        (values["text_column"],) = values["text_column"]
    named = [name for name in _FILES if values[name]]  # --label_rules "" names none
    hashes: dict[str, Any] = {name + CONTENT: content_digest(values[name]) for name in named}
    if (teachers := values["teacher"]) is not None:
        hashes["teacher" + CONTENT] = [*map(teacher_digest, teachers)]
        hashes["predict_precision"] = values["predict_precision"]  # of their scores, too
    return {name: values[name] for name in (*_DECIDING, *LENGTH)} | hashes


@dataclass(frozen=True, kw_only=True)
class ResumePlan:
    """What a training run will do in its output folder.

    Attributes:
        output_dir: The folder, which may not exist yet.
        arguments: Those of `deciding_arguments`.
        overwrite: Remove the run that the folder holds.
        named: The checkpoint of `--resume_from_checkpoint`, if there is one.
        is_same_run: Whether the folder holds this run.
        checkpoint: Where to resume from; None: start from the beginning.
        damaged: Newer checkpoints, and what is wrong with each.
        steps_before: How many steps the run of the checkpoint was to have.
    """

    output_dir: Path
    arguments: dict[str, Any]
    overwrite: bool = False
    named: Path | None = None
    is_same_run: bool = False
    checkpoint: Path | None = None
    damaged: dict[Path, str] = field(default_factory=dict)
    steps_before: int | None = None

    def apply(self) -> Path | None:
        """Prepare the folder, record that the run has begun, and return the checkpoint to resume from, if any.

        Damaged checkpoints are removed with a warning: the run saves them again.

        Raises:
            FileError: If the folder cannot be written, or another run has written into it since the plan was made.
        """
        self._check_unchanged()
        with explain_write_errors(self.output_dir):
            if self.overwrite:
                remove_model_files(self.output_dir)
                for name in (RUN_FILE, RESULTS_FILE, PREDICTIONS_FILE, *REPORT_FILES):
                    (self.output_dir / name).unlink(missing_ok=True)
                for checkpoint in _newest_first(self.output_dir):
                    remove_checkpoint(checkpoint)
            if not self.is_same_run:
                (self.output_dir / SEARCH_FILE).unlink(missing_ok=True)  # what it found was for another run
            remove_unfinished(self.output_dir)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_json(self.output_dir / RUN_FILE, {"finished": False, "arguments": self.arguments})
            for checkpoint, damage in self.damaged.items():
                logger.warning(f"{checkpoint} is damaged ({damage}): removing it and looking for the one before it")
                remove_checkpoint(checkpoint)
        if self.checkpoint is not None:
            logger.warning(f"resuming from {self.checkpoint}")
        return self.checkpoint

    def _check_unchanged(self) -> None:
        try:
            if plan_run(self.output_dir, self.arguments, self.overwrite, self.named) == self:
                return
            reason = ""
        except MultiLabelError as error:
            reason = f" ({error})"
        raise FileError(f"another run has written into {self.output_dir} meanwhile{reason}: start this one again")


def plan_run(
    output_dir: Path, arguments: dict[str, Any], overwrite: bool = False, named: Path | None = None
) -> ResumePlan:
    """Find out what a training run may do in its output folder; nothing is changed yet.

    An unfinished run is resumed from its newest intact checkpoint or after the last trial of its search, a finished
    one if it is to become longer.

    Args:
        output_dir: The folder, which may not exist yet.
        arguments: Those of `deciding_arguments`.
        overwrite: Start from the beginning and replace what the folder holds.
        named: The checkpoint to resume from: one in this folder instead of the newest, or, if it has none, one
            elsewhere.

    Raises:
        FileError: If the record of the run cannot be read.
        MultiLabelError: If the folder holds a finished run of this length, a run with other arguments, a model of
            another origin, or checkpoints without the state of training; or if a checkpoint cannot be resumed from.
    """
    _check_keeps_models(output_dir, arguments)
    if overwrite and named is not None:
        raise MultiLabelError(f"cannot resume from {named}: --overwrite_output_dir would remove it")
    if overwrite:
        return ResumePlan(output_dir=output_dir, arguments=arguments, overwrite=True)
    checkpoints = _newest_first(output_dir)
    run = read_run(output_dir)
    if run is None and (checkpoints or (output_dir / "config.json").exists()):
        raise MultiLabelError(f"{output_dir} holds a model but no record of its training ({RUN_FILE}): {_OTHERWISE}")
    can_be_lost = not checkpoints and not (output_dir / SEARCH_FILE).exists()
    is_same_run = run is not None and _is_same_run(output_dir, run, arguments, can_be_lost)
    checkpoint: Path | None = None
    damaged: dict[Path, str] = {}
    if named is None or (is_same_run and named.parent.resolve() != output_dir.resolve()):
        # Also if this run was resumed from a checkpoint elsewhere and then interrupted.
        checkpoint, damaged = _newest_intact(checkpoints, arguments)
    if checkpoint is not None and run is not None:
        _check_length(checkpoint, run, arguments)
    elif run is not None and run["finished"] and named is None:
        raise MultiLabelError(f"{output_dir} holds a finished run without a checkpoint: {_FURTHER.format(output_dir)}")
    if named is not None and (checkpoint is None or named.is_dir()):
        _check_named(named, arguments)
    checkpoint = checkpoint or named
    return ResumePlan(
        output_dir=output_dir,
        arguments=arguments,
        named=named,
        is_same_run=is_same_run,
        checkpoint=checkpoint,
        damaged=damaged,
        steps_before=None if checkpoint is None else read_record(checkpoint / TRAINER_STATE_FILE).get("max_steps"),
    )


def _check_keeps_models(output_dir: Path, arguments: dict[str, Any]) -> None:
    """Refuse an output folder whose model is what the run starts from, or a teacher."""
    if Path(arguments["model_name_or_path"]).resolve() == output_dir.resolve():
        raise MultiLabelError(
            f"--output_dir {output_dir} is also --model_name_or_path: choose another to keep the model to start from"
        )
    if output_dir.resolve() in [Path(path).resolve() for path in arguments.get("teacher") or ()]:
        raise MultiLabelError(f"--output_dir {output_dir} is also a --teacher: choose another folder")


def _newest_first(output_dir: Path) -> list[Path]:
    return list_checkpoints(output_dir)[::-1]


def _is_same_run(output_dir: Path, run: dict[str, Any], arguments: dict[str, Any], can_be_lost: bool) -> bool:
    """Return whether the folder holds this run, and refuse it if it would replace another one."""
    changed = _find_changes(run, arguments)
    if changed and (run["finished"] or not can_be_lost):
        kind = "a finished" if run["finished"] else "an unfinished"
        raise MultiLabelError(
            f"{output_dir} holds {kind} run with other arguments ({'; '.join(changed)}): use the same, {_OTHERWISE}"
        )
    if run["finished"] and not _changes_length(run, arguments):
        raise MultiLabelError(
            f"{output_dir} holds a finished run: train it longer with more --num_train_epochs or --max_steps, "
            f"{_OTHERWISE}"
        )
    return not changed


def _find_changes(run: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """Describe the arguments that differ from those of a run before."""
    before, now = run["arguments"], json.loads(json.dumps(arguments))
    free = set() if now.get("hyperparameter_search") else {*LENGTH}  # a search chooses the length, too
    return [
        f"the content of {_named(now[name.removesuffix(CONTENT)])} has changed"
        if name.endswith(CONTENT)
        else f"{name} was {before[name]!r}, now {now[name]!r}"
        # Records of other versions may have other names.
        for name in sorted((before.keys() & now.keys()) - free)
        if before[name] != now[name] and not (name + CONTENT in before and name + CONTENT in now)
        if not (name in _FOLDERS and _is_same_place(before[name], now[name]))
    ]


def _named(paths: str | list[str]) -> str:
    return paths if isinstance(paths, str) else ", ".join(paths)


def _is_same_place(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and Path(one).resolve() == Path(other).resolve()


def _changes_length(run: dict[str, Any], arguments: dict[str, Any]) -> bool:
    return any(run["arguments"].get(name) != arguments.get(name) for name in LENGTH)


def _newest_intact(checkpoints: list[Path], arguments: dict[str, Any]) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest intact checkpoint, and what is wrong with the newer ones."""
    damaged: dict[Path, str] = {}
    lost: list[str] = []
    for checkpoint in checkpoints:
        own_damage = describe_damage(checkpoint)
        damage = own_damage or _damage_of_best(checkpoint, arguments)
        if damage is None:
            check_resumable(checkpoint)
            return checkpoint, damaged
        damaged[checkpoint] = damage
        best = None if own_damage else best_checkpoint(checkpoint)
        if best is not None and best.parent.resolve() != checkpoint.parent.resolve():
            lost.append(f"{checkpoint} is intact, but {best}, the best so far, is missing or damaged")
    if lost:
        raise MultiLabelError(f"{lost[0]}: restore it, or start from the beginning with --overwrite_output_dir")
    return None, damaged


def _damage_of_best(checkpoint: Path, arguments: dict[str, Any]) -> str | None:
    return describe_damage_of_best(checkpoint) if arguments.get("load_best_model_at_end") else None


def _check_length(checkpoint: Path, run: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Refuse a new length that the run has passed, and a longer one if early stopping has ended the run."""
    if not _changes_length(run, arguments):
        return
    state = read_record(checkpoint / TRAINER_STATE_FILE, "global_step", "epoch")
    name, counter = ("max_steps", "global_step") if arguments["max_steps"] > 0 else ("num_train_epochs", "epoch")
    asked, done = arguments[name], state[counter]
    if run["finished"]:
        # Its last steps may have no checkpoint. If it had --max_steps, its number of epochs meant nothing.
        before, steps = run["arguments"], run["arguments"]["max_steps"]
        is_in_steps = name == "num_train_epochs" and steps > 0
        done = max(done, done * steps / state["global_step"] if is_in_steps else before[name])
    if asked < done or (asked == done and run["finished"]):
        raise MultiLabelError(
            f"--{name} {asked:g} is too few: the run in {checkpoint.parent} has trained for {done:g}. Ask for more"
        )
    stopper = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {}).get("attributes", {})
    patience = arguments["early_stopping_patience"]
    if patience is not None and stopper.get("early_stopping_patience_counter", 0) >= patience:
        raise MultiLabelError(
            f"the run in {checkpoint.parent} was stopped early, after {patience} evaluations without a better one: "
            f"{_FURTHER.format(checkpoint.parent)}"
        )


def _check_named(checkpoint: Path, arguments: dict[str, Any]) -> None:
    """Refuse a named checkpoint that is not an intact one of a run with the same arguments."""
    reason = describe_damage(checkpoint) or _damage_of_best(checkpoint, arguments)
    if reason is None:
        check_resumable(checkpoint)
        run = read_run(checkpoint.parent)
        if run is None:
            reason = f"there is no record of its run, {checkpoint.parent / RUN_FILE}"
        elif changed := _find_changes(run, arguments):
            reason = f"it is of a run with other arguments ({'; '.join(changed)})"
        else:
            _check_length(checkpoint, {**run, "finished": False}, arguments)
    if reason is not None:
        raise MultiLabelError(f"cannot resume from --resume_from_checkpoint {checkpoint}: {reason}")
