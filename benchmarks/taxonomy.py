"""What label rules are worth: a made-up taxonomy of 40 labels on three levels, decided without and with its rules.

`python benchmarks/taxonomy.py --output_dir runs/taxonomy [--rows 3000] [--epochs 10] [--seed 42]`

Texts are drawn by the seed: words of one or two leaves and of all above them, mixed with words of other labels. In a
fifth of the cases a text stops at a middle label. Rules act in decisions alone, so one training serves both:
temperature and thresholds are fitted on the validation rows without rules, then with them, and each scores the same
test rows. The model is a BERT of two layers, made here, whose tokens are the words.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import tune
from bert_multilabel.loading import load_trained
from bert_multilabel.metrics import score_decisions
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run

TOPS, MIDDLES, LEAVES = 4, 3, 2  # children of each node: 4 + 12 + 24 labels
WORDS = 8  # of each label
LENGTH = 12  # words of a text
FOREIGN = 0.45  # share of words that belong to any label at all
SCORES = ("hamming_score", "subset_accuracy", "micro_f1", "macro_f1", "samples_f1")
SYLLABLES = "ba de fi go hu ka le mi no pu ra se ti vo zu".split()


def make_taxonomy() -> tuple[dict[str, str], dict]:
    """Return the parent of each label below the top, and the rules."""
    tops = [f"t{top}" for top in range(TOPS)]
    middles = [f"{top}.{middle}" for top in tops for middle in range(MIDDLES)]
    leaves = [f"{middle}.{leaf}" for middle in middles for leaf in range(LEAVES)]
    parents = {label: label.rpartition(".")[0] for label in [*middles, *leaves]}
    groups = [[label for label in parents if parents[label] == parent] for parent in [*tops, *middles]]
    return parents, {"implies": {child: [parent] for child, parent in parents.items()}, "exclusive": groups}


def make_words(parents: dict[str, str]) -> dict[str, list[str]]:
    """Make up the words of each label."""
    names, generator = sorted({*parents, *parents.values()}), np.random.default_rng(0)
    return {name: ["".join(generator.choice(SYLLABLES, size=3)) for _ in range(WORDS)] for name in names}


def save_backbone(folder: Path, words_of: dict[str, list[str]], seed: int) -> None:
    """Save an untrained BERT that knows the words."""
    torch.manual_seed(seed)
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *sorted({word for words in words_of.values() for word in words}),
    ]
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    BertModel(BertConfig(vocab_size=len(tokens), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    BertTokenizer({token: index for index, token in enumerate(tokens)}).save_pretrained(folder)


def make_rows(words_of: dict[str, list[str]], count: int, generator: np.random.Generator) -> list[dict]:
    """Draw rows that break no rule."""
    names = list(words_of)
    rows = []
    for _ in range(count):
        tops = generator.choice(TOPS, size=generator.choice([1, 2], p=[0.7, 0.3]), replace=False)
        labels = []
        for top in tops:
            middle = f"t{top}.{generator.integers(MIDDLES)}"
            labels += [f"t{top}", middle]
            if generator.random() < 0.8:
                labels.append(f"{middle}.{generator.integers(LEAVES)}")
        drawn = [
            generator.choice(words_of[generator.choice(names if generator.random() < FOREIGN else labels)])
            for _ in range(LENGTH)
        ]
        rows.append({"text": " ".join(drawn), "labels": labels})
    return rows


def write_files(folder: Path, rows: int, seed: int) -> tuple[dict[str, Path], dict]:
    """Write the rows of each split, and a backbone; return their files, and the rules."""
    folder.mkdir(parents=True, exist_ok=True)
    parents, rules = make_taxonomy()
    words_of = make_words(parents)
    save_backbone(folder / "backbone", words_of, seed)
    generator = np.random.default_rng(seed)
    files = {}
    for split, count in (("train", rows), ("validation", 1000), ("test", 2000)):
        files[split] = folder / f"{split}.jsonl"
        lines = (json.dumps(row) + "\n" for row in make_rows(words_of, count, generator))
        files[split].write_text("".join(lines), encoding="utf-8")
    return files, rules


def score_split(folder: Path, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels of a split, (N, L) each."""
    model, tokenizer = load_trained(folder)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    logits = MultiLabelScorer(model, tokenizer).logits([row["text"] for row in rows]).numpy()
    truth = np.array([[name in row["labels"] for name in model.config.label_names] for row in rows])
    return logits, truth.astype(np.float32)


def main() -> None:
    """Train, decide without and with the rules, and print scores and violations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    files, rules = write_files(options.output_dir, options.rows, options.seed)
    folder = options.output_dir / "model"
    words = f"--do_train --do_eval --use_cpu --disable_tqdm true --overwrite_output_dir --seed {options.seed}"
    words += f" --strategy cls --model_name_or_path {options.output_dir / 'backbone'} --output_dir {folder}"
    words += f" --num_train_epochs {options.epochs} --learning_rate 1e-3 --eval_strategy no --save_strategy no"
    words += f" --train_file {files['train']} --validation_file {files['validation']}"
    started = time.perf_counter()
    run(parse_arguments(words.split()))
    print(f"training: {time.perf_counter() - started:.0f} s")
    fitted_on, tested_on = (score_split(folder, files[split]) for split in ("validation", "test"))
    free = load_trained(folder)[0].config
    bound = load_trained(folder)[0].config
    bound.label_rules = rules
    print(f"rules: {bound.describe_rules()}")
    for name, config in (("without rules", free), ("with rules", bound)):
        tune(*fitted_on, config, DecisionArguments()).decisions.store(config)
        logits, truth = tested_on
        started = time.perf_counter()
        probabilities, decided = (values.numpy() for values in config.decide(torch.from_numpy(logits)))
        seconds = time.perf_counter() - started
        scores = score_decisions(logits, truth, probabilities, decided)
        broken = bound.checked_rules.broken(decided)
        rows = len(set().union(*(found.tolist() for found in broken.values())))
        figures = "  ".join(f"{score} {scores[score]:.4f}" for score in SCORES)
        cost = f"{1e3 * seconds / len(decided):.4f} ms/row"
        print(f"{name:14} rows that break a rule {rows} of {len(decided)}  {figures}  {cost}")


if __name__ == "__main__":
    main()
