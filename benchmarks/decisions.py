"""What each decision rule scores: fits them to the probabilities of a run, cross-fitted, and compares them row by row.

`python benchmarks/decisions.py --predictions runs/x/predictions.jsonl --truth_file validation.jsonl --label_names_file
labels.txt [--min_labels 0 1] [--goal hamming_score]`

The rows of the predictions are those of the truth, as `--do_predict` writes them. Each option of `--thresholds` is
fitted on four of five folds and decides the fifth; "auto" keeps the simplest rule within a standard error of the best.
"""

import argparse
from pathlib import Path

import numpy as np
from quality import read_logits, read_truth

from bert_multilabel import MultiLabelConfig
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import tune
from bert_multilabel.metrics import sample_f1_scores, sample_hamming_scores

OPTIONS = ("keep", "global", "expected_score", "per_label", "auto")
SCORES = {"hamming_score": sample_hamming_scores, "samples_f1": sample_f1_scores}


def scores_by_option(
    logits: np.ndarray, truth: np.ndarray, names: list[str], min_labels: int, goal: str
) -> dict[str, np.ndarray]:
    """Score each example, (N,), by what each option decides for it; print what "auto" has kept."""
    scores = {}
    for option in OPTIONS:
        arguments = DecisionArguments(thresholds=option, threshold_goal=goal, min_labels=min_labels)
        tuned = tune(logits, truth, MultiLabelConfig(label_names=names), arguments, cautious=option == "auto")
        scores[option] = SCORES[goal](tuned.predicted, truth)
    print(f"min_labels {min_labels}: auto keeps {tuned.scope}, {tuned.decisions.decision}")
    return scores


def main() -> None:
    """Print the mean score of each option, and its difference to the simplest and to thresholds per label."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("predictions", "truth_file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--min_labels", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--goal", choices=[*SCORES], default="hamming_score")
    arguments = parser.parse_args()
    names = read_label_names(arguments.label_names_file).names
    logits, truth = read_logits(Path(arguments.predictions)), read_truth(arguments.truth_file, names)
    for min_labels in arguments.min_labels:
        scores = scores_by_option(logits, truth, names, min_labels, arguments.goal)
        for option, values in scores.items():
            words = [f"{option:15s} {values.mean():.4f}"]
            for other in ("keep", "per_label"):
                difference = values - scores[other]
                error = difference.std() / len(difference) ** 0.5
                words.append(f"- {other}: {difference.mean():+.4f} ± {error:.4f}")
            print("   ".join(words), flush=True)


if __name__ == "__main__":
    main()
