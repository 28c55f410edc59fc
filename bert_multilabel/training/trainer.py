"""The Trainer of Transformers with the losses of this package, atomic checkpoints and faster training on a CPU.

Shapes: N examples, B batch, L labels.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.data_loader import DataLoaderShard
from datasets import Dataset
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import (
    PREFIX_CHECKPOINT_DIR,
    EvalLoopOutput,
    TrainOutput,
    get_last_checkpoint,
    has_length,
)

from bert_multilabel.data.examples import label_frequencies
from bert_multilabel.data.tokenizing import Collator, lengths_of, texts_of
from bert_multilabel.errors import DivergedError, FileError, MultiLabelError
from bert_multilabel.evaluation.pooling import pool_windows
from bert_multilabel.metrics import logits_and_references
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES, MultiLabelPreTrainedModel, multi_label_loss
from bert_multilabel.output_dir.atomic_save import (
    UNFINISHED,
    publish_checkpoint,
    remove_unfinished,
    rotate_checkpoints,
)
from bert_multilabel.output_dir.checkpoints import best_checkpoint, describe_damage
from bert_multilabel.utils.distributed import on_main
from bert_multilabel.utils.files import explain_write_errors

from .arguments import MultiLabelTrainingArguments
from .cpu import cpu_training
from .losses import Loss, make_loss, positive_weights
from .progress import ShortPrinter, ShortProgress
from .weight_averaging import WeightAveraging


class EpochSeededLengthSampler(LengthGroupedSampler):
    """Groups examples of similar length in an order that depends on the seed and the epoch alone.

    The base class draws from the global generator, so a run resumed within an epoch would see other batches.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.generator = torch.Generator().manual_seed(self.seed + epoch)


def compute_on_main(
    compute_metrics: Callable[..., dict[str, float]], of_texts: Callable[[EvalPrediction], EvalPrediction]
) -> Callable[..., dict[str, float]]:
    """Let the main process alone compute the metrics of an evaluation, for all processes.

    `of_texts` pools what was evaluated, if those were windows of texts. The result has the loss over all annotated
    labels, too: Trainer's own, a mean of means, depends on the batches. It raises a DivergedError if logits are NaN or
    infinite.
    """

    def compute(evaluated: EvalPrediction) -> dict[str, float]:
        prediction = of_texts(evaluated)
        logits, labels = (torch.from_numpy(array) for array in logits_and_references(prediction))  # (N, L) each
        if bad := int((~logits.isfinite()).any(dim=1).sum()):
            raise DivergedError(
                f"training has diverged: the logits of {bad} of {len(logits)} examples are NaN or infinite; lower "
                "--learning_rate or --head_learning_rate"
            )
        return {"loss": float(multi_label_loss(logits, labels)), **compute_metrics(prediction)}

    return lambda prediction: on_main(partial(compute, prediction))


