"""The parser of all commands: options from dataclasses, each shown once and grouped by subject in `--help`.

It reads dataclasses as `HfArgumentParser` does, and needs nothing of Transformers, whose import takes longer than many
commands.
"""

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from enum import Enum
from functools import cached_property, partial
from itertools import takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from bert_multilabel.errors import TRACEBACK, MultiLabelError

from .completion import complete, is_asked
from .spelling import closest
from .verbosity import set_verbosity

_Class = TypeVar("_Class", bound=type)
_TRUTH = {
    **dict.fromkeys(("yes", "true", "t", "y", "1"), True),
    **dict.fromkeys(("no", "false", "f", "n", "0"), False),
}
_NAMED_COLUMN = 30  # where the help texts begin
_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT"}


class OptionParser(argparse.ArgumentParser):
    """A parser for dataclasses whose `--help` groups options by subject.

    Options may be written with hyphens instead of underscores, but not abbreviated.

    Args:
        groups: One or more dataclasses.
        epilog: Last paragraph of the help.
        subjects: Names of options by subject, in the order of `--help`; a name that comes twice belongs to the last.
        **options: `prog`, `usage` and `description` of `argparse.ArgumentParser`.

    Attributes:
        raises: Raise a MultiLabelError for what is wrong, instead of ending the process.
    """

    raises = False

    def __init__(
        self, groups: Any, epilog: str = "", subjects: Mapping[str, Iterable[str]] | None = None, **options: Any
    ) -> None:
        self._subjects = subjects or {}
        self._options = ["--quiet", "--verbose"]
        self._misspelt: list[str] = []
        self._classes: Sequence[Any] = groups if isinstance(groups, Sequence) else [groups]
        switch = f"Set {TRACEBACK}=1 in the environment to see where in the code an error message comes from."
        options["epilog"] = textwrap.fill(f"{epilog} {switch}".strip(), 80)
        formatter: Any = partial(argparse.RawDescriptionHelpFormatter, max_help_position=_NAMED_COLUMN)
        super().__init__(formatter_class=formatter, allow_abbrev=False, **options)
        loudness = self.add_mutually_exclusive_group()
        loudness.add_argument("--quiet", action="store_true", help="Show results and errors only.")
        loudness.add_argument("--verbose", action="store_true", help="Show notes, too.")
        for group in self._classes:
            types = get_type_hints(group)
            for one in fields(group):
                if one.init:
                    self._add_option(one, types[one.name])

    @cached_property
    def _group_of(self) -> dict[str, Any]:
        groups = {subject: self.add_argument_group(subject) for subject in self._subjects}
        return {name: groups[subject] for subject, names in self._subjects.items() for name in names}

    def _add_option(self, one: "Field[Any]", kind: Any) -> None:
        settings = {name: value for name, value in one.metadata.items() if name != "aliases"}
        settings |= _default(one) | _reading(kind, one.default)
        if not settings.get("choices"):
            settings.setdefault("metavar", _METAVARS.get(settings["type"]))
        self.add_argument(f"--{one.name}", **settings)
        if one.default is True:
            self.add_argument(
                f"--no_{one.name}", action="store_false", dest=one.name, default=True, help=argparse.SUPPRESS
            )

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument to its subject, with its default in the help text."""
        self._options += [name for name in names if name.startswith("--")]
        text, default = str(settings.get("help")), settings.get("default")
        tells_default = text == argparse.SUPPRESS or "default" in text.lower()
        if not tells_default and default not in (None, False, "", argparse.SUPPRESS):
            shown = default.value if isinstance(default, Enum) else default
            settings["help"] = f"{text} Default: {str(shown).replace('%', '%%')}."
        group = self._group_of.get(names[0].lstrip("-"))
        return super().add_argument(*names, **settings) if group is None else group.add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """End the process with the usage and a message, or raise a MultiLabelError; misspelt options come first."""
        if self._misspelt:
            message = f"{self.describe_unknown(self._misspelt)}; {message}"
        if self.raises:
            raise MultiLabelError(message)
        super().error(message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line whose options may be written with hyphens."""
        words = [_with_underscores(word) for word in (sys.argv[1:] if args is None else args)]
        # argparse ends with the first fault, and misses required options before it finds unknown ones.
        options = [word for word in takewhile(lambda word: word != "--", words) if word.startswith("--")]
        self._misspelt = [word for word in options if word.partition("=")[0] not in self._options]
        parsed = super().parse_known_args(words, namespace)
        self._misspelt = []
        return parsed

    def parse_known(self, arguments: list[str] | None) -> tuple[tuple[Any, ...], list[str]]:
        """Read a command line as `parse` does, and return the words that are no options as well."""
        if is_asked():
            complete(self)
        namespace, unknown = self.parse_known_args(arguments)
        others = vars(namespace)
        set_verbosity(others.pop("quiet"), others.pop("verbose"))
        parsed: list[Any] = []
        for group in self._classes:
            parsed.append(group(**{one.name: others.pop(one.name) for one in fields(group) if one.init}))
        return (*parsed, *([argparse.Namespace(**others)] if others else [])), unknown

    def parse(self, arguments: list[str] | None) -> tuple[Any, ...]:
        """Read a command line without the program's name; None reads that of the process.

        Returns:
            The dataclasses, followed by a namespace of the other arguments, if there are any.

        Raises:
            SystemExit: With code 2 if an argument is unknown or wrong, with 0 for `--help`.
        """
        parsed, unknown = self.parse_known(arguments)
        if unknown:
            self.error(self.describe_unknown(unknown))
        return parsed

    def describe_unknown(self, words: list[str], listed_by: str = "--help") -> str:
        """Return the message about words of a command line that are no options, and what lists all options."""
        hints = [self._hint(word.partition("=")[0]) for word in words if word.startswith("--")]
        means = f" (did you mean {', '.join(filter(None, hints))}?)" if any(hints) else ""
        return f"unknown arguments: {' '.join(words)}; check the spelling{means}, {listed_by} lists them all"

    def _hint(self, word: str) -> str | None:
        """Return the option that is written in part, or is similar."""
        begun = (option for option in self._options if len(word) > 3 and option.startswith(word))
        return next(begun, None) or closest(word, self._options)


