"""SetFit's multi-label mode, trained and asked like the script: a peer for quality.py and few_shot.py.

It runs in an environment of its own, named to them by `--setfit_python` (verified with Python 3.11,
sentence-transformers 6.2.0 and transformers 5.24.0, which pip picks by itself):

`pip install torch==2.13.0 setfit==1.2.0`

The body is the backbone as sentence-transformers reads it, the head one logistic regression per label
(`multi_target_strategy="one-vs-rest"`; "multi-output" fits the same ones). Everything else is SetFit's default
(batches of 16 pairs, learning rate 2e-5, fp32), but for the number of steps: its default, all pairs, would take 1,600
steps for the 166 rows of 8 per label of GoEmotions, and 102,000 for the 1,321 rows of 64 per label. 160 steps of 16
pairs read as many texts as 320 steps of 16 rows.
"""

import time
from pathlib import Path

import numpy as np
from datasets import Dataset
from peer_files import argument_parser, read_rows, write_results
from setfit import SetFitModel, Trainer, TrainingArguments

parser = argument_parser(__doc__)
parser.add_argument("--max_steps", type=int, default=160, help="steps of 16 pairs in the training of the body")
arguments = parser.parse_args()

names, texts, labels, questions = read_rows(arguments)
started = time.perf_counter()
model = SetFitModel.from_pretrained(
    arguments.model_name_or_path, multi_target_strategy="one-vs-rest", labels=names, device="cpu"
)
args = TrainingArguments(
    output_dir=arguments.output_dir,
    max_steps=arguments.max_steps,
    seed=arguments.seed,
    save_strategy="no",
    report_to="none",
    show_progress_bar=False,
)
Trainer(model=model, args=args, train_dataset=Dataset.from_dict({"text": texts, "label": labels.tolist()})).train()
seconds = time.perf_counter() - started
probabilities = np.asarray(model.predict_proba(questions, as_numpy=True))  # (N, L)
write_results(Path(arguments.output_dir), names, probabilities, seconds)
