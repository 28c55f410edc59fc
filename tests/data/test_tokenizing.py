import pytest
from datasets import Dataset, concatenate_datasets

from bert_multilabel import MultiLabelTokenizer
from bert_multilabel.data.tokenizing import Collator, cut_rows, encode_rows, longest_first, texts_of
from bert_multilabel.model.windows import NoRoom, Windows
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


def test_windows_of_long_texts_become_rows_of_their_own(tokenizer):
    texts = ["good", "a b c d e f g", "gift"]
    rows = Dataset.from_dict({"text": texts, "labels": [[0.0], [1.0], [2.0]], "id": [5, 6, 7]})
    whole = encode_rows(rows, tokenizer, 9, Windows(1))
    assert list(whole["length"]) == [6, 12, 6]  # two special tokens and three of labels
    cut = cut_rows(whole, tokenizer, 9, Windows(1))
    assert tokenizer.batch_decode([ids[1:-4] for ids in cut["input_ids"]]) == ["good", "a b c d", "d e f g", "gift"]
    assert [list(cut[name]) for name in ("length", "window_of", "id")] == [[6, 9, 9, 6], [0, 1, 1, 2], [5, 6, 6, 7]]
    assert list(cut["labels"]) == [[0.0], [1.0], [1.0], [2.0]]
    assert texts_of(cut).tolist() == [0, 1, 1, 2] and texts_of(whole) is None


def test_all_windows_of_a_text_are_drawn_in_as_many_epochs(tokenizer):
    rows = [{"text": text} for text in ("a b c d e f g h i j", "k l m n o p q r s t", "good")]
    whole = encode_rows(Dataset.from_list(rows), tokenizer, 9, Windows(1))

    def drawn(epoch, seed, rows):
        collate = Collator(tokenizer, 9, Windows(1), seed)
        collate.epoch = epoch
        return tokenizer.batch_decode([ids[1:5] for ids in collate([*rows])["input_ids"]])

    windows = [["a b c d", "d e f g", "g h i j"], ["k l m n", "n o p q", "q r s t"]]
    for seed in range(3):
        by_text = list(zip(*(drawn(epoch, seed, whole) for epoch in range(3)), strict=True))
        assert [sorted(of_text) for of_text in by_text[:2]] == windows
        assert drawn(3, seed, whole) == drawn(0, seed, whole) == drawn(0, seed, rows)  # rows as a stream has them
        assert drawn(0, seed, whole) == [drawn(0, seed, [row])[0] for row in whole]  # whatever the batch
    first = {tuple(drawn(0, seed, whole)[:2]) for seed in range(9)}
    assert len({pair[0] for pair in first}) == 3 and len(first) > 3  # not all texts begin alike


def test_a_pair_without_room_for_windows_is_named_by_its_row(tokenizer):
    rows = Dataset.from_dict({"text": ["good"] * 1500, "pair": ["gift"] * 1500})
    long = Dataset.from_dict({"text": ["good " * 99], "pair": ["gift " * 60]})
    with pytest.raises(NoRoom, match="a text of 99 tokens cannot be cut") as error:
        encode_rows(concatenate_datasets([rows, long]), tokenizer, windows=Windows(8))
    assert error.value.row == 1500
