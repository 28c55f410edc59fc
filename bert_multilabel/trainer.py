"""The standard Trainer, with a learning rate for the head, a trusted order of rows, and faster steps on a CPU."""

from contextlib import nullcontext
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import TrainOutput

from .acceleration import cpu_training
from .arguments import MultiLabelTrainingArguments


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
    """The standard Trainer with a learning rate for the head, a trusted order of rows, and faster steps on a CPU."""

    args: MultiLabelTrainingArguments

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # Not around `train`, which may still make a new model.
        with cpu_training(cast(PreTrainedModel, self.model)) if self._is_alone_on_cpu else nullcontext():
            output: TrainOutput = super()._inner_training_loop(*args, **kwargs)
        return output

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Build Trainer's optimizer and move the parameters of the head into groups with their own learning rate."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new:
            trained: Any = self.model if model is None else model
            # New with the task, not from the backbone: these have far to go.
            head = {
                parameter
                for name, parameter in trained.named_parameters()
                if "classifier." in name or "label_embeddings." in name
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
