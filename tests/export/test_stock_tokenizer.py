import json

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizer

from bert_multilabel.export.stock_tokenizer import save_stock_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from tests.conftest import LABELS, VOCABULARIES
from tests.families import FAMILIES

TEXTS = [
    *("The price is good", "", "émigré 这个 \x00", "   le prix  est élevé", "quality " * 200),
    "not [SEP] good [CLS] <s> </s> <pad> [PAD] [MASK] <mask>",
]
PAIRS = ["gift", "a", "[SEP] x </s>", "qualité", "good " * 100, ""]


def save(source, folder, strategy="cls"):
    tokenizer = MultiLabelTokenizer.from_pretrained(source, label_names=LABELS, strategy=strategy)
    tokenizer.model_max_length = 48
    folder.mkdir()
    save_stock_tokenizer(tokenizer, folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return tokenizer, json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"]


def check_equal(tokenizer, folder):
    stock = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    for pairs in (None, PAIRS):
        ours, theirs = (one(TEXTS, pairs, truncation=True, padding=True) for one in (tokenizer, stock))
        assert theirs["input_ids"] == ours["input_ids"] and theirs["attention_mask"] == ours["attention_mask"]
        if "token_type_ids" in theirs:
            assert theirs["token_type_ids"] == ours["token_type_ids"]
        else:  # the model takes them to be 0
            assert not any(map(any, ours["token_type_ids"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_texts_of_every_family_as_we_do(families, tmp_path, family):
    tokenizer, name = save(families[family], tmp_path / family)
    assert name == ("BertTokenizer" if family in ("bert", "electra") else "PreTrainedTokenizerFast")
    check_equal(tokenizer, tmp_path / family)


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_cased_and_chinese_texts_are_read_as_we_do(checkpoints, tmp_path, kind):
    tokenizer, name = save(checkpoints[kind], tmp_path / kind)
    assert name == "BertTokenizer"
    check_equal(tokenizer, tmp_path / kind)


def test_label_tokens_are_plain_characters(backbone, tmp_path):
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy="label_tokens")
    tokenizer.model_max_length = 48 + len(LABELS)
    tokenizer = tokenizer.without_label_tokens()
    save_stock_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "BertTokenizer"
    check_equal(tokenizer, tmp_path)
    assert "OPINION" not in (tmp_path / "tokenizer.json").read_text()


@pytest.mark.parametrize("change", [{"max_input_chars_per_word": 5}, {"continuing_subword_prefix": "@"}])
def test_a_word_piece_model_that_the_class_for_bert_does_not_build_is_kept(backbone, tmp_path, change):
    BertTokenizer.from_pretrained(backbone).save_pretrained(tmp_path / "source")
    file = tmp_path / "source" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"].update(change)
    file.write_text(json.dumps(content))
    (tmp_path / "source" / "tokenizer_config.json").write_text('{"tokenizer_class": "MultiLabelTokenizer"}')
    tokenizer, name = save(tmp_path / "source", tmp_path / "export")
    assert name == "PreTrainedTokenizerFast"
    check_equal(tokenizer, tmp_path / "export")


@pytest.mark.parametrize("family", FAMILIES)
def test_tools_that_read_tokenizer_json_alone_find_no_special_tokens_in_texts(families, tmp_path, family):
    tokenizer, _ = save(families[family], tmp_path / family)
    alone = Tokenizer.from_file(str(tmp_path / family / "tokenizer.json"))
    for text, pair in zip(TEXTS, PAIRS, strict=True):
        assert alone.encode(text).ids == tokenizer(text)["input_ids"]
        assert alone.encode(text, pair).ids == tokenizer(text, pair)["input_ids"]


def test_a_tokenizer_that_pads_on_the_left_pads_on_the_right(backbone, tmp_path):
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, padding_side="left")
    save_stock_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    stock = AutoTokenizer.from_pretrained(tmp_path)
    assert stock(["good", "the price is good"], padding=True)["attention_mask"][0] == [1, 1, 1, 0, 0, 0]
