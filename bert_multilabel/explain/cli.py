"""Explains which words lead to the labels of a text: `bert-multilabel explain MODEL_DIR --text "..."`.

For each label it lists the words that support it (+) and oppose it (-), with the amount by which each raises or lowers
the logit of the label. On a terminal the text is coloured, too: blue supports, orange opposes.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path

from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.files import write_json
from bert_multilabel.utils.option_parser import OptionParser, path_argument

from .arguments import ExplainArguments


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = OptionParser(ExplainArguments, prog="bert-multilabel explain", description=__doc__)
    parser.add_argument("model_dir", type=path_argument, help="Folder of the trained model.")
    options, others = parser.parse(arguments)
    check_installed("explaining", "explain")
    # Only now what takes seconds to import.
    from bert_multilabel.loading import load_trained

    from .explainer import Explainer
    from .render import render

    explainer = Explainer(*load_trained(others.model_dir), options.steps)
    explanation = explainer.explain(options.text, options.pair, options.labels)
    if options.json is not None:
        write_json(Path(options.json), asdict(explanation))
    print("\n".join(render(explanation, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)))