class MultiLabelTrainer(Trainer):
    """Trainer with the losses of this package, atomic checkpoints and faster training on a CPU.

    It trains with the loss that its arguments name, or with `compute_loss_func`, and evaluates with the loss of the
    model, so that runs compare. Several processes learn what one process learns, and report its metrics.

    Args:
        *args: Of `Trainer`.
        label_weights: (L,), float32, see `losses.normalized_weights`; None: all labels weigh the same in training.
        mean_weight: The mean of the weights of the training examples, if batches have `weight`.
        **kwargs: Of `Trainer`.
    """

    args: MultiLabelTrainingArguments

    def __init__(
        self, *args: Any, label_weights: torch.Tensor | None = None, mean_weight: float = 1.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("compute_loss_func", self._training_loss)
        super().__init__(*args, **kwargs)
        self._label_weights, self._mean_weight = label_weights, mean_weight
        self._example_weights: torch.Tensor | None = None  # of the batch, (B,)
        gets_logits = not self.args.batch_eval_metrics and self.preprocess_logits_for_metrics is None
        if self.compute_metrics is not None and gets_logits:
            self.compute_metrics = compute_on_main(self.compute_metrics, self._of_texts)
        # Those of Transformers print every metric of every evaluation.
        self.remove_callback(PrinterCallback if self.args.disable_tqdm else ProgressCallback)
        self.add_callback(ShortPrinter if self.args.disable_tqdm else ShortProgress)
        self.add_callback(_TrainingEvents(self))
        self._averaging = WeightAveraging()
        self.add_callback(self._averaging)
        self._resumed: Path | None = None
        self._sampler: EpochSeededLengthSampler | None = None
        self._texts: NDArray[np.int64] | None = None
        self._check_sharding()

    def _check_sharding(self) -> None:
        """Refuse FSDP where it would not happen, or its checkpoints could not be resumed from."""
        if not (self.args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"):
            return
        if not self.is_fsdp_enabled:
            raise MultiLabelError(
                f"Accelerate does not use FSDP with {self.args.world_size} processes on {self.args.device.type}: use "
                "examples/accelerate/cpu.yaml"
            )
        plugin = self.accelerator.state.fsdp_plugin
        fsdp, state_dict = plugin.fsdp_version, plugin.state_dict_type.name
        if (fsdp, state_dict) != (2, "FULL_STATE_DICT"):
            raise MultiLabelError(
                f"checkpoints of FSDP version {fsdp} with {state_dict} cannot be resumed from: set fsdp_version to 2 "
                "and fsdp_state_dict_type to FULL_STATE_DICT, as in examples/accelerate/fsdp.yaml"
            )
        if not self.args.do_train:
            raise MultiLabelError("FSDP is for training: add --do_train, or use examples/accelerate/ddp.yaml")

    @property
    def changes_model(self) -> bool:
        """Whether training changes the model itself: FSDP shards its weights, DeepSpeed casts them."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    @property
    def _own_class(self) -> type[MultiLabelPreTrainedModel]:
        return MODEL_CLASSES[cast(MultiLabelPreTrainedModel, self.model).config.strategy]

    def whole_model(self) -> MultiLabelPreTrainedModel:
        """Return the model with all of its weights, in its own precision; all processes must call this.

        If training changed the model, it is a new one of its class with its weights.
        """
        model: Any = self.model
        if self.changes_model:
            weights = self.accelerator.get_state_dict(self.model_wrapped)  # with FSDP only the main process has them
            model = self._own_class(model.config)
            model.load_state_dict(on_main(lambda: weights))
            return cast(MultiLabelPreTrainedModel, model.to(self.args.device))
        # Accelerate has wrapped its `forward` in the precision of training.
        return cast(MultiLabelPreTrainedModel, self.accelerator.unwrap_model(model, keep_fp32_wrapper=False))

    @contextmanager
    def _with_arguments(self, **values: Any) -> Iterator[None]:
        """Give arguments other values within a block."""
        before = {name: getattr(self.args, name) for name in values}
        vars(self.args).update(values)
        try:
            yield
        finally:
            vars(self.args).update(before)

    # The order of examples

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches, grouped by length in an order that the seed and the epoch decide."""
        examples = self.train_dataset
        # A stream has a length, but orders its examples itself.
        if self.args.train_sampling_strategy != "group_by_length" or not isinstance(examples, Dataset):
            return super().get_train_dataloader()
        with self._with_arguments(train_sampling_strategy="sequential"):
            loader = super().get_train_dataloader()
        lengths = lengths_of(examples).tolist()
        # Groups of a step of all processes: the order does not depend on how many processes there are.
        self._sampler = EpochSeededLengthSampler(self.args.examples_per_step, lengths, self.args.order_seed)
        cast(DataLoaderShard, loader).set_sampler(self._sampler)
        return loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return the batches of all examples in their order; the options of training's order do not apply."""
        self._texts = texts_of(self.eval_dataset if eval_dataset is None else eval_dataset)
        with self._with_arguments(train_sampling_strategy="sequential", dataloader_drop_last=False):
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Return the batches of all examples in their order, as `get_eval_dataloader` does."""
        self._texts = texts_of(test_dataset)
        with self._with_arguments(train_sampling_strategy="sequential", dataloader_drop_last=False):
            return super().get_test_dataloader(test_dataset)

    # Windows of long texts

    def _of_texts(self, prediction: EvalPrediction) -> EvalPrediction:
        """Pool the windows that were evaluated, if the examples are windows."""
        if self._texts is None or self.args.windows is None:
            return prediction
        return pool_windows(prediction, self._texts, self.args.windows)

    # Training

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train as Trainer does.

        Raises:
            FileError: If a checkpoint cannot be written, or the best one is damaged.
            MultiLabelError: If some processes would have fewer batches than others.
        """
        self._check_even_batches()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(str(self.args.output_dir)) or True
        self._resumed = Path(resume_from_checkpoint) if isinstance(resume_from_checkpoint, str) else None
        self._averaging.checkpoint = self._resumed
        self._loss = self._make_loss()
        with ExitStack() as self._cpu_training:  # `on_train_begin` enters it, when the model is the one to train
            output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._end_averaging()
        if self.args.world_size <= 1:
            return output
        # Of the steps since the latest log, Trainer returns the loss of this process alone.
        own = torch.tensor(output.training_loss, device=self.args.device)
        loss = float(self.accelerator.reduce(own, reduction="mean"))
        return TrainOutput(output.global_step, loss, {**output.metrics, "train_loss": loss})

    def _end_averaging(self) -> None:
        """Leave the better of the weights and their average in the model."""
        has_best = bool(self.args.load_best_model_at_end) and self.state.best_model_checkpoint is not None
        averaging = self._averaging
        if (
            averaging.is_active
            and averaging.average_is_better is None
            and not has_best
            and self.eval_dataset is not None
        ):
            self.evaluate()
        averaging.end(best_is_loaded=has_best)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate as Trainer does; in training, return the result of the better of the weights and their average.

        The windows of a text count as one example.
        """
        arguments = dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        evaluate = partial(super().evaluation_loop, *arguments)
        score = str(self.args.metric_for_best_model).removeprefix("eval_")
        greater_is_better = bool(self.args.greater_is_better)
        output = self._averaging.evaluate_both(evaluate, score, greater_is_better, metric_key_prefix)
        return output if self._texts is None else output._replace(num_samples=len(np.unique(self._texts)))

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader[Any]) -> Any:
        """Compute the numbers of epochs and steps; no epoch if the run to resume is over."""
        epochs, *others, max_steps = super().set_initial_training_values(args, dataloader)
        return (0 if self._is_over(max_steps) else epochs, *others, max_steps)

    def _is_over(self, max_steps: int) -> bool:
        """Whether no step is left after the checkpoint to resume from; Trainer would make one more."""
        if self._resumed is None:
            return False
        state = TrainerState.load_from_json(str(self._resumed / TRAINER_STATE_NAME))
        stopper = state.stateful_callbacks.get(EarlyStoppingCallback.__name__)
        if stopper is None or not self.args.restore_callback_states_from_checkpoint:
            return bool(state.global_step >= max_steps)
        counted = stopper["attributes"]["early_stopping_patience_counter"]
        return bool(state.global_step >= max_steps or counted >= stopper["args"]["early_stopping_patience"])

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Build Trainer's optimizer and move the parameters of the head into groups with their own learning rate."""
        if self.optimizer is not None:
            return super().create_optimizer(model)
        optimizer = super().create_optimizer(model)
        trained: Any = self.model if model is None else model
        head = {
            parameter
            for name, parameter in trained.named_parameters()
            # Anywhere in the name: DDP and others wrap the model.
            if any(prefix in name for prefix in MultiLabelPreTrainedModel.head_parameter_prefixes)
        }
        for group in list(optimizer.param_groups):
            own = [parameter for parameter in group["params"] if parameter in head]
            group["params"] = [parameter for parameter in group["params"] if parameter not in head]
            optimizer.add_param_group({**group, "params": own, "lr": self.args.head_learning_rate})
        return optimizer

    # The loss

    def _make_loss(self) -> Loss:
        settings: dict[str, Any] = {}
        if self.args.loss == "focal":
            settings["gamma"] = self.args.focal_gamma
        elif self.args.loss == "weighted_bce":
            frequencies = label_frequencies(cast(Dataset, self.train_dataset))
            weights = positive_weights(frequencies, cast(float, self.args.max_pos_weight))
            settings["pos_weight"] = weights.to(self.args.device)
        label_weights = None if self._label_weights is None else self._label_weights.to(self.args.device)
        return make_loss(self.args.loss, self.args.label_correlation, label_weights, **settings)

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        """Compute the loss as Trainer does in training, and as the model does in evaluation, without weights."""
        self._example_weights = inputs.pop("weight", None)
        if model.training:
            return super().compute_loss(model, inputs, return_outputs, *args, **kwargs)
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def _training_loss(
        self, outputs: SequenceClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor
    ) -> torch.Tensor:
        """Return what a batch adds to the loss of its step, (); Trainer corrects for the mean over processes."""
        terms = self._loss(cast(torch.Tensor, outputs.logits), labels)  # (B, L)
        if self._example_weights is not None:
            terms = terms * (self._example_weights / self._mean_weight).unsqueeze(1)
        # DataParallel has the batch of all devices, and the count for each. Trainer multiplies by their number.
        count = num_items_in_batch.flatten()[0].clamp(min=1) * max(1, self.args.n_gpu)
        return terms.sum().div(count)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
        """Collect the batches of a step and count their annotated labels, as Trainer does with -100 for the others."""
        return super().get_batch_samples(self._mark_ignored(epoch_iterator), *args, **kwargs)

    def _mark_ignored(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Set labels (B, L) to -100 where they are not annotated, or the example only fills up the last batch."""
        examples: Any = self.train_dataset
        is_filled = self.accelerator.even_batches and not self.args.dataloader_drop_last and has_length(examples)
        for batch in batches:
            labels = batch["labels"] = batch["labels"].float().nan_to_num(-100)
            if is_filled and self.args.world_size > 1 and self.accelerator.gradient_state.end_of_dataloader:
                # The last examples go to the first processes; those that fill up the batches were seen before.
                size = len(labels)
                left = len(examples) % (size * self.args.world_size) or size * self.args.world_size
                labels[max(0, left - size * self.args.process_index) :] = -100
            yield batch

    def _check_even_batches(self) -> None:
        """Refuse more batches for some processes than for others: they would wait for each other forever."""
        examples: Any = self.train_dataset
        if self.accelerator.even_batches or self.args.dataloader_drop_last or not has_length(examples):
            return
        processes, size = self.args.world_size, self.args.train_batch_size
        if math.ceil(len(examples) / size) % processes:
            raise MultiLabelError(
                f"even_batches=false: {len(examples)} examples in batches of {size} do not divide evenly among "
                f"{processes} processes: drop even_batches, or add --dataloader_drop_last true"
            )

    # Checkpoints

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Save into a folder of unfinished checkpoints, and move the checkpoint to its place; or raise a FileError."""
        folder = Path(str(self.args.output_dir))
        checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        unfinished = folder / UNFINISHED / checkpoint.name
        try:
            with explain_write_errors(checkpoint):
                others_are_saved = self.args.should_save and not self.args.save_only_model
                with (
                    self._with_arguments(output_dir=str(unfinished.parent)),
                    self._averaging.saving(unfinished, others_are_saved),
                ):
                    super()._save_checkpoint(model, trial)
                if self.state.best_model_checkpoint == str(unfinished):
                    self.state.best_model_checkpoint = str(checkpoint)
                self.accelerator.wait_for_everyone()  # each process writes the state of its random numbers
                if self.args.should_save:
                    self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME))  # with the path of the best
                    publish_checkpoint(checkpoint)
                    self._rotate(checkpoint.name)
        finally:
            if self.args.should_save:
                remove_unfinished(folder)  # frees space, if that was missing
        self.accelerator.wait_for_everyone()  # all of them read the best one at the end

    def _rotate(self, *kept: str) -> None:
        """Remove the oldest checkpoints beyond the limit, but not the best."""
        best = Path(str(self.state.best_model_checkpoint)).name
        rotate_checkpoints(Path(str(self.args.output_dir)), self.args.save_total_limit, [*kept, best])


class _TrainingEvents(TrainerCallback):
    """Does for a trainer what only callbacks can do at their time."""

    def __init__(self, trainer: MultiLabelTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Prepare the model that Trainer has now wrapped, and find the best checkpoint of a run that is resumed."""
        trainer = self._trainer
        if trainer.is_fsdp_enabled:
            # FSDP gives the model a class of its own. Saving reads the name and the source of the class.
            sharded: Any = type(trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False))
            sharded.__name__, sharded.__module__ = trainer._own_class.__name__, trainer._own_class.__module__
        best = None if trainer._resumed is None else best_checkpoint(trainer._resumed)
        if best is not None and best.is_dir():
            state.best_model_checkpoint = str(best)  # the directory may have been moved since
        if args.device.type == "cpu" and not trainer.changes_model:
            trainer._cpu_training.close()  # of an attempt with larger batches
            model = cast(PreTrainedModel, trainer.model)
            trainer._cpu_training.enter_context(cpu_training(model, is_alone=args.world_size <= 1))

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Choose the order and the windows of the epoch: the loader that skips what was seen does not do it."""
        if self._trainer._sampler is not None:
            self._trainer._sampler.set_epoch(int(state.epoch))
        if isinstance(self._trainer.data_collator, Collator):
            self._trainer.data_collator.epoch = int(state.epoch)

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Refuse a damaged best checkpoint after training: this log is the last event before Trainer loads it."""
        if "train_runtime" not in logs or not args.load_best_model_at_end or state.best_model_checkpoint is None:
            return
        best = Path(state.best_model_checkpoint)
        if damage := describe_damage(best):
            raise FileError(
                f"{best}, the best checkpoint, is damaged ({damage}): the same command resumes from an earlier one"
            )
        is_own = best.parent == Path(str(args.output_dir))  # or of the run that this one was resumed from
        if is_own and args.should_save and args.save_total_limit == 1:
            self._trainer._rotate()  # in one step each; Trainer would remove the newest file by file
