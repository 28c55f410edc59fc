"""The standard Trainer, with losses, a learning rate for the head, a trusted order of rows, faster steps on a CPU."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, PrinterCallback, ProgressCallback, Trainer
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from .acceleration import cpu_training
from .arguments import MultiLabelTrainingArguments
from .checkpoints import find_damage
from .data import label_frequencies
from .files import FileError, writing
from .losses import Loss, make_loss, positive_weights
from .modeling_multilabel import MultiLabelPreTrainedModel
from .progress import ShortPrinter, ShortProgress
from .saving import UNFINISHED, bring_in, clear_unfinished, discard_old


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


class MultiLabelTrainer(Trainer):
    """The standard Trainer with losses, a learning rate for the head, a trusted order of rows, faster steps on a CPU.

    It trains with the loss that its arguments name, and evaluates with the model's own, so that runs compare.

    Args:
        *args: Trainer's.
        **kwargs: Trainer's; a `compute_loss_func` takes the place of the loss that the arguments name.
    """

    args: MultiLabelTrainingArguments

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("compute_loss_func", self._training_loss)
        super().__init__(*args, **kwargs)
        # Theirs print every score of every evaluation.
        self.remove_callback(PrinterCallback if self.args.disable_tqdm else ProgressCallback)
        self.add_callback(ShortPrinter if self.args.disable_tqdm else ShortProgress)
        self._is_saving = False

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        self._loss = self._make_loss()
        # Not around `train`, which may still make a new model.
        with cpu_training(cast(PreTrainedModel, self.model)) if self._is_alone_on_cpu else nullcontext():
            output: TrainOutput = super()._inner_training_loop(*args, **kwargs)
        return output

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        done: tuple[int, int] = super()._init_training_state(*args, **kwargs)
        # The state says where the best one was when it was saved. The folder may have been moved since.
        best = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
        if best.is_dir():
            self.state.best_model_checkpoint = str(best)
        return done

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
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
                if any(part in name for part in MultiLabelPreTrainedModel.new_with_the_task)
            }
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if parameter in head]
                group["params"] = [parameter for parameter in group["params"] if parameter not in head]
                optimizer.add_param_group({**group, "params": own, "lr": self.args.head_learning_rate})
        return optimizer

    @property
    def _is_alone_on_cpu(self) -> bool:
        return self.args.device.type == "cpu" and self.args.world_size <= 1

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        if not self._is_alone_on_cpu:
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
            with writing(checkpoint):
                self._is_saving = True
                super()._save_checkpoint(model, trial)
                if self.state.best_model_checkpoint == str(unfinished):
                    self.state.best_model_checkpoint = str(checkpoint)
                self.accelerator.wait_for_everyone()  # each process writes the state of its random numbers
                if self.args.should_save:
                    self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME))  # with the place of the best
                    bring_in(checkpoint)
                    kept = [checkpoint.name, Path(str(self.state.best_model_checkpoint)).name]
                    discard_old(folder, self.args.save_total_limit, kept)
        finally:
            self._is_saving = False
            if self.args.should_save:
                clear_unfinished(folder)  # makes room, if that was what was missing
        self.accelerator.wait_for_everyone()  # all read the best one at the end

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        damage = find_damage(best)
        if damage is not None:
            raise FileError(
                f"{best}, the best checkpoint, is not whole ({damage}): run the same command again, which goes on "
                "from one before it"
            )
        super()._load_best_model()
        if self.args.should_save and self.args.save_total_limit == 1:
            # Trainer is about to remove the newest as well, if it is another, but file by file.
            discard_old(best.parent, limit=1, kept=[best.name])

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps
        # Not from `train_dataset`: Trainer has taken away the columns that the model does not read.
        rows_with_length: Any = self.train_dataset
        lengths = list(rows_with_length[self.args.length_column_name])
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EpochSeededLengthSampler(rows, lengths, seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> torch.utils.data.Sampler[int] | None:
        # Grouping by length is for training: here it would return the predictions in another order than the rows'.
        return torch.utils.data.SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None
