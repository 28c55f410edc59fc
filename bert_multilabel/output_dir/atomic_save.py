"""Adding checkpoints and models to an output directory, and removing them, so that no reader finds half of one.

They are written to `UNFINISHED`, a directory in the output directory, and then moved. What a run that was killed has
left there is removed when the next one starts.
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
# Moved last, in this order, and removed first, in reverse: no model loads without its configuration, and no tokenizer
# without its vocabulary, which without the configuration of the tokenizer would know no labels.
_ENTRY_FILES = ("tokenizer_config.json", "tokenizer.json", "config.json")


@contextmanager
def lock_output_dir(output_dir: Path) -> Iterator[None]:
    """Let no other run write into an output directory meanwhile: each would remove unfinished files of the other.

    The operating system releases the lock when the process ends, however it ends. Windows, and file systems without
    locks, are not protected.

    Args:
        output_dir: Created if necessary.

    Raises:
        FileError: If another run holds the lock, or the directory cannot be created.
    """
    with explain_write_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(output_dir, os.O_RDONLY)
    try:
        with suppress(OSError):  # from a file system without locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FileError(
                    f"another run is writing into {output_dir}: wait until it ends, or choose another --output_dir"
                ) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def atomic_model_save(output_dir: Path) -> Iterator[Path]:
    """Fill a directory with the files of a model, which then replace the model in `output_dir`.

    Whenever `output_dir` has a `config.json`, or for the tokenizer a `tokenizer.json`, all files are of one save.

    Args:
        output_dir: Must exist.

    Yields:
        The directory to fill. It has the name of `output_dir`, which the model card uses as the name of the model.

    Raises:
        FileError: If the model cannot be written. Then `output_dir` keeps the previous model, or none if the error
            occurs while files are moved.
    """
    unfinished = output_dir / UNFINISHED / output_dir.resolve().name
    remove_unfinished(output_dir)
    try:
        with explain_write_errors(output_dir / "model.safetensors"):
            unfinished.mkdir(parents=True)
            yield unfinished
            _fsync_all(unfinished)
            remove_model_files(output_dir)
            others = [path.name for path in unfinished.iterdir() if path.name not in _ENTRY_FILES]
            for name in (*others, *_ENTRY_FILES):
                os.replace(unfinished / name, output_dir / name)
            fsync(output_dir)
    finally:
        remove_unfinished(output_dir)


def remove_model_files(output_dir: Path) -> None:
    """Remove the configuration, tokenizer and weights of a model, which files of a new one may not all replace."""
    entry_files = [output_dir / name for name in reversed(_ENTRY_FILES)]
    for path in (*entry_files, *output_dir.glob("*.safetensors*")):
        path.unlink(missing_ok=True)


def publish_checkpoint(checkpoint: Path) -> None:
    """Move a checkpoint out of `UNFINISHED`, where it has the same name, with the checksums of its files.

    Args:
        checkpoint: The path where it will be, in an output directory.
    """
    unfinished = checkpoint.parent / UNFINISHED / checkpoint.name
    write_checksums(unfinished, ignored=[TRAINING_ARGS_NAME])  # which nothing reads, and a push leaves out
    _fsync_all(unfinished)
    if checkpoint.exists():  # of a run that was resumed from an earlier checkpoint
        remove_checkpoint(checkpoint)
    os.replace(unfinished, checkpoint)
    fsync(checkpoint.parent)


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint, for readers in one step."""
    unfinished = checkpoint.parent / UNFINISHED
    unfinished.mkdir(exist_ok=True)
    removed = unfinished / f"{checkpoint.name}.removed"
    shutil.rmtree(removed, ignore_errors=True)
    os.replace(checkpoint, removed)
    shutil.rmtree(removed)


def rotate_checkpoints(output_dir: Path, limit: int | None, kept: Collection[str]) -> None:
    """Remove the oldest checkpoints, as Trainer does, but each in one step.

    Args:
        output_dir: Holds the checkpoints.
        limit: How many stay; None or 0 for all.
        kept: Names of those that stay in any case.
    """
    if limit is None or limit <= 0:
        return
    checkpoints = sort_checkpoints(str(output_dir))
    old = [path for path in map(Path, checkpoints) if path.name not in kept]
    for path in old[: max(0, len(checkpoints) - limit)]:
        remove_checkpoint(path)


def remove_unfinished(output_dir: Path) -> None:
    """Remove what an interrupted save has left."""
    shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)


def _fsync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        fsync(path)
