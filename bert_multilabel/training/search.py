"""Searches for hyperparameters by Trainer's own `hyperparameter_search` with Optuna.

The record of the trials is also their storage. Optuna never deletes a trial from its own: an interrupted one would
stay in the study, and one that a full disk stopped would look as if the model had diverged.
"""

import copy
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from transformers.trainer_utils import SaveStrategy

from bert_multilabel.errors import DivergedError, MultiLabelError
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.output_dir.atomic_save import UNFINISHED, remove_unfinished
from bert_multilabel.output_dir.checkpoints import damaged_record_error, read_record
from bert_multilabel.utils.files import write_json

from .arguments import MultiLabelTrainingArguments
from .trainer import MultiLabelTrainer

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import BaseTrial, FrozenTrial

logger = logging.getLogger(__name__)

# The factor by which a value may rise or fall. The effects depend on ratios, hence a log scale.
_FACTORS = {
    # Around the default, 1e-4, from 2e-5, the least that BERT's authors recommend, to 5e-4.
    "learning_rate": 5.0,
    # Not a multiple of the encoder's: how much a head has to learn depends on the labels, not on the backbone.
    "head_learning_rate": 5.0,
    # The default share of a tenth becomes one from a twentieth to a fifth.
    "warmup_steps": 2.0,
    # In a few epochs, smaller changes make no measurable difference.
    "weight_decay": 10.0,
}
_WHOLE_NUMBERS = ("per_device_train_batch_size", "num_train_epochs")


def search(
    make_trainer: Callable[..., MultiLabelTrainer],
    model: MultiLabelPreTrainedModel,
    args: MultiLabelTrainingArguments,
    path: Path,
) -> MultiLabelTrainingArguments:
    """Search for the best training arguments, or take those that an earlier search of the same run found.

    An interrupted search continues after its last finished trial, with the same result as without the interruption.

    Args:
        make_trainer: Makes a trainer of `args` and `model_init`.
        model: Every trial starts from a copy.
        args: `hyperparameter_search` says how many trials; the first takes the values of `args`.
        path: File of the trials and the best values; read if it exists.

    Returns:
        A copy of the arguments, with the best values.

    Raises:
        DivergedError: If the model diverges in all trials.
        FileError: If the file is damaged.
    """
    record, trials = _read(path, args) if path.exists() else ({}, [])
    if "best" not in record:
        record = _try_values(make_trainer, model, args, path, trials)
    best = record["best"]
    logger.warning(f"training with the best values of the search, {best}; all trials are in {path}")
    args = copy.copy(args)
    for name, value in best.items():
        setattr(args, name, type(getattr(args, name))(value))
    return args


