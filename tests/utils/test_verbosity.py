import subprocess
import sys

import pytest

BARS = ["%|", "it/s", "Loading weights", "Writing model shards", "\r"]


@pytest.mark.slow
@pytest.mark.dependency  # of all libraries that show bars
def test_a_log_file_gets_no_progress_bars_and_quiet_commands_no_notes(backbone, files, tmp_path):
    out = tmp_path / "out"
    words = ["train", files["train"], "--model_name_or_path", str(backbone), "--output_dir", str(out), "--use_cpu"]
    words += ["--max_steps", "1", "--validation_file", files["validation"]]
    done = run(*words)
    assert "eval_hamming_score" in done.stdout and "written to" in done.stderr
    assert "bert-multilabel predict" in done.stderr and "bert-multilabel page" in done.stderr
    quiet = run(
        "predict", str(out), files["test"], "--output_dir", str(tmp_path / "predicted"), "--use_cpu", "--quiet"
    )
    assert "test_hamming_score" in quiet.stdout and quiet.stderr == ""
    assert not [bar for bar in BARS for text in (done.stdout, done.stderr) if bar in text]


def run(*words):
    command = [sys.executable, "-m", "bert_multilabel", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
