"""The parser of all commands: options from dataclasses, each shown once and grouped by subject in `--help`."""

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from functools import cached_property
from typing import Any, TypeVar

from transformers import HfArgumentParser

from bert_multilabel.errors import TRACEBACK

_Class = TypeVar("_Class", bound=type)


class OptionParser(HfArgumentParser):
    """A parser for dataclasses whose `--help` groups options by subject.

    Options may be written with hyphens instead of underscores, but not abbreviated.

    Args:
        groups: One or more dataclasses.
        epilog: Last paragraph of the help.
        subjects: Names of options by subject, in the order of `--help`; a name that comes twice belongs to the last.
        **options: `prog`, `usage` and `description` of `argparse.ArgumentParser`.
    """

    def __init__(
        self, groups: Any, epilog: str = "", subjects: Mapping[str, Iterable[str]] | None = None, **options: Any
    ) -> None:
        self._subjects = subjects or {}
        switch = f"Set {TRACEBACK}=1 in the environment to see where in the code an error message comes from."
        options["epilog"] = textwrap.fill(f"{epilog} {switch}".strip(), 80)
        options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(groups, allow_abbrev=False, **options)

    @cached_property
    def _group_of(self) -> dict[str, Any]:
        groups = {subject: self.add_argument_group(subject) for subject in self._subjects}
        return {name: groups[subject] for subject, names in self._subjects.items() for name in names}

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument to its subject, with underscores, and with its default in the help text."""
        names = tuple(name for name in names if "-" not in name.lstrip("-"))
        text, default = str(settings.get("help")), settings.get("default")
        if settings.get("action") == "store_false":
            settings["help"] = argparse.SUPPRESS  # `--no_x` means `--x false`
        elif "default" not in text.lower() and default not in (None, False, "", argparse.SUPPRESS):
            settings["help"] = f"{text} Default: {str(default).replace('%', '%%')}."
        group = self._group_of.get(names[0].lstrip("-"))
        return super().add_argument(*names, **settings) if group is None else group.add_argument(*names, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line whose options may be written with hyphens."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([_with_underscores(word) for word in words], namespace)

    def parse(self, arguments: list[str] | None) -> tuple[Any, ...]:
        """Read a command line without the program's name; None reads that of the process.

        Returns:
            The dataclasses, followed by a namespace of the other arguments, if there are any.

        Raises:
            SystemExit: With code 2 if an argument is unknown or wrong, with 0 for `--help`.
        """
        *parsed, unknown = self.parse_args_into_dataclasses(
            arguments, return_remaining_strings=True, look_for_args_file=False
        )
        if unknown:
            self.error(unknown_arguments(unknown))
        return tuple(parsed)


def unknown_arguments(words: list[str]) -> str:
    """Return the message about words of a command line that are no options."""
    return f"unknown arguments: {' '.join(words)}; check the spelling, --help lists them all"


def _with_underscores(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def option(help_text: str, default: Any = None, choices: Iterable[str] | None = None) -> Any:
    """Declare a field of a dataclass that becomes an option, with its text in `--help`."""
    metadata = {"help": help_text} if choices is None else {"help": help_text, "choices": [*choices]}
    return field(default=default, metadata=metadata)


def document_fields(cls: _Class) -> _Class:
    """Add the help texts of a dataclass to its docstring, except those of bases in other packages."""
    bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == __name__.partition(".")[0]]
    own = {name for base in bases for name in vars(base).get("__annotations__", {})}
    texts = {field.name: field.metadata["help"] for field in fields(cls) if field.name in own}
    lines = [
        textwrap.fill(f"{name}: {text}", 100, initial_indent="    ", subsequent_indent="        ")
        for name, text in texts.items()
        if text != argparse.SUPPRESS
    ]
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *lines])
    return cls
