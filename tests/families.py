"""Tiny checkpoints of each family of encoders that BERT can compute, in the form of Transformers' own classes."""

import json
from pathlib import Path

TEXT = [
    "the price is good, the quality is not: too expensive! wants to buy a gift? it's a good value for the price",
    "le prix est élevé, mais la qualité est très bonne; je ne l'achète pas pour un cadeau",
    "Die Qualität ist gut, der Preis ist zu hoch. Größe 42 passt nicht; THE PRICE IS GOOD",
    "这个价格太贵了,质量好想买送礼。不建议! 値段が高いです ราคาแพงมาก цена слишком высокая",
    "0 1 2 3 4 5 6 7 8 9 a b c d e f g h i j k l m n o p q r s t u v w x y z .,!?'\"[]()-_:;#%&/<>|",
]
# Families of `save_tokenizer`: name in the tests -> `model_type` of its config.json.
FAMILIES = {
    "bert": "bert",
    "distilbert": "distilbert",
    "electra": "electra",
    "roberta": "roberta",
    "xlm-roberta": "xlm-roberta",
    "camembert": "camembert",
    "multilingual-bert": "bert",  # a BERT with the tokenizer of XLM-RoBERTa, such as paraphrase-multilingual-MiniLM
}


def save_tokenizer(family: str, folder: Path, **options: object) -> Path:
    """Save a small tokenizer as Transformers' class of the family writes it, with a `config.json` if there is none.

    `options` are arguments of that class, such as `add_prefix_space=True`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _BUILDERS[family](**options).save_pretrained(folder)
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"model_type": FAMILIES[family]}))
    return folder


def _wordpiece(name, **options):
    import transformers

    lower = " ".join(TEXT).lower().split()
    letters = sorted({*"".join(lower)})
    words = sorted({"".join(filter(str.isalpha, word)) for word in lower if word.isascii()} - {"", *letters})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    return getattr(transformers, name)({token: index for index, token in enumerate(tokens)}, **options)


def _byte_level(**options):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizer

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(TEXT, trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizer(vocab={**model["vocab"], "<mask>": len(model["vocab"])}, merges=merges, **options)


def _pieces():
    """Pieces of a unigram model with their scores, the words of the text among them."""
    words = sorted({"▁" + "".join(filter(str.isalpha, word)) for word in " ".join(TEXT).split() if word.isascii()})
    letters = sorted({*"".join(TEXT)} - {" "})
    return [("▁", -6.0), *((word, -7.0) for word in words if len(word) > 2), *((letter, -9.0) for letter in letters)]


def _xlm_roberta(**options):
    from transformers import XLMRobertaTokenizer

    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return XLMRobertaTokenizer(vocab=[*special, *_pieces(), ("<mask>", 0.0)], **options)


def _camembert(**options):
    from transformers import CamembertTokenizer

    special = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    return CamembertTokenizer(vocab=[*((token, 0.0) for token in special), *_pieces(), ("<mask>", 0.0)], **options)


def _multilingual_bert(**options):
    from tokenizers import normalizers
    from transformers import TokenizersBackend

    backend = _xlm_roberta().backend_tokenizer
    backend.normalizer = normalizers.NFKC()
    names = {
        "bos": "<s>",
        "eos": "</s>",
        "unk": "<unk>",
        "sep": "</s>",
        "pad": "<pad>",
        "cls": "<s>",
        "mask": "<mask>",
    }
    return TokenizersBackend(tokenizer_object=backend, **{f"{k}_token": v for k, v in names.items()}, **options)


_BUILDERS = {
    "bert": lambda **options: _wordpiece("BertTokenizer", **options),
    "distilbert": lambda **options: _wordpiece("DistilBertTokenizer", **options),
    "electra": lambda **options: _wordpiece("ElectraTokenizer", **options),
    "roberta": _byte_level,
    "xlm-roberta": _xlm_roberta,
    "camembert": _camembert,
    "multilingual-bert": _multilingual_bert,
}
