"""The standard Trainer, with losses, a learning rate for the head, a trusted order of rows, faster steps on a CPU."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, has_length

from bert_multilabel.data.cache import reopen_memory_map
from bert_multilabel.data.examples import label_frequencies
from bert_multilabel.errors import DivergedError, FileError, MultiLabelError
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


class EpochSeededLengthSampler(LengthGroupedSampler):
    """Groups rows of like length in an order that depends on the seed and the epoch alone.

    The base class draws from the global generator, so a run that was resumed within an epoch would see other batches.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Fix the order of the epoch that comes."""
        self.generator = torch.Generator().manual_seed(self.seed + epoch)


def compute_on_main(compute_metrics: Callable[..., dict[str, float]]) -> Callable[..., dict[str, float]]:
    """Let metrics of the whole evaluation be computed in the main process alone, for all processes.

    Args:
        compute_metrics: As Trainer calls it, with the logits and labels of all rows, in their order.

    Returns:
        The same with the loss beside: over all that is annotated. Trainer's own mean, of the means of batches, depends
        on how rows are dealt out. It raises a DivergedError if logits are NaN or infinite.
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = (torch.from_numpy(array) for array in logits_and_references(prediction))  # (N, L) each
        if bad := int((~logits.isfinite()).any(dim=1).sum()):
            raise DivergedError(
                f"the model has diverged: of {len(logits)} rows, {bad} have logits that are NaN or infinite; train "
                "with a lower --learning_rate or --head_learning_rate"
            )
        return {"loss": float(multi_label_loss(logits, labels)), **compute_metrics(prediction)}

    return lambda prediction: on_main(partial(compute, prediction))