def _default(one: "Field[Any]") -> dict[str, Any]:
    if one.default is not MISSING:
        return {"default": one.default}
    return {"default": one.default_factory()} if one.default_factory is not MISSING else {"required": True}


def _reading(kind: Any, default: Any) -> dict[str, Any]:
    """Return how argparse reads a value of this type."""
    kind = _one_type(kind)
    if kind is bool and default is None:
        return {"type": _truth, "metavar": "BOOL"}
    if kind is bool:
        given = False if default is MISSING else default
        return {"type": _truth, "metavar": "BOOL", "nargs": "?", "const": True, "default": given}
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        # A default that is a text in place of a list, as of Trainer's --debug, would be read as one item.
        return {"type": item, "nargs": "+", **({"default": None} if isinstance(default, str) else {})}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": str, "choices": [member.value for member in kind]}
    return {"type": kind}


def _one_type(kind: Any) -> Any:
    """Return the type that the command line gives to an option that may have several, or be None."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    members = [member for member in get_args(kind) if member is not NoneType]
    if len(members) == 1:
        return members[0]
    if bool in members:
        return bool
    # What may be a text or None is read as a text; what must be something is read as that.
    others = [member for member in members if member is not str]
    return str if NoneType in get_args(kind) and str in members else others[0]


def _truth(word: str) -> bool:
    if (value := _TRUTH.get(word.lower())) is None:
        raise argparse.ArgumentTypeError(f"expected true or false, got {word!r}")
    return value


def path_argument(word: str) -> Path:
    """Read a path; an empty one, such as a variable of the shell that is not set, is not the current folder."""
    if not word:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(word)


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
