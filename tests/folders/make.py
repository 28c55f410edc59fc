"""Save a tiny model by the package that Python finds, and beside it what that model answers; README.md says how."""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

from bert_multilabel import from_backbone

LABELS = ["good value", "too expensive", "gift"]
VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] the price is good value buy gift too expensive not .".split()
TEXTS = ["the price is not too good.", "gift", "buy the gift [OPINION1] [SEP]"]
PAIRS = ["value", "the price", ""]


def make(folder: Path, strategy: str, label_layers: int | None) -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=32, **size)
    with tempfile.TemporaryDirectory() as backbone:
        BertModel(config).save_pretrained(backbone)
        BertTokenizer({token: index for index, token in enumerate(VOCABULARY)}).save_pretrained(backbone)
        form = {} if label_layers is None else {"label_layers": label_layers, "label_attention": "isolated"}
        decision = {"threshold": [0.58, 0.615, 0.58], "temperature": 1.5, "min_labels": 1}
        model, tokenizer = from_backbone(backbone, LABELS, strategy, **form, **decision)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.normal_(std=0.5)  # as if it had been trained
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with torch.inference_mode():
        logits = model(**tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")).logits
    decisions = model.config.decide(logits)[1]
    answers = {"texts": TEXTS, "pairs": PAIRS, "logits": logits.tolist(), "decisions": decisions.tolist()}
    folder.with_name(f"{folder.name}.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("strategy")
    parser.add_argument("--label_layers", type=int)
    make(**vars(parser.parse_args()))
