"""Exports a trained model to other tools: `bert-multilabel export MODEL_DIR --output DIR [--format NAME]`.

Formats: `onnx` (default), a folder for onnxruntime; `transformers`, a stock `BertForSequenceClassification` of a model
with strategy `cls`, which loads anywhere without `trust_remote_code`; `web`, a page that runs the model in the
visitor's browser. Each folder holds `parity.json`: how much its predictions differ from those of the original on the
examples of `--file`, or on made-up texts.
"""

import logging
import sys
from importlib import import_module
from pathlib import Path

from bert_multilabel.cli.commands import WRONG_COMMAND_LINE
from bert_multilabel.errors import MultiLabelError, ParityError
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import OptionParser, path_argument

from .arguments import FORMATS, ExportArguments


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 1 if the exported model differs too much from the original, else 0."""
    parser = OptionParser(
        ExportArguments,
        prog="bert-multilabel export",
        description=__doc__,
        epilog="Exit code: 0 when the folder was written, 1 if the exported model differs too much from the original, "
        "2 for wrong arguments or input.",
    )
    parser.add_argument("model_dir", type=path_argument, help="Folder of the trained model.")
    try:
        options, others = parser.parse(arguments)
    except MultiLabelError as error:
        parser.error(str(error))
    module, function, extra = FORMATS[options.format]
    try:
        if extra is not None:
            check_installed("exporting", extra)  # before the import, which takes seconds
        # Else onnxruntime's quantizer would, in its own way, when it is imported.
        logging.basicConfig(format="%(message)s")
        report = getattr(import_module(f".{module}", __package__), function)(others.model_dir, options)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    except MultiLabelError as error:
        print(error, file=sys.stderr)
        raise SystemExit(WRONG_COMMAND_LINE) from error
    from .parity import Parity, describe_parity  # only now what takes seconds to import

    print(f"Compared with the original on {report['rows']:,} examples ({report['source']}):")
    for precision in filter(report.get, ("float32", "int8")):
        parity = Parity(**report[precision])
        difference = parity.largest_probability_difference
        print(f"  {precision}: probabilities differ by at most {difference:.1g}; {describe_parity(parity)}")
    folder = Path(options.output)
    print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0
