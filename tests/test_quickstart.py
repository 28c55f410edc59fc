"""The cells of examples/quickstart.ipynb run in their order, with a tiny checkpoint in place of MiniLM."""

import ast
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests import forked

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOK = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
ROWS = 120  # of the training file
SHORTER = "num_train_epochs=1, use_cpu=True, max_seq_length=64"


def run_cells(folder):
    """Run the cells as Jupyter does, and print what each would show."""
    from bert_multilabel.cli.main import run

    os.chdir(folder)
    names = {"__name__": "__main__"}
    for code in CODE:
        if code.startswith("!"):
            run(shlex.split(code.replace("\\\n", " "))[1:])
            continue
        *body, last = ast.parse(code.replace("num_train_epochs=10", SHORTER)).body
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        sys.stdout.write(value._repr_html_())


@pytest.fixture(scope="module")
def shown(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES / "purchase_intent", folder / "purchase_intent")
    train = folder / "purchase_intent" / "train.csv"
    train.write_text("".join(train.read_text(encoding="utf-8").splitlines(keepends=True)[: ROWS + 1]))
    shutil.copytree(backbone, folder / "sentence-transformers" / "all-MiniLM-L6-v2")
    return forked.run(run_cells, folder, log=folder / "log")


def test_cells_run_and_show_tables_words_and_the_report(shown):
    assert "Findings: 0 errors" in shown
    assert "<th>hamming score</th>" in shown
    assert "<th>predicted</th>" in shown
    assert "Words that support (+) and oppose (−)" in shown
    assert '<iframe title="Report on quickstart"' in shown


def test_the_notebook_is_one_of_format_4_without_outputs():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 6 and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
