"""Whether explanations hold: what is left over, and whether the words that they name are those that matter.

`python benchmarks/explanations.py --file rows.jsonl --label_names_file … --models DIR [DIR …] [--rows 200]`

Of each row the most probable label is explained. Then the words that speak most for it are deleted from the text, a
fifth of all, and the text is scored again; so it is with as many random words deleted, in ten draws. With label tokens
the same is done with the words to which the label's token attends most. The models are folders of the script.
"""

import argparse
import random
import statistics
import time
from collections.abc import Sequence

import torch

from bert_multilabel import Explainer
from bert_multilabel.data.examples import load_splits
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.explain.explainer import Word
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer

DELETED = 0.2  # of the words
FEWEST_WORDS = 5  # below, a fifth is none
DRAWS = 10


def without(text: str, words: Sequence[Word]) -> str:
    """Delete words from a text, and leave the white space between them."""
    for word in sorted(words, key=lambda word: -word.start):
        text = text[: word.start] + text[word.end :]
    return text


def heaviest(words: list[Word], weights: list[float], count: int) -> list[Word]:
    """Return the words of the largest weights."""
    order = sorted(range(len(words)), key=lambda index: -weights[index])
    return [words[index] for index in order[:count]]


def examine(
    explainer: Explainer, scorer: MultiLabelScorer, text: str, draws: random.Random
) -> dict[str, float] | None:
    """Explain the most probable label of a text, and delete words; None if it has too few."""
    names = scorer.config.label_names
    column = int(scorer.logits([text])[0].argmax())
    started = time.process_time()
    explanation = explainer.explain(text, labels=[names[column]])
    seconds = time.process_time() - started
    words, (label,) = explanation.words, explanation.labels
    if len(words) < FEWEST_WORDS:
        return None
    count = round(DELETED * len(words))
    deleted = [draws.sample(words, count) for _ in range(DRAWS)]
    deleted.append(heaviest(words, label.attributions, count))
    if label.attention is not None:
        deleted.append(heaviest(words, label.attention, count))
    lost = (label.logit - scorer.logits([without(text, some) for some in deleted])[:, column]).tolist()
    by_chance, top = lost[:DRAWS], lost[DRAWS]
    row = {
        "seconds": seconds,
        "error": abs(label.error),
        "relative error": label.relative_error or 0.0,
        "lost, random": statistics.mean(by_chance),
        "lost, top": top,
        "won, top": top > statistics.mean(by_chance),
        "draws beaten, top": statistics.mean(top > other for other in by_chance),
    }
    if label.attention is not None:
        row |= {
            "lost, attention": lost[-1],
            "won, attention": lost[-1] > statistics.mean(by_chance),
            "top beats attention": top > lost[-1],
        }
    return row


def main() -> None:
    """Explain, delete and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("file", "label_names_file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--rows", type=int, default=200, help="that have five words")
    arguments = parser.parse_args()
    spec = DataSpec(label_names=read_label_names(arguments.label_names_file).names)
    texts = load_splits(spec, {"validation": arguments.file}).splits["validation"]["text"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for folder in arguments.models:
        model, tokenizer = load_trained(folder)
        explainer, scorer, draws = Explainer(model, tokenizer), MultiLabelScorer(model, tokenizer), random.Random(0)
        rows: list[dict[str, float]] = []
        for text in texts:
            if len(rows) < arguments.rows and (row := examine(explainer, scorer, text, draws)):
                rows.append(row)
        print(f"{folder}: {len(rows)} rows")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(
                f"  {name:20} mean {statistics.mean(values):8.4f}  median {statistics.median(values):8.4f}  "
                f"max {max(values):8.4f}"
            )


main()
