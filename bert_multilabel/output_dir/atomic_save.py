"""How checkpoints and models come into an output folder, and go: no reader ever finds half of one.

They are written in `UNFINISHED`, a folder in the output folder, and moved out of it. What a run that was killed has
left there is removed when the next one begins.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import sort_checkpoints

from bert_multilabel.errors import FileError
from bert_multilabel.utils.files import explain_write_errors, fsync, write_checksums

UNFINISHED = "saving.unfinished"
# The last files to come, in this order, and the first to go, in the opposite one. No model loads without the last.
# With the second a tokenizer loads, but it knows no labels without the first.
_ENTRANCES = ("tokenizer_config.json", "tokenizer.json", "config.json")


@contextmanager
def lock_output_dir(output_dir: Path) -> Iterator[None]:
    """Let nobody else write into an output folder meanwhile: each would remove what the other has not finished.

    The system lifts this with the process, however that ends. (Windows, and file systems without locks, know no such
    thing.)

    Args:
        output_dir: The folder; it is made if need be.

    Raises:
        FileError: If somebody else is writing there, or it cannot be made.
    """
    with explain_write_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(output_dir, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a file system without locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FileError(
                    f"another run is writing into {output_dir}: wait for its end, or choose another --output_dir"
                ) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def saving_model(output_dir: Path) -> Iterator[Path]:
    """Fill a folder with a model whose files then come into `output_dir`, beside what else is there.

    Whoever finds a `config.json` in `output_dir`, or for the tokenizer alone a `tokenizer.json`, finds all files of
    one save.

    Args:
        output_dir: Where the model is to be; it exists.

    Yields:
        The folder to fill. It has the name of `output_dir`, which the model card takes for the model's own.

    Raises:
        FileError: If the model cannot be written. Then the one in `output_dir` stays as it is, or if the fault comes
            while files are moved, there is none.
    """
    unfinished = output_dir / UNFINISHED / output_dir.resolve().name
    remove_unfinished(output_dir)
    try:
        with explain_write_errors(output_dir / "model.safetensors"):
            unfinished.mkdir(parents=True)
            yield unfinished
            _sync_all(unfinished)
            remove_model_files(output_dir)
            others = [path.name for path in unfinished.iterdir() if path.name not in _ENTRANCES]
            for name in (*others, *_ENTRANCES):
                os.replace(unfinished / name, output_dir / name)
            fsync(output_dir)
    finally:
        remove_unfinished(output_dir)


def remove_model_files(output_dir: Path) -> None:
    """Take a model out of its folder: its entrances first, then the weights, which the new ones may not replace."""
    entrances = [output_dir / name for name in reversed(_ENTRANCES)]
    for path in (*entrances, *output_dir.glob("*.safetensors*")):
        path.unlink(missing_ok=True)


def publish_checkpoint(checkpoint: Path) -> None:
    """Let a checkpoint come to its place, once all of it stands in `UNFINISHED` under the same name.

    Args:
        checkpoint: Its place, in an output folder.
    """
    unfinished = checkpoint.parent / UNFINISHED / checkpoint.name
    # Nothing reads the arguments, and a push leaves them out.
    write_checksums(unfinished, ignored=[TRAINING_ARGS_NAME])
    _sync_all(unfinished)
    if checkpoint.exists():  # the run began anew from one before it that was named
        remove_checkpoint(checkpoint)
    os.replace(unfinished, checkpoint)
    fsync(checkpoint.parent)


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint, in one step for who looks on."""
    unfinished = checkpoint.parent / UNFINISHED
    unfinished.mkdir(exist_ok=True)
    removed = unfinished / f"{checkpoint.name}.removed"
    shutil.rmtree(removed, ignore_errors=True)
    os.replace(checkpoint, removed)
    shutil.rmtree(removed)


def rotate_checkpoints(output_dir: Path, limit: int | None, kept: Collection[str]) -> None:
    """Remove the oldest checkpoints, as Trainer does it, but each in one step.

    Args:
        output_dir: The folder with the checkpoints.
        limit: How many may stay; None or 0 for all.
        kept: Names of those that stay in any case.
    """
    if limit is None or limit <= 0:
        return
    checkpoints = sort_checkpoints(str(output_dir))
    old = [path for path in map(Path, checkpoints) if path.name not in kept]
    for path in old[: max(0, len(checkpoints) - limit)]:
        remove_checkpoint(path)


def remove_unfinished(output_dir: Path) -> None:
    """Remove what a save has left that was cut short."""
    shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        fsync(path)
