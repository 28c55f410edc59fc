"""Applies the options of a resumed run where Trainer would keep those of the checkpoint."""

import logging
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from transformers import SchedulerType, TrainerCallback, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class ResumeCallback(TrainerCallback):
    """Resumes a run with its new number of steps, and new steps between logs, evaluations and checkpoints.

    The learning rate becomes that of a run of the new length at this step. The one in the checkpoint belongs to
    the schedule before, and is 0 at the end of a linear one.

    Args:
        steps_before: How many steps the run of the checkpoint was to have.
    """

    def __init__(self, steps_before: int) -> None:
        self.steps_before = steps_before

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Change what Trainer has restored."""
        state.compute_steps(args, state.max_steps)
        if state.max_steps == self.steps_before:
            return
        optimizer, scheduler = kwargs["optimizer"], kwargs["lr_scheduler"]
        scheduler = getattr(scheduler, "scheduler", scheduler)  # of Accelerate's wrapper
        before = optimizer.param_groups[0]["lr"]
        if isinstance(scheduler, LambdaLR):  # others do not depend on the number of steps
            factors = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            rates = [base * factor(scheduler.last_epoch) for base, factor in factors]
            scheduler.load_state_dict({**scheduler.state_dict(), "_last_lr": rates})  # what is logged
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        logger.warning(
            f"the run now has {state.max_steps} steps instead of {self.steps_before}: at step {state.global_step} the "
            f"learning rate changes from {before:.3g} to {optimizer.param_groups[0]['lr']:.3g}, as in a "
            f"{SchedulerType(args.lr_scheduler_type).value} schedule of {state.max_steps} steps"
        )