def suggest(trial: "BaseTrial", center: MultiLabelTrainingArguments) -> dict[str, float]:
    """Choose the values of a trial around those of `center`, by their names; other arguments keep their values."""
    values: dict[str, float] = {}
    for name, factor in _FACTORS.items():
        value = getattr(center, name)
        # A zero and a warm-up in steps are kept. A share of one half could not be doubled.
        if value > 0 and not (name == "warmup_steps" and value >= 0.5):
            values[name] = trial.suggest_float(name, value / factor, value * factor, log=True)
    # Smaller batches make more and noisier steps. Larger ones might not fit the memory.
    size = center.per_device_train_batch_size
    sizes = sorted({max(1, size // 4), max(1, size // 2), size})
    values["per_device_train_batch_size"] = trial.suggest_categorical("per_device_train_batch_size", sizes)
    # The learning rate falls to zero over the epochs, so fewer epochs are not the same as stopping early. Fewer than
    # half of them would only save time.
    epochs = float(center.num_train_epochs)
    if center.max_steps <= 0 and epochs.is_integer():
        values["num_train_epochs"] = trial.suggest_int("num_train_epochs", math.ceil(epochs / 2), int(epochs))
    return values


def _try_values(
    make_trainer: Callable[..., MultiLabelTrainer],
    model: MultiLabelPreTrainedModel,
    args: MultiLabelTrainingArguments,
    path: Path,
    done: "list[FrozenTrial]",
) -> dict[str, Any]:
    """Run the trials that are left. Write the record after each, and the best values at the end."""
    # Optuna takes a second to import, and needs the extra "hpo".
    import optuna

    metric = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
    direction: Literal["maximize", "minimize"] = "maximize" if args.greater_is_better else "minimize"
    # Trainer does not return its study.
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, direction=direction)
    if done:
        logger.warning(f"continuing the search after the {len(done)} trials in {path}")
        study.add_trials(done)
    else:  # The result is no worse than the arguments themselves.
        study.enqueue_trial({name: getattr(args, name) for name in (*_FACTORS, *_WHOLE_NUMBERS)})

    trial_args = copy.copy(args)
    trial_args.output_dir = str(path.parent / UNFINISHED)
    trial_args.save_strategy, trial_args.push_to_hub = SaveStrategy.NO, False
    for number in range(len(done), cast(int, args.hyperparameter_search)):
        # A new one for each trial, because the early stopping callback keeps its count.
        trainer = make_trainer(args=copy.copy(trial_args), model_init=lambda: copy.deepcopy(model))
        with suppress(DivergedError):  # Optuna records it as failed
            trainer.hyperparameter_search(
                hp_space=lambda trial: suggest(trial, args),
                compute_objective=partial(_score, trainer, metric),
                n_trials=1,
                direction=direction,
                backend="optuna",
                storage=storage,
                study_name=study.study_name,
                load_if_exists=True,
                # With a seed for each trial, it depends on the trials before it and on no interruption.
                sampler=optuna.samplers.TPESampler(seed=(args.seed + number) % 2**32),
                # Trials of other batch sizes and epochs cannot be compared after equally many steps.
                pruner=optuna.pruners.NopPruner(),
            )
        write_json(path, {"metric": metric, "trials": _as_records(study.trials)})
    remove_unfinished(path.parent)
    record = _with_best(study, metric, path)
    write_json(path, record)
    return record


def _score(trainer: MultiLabelTrainer, metric: str, metrics: dict[str, float]) -> float:
    """Return the score of a trial: of its best evaluation if the run will load that checkpoint, else of the last."""
    before = trainer.state.best_metric if trainer.args.load_best_model_at_end else None
    better = max if trainer.args.greater_is_better else min
    return metrics[metric] if before is None else better(metrics[metric], before)


def _with_best(study: "Study", metric: str, path: Path) -> dict[str, Any]:
    """Return the record of all trials and the best values."""
    from optuna.trial import TrialState

    if not study.get_trials(states=[TrialState.COMPLETE]):
        hint = "lower --learning_rate and --head_learning_rate, and add --overwrite_output_dir"
        raise DivergedError(f"the model diverged in all trials ({path}): {hint}")
    best = {"best": study.best_params, "best_score": study.best_value}
    return {"metric": metric, **best, "trials": _as_records(study.trials)}


def _as_records(trials: "list[FrozenTrial]") -> list[dict[str, Any]]:
    return [{"score": trial.value, "values": trial.params} for trial in trials]


def _read(path: Path, args: MultiLabelTrainingArguments) -> "tuple[dict[str, Any], list[FrozenTrial]]":
    """Read a record, and its trials as Optuna's."""
    from optuna.trial import FixedTrial, TrialState, create_trial

    record, trials = read_record(path, "trials"), []
    try:
        for tried in record["trials"]:
            values, score = tried["values"], tried["score"]
            if score is not None and not math.isfinite(score):
                raise MultiLabelError(f"a score of {score}")
            chosen = FixedTrial(values)
            suggest(chosen, args)  # to collect the distributions
            state = TrialState.FAIL if score is None else TrialState.COMPLETE
            trials.append(create_trial(state=state, value=score, params=values, distributions=chosen.distributions))
        if "best" in record and record["best"] not in [trial.params for trial in trials]:
            raise MultiLabelError("the best values are of no trial")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged_record_error(path, error) from error
    return record, trials
