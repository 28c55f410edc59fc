"""Pushes a run to the Hub: access is checked before training, checkpoints are pushed at saves, the rest at the end.

Trainer's own push would replace the model card, push checkpoints that do not load, write them into the output folder,
and pickle the token into every checkpoint. So the arguments that ask for a push are hidden from it.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported without saying so
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy, suppress_progress_bars

from bert_multilabel.errors import PushError
from bert_multilabel.model.hub_readme import make_readme
from bert_multilabel.output_dir.checkpoints import (
    AVERAGED_WEIGHTS_FILE,
    PREDICTIONS_FILE,
    RAW_WEIGHTS_FILE,
    REPORT_FILES,
    RUN_FILE,
)
from bert_multilabel.utils.files import CHECKSUMS_FILE
from bert_multilabel.utils.shell import join_words

logger = logging.getLogger(__name__)

# Files of an output folder that are not pushed: checkpoints, local paths, and data that may be private.
NOT_PUSHED = [f"{PREFIX_CHECKPOINT_DIR}-*", RUN_FILE, PREDICTIONS_FILE, *REPORT_FILES, "*.unfinished*"]
# Subfolder of the output folder for copies of checkpoints to push: Trainer may delete the original at the next save.
_WAITING = "_push"
_TRAINING_ARGUMENTS = "training_args.bin"
_NOT_OF_THE_MODEL = ["*.pt", "*.pth", "trainer_state.json", CHECKSUMS_FILE, _TRAINING_ARGUMENTS]
_NOT_OF_THE_MODEL += [AVERAGED_WEIGHTS_FILE, RAW_WEIGHTS_FILE]
_NEW_TOKEN = (
    "create one with write access at https://huggingface.co/settings/tokens, and pass it to `hf auth login`, HF_TOKEN "
    "or --hub_token"
)


class HubPush(TrainerCallback):
    """Pushes the output folder of a run at the end, and as a callback of Trainer also its checkpoints.

    Args:
        args: The arguments that ask for the push.
        token: Token for the Hub; None: the stored one.
        saves_load: Whether checkpoints load as models; otherwise none is pushed.
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
        """Move the push and the token out of the arguments, so that Trainer does not push as well.

        Returns:
            The push, or None if none was asked for or this is not the main process.

        Raises:
            PushError: If the repository name is invalid, the Hub cannot be reached, or the token cannot write.
        """
        is_wanted, token = args.push_to_hub, args.hub_token
        args.push_to_hub, args.hub_token = False, None
        if not is_wanted or args.process_index > 0:
            return None
        push = cls(args, token, saves_load)
        push._check_access()
        return push

    def _check_access(self) -> None:
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise PushError(f"{error} Choose another repository name with --hub_model_id") from error
        with self._explained():
            account = self._api.whoami()
            if "/" not in self.repo_id:
                self.repo_id = f"{account['name']}/{self.repo_id}"
            if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
                raise PermissionError(f"the token of {account['name']} may only read: {_NEW_TOKEN}")

    def create_repository(self) -> None:
        """Create the repository, and the branch of --hub_revision, unless they exist.

        Raises:
            PushError: If the Hub refuses.
        """
        with self._explained():
            self._api.create_repo(self.repo_id, private=self._private, exist_ok=True)
            if self._revision is not None:
                self._api.create_branch(self.repo_id, branch=self._revision, exist_ok=True)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Remove the copies that an interrupted run left."""
        shutil.rmtree(self.folder / _WAITING, ignore_errors=True)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push a checkpoint in the background; skip it while another is being pushed."""
        is_free = self._running is None or self._running.done() or self._never_skips
        if self._strategy != HubStrategy.END and is_free:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            waiting = self.folder / _WAITING / name
            try:
                shutil.copytree(self.folder / name, waiting, copy_function=_link)
            except OSError as error:  # for example a full disk
                self._warn(name, error)
                return
            message = f"Training in progress, step {state.global_step} of {state.max_steps}"
            self._running = self._api.run_as_future(self._push_checkpoint, waiting, message)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Wait until the last checkpoint is pushed."""
        if self._running is not None:
            self._running.result()
            shutil.rmtree(self.folder / _WAITING)
            self._running = None

    def _push_checkpoint(self, checkpoint: Path, message: str) -> None:
        try:
            files = [path.name for path in checkpoint.iterdir()]
            make_readme(self.repo_id, files, note=f"{message}.").save(checkpoint / "README.md")
            with suppress_progress_bars():  # they would mix with that of the training
                self._upload(checkpoint, message, _NOT_OF_THE_MODEL)
                if self._strategy != HubStrategy.EVERY_SAVE:
                    is_last = self._strategy == HubStrategy.CHECKPOINT
                    where = "last-checkpoint" if is_last else checkpoint.name
                    self._upload(checkpoint, f"{message}, checkpoint", [_TRAINING_ARGUMENTS], path_in_repo=where)
        except Exception as error:  # no error of a push may stop the training; the push at the end includes everything
            self._warn(checkpoint.name, error)
        finally:
            shutil.rmtree(checkpoint)

    def _warn(self, name: str, error: Exception) -> None:
        logger.warning(f"{name} was not pushed: {_reason(error, self.repo_id)}. Training continues.")

    def push_run(self) -> None:
        """Push the output folder of a finished run.

        Raises:
            PushError: If that fails; the folder stays unchanged.
        """
        advice = f"The run is finished and saved in {self.folder}. Push it again with"
        with self._explained(f"The push to {self.repo_id} failed", advice):
            self._upload(self.folder, "End of training", NOT_PUSHED)
        logger.info(f"Pushed to {self._api.endpoint}/{self.repo_id}")

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
    def _explained(
        self,
        what: str = "--push_to_hub cannot work",
        advice: str = "Train without it, and push the output folder later with",
    ) -> Iterator[None]:
        """Turn any error into a PushError with the command that pushes later."""
        try:
            yield
        except Exception as error:  # the advice helps against any error
            raise PushError(f"{what}: {_reason(error, self.repo_id)}.\n{advice}\n{self._command()}") from error

    def _command(self) -> str:
        """Return the command line that pushes the output folder, and how it gets the token."""
        words = ["hf", "upload", self.repo_id, str(self.folder)]
        words += [word for pattern in NOT_PUSHED for word in ("--exclude", pattern)]
        words += [] if self._revision is None else ["--revision", self._revision]
        words += ["--private"] if self._private else []
        needs = "" if self._api.token is None else "\nafter `hf auth login`, or with the token in HF_TOKEN"
        return f"    {join_words(words)}{needs}"


def _link(source: str, target: str) -> None:
    """Create a hard link, or a copy if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _reason(error: BaseException, repo_id: str) -> str:
    """Describe in one line why the Hub refused, and what helps."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return _reason(error.__cause__, repo_id)  # the client names the file, and only the cause says what happened
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
