import pytest
from datasets import Dataset

from bert_multilabel import MultiLabelTokenizer
from bert_multilabel.data.tokenizing import Collator, encode_rows, longest_first
from tests.conftest import LABELS


@pytest.fixture(scope="module")
def tokenizer(backbone):
    return MultiLabelTokenizer.from_pretrained(
        backbone, label_names=LABELS, strategy="label_tokens", model_max_length=64
    )


def test_rows_become_token_ids_and_keep_labels_and_ids(tokenizer):
    rows = Dataset.from_dict(
        {"text": ["good", "not good"], "pair": ["price", ""], "labels": [[1.0]] * 2, "id": [7, 8]}
    )
    encoded = encode_rows(rows, tokenizer)
    assert set(encoded.column_names) == {"input_ids", "token_type_ids", "length", "labels", "id"}
    assert encoded["input_ids"][0] == tokenizer("good", "price")["input_ids"]
    assert encoded["token_type_ids"][1] == tokenizer(["not good"], [""])["token_type_ids"][0]
    assert list(encoded["length"]) == [8, 8]


def test_texts_are_cut_at_the_limit_but_never_a_label_token(tokenizer):
    rows = Dataset.from_dict({"text": ["good " * 100, "good"]})
    assert list(encode_rows(rows, tokenizer)["length"]) == [64, 6]
    cut = encode_rows(rows, tokenizer, max_length=10)
    assert list(cut["length"]) == [10, 6]
    assert set(tokenizer.label_token_ids) <= set(cut["input_ids"][0])


def test_rows_that_are_encoded_as_they_come_are_cut_alike_and_it_is_said_once(tokenizer, caplog):
    rows = [{"text": "good " * 100}, {"text": "good"}]
    collate = Collator(tokenizer, max_length=11)
    assert collate(rows[1:])["input_ids"].shape == (1, 6) and not caplog.messages
    expected = encode_rows(Dataset.from_list(rows), tokenizer, max_length=11)["input_ids"][0]
    caplog.clear()
    for _ in range(2):
        assert collate(rows)["input_ids"][0].tolist() == expected
    assert caplog.messages == ["some texts fill or exceed 11 tokens; longer ones are truncated"]


def test_limits_that_cannot_be_kept_are_refused(tokenizer):
    rows = Dataset.from_dict({"text": ["good"]})
    with pytest.raises(ValueError, match="max_seq_length=65 is more than the 64 tokens"):
        encode_rows(rows, tokenizer, max_length=65)
    with pytest.raises(ValueError, match="max_length=5 leaves no room .* at least 6"):
        encode_rows(rows, tokenizer, max_length=5)


def test_longest_first_is_stable(tokenizer):
    assert longest_first(Dataset.from_dict({"length": [3, 9, 3, 12]})).tolist() == [3, 1, 0, 2]
