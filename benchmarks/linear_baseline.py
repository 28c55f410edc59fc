"""A linear baseline on the same rows as the script: TF-IDF and one logistic regression per label, decided at 0.5.

`python benchmarks/linear_baseline.py --train_file … --validation_file … [--max_train_samples N] [--seed 42]`

With `--output_dir` it is a peer for quality.py and few_shot.py, too, and writes what they score.

With `--score_train FILE` it also writes scores of the training rows, in their order, for `--teacher FILE` of the
script. Those of a model that was fitted to the same rows are almost their labels, so each row gets the probabilities
of a model that was fitted to the other of `--folds` parts; rows with the same text are in one part. Rows that
`--max_train_samples` leaves out get those of the model of all others.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from datasets import Dataset
from peer_files import write_results, write_scores
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.splitting import text_key
from bert_multilabel.metrics import multilabel_scores

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--train_file", required=True)
parser.add_argument("--validation_file", "--test_file", required=True)
parser.add_argument("--label_names_file", help="label names, one a line, in order; default: what the rows hold")
parser.add_argument("--output_dir", help="folder for predictions.jsonl and all_results.json")
parser.add_argument("--max_train_samples", type=int, help="the same rows as run_multilabel.py draws with this seed")
parser.add_argument("--score_train", help="file for out-of-fold scores of the training rows")
parser.add_argument("--folds", type=int, default=5, help="parts of the training rows for --score_train")
parser.add_argument("--seed", type=int, default=42)
arguments = parser.parse_args()

started = time.perf_counter()
names = None if arguments.label_names_file is None else read_label_names(arguments.label_names_file).names
files = {"train": arguments.train_file, "validation": arguments.validation_file}
data = load_splits(DataSpec(label_names=names), files)
all_rows, validation = data.splits["train"], data.splits["validation"]
chosen = np.arange(len(all_rows))
if arguments.max_train_samples is not None:
    order = Dataset.from_dict({"row": chosen}).shuffle(seed=arguments.seed)
    chosen = np.array(order["row"][: arguments.max_train_samples])
train = all_rows.select(chosen)
model = make_pipeline(
    TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, strip_accents="unicode"),
    OneVsRestClassifier(LogisticRegression(C=4, max_iter=1000, solver="liblinear")),
)
texts, labels = list(train["text"]), np.asarray(train["labels"], dtype=int)
model.fit(texts, labels)
trained = time.perf_counter()
probabilities = model.predict_proba(list(validation["text"]))  # (N, L)
label_names = data.label_names or []  # files to train on have labels
scores = multilabel_scores(probabilities >= 0.5, np.asarray(validation["labels"]), probabilities)
print(json.dumps({**scores, "seconds": time.perf_counter() - started}, indent=2))
if arguments.output_dir is not None:
    write_results(Path(arguments.output_dir), label_names, probabilities, trained - started)
if arguments.score_train is not None:
    groups = np.unique([" ".join(text_key(text)) for text in texts], return_inverse=True)[1]
    parts = GroupKFold(arguments.folds, shuffle=True, random_state=arguments.seed)
    of_all = np.zeros((len(all_rows), len(label_names)))
    of_all[chosen] = cross_val_predict(model, texts, labels, groups=groups, cv=parts, method="predict_proba")
    if len(left_out := np.setdiff1d(np.arange(len(all_rows)), chosen)):
        of_all[left_out] = model.predict_proba(list(all_rows.select(left_out)["text"]))
    write_scores(Path(arguments.score_train), label_names, of_all)
