"""What a run shows while it trains: bars with the remaining time, and one short line per log and evaluation."""

import time
from typing import Any

from transformers import PrinterCallback, ProgressCallback, TrainerState

from bert_multilabel.metrics import LEGEND
from bert_multilabel.utils.duration import duration

# In training without bars, how many seconds may pass before a line says how much time is left.
_LONGEST_SILENCE = 30
_COLUMNS = {
    "eval_loss": "loss",
    "eval_hamming_score": "hamming score",
    "eval_hamming_score_at_half": "at 0.5",
    "eval_micro_f1": "micro F1",
    "eval_macro_f1": "macro F1",
}
_WIDTHS = {key: max(len(title), 6) for key, title in _COLUMNS.items()}
HEADER = "  ".join(["epoch", *(title.rjust(_WIDTHS[key]) for key, title in _COLUMNS.items())])
# Printed at the end for each split; `all_results.json` has all metrics.
_SUMMARY = (
    *("loss", "hamming_score", "hamming_score_at_half", "micro_f1", "macro_f1", "mean_average_precision"),
    *("expected_calibration_error", "samples", "runtime", "samples_per_second"),
)
_TRAINING = {"loss": "loss {:.4g}", "learning_rate": "learning rate {:.3g}", "grad_norm": "gradient norm {:.3g}"}


def short_lines(logs: dict[str, Any], state: TrainerState, with_header: bool = False) -> list[str]:
    """Format logs of Trainer: one line, after a header if this is wanted for an evaluation."""
    if "eval_loss" in logs:
        epoch = f"{logs.get('epoch', 0):5.2f}"
        values = [f"{logs[key]:.4f}".rjust(width) for key, width in _WIDTHS.items() if key in logs]
        line = "  ".join([epoch, *values])
        return [LEGEND, HEADER, line] if with_header else [line]
    shown = [form.format(float(logs[key])) for key, form in _TRAINING.items() if key in logs]
    return [f"step {state.global_step:,} of {state.max_steps:,}: {', '.join(shown)}"] if shown else []


def summary(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of a split that are printed at the end of a run."""
    shown = {f"{split}_{name}" for split in ("train", "eval", "test") for name in _SUMMARY}
    return {name: value for name, value in metrics.items() if name in shown or name == "epoch"}


class ShortProgress(ProgressCallback):
    """The progress bars of Transformers with short lines between them."""

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Begin a table, also when a run is resumed."""
        super().on_train_begin(args, state, control, **kwargs)
        self._has_header = False

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print a log."""
        if state.is_world_process_zero and self.training_bar is not None:
            for line in short_lines(logs, state, with_header=not self._has_header):
                self.training_bar.write(line)
            self._has_header |= "eval_loss" in logs


class ShortPrinter(PrinterCallback):
    """Short lines without bars, for `--disable_tqdm`; none after training, when all scores are printed."""

    _is_training = _has_header = False

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Begin a table, also when a run is resumed."""
        self._is_training, self._has_header = True, False
        self._first_step, self._started = state.global_step, time.monotonic()
        self._last_line = self._started

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """End the table."""
        self._is_training = False

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Print how much time is left, if nothing was printed for a while."""
        now = time.monotonic()
        if now - self._last_line >= _LONGEST_SILENCE:
            per_step = (now - self._started) / (state.global_step - self._first_step)
            left = duration(per_step * (state.max_steps - state.global_step))
            self._print(state, [f"step {state.global_step:,} of {state.max_steps:,}: about {left} left"])

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print a log."""
        if self._is_training:
            self._print(state, short_lines(logs, state, with_header=not self._has_header))
            self._has_header |= "eval_loss" in logs

    def _print(self, state: TrainerState, lines: list[str]) -> None:
        if state.is_world_process_zero and lines:
            print(*lines, sep="\n", flush=True)
            self._last_line = time.monotonic()
