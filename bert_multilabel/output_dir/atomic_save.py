"""Adding checkpoints and models to an output directory, and removing them, each in one step for readers.

They are written to the directory `UNFINISHED` in the output directory, and then moved. The next run removes what is
left there.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bert_multilabel.errors import FileError
from bert_multilabel.utils.files import explain_write_errors, fsync, give_usual_modes, write_checksums

from .checkpoints import TRAINING_ARGS_FILE, list_checkpoints

UNFINISHED = "saving.unfinished"
# Moved last, in this order, and removed first, in reverse: nothing loads while one of them is missing.
_ENTRY_FILES = ("tokenizer_config.json", "tokenizer.json", "config.json")


@contextmanager
def lock_output_dir(output_dir: Path) -> Iterator[None]:
    """Create an output directory if necessary, and let no other run write into it during the block.

    The operating system releases the lock when the process ends. Windows and some file systems have no such locks.

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
                message = f"another run is writing into {output_dir}: wait until it ends, or choose another directory"
                raise FileError(message) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def atomic_model_save(output_dir: Path) -> Iterator[Path]:
    """Yield a directory for the files of a model, which then replace the model in `output_dir`.

    Whenever `output_dir` has a `config.json`, or for the tokenizer a `tokenizer.json`, all files are of one save.

    Raises:
        FileError: If the model cannot be written. Then `output_dir` keeps the previous model, or none if the error
            occurs while files are moved.
    """
    # The model card uses the name of the directory as the name of the model.
    unfinished = output_dir / UNFINISHED / output_dir.resolve().name
    remove_unfinished(output_dir)
    try:
        with explain_write_errors(output_dir / "model.safetensors"):
            unfinished.mkdir(parents=True)
            yield unfinished
            _complete(unfinished)
            remove_model_files(output_dir)
            others = [path.name for path in unfinished.iterdir() if path.name not in _ENTRY_FILES]
            for name in (*others, *_ENTRY_FILES):
                os.replace(unfinished / name, output_dir / name)
            fsync(output_dir)
    finally:
        remove_unfinished(output_dir)


def remove_model_files(output_dir: Path) -> None:
    """Remove the configuration, tokenizer and weights of a model."""
    for path in (*(output_dir / name for name in reversed(_ENTRY_FILES)), *output_dir.glob("*.safetensors*")):
        path.unlink(missing_ok=True)


def publish_checkpoint(checkpoint: Path) -> None:
    """Move a checkpoint to this path from the same name in `UNFINISHED`, with the checksums of its files."""
    unfinished = checkpoint.parent / UNFINISHED / checkpoint.name
    write_checksums(unfinished, ignored=[TRAINING_ARGS_FILE])  # which nothing reads, and a push leaves out
    _complete(unfinished)
    if checkpoint.exists():  # of a run that was resumed from an earlier checkpoint
        remove_checkpoint(checkpoint)
    os.replace(unfinished, checkpoint)
    fsync(checkpoint.parent)


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint."""
    removed = checkpoint.parent / UNFINISHED / f"{checkpoint.name}.removed"
    shutil.rmtree(removed, ignore_errors=True)
    removed.parent.mkdir(exist_ok=True)
    os.replace(checkpoint, removed)
    shutil.rmtree(removed)


def rotate_checkpoints(output_dir: Path, limit: int | None, kept: Collection[str]) -> None:
    """Remove the oldest checkpoints above `limit`, as Trainer does, except those with the names in `kept`."""
    if limit is None or limit <= 0:
        return
    checkpoints = list_checkpoints(output_dir)
    old = [path for path in checkpoints if path.name not in kept]
    for path in old[: max(0, len(checkpoints) - limit)]:
        remove_checkpoint(path)


def remove_unfinished(output_dir: Path) -> None:
    """Remove what an interrupted save has left."""
    shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)


def _complete(folder: Path) -> None:
    give_usual_modes(folder)
    for path in (*folder.rglob("*"), folder):
        fsync(path)
