"""Averages the weights over the steps of a training, and uses the average where it scores better than the weights.

The average is the exponential moving one of Polyak and Juditsky (1992), "Acceleration of stochastic approximation by
averaging", with the weights of the late steps weighing most. After step n it becomes d * average + (1 - d) * weights,
where d = min(decay, (1 + n) / (10 + n)), so that the weights of the first steps are soon forgotten.

The training itself does not depend on it. Averages are float32, of the weights that are trained.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback, TrainerState
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from bert_multilabel.errors import FileError
from bert_multilabel.output_dir.checkpoints import AVERAGED_WEIGHTS_FILE, RAW_WEIGHTS_FILE

logger = logging.get_logger(__name__)


class WeightAveraging(TrainerCallback):
    """Averages the weights with the decay of `--weight_averaging`; with 0, it does nothing.

    Attributes:
        checkpoint: Where the next training resumes from; None: it starts from the beginning.
        average_is_better: The result of comparing both since the latest step; None if they were not compared.
    """

    def __init__(self) -> None:
        self.checkpoint: Path | None = None
        self.average_is_better: bool | None = None
        self._weights: dict[str, torch.Tensor] = {}  # those of the model
        self._averages: dict[str, torch.Tensor] = {}

    @property
    def is_active(self) -> bool:
        """Whether a training is running whose weights are averaged."""
        return bool(self._averages)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin with the weights at the start, or with the averages of the checkpoint to resume from.

        Raises:
            FileError: If the checkpoint has none.
        """
        if not args.weight_averaging:
            return
        self._weights = {name: weights.detach() for name, weights in model.named_parameters() if weights.requires_grad}
        self._averages = {name: weights.float().clone() for name, weights in self._weights.items()}
        self.average_is_better = None
        if self.checkpoint is not None:
            self._load(self.checkpoint)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Add the weights after a step of the optimizer."""
        if not self.is_active:
            return
        decay = min(args.weight_averaging, (1 + state.global_step) / (10 + state.global_step))
        weights = [weights.float() for weights in self._weights.values()]  # no copies of those that are float32
        get_ema_multi_avg_fn(decay)(list(self._averages.values()), weights, state.global_step)
        self.average_is_better = None

    def evaluate_both(
        self, evaluate: Callable[[], EvalLoopOutput], score: str, greater_is_better: bool, prefix: str
    ) -> EvalLoopOutput:
        """Evaluate the model with its weights and with their average, and return what the better one has scored.

        Args:
            evaluate: Evaluates the model.
            score: The metric that decides; the loss, if it is not computed. The average must be better than the
                weights, not equal. Without labels to score, nothing is decided.
            greater_is_better: Whether a higher score is better.
            prefix: In the names of the metrics, "eval". `raw_` and `averaged_` follow it in those that are added.
        """
        raw = evaluate()
        if not self.is_active:
            return raw
        known = cast(dict[str, float], raw.metrics)
        if f"{prefix}_{score}" not in known:
            if f"{prefix}_loss" not in known:
                return raw
            logger.warning_once(f"{score!r} is not evaluated: the loss decides between the weights and their average")
            score, greater_is_better = "loss", False
        with self._average_in_model(), torch.random.fork_rng(devices=[]):  # a data loader draws a seed
            averaged = evaluate()
        scores = [cast(dict[str, float], output.metrics)[f"{prefix}_{score}"] for output in (raw, averaged)]
        self.average_is_better = scores[1] > scores[0] if greater_is_better else scores[1] < scores[0]
        better = averaged if self.average_is_better else raw
        metrics = cast(dict[str, float], better.metrics)
        metrics |= {
            f"{prefix}_{which}_{score}": value for which, value in zip(("raw", "averaged"), scores, strict=True)
        }
        return better

    @contextmanager
    def saving(self, folder: Path, is_writing: bool) -> Iterator[None]:
        """Let the better weights be the model's while a checkpoint is saved, and save the others into its folder.

        Args:
            folder: Of the checkpoint.
            is_writing: Whether this process writes the others, without which no run resumes.
        """
        has_average = self.is_active and self.average_is_better is not False
        with ExitStack() as stack:
            if has_average:
                stack.enter_context(self._average_in_model())
            yield
        if self.is_active and is_writing:
            name, others = (
                (RAW_WEIGHTS_FILE, self._weights) if has_average else (AVERAGED_WEIGHTS_FILE, self._averages)
            )
            save_file({name: weights.contiguous() for name, weights in others.items()}, folder / name)

    def end(self, best_is_loaded: bool) -> None:
        """End a training, with the average in the model unless the weights are better or Trainer has loaded the best.

        Without an evaluation, the average is taken to be better.
        """
        if self.is_active and not best_is_loaded and self.average_is_better is not False:
            _copy(self._averages, self._weights)
        self._weights, self._averages = {}, {}

    def _load(self, checkpoint: Path) -> None:
        raw, averaged = checkpoint / RAW_WEIGHTS_FILE, checkpoint / AVERAGED_WEIGHTS_FILE
        if raw.is_file():
            _read(checkpoint / SAFE_WEIGHTS_NAME, self._averages)
            _read(raw, self._weights)
        elif averaged.is_file():
            _read(averaged, self._averages)
        else:
            raise FileError(
                f"{checkpoint} is of a run without averaged weights: resume it with --weight_averaging 0, or start "
                "from the beginning with --overwrite_output_dir"
            )

    @contextmanager
    def _average_in_model(self) -> Iterator[None]:
        raw = {name: weights.clone() for name, weights in self._weights.items()}
        _copy(self._averages, self._weights)
        try:
            yield
        finally:
            _copy(raw, self._weights)


def _copy(sources: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])


def _read(path: Path, targets: Mapping[str, torch.Tensor]) -> None:
    with safe_open(path, framework="pt") as file:
        for name, target in targets.items():
            target.copy_(file.get_tensor(name))
