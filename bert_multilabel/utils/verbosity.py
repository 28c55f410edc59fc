"""What a command shows in addition to its results: progress bars only on a terminal, more or fewer messages."""

import logging
import os
import sys

# Read by huggingface_hub, for Transformers too, and by datasets when they are imported.
_SWITCHES = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")


def set_verbosity(quiet: bool, verbose: bool) -> None:
    """Show errors only, or also notes; neither leaves it as it is."""
    if not quiet and not verbose:
        return
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bert_multilabel").setLevel(logging.ERROR if quiet else logging.INFO)
    if quiet:
        hide_progress_bars()


def shows_progress_bars() -> bool:
    """Whether progress bars belong on the standard error: it is a terminal, and they are not switched off."""
    return sys.stderr.isatty() and os.environ.get(_SWITCHES[0], "0").upper() not in ("1", "ON", "YES", "TRUE")


def hide_progress_bars() -> None:
    """Hide the progress bars of all libraries, whether they are imported already or not."""
    for switch in _SWITCHES:
        os.environ[switch] = "1"
    if "transformers" in sys.modules:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    if "datasets" in sys.modules:
        from datasets import disable_progress_bars

        disable_progress_bars()
