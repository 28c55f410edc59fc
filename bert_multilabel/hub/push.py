"""Pushing a run to the Hub: what is checked before training, what goes there at every save, and at the end.

Trainer's own push would replace the model card, push saves that do not load before the end, write them into the
output folder, and pickle the token into every checkpoint. So the arguments that ask for a push are taken away from it.
"""

import os
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported without saying so
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy, suppress_progress_bars
from transformers.utils import logging

from bert_multilabel.errors import PushError
from bert_multilabel.model.hub_readme import make_readme
from bert_multilabel.output_dir.checkpoints import PREDICTIONS_FILE, REPORT_FILES, RUN_FILE
from bert_multilabel.utils.files import CHECKSUMS_FILE

logger = logging.get_logger(__name__)

# What stays here of an output folder: checkpoints, the paths of this machine, and rows that may be private, with what
# was said of them.
NOT_OF_THE_MODEL = [f"{PREFIX_CHECKPOINT_DIR}-*", RUN_FILE, PREDICTIONS_FILE, *REPORT_FILES, "*.unfinished*"]
# Where a checkpoint waits, in the output folder: Trainer may remove the checkpoint itself at the next save.
_WAITING = "_push"
# What training goes on with, beside the model; and what it does not need even for that.
_TRAINING_STATE = ["*.pt", "*.pth", "trainer_state.json", CHECKSUMS_FILE]
_TRAINING_ARGUMENTS = ["training_args.bin"]
_NEW_TOKEN = (
    "make one that may write at https://huggingface.co/settings/tokens, and give it to `hf auth login`, HF_TOKEN or "
    "--hub_token"
)


