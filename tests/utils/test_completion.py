"""Shells complete commands and options as argcomplete asks for it, without torch."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("argcomplete")
CODE = "import sys; from bert_multilabel.cli.main import main; sys.argv = ['bert-multilabel']; main()"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bert-multilabel t", ["train", "tune"]),
        ("bert-multilabel train rows.csv --text", ["--text_column", "--text_pair_column"]),
        ("bert-multilabel  train rows.csv --strategy ", ["cls", "label_tokens"]),
        ("bert-multilabel predict runs/opinions new.csv --top", ["--top_scores "]),
        ("bert-multilabel tune runs/opinions --thresh", ["--threshold_goal", "--thresholds"]),
        ("bert-multilabel unknown --thresh", []),
    ],
)
def test_what_may_come_next_is_written(line, expected, tmp_path):
    path = tmp_path / "completions"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(path)}
    environment = {**os.environ, **asked, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", CODE], env=environment, stderr=subprocess.PIPE)
    assert done.returncode == 0
    assert path.read_text().split("\n") == (expected or [""])
    assert not {b"torch", b"transformers"} & {row.split(b"|")[-1].strip() for row in done.stderr.splitlines()}
