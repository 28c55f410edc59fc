"""Texts that spell label tokens and special tokens in every way, through tokenizer, model and scorer.

    python -m fuzz.hostile_texts runs/opinions --texts 10000

Every text, alone and as a pair, whole and cut off, must come out with one vector for each label; and every score must
be the same, within 1e-5, in other company and in another order. The first text for which that is not so ends it.
"""

import argparse
import random
import time
from pathlib import Path

import torch

from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer
from tests.hostile import ODD_CHARACTERS, TOKENS, check_tokens, spellings

TEXTS_TOGETHER = 20


def main() -> None:
    """Try hostile texts, and print a table of their number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model, tokenizer = load_trained(asked.model_dir)
    scorer = MultiLabelScorer(model, tokenizer)
    generator, seen, calls, furthest, start = random.Random(asked.seed), set[str](), 0, 0.0, time.monotonic()
    shortest = len(tokenizer.label_token_ids) + 5
    while len(seen) < asked.texts:
        texts = [text for text in (_text(generator) for _ in range(TEXTS_TOGETHER)) if text not in seen]
        seen.update(texts)
        for pairs in (None, [_text(generator) for _ in texts]):
            length = generator.randint(shortest, tokenizer.model_max_length)
            rows = tokenizer(texts, pairs, padding=True, truncation=True, max_length=length)
            check_tokens(tokenizer, rows, are_pairs=pairs is not None)
            for number, text in enumerate(texts):
                alone = tokenizer(text, None if pairs is None else pairs[number])
                check_tokens(tokenizer, {name: [row] for name, row in alone.items()}, are_pairs=pairs is not None)
            calls += 1 + len(texts)
        places = generator.sample(range(len(texts)), len(texts))
        logits = scorer.logits(texts)  # (N, L)
        shuffled = scorer.logits([texts[place] for place in places])  # (N, L)
        few = scorer.logits(texts[:2])  # (2, L)
        for changed, same in ((shuffled, logits[places]), (few, logits[:2])):
            torch.testing.assert_close(changed, same, atol=1e-5, rtol=0)
            furthest = max(furthest, float((changed - same).abs().max()))
    print("| texts | calls of the tokenizer | rows of too many or few label vectors | logits move by | seconds |")
    print("|---|---|---|---|---|")
    print(f"| {len(seen):,} | {calls:,} | 0 | {furthest:.1e} | {time.monotonic() - start:.0f} |")


def _text(generator: random.Random) -> str:
    """Return a text of spellings of tokens, odd characters, other characters and words."""
    pieces = []
    for _ in range(generator.randrange(1, 8)):
        kind = generator.random()
        if kind < 0.6:
            pieces.append(generator.choice(spellings(generator.choice(TOKENS))))
        elif kind < 0.75:
            pieces.append("".join(generator.choices(ODD_CHARACTERS, k=3)))
        elif kind < 0.9:
            codes = (
                generator.choice([generator.randrange(0xD800), generator.randrange(0xE000, 0x110000)]) for _ in "123"
            )
            pieces.append("".join(map(chr, codes)))
        else:
            pieces.append(" the price is good " * generator.choice([1, 200]))
    return "".join(pieces)


if __name__ == "__main__":
    main()