class HubPush(TrainerCallback):
    """Pushes the run in an output folder: as a callback of Trainer its saves, and at the end the whole.

    Args:
        args: Those that asked for the push.
        token: For the Hub; None for the stored one.
        saves_load: Whether checkpoints are models that load; else nothing is pushed before the end.
    """

    def __init__(self, args: TrainingArguments, token: str | None, saves_load: bool) -> None:
        self.folder = Path(str(args.output_dir))
        self.repo_id = args.hub_model_id or self.folder.absolute().name
        self._api = HfApi(token=token)
        self._private, self._revision = args.hub_private_repo or None, args.hub_revision
        self._strategy = HubStrategy(args.hub_strategy) if saves_load else HubStrategy.END
        self._never_skips = args.hub_always_push
        self._running: Future[None] | None = None

    @classmethod
    def take_from(cls, args: TrainingArguments, saves_load: bool = True) -> "HubPush | None":
        """Take the push out of the arguments, so that Trainer does not push as well.

        Args:
            args: No longer ask for a push afterwards, and hold no token.
            saves_load: See the class.

        Returns:
            The push, if one was asked for and this is the main process.

        Raises:
            PushError: If the name is none for a repository, the Hub cannot be reached or does not know the token, or
                the token may not write.
        """
        is_wanted, token = args.push_to_hub, args.hub_token
        args.push_to_hub, args.hub_token = False, None
        if not is_wanted or args.process_index > 0:
            return None
        push = cls(args, token, saves_load)
        push._check_access()
        return push

    @property
    def command(self) -> str:
        """The command line that pushes the output folder by hand, and what it needs beside."""
        words = ["hf", "upload", self.repo_id, str(self.folder)]
        words += [word for pattern in NOT_OF_THE_MODEL for word in ("--exclude", pattern)]
        if self._revision is not None:
            words += ["--revision", self._revision]
        if self._private:
            words.append("--private")
        needs = "" if self._api.token is None else "\nafter `hf auth login`, or with the token in HF_TOKEN"
        return f"    {shlex.join(words)}{needs}"

    def _check_access(self) -> None:
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise PushError(f"{error} Give the repository another name by --hub_model_id") from error
        with self._explained("--push_to_hub cannot work", "Train without it, and push later, with"):
            account = self._api.whoami()
            if "/" not in self.repo_id:
                self.repo_id = f"{account['name']}/{self.repo_id}"
            if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
                raise PermissionError(f"the token of {account['name']} may only read: {_NEW_TOKEN}")

    def create_repository(self) -> None:
        """Make the repository, and the branch if one is named, unless they are there.

        Raises:
            PushError: If the Hub refuses.
        """
        with self._explained("--push_to_hub cannot work", "Train without it, and push later, with"):
            self._api.create_repo(self.repo_id, private=self._private, exist_ok=True)
            if self._revision is not None:
                self._api.create_branch(self.repo_id, branch=self._revision, exist_ok=True)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove what a run that was interrupted did not get to push."""
        shutil.rmtree(self.folder / _WAITING, ignore_errors=True)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push a checkpoint while training goes on; one is left out while another is still on its way."""
        is_free = self._running is None or self._running.done() or self._never_skips
        if self._strategy != HubStrategy.END and is_free:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            waiting = self.folder / _WAITING / name
            try:
                shutil.copytree(self.folder / name, waiting, copy_function=_link)
            except OSError as error:  # a full disk, where files cannot have second names
                self._say_not_pushed(name, error)
                return
            message = f"Training in progress, step {state.global_step} of {state.max_steps}"
            self._running = self._api.run_as_future(self._push_checkpoint, waiting, message)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait for the checkpoint that is on its way."""
        if self._running is not None:
            self._running.result()
            shutil.rmtree(self.folder / _WAITING)
            self._running = None

    def _push_checkpoint(self, checkpoint: Path, message: str) -> None:
        try:
            files = [path.name for path in checkpoint.iterdir()]
            make_readme(self.repo_id, files, note=f"{message}.").save(checkpoint / "README.md")
            with suppress_progress_bars():  # beside that of training
                self._upload(checkpoint, message, [*_TRAINING_STATE, *_TRAINING_ARGUMENTS])
                if self._strategy != HubStrategy.EVERY_SAVE:
                    is_last = self._strategy == HubStrategy.CHECKPOINT
                    where = "last-checkpoint" if is_last else checkpoint.name
                    self._upload(checkpoint, f"{message}, checkpoint", _TRAINING_ARGUMENTS, path_in_repo=where)
        except Exception as error:  # whatever it is, it is no reason to stop training: the end pushes everything
            self._say_not_pushed(checkpoint.name, error)
        finally:
            shutil.rmtree(checkpoint)

    def _say_not_pushed(self, name: str, error: Exception) -> None:
        logger.warning(f"{name} was not pushed: {_reason(error, self.repo_id)}. Training goes on.")

    def push_run(self) -> None:
        """Push the output folder of a finished run.

        Raises:
            PushError: If that fails; the folder stays as it is.
        """
        with self._explained(
            f"The push to {self.repo_id} failed",
            f"Only the push is missing: the run is finished, and all of it is in {self.folder}. Push again with",
        ):
            self._upload(self.folder, "End of training", NOT_OF_THE_MODEL)
        logger.info(f"pushed to {self._api.endpoint}/{self.repo_id}")

    def _upload(self, folder: Path, message: str, ignored: list[str], path_in_repo: str | None = None) -> None:
        self._api.upload_folder(
            repo_id=self.repo_id,
            folder_path=folder,
            path_in_repo=path_in_repo,
            commit_message=message,
            revision=self._revision,
            ignore_patterns=[*ignored],  # the client appends to it
        )

    @contextmanager
    def _explained(self, what: str, advice: str) -> Iterator[None]:
        """Turn any error into a PushError with the command that pushes later."""
        try:
            yield
        except Exception as error:  # whatever it is, that the work is safe and how to go on is what helps
            reason = _reason(error, self.repo_id)
            raise PushError(f"{what}: {reason}.\n{advice}\n{self.command}") from error


def _link(source: str, target: str) -> None:
    """Give a file a second name, or where the file system has no such thing copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _reason(error: BaseException, repo_id: str) -> str:
    """Say in a line why the Hub could not be used, and what mends it."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return _reason(error.__cause__, repo_id)  # the client says which file, and what happened in the cause alone
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token: {_NEW_TOKEN}"
    if isinstance(error, OfflineModeIsEnabled):
        return "the environment variable HF_HUB_OFFLINE forbids it: unset it"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return f"the Hub does not know this token (401): {_NEW_TOKEN}"
    if status == 403:
        return f"this token may not write to {repo_id} (403): {_NEW_TOKEN}, or choose another --hub_model_id"
    if isinstance(error, PermissionError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"
