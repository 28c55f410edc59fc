"""tlmtc, trained and asked like the script: a peer for quality.py and few_shot.py.

It runs in an environment of its own, named to them by `--tlmtc_python`: Python 3.12 or later, with

`pip install torch==2.13.0 "tlmtc[train]==0.4.2"`

(Tried with transformers 5.24.0, in Python 3.11 with two `type` statements of tlmtc rewritten as assignments, because
no CPU build of torch for Python 3.12 was at hand.)

It fine-tunes all weights of the backbone with its own weighted loss, and keeps 15% of the training rows to choose the
epoch, as is its habit; texts are padded to 128 tokens, its default. Off are what would hide the comparison or take
hours: its search for hyperparameters, LoRA (on by default), and its own thresholds. Its learning rate of 2e-5 is meant
for 20 epochs; here it is that of the stock Trainer. Labels need at least two rows each.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from peer_files import argument_parser, read_rows, write_results
from tlmtc import predict_tlmtc, train_tlmtc

parser = argument_parser(__doc__)
parser.add_argument("--num_train_epochs", type=int, default=4)
parser.add_argument("--learning_rate", type=float, default=1e-4)
parser.add_argument("--batch_size", type=int, default=32)
parser.add_argument("--sequence_length", type=int, default=128, help="tokens that each text is padded and cut to")
arguments = parser.parse_args()

names, texts, labels, questions = read_rows(arguments)
indices = [str(index) for index in range(len(names))]  # stand for the names, which tlmtc does not read
rows = pd.DataFrame(labels, columns=[f"label_{index}" for index in indices]).assign(text=texts)
folder = Path(arguments.output_dir)
folder.mkdir(parents=True, exist_ok=True)
# It wants rows to test on, some of each label; nobody looks at that result, so a few that it trains on will do.
rows.loc[sorted(set(labels.argmax(axis=0)))].to_csv(folder / "test.csv", index=False)
started = time.perf_counter()
train_tlmtc(
    rows,
    raw_test_csv=folder / "test.csv",
    work_dir=folder,
    run_id="run",
    checkpoint=arguments.model_name_or_path,
    random_seed=arguments.seed,
    hyperparameter_tuning=False,
    threshold_optimization=False,
    wrap_peft=False,
    train_epochs=arguments.num_train_epochs,
    learning_rate=arguments.learning_rate,
    batch_size=arguments.batch_size,
    sequence_length=arguments.sequence_length,
    use_cpu=True,
)
seconds = time.perf_counter() - started
asked = predict_tlmtc(pd.DataFrame({"text": questions}), work_dir=folder, run_id="run", use_cpu=True)
probabilities = pd.read_csv(asked.paths.probabilities_path)[indices]  # (N, L)
write_results(folder, names, np.asarray(probabilities), seconds)