class MultiLabelTrainer(Trainer):
    """The standard Trainer with losses, a learning rate for the head, a trusted order of rows, faster steps on a CPU.

    It trains with the loss that its arguments name, and evaluates with the model's own, so that runs compare. Several
    processes learn what one learns, and have the metrics of one.

    Args:
        *args: Trainer's.
        **kwargs: Trainer's; a `compute_loss_func` takes the place of the loss that the arguments name.
    """

    args: MultiLabelTrainingArguments

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("compute_loss_func", self._training_loss)
        super().__init__(*args, **kwargs)
        is_given_logits = not self.args.batch_eval_metrics and self.preprocess_logits_for_metrics is None
        if self.compute_metrics is not None and is_given_logits:
            self.compute_metrics = compute_on_main(self.compute_metrics)
        # Theirs print every score of every evaluation.
        self.remove_callback(PrinterCallback if self.args.disable_tqdm else ProgressCallback)
        self.add_callback(ShortPrinter if self.args.disable_tqdm else ShortProgress)
        self._is_saving = False
        self._sampler: EpochSeededLengthSampler | None = None
        self._check_sharding()

    def _check_sharding(self) -> None:
        """Refuse FSDP where it would not happen, or would leave nothing that can be gone on from."""
        if not (self.args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"):
            return
        if not self.is_fsdp_enabled:
            raise MultiLabelError(
                f"FSDP was asked for, but with {self.args.world_size} processes on {self.args.device.type} Accelerate "
                "would train without: use examples/accelerate/cpu.yaml"
            )
        plugin = self.accelerator.state.fsdp_plugin
        kind = (plugin.fsdp_version, plugin.state_dict_type.name)
        if kind != (2, "FULL_STATE_DICT"):
            raise MultiLabelError(
                f"checkpoints of FSDP version {kind[0]} with {kind[1]} are none that a run goes on from: set "
                "fsdp_version to 2 and fsdp_state_dict_type to FULL_STATE_DICT, as in examples/accelerate/fsdp.yaml"
            )
        if not self.args.do_train:
            raise MultiLabelError(
                "FSDP is for training: add --do_train, or evaluate with examples/accelerate/ddp.yaml"
            )

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        self._loss = self._make_loss()
        # Not around `train`, which may still make a new model.
        model, is_alone = cast(PreTrainedModel, self.model), self.args.world_size <= 1
        with cpu_training(model, is_alone) if self._is_itself_on_cpu else nullcontext():
            output: TrainOutput = super()._inner_training_loop(*args, **kwargs)
        if self.args.world_size <= 1:
            return output
        # What Trainer returns of the steps since the latest log is the part of this process.
        part = torch.tensor(output.training_loss, device=self.args.device)
        loss = float(self.accelerator.reduce(part, reduction="mean"))
        return TrainOutput(output.global_step, loss, {**output.metrics, "train_loss": loss})

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.is_fsdp_enabled:
            # FSDP makes the model one of a class of its own. What is saved is named, and its code found, by the class.
            sharded, own = type(self.accelerator.unwrap_model(self.model, keep_torch_compile=False)), self._own_class
            sharded.__name__, sharded.__module__ = own.__name__, own.__module__
        return prepared

    @property
    def _own_class(self) -> type[MultiLabelPreTrainedModel]:
        return MODEL_CLASSES[cast(MultiLabelPreTrainedModel, self.model).config.strategy]

    @property
    def changes_model(self) -> bool:
        """Whether the model is not itself while it is trained: FSDP shards its weights, DeepSpeed casts them."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def whole_model(self) -> MultiLabelPreTrainedModel:
        """Return the model in one piece in every process; all must ask, for each may hold a part of the weights.

        Returns:
            The model itself, in its own precision, unless it was changed for training: then one of its class with its
            weights.
        """
        model = cast(MultiLabelPreTrainedModel, self.model)
        if not self.changes_model:
            # Accelerate has put the precision of training around its `forward`.
            unwrapped: MultiLabelPreTrainedModel = self.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            return unwrapped
        weights = self.accelerator.get_state_dict(self.model_wrapped)  # of FSDP's, the main process alone has them
        whole: Any = self._own_class(model.config)
        whole.load_state_dict(on_main(lambda: weights))
        moved: MultiLabelPreTrainedModel = whole.to(self.args.device)
        return moved

    def _init_training_state(
        self, max_steps: int, steps: int, epochs: int, resume_from_checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        done: tuple[int, int] = super()._init_training_state(max_steps, steps, epochs, resume_from_checkpoint, trial)
        # Trainer looks for the best one where it was when the state was saved.
        best = None if resume_from_checkpoint is None else best_checkpoint(Path(resume_from_checkpoint))
        if best is not None and best.is_dir():
            self.state.best_model_checkpoint = str(best)
        return done

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self._sampler is not None:
            # Where several processes go on within an epoch, the loader that skips what was seen does not hand it on.
            self._sampler.set_epoch(kwargs["epoch"])
        # Trainer would make one more step of a run that was interrupted after its last.
        stoppers = [
            callback for callback in self.callback_handler.callbacks if isinstance(callback, EarlyStoppingCallback)
        ]
        if self.state.global_step >= self.state.max_steps or any(
            stopper.early_stopping_patience_counter >= stopper.early_stopping_patience for stopper in stoppers
        ):
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _make_loss(self) -> Loss:
        settings: dict[str, Any] = {}
        if self.args.loss == "focal":
            settings["gamma"] = self.args.focal_gamma
        elif self.args.loss == "weighted_bce":
            frequencies = label_frequencies(cast(Dataset, self.train_dataset))
            weights = positive_weights(frequencies, cast(float, self.args.max_pos_weight))
            settings["pos_weight"] = weights.to(self.args.device)
        return make_loss(self.args.loss, self.args.label_correlation, **settings)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Compute the loss as Trainer does it in training, and as the model does it in evaluation."""
        if model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def _training_loss(
        self, outputs: SequenceClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor
    ) -> torch.Tensor:
        """Return what a batch adds to the loss of its step, (); Trainer makes up for processes that are averaged."""
        terms = self._loss(cast(torch.Tensor, outputs.logits), labels)  # (B, L)
        # With DataParallel, a batch is that of all devices, and the count is repeated for each. Trainer multiplies
        # with their number all the same, as if the loss were the mean of what each has computed.
        count = num_items_in_batch.flatten()[0].clamp(min=1) * max(1, self.args.n_gpu)
        loss: torch.Tensor = terms.sum() / count
        return loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Collect the batches of a step as Trainer does it, and leave out of the loss what only fills up the last."""
        return super().get_batch_samples(self._without_fill(epoch_iterator), num_batches, device)

    def _without_fill(self, batches: Iterator[Any]) -> Iterator[Any]:
        # At the end of an epoch several processes still have batches of one size: rows that were seen before follow
        # those that are left, which go to the first processes.
        rows: Any = self.train_dataset
        is_filled = self.args.world_size > 1 and has_length(rows) and not self.args.dataloader_drop_last
        for batch in batches:
            if is_filled and self.accelerator.gradient_state.end_of_dataloader:
                size = len(batch["labels"])
                left = len(rows) % (size * self.args.world_size) or size * self.args.world_size
                batch["labels"][max(0, left - size * self.args.process_index) :] = -100
            yield batch

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | int | None:
        # Trainer counts, over batches and processes, what is not -100.
        marked = [{"labels": batch["labels"].float().nan_to_num(-100)} for batch in batch_samples]
        count: torch.Tensor | int | None = super()._get_num_items_in_batch(marked, device)
        return count

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Build Trainer's optimizer and move the parameters of the head into groups with their own learning rate."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new:
            trained: Any = self.model if model is None else model
            head = {
                parameter
                for name, parameter in trained.named_parameters()
                # Not only at its beginning: several processes wrap the model.
                if any(part in name for part in MultiLabelPreTrainedModel.head_parameter_prefixes)
            }
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if parameter in head]
                group["params"] = [parameter for parameter in group["params"] if parameter not in head]
                optimizer.add_param_group({**group, "params": own, "lr": self.args.head_learning_rate})
        return optimizer

    @property
    def _is_itself_on_cpu(self) -> bool:
        return self.args.device.type == "cpu" and not self.changes_model

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        if not self._is_itself_on_cpu:
            clipped: torch.Tensor = super()._clip_grad_norm(model)
            return clipped
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([cast(torch.Tensor, parameter.grad) for parameter in parameters])
        # The base class multiplies all gradients, also with one. Not to wait for the norm pays on a GPU only.
        if norm > self.args.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.args.max_grad_norm, norm)
        return norm

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return str(Path(folder) / UNFINISHED) if self._is_saving else folder

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Save as Trainer does, under another name, from which the whole checkpoint comes to its place in one step.

        Raises:
            FileError: If it cannot be written.
        """
        folder = Path(self._get_output_dir(trial))
        checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        unfinished = folder / UNFINISHED / checkpoint.name
        try:
            with explain_write_errors(checkpoint):
                self._is_saving = True
                super()._save_checkpoint(model, trial)
                if self.state.best_model_checkpoint == str(unfinished):
                    self.state.best_model_checkpoint = str(checkpoint)
                self.accelerator.wait_for_everyone()  # each process writes the state of its random numbers
                if self.args.should_save:
                    self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME))  # with the place of the best
                    publish_checkpoint(checkpoint)
                    kept = [checkpoint.name, Path(str(self.state.best_model_checkpoint)).name]
                    rotate_checkpoints(folder, self.args.save_total_limit, kept)
        finally:
            self._is_saving = False
            if self.args.should_save:
                remove_unfinished(folder)  # makes room, if that was what was missing
        self.accelerator.wait_for_everyone()  # all read the best one at the end

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        damage = describe_damage(best)
        if damage is not None:
            raise FileError(
                f"{best}, the best checkpoint, is not whole ({damage}): run the same command again, which goes on "
                "from one before it"
            )
        super()._load_best_model()
        is_own = best.parent == Path(str(self.args.output_dir))  # or of the run that this one has gone on from
        if is_own and self.args.should_save and self.args.save_total_limit == 1:
            # Trainer is about to remove the newest as well, if it is another, but file by file.
            rotate_checkpoints(best.parent, limit=1, kept=[best.name])

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        # Those of a step in all processes: the order does not depend on how they are dealt out.
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        # Not from `train_dataset`: Trainer has taken away the columns that the model does not read.
        rows_with_length: Any = self.train_dataset
        lengths = list(reopen_memory_map(rows_with_length)[self.args.length_column_name])
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self._sampler = EpochSeededLengthSampler(rows, lengths, seed)
        return self._sampler

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Give all rows to an evaluation, also where training leaves out those that fill no batch."""
        drops_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drops_last

    def _get_eval_sampler(self, eval_dataset: Dataset) -> torch.utils.data.Sampler[int] | None:
        # Grouping by length is for training: here it would return the predictions in another order than the rows'.
        # Several processes each get the next batch, and Trainer puts the results together in that order.
        return torch.utils.data.SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None
