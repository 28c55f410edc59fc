"""Writes a file of examples as clean rows: `bert-multilabel convert FILE OUT.jsonl`."""

from argparse import SUPPRESS
from dataclasses import dataclass, field
from pathlib import Path

from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.option_parser import OptionParser, document_fields, option, path_argument

from .rows import Converted, convert_file

_SHOWN = 5  # labels that no row has


@document_fields
@dataclass(kw_only=True)
class ConvertArguments(ColumnArguments):
    """How to read the file, and whether to replace another."""

    # Texts are not tokenized.
    max_seq_length: int | None = field(default=None, init=False, metadata={"help": SUPPRESS})
    id_column: str | None = option("Column of identifiers. Default: by common names, or none.")
    label_names_file: str | None = option(
        "Label names: one per line in order, or a table or JSON with ids. Default: those in the file."
    )
    overwrite: bool = option("Replace the file to write, if it exists.", False)


def main(arguments: list[str] | None = None) -> int:
    """Convert the file named on the command line, by default `sys.argv[1:]`, and say what was written.

    Returns:
        0; argparse exits with 2 for wrong arguments or input.
    """
    parser = OptionParser(
        ConvertArguments,
        prog="bert-multilabel convert",
        description="Write examples of any form as JSON lines with text, labels, and text_pair and id where there are "
        "some. All commands read them without further options.",
        epilog="Exit code: 0 when the file was written, 2 for wrong arguments or input.",
    )
    parser.add_argument("file", metavar="FILE", help="File, folder or pattern of files that can be trained on.")
    parser.add_argument("output", metavar="OUT.jsonl", type=path_argument, help="File to write.")
    try:
        options, others = parser.parse(arguments)
        _check_output(others.output, others.file, options.overwrite)
        converted = convert_file(others.file, others.output, options.spec(None))
    except MultiLabelError as error:
        parser.error(str(error))
    print("\n".join(_describe(converted, others.output)))
    return 0


def _check_output(output: Path, file: str, overwrite: bool) -> None:
    if output.suffix != ".jsonl":
        raise MultiLabelError(f"the rows are written as JSON lines: give {output} the extension .jsonl")
    if output.exists():
        if Path(file).exists() and output.samefile(file):
            raise MultiLabelError(f"{output} is the file to convert: write another one")
        if not overwrite:
            raise MultiLabelError(f"{output} exists: write another file, or replace it with --overwrite")


def _describe(converted: Converted, output: Path) -> list[str]:
    lines = [f"{converted.rows:,} rows with {len(converted.label_names)} labels written to {output}"]
    if converted.holds_numbers:
        lines.append("Labels are written as numbers by name, since some are not 0 or 1; null: not annotated")
    if (unused := converted.unused) and not converted.holds_numbers:
        shown = ", ".join(map(shorten, unused[:_SHOWN])) + (", ..." if len(unused) > _SHOWN else "")
        lines.append(f"No row has {shown}: pass --label_names_file to keep them in training")
    return lines
