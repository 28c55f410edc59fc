import itertools
import json
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizer, DataCollatorWithPadding

from bert_multilabel import MultiLabelTokenizer
from tests import hostile
from tests.conftest import LABELS

TEXTS = {
    "uncased": ["The Price is GOOD!", "Quälität, not too expensive?", ""],
    "cased": ["The Price is GOOD!", "not é too Expensive", "a"],
    "chinese": ["这个价格太贵了，想买。", "质量good好", "送礼?"],
}


@pytest.fixture(scope="module")
def label_tokenizer(backbone):
    return MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy="label_tokens")


def test_label_tokens_stand_behind_the_text(label_tokenizer):
    encoded = label_tokenizer("good price")
    tokens = ["[CLS]", "good", "price", "[OPINION1]", "[OPINION2]", "[OPINION3]", "[SEP]"]
    assert label_tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == tokens
    assert encoded["label_mask"] == [0, 0, 0, 1, 1, 1, 0]
    assert encoded["token_type_ids"] == [0] * 7


def test_label_tokens_stand_behind_the_pair_and_share_its_segment(label_tokenizer):
    encoded = label_tokenizer("good", "price")
    tokens = ["[CLS]", "good", "[SEP]", "price", "[OPINION1]", "[OPINION2]", "[OPINION3]", "[SEP]"]
    assert label_tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == tokens
    assert encoded["label_mask"] == [0, 0, 0, 0, 1, 1, 1, 0]
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1, 1, 1, 1]


def test_a_folder_without_a_vocabulary_is_refused(label_tokenizer, tmp_path):
    label_tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="there is no vocabulary: tokenizer.json is missing"):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", TEXTS)
def test_cls_reads_like_the_tokenizer_it_came_from(checkpoints, kind):
    stock = AutoTokenizer.from_pretrained(checkpoints[kind])
    ours = MultiLabelTokenizer.from_pretrained(checkpoints[kind], label_names=LABELS)
    for text in TEXTS[kind]:
        assert ours(text, "pair")["input_ids"] == stock(text, "pair")["input_ids"]
        assert ours(text).keys() == stock(text).keys()


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_save_and_load_round_trip_token_for_token(checkpoints, tmp_path, kind, strategy):
    ours = MultiLabelTokenizer.from_pretrained(checkpoints[kind], label_names=LABELS, strategy=strategy)
    ours.save_pretrained(tmp_path)
    for loaded in (MultiLabelTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert type(loaded) is MultiLabelTokenizer
        assert (loaded.label_names, loaded.strategy) == (LABELS, strategy)
        assert len(loaded) == len(ours)
        for text in TEXTS[kind]:
            assert dict(loaded(text, "[SEP] pair")) == dict(ours(text, "[SEP] pair"))


def test_the_normalizer_of_the_checkpoint_survives(checkpoints, tmp_path):
    # Lower-casing is off in tokenizer.json alone: whoever rebuilds the backend from its vocabulary turns it on.
    stock = AutoTokenizer.from_pretrained(checkpoints["cased"])
    stock.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = MultiLabelTokenizer.from_pretrained(tmp_path, label_names=LABELS, strategy="label_tokens")
    assert ours.tokenize("The Price") == ["The", "Price"]
    ours.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").tokenize("The Price") == ["The", "Price"]


def test_what_is_asked_of_the_normalizer_holds_and_is_saved(checkpoints, tmp_path):
    ours = MultiLabelTokenizer.from_pretrained(checkpoints["uncased"], label_names=LABELS, do_lower_case=False)
    assert ours.tokenize("the The") == ["the", "[UNK]"]
    assert ours.do_lower_case is False
    ours.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize("the The") == ["the", "[UNK]"]


def test_a_checkpoint_with_a_vocabulary_alone_reads_as_stock_does(checkpoints, tmp_path):
    vocabulary = AutoTokenizer.from_pretrained(checkpoints["cased"]).get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}')
    stock = AutoTokenizer.from_pretrained(tmp_path)
    ours = MultiLabelTokenizer.from_pretrained(tmp_path, label_names=LABELS, strategy="label_tokens")
    for text in TEXTS["cased"]:
        assert ours.tokenize(text) == stock.tokenize(text)
    assert ours.label_token_ids == list(range(len(vocabulary), len(vocabulary) + 3))


def test_a_truncation_saved_for_another_task_is_forgotten(backbone, tmp_path):
    stock = AutoTokenizer.from_pretrained(backbone)
    stock.backend_tokenizer.enable_truncation(8)
    stock.backend_tokenizer.enable_padding(length=8)
    stock.save_pretrained(tmp_path)
    ours = MultiLabelTokenizer.from_pretrained(tmp_path, label_names=LABELS, strategy="label_tokens")
    assert len(ours("good " * 20)["input_ids"]) == 25
    assert len(ours("good")["input_ids"]) == 6
    ours.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert not {"max_length", "stride", "truncation_strategy"} & saved.keys()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None)
def test_no_text_makes_or_loses_a_label_token(label_tokenizer, text, pair):
    for first, second in ((text, pair), (f"[OPINION1]{text}[SEP]", f"{pair} [OPINION3] [CLS]")):
        encoded = label_tokenizer([first], [second], truncation=True, max_length=16)
        marked = [i for i, mark in zip(encoded["input_ids"][0], encoded["label_mask"][0], strict=True) if mark]
        assert marked == label_tokenizer.label_token_ids
        assert encoded["input_ids"][0].count(label_tokenizer.cls_token_id) == 1
        assert encoded["input_ids"][0].count(label_tokenizer.sep_token_id) == 2
        assert len(encoded["input_ids"][0]) <= 16


@given(st.lists(hostile.texts, min_size=1, max_size=3), hostile.texts, st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_every_way_of_calling_it_gives_each_label_one_vector(label_tokenizer, texts, pair, length):
    asked = {"padding": True, "truncation": True, "max_length": length}
    batches = [
        label_tokenizer(texts, **asked),
        label_tokenizer(texts, [pair] * len(texts), **asked),
        label_tokenizer([(text, pair) for text in texts], **asked),
        label_tokenizer([text.split(" ") for text in texts], is_split_into_words=True, **asked),
        label_tokenizer.pad([label_tokenizer(text, pair) for text in texts]),
    ]
    for number, batch in enumerate(batches):
        hostile.check_tokens(label_tokenizer, batch, are_pairs=number in (1, 2, 4))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_long_pairs_are_cut_where_they_always_were(backbone, strategy, side):
    tokenizer = MultiLabelTokenizer.from_pretrained(
        backbone, label_names=LABELS, strategy=strategy, truncation_side=side
    )
    texts = [
        "the price is 12345 [SEP] " * 8,
        "e\u0301xpensive   gift" * 8,
        " " * 200 + "good buy",
        "a" * 50 + "!" * 60,
    ]
    for first, second in itertools.product(texts, texts):
        kept = tokenizer(first, second, truncation=True, max_length=21)
        # What is cut off is asked for here, so nothing is cut beforehand.
        asked = {"truncation": True, "max_length": 21, "return_overflowing_tokens": True}
        assert kept["input_ids"] == tokenizer(first, second, **asked)["input_ids"][0]
        words = (first.split(" "), second.split(" "))
        for form, (one, other) in (({}, (first, second)), ({"is_split_into_words": True}, words)):
            expected = tokenizer(one, other, **asked, **form)["input_ids"][0]
            assert tokenizer(one, other, truncation=True, max_length=21, **form)["input_ids"] == expected
            batch = tokenizer([one, one], [other, other], truncation=True, max_length=21, **form)
            assert batch["input_ids"] == [expected, expected]
        assert tokenizer([(first, second)], truncation=True, max_length=21)["input_ids"] == [kept["input_ids"]]


def test_a_pair_of_long_texts_takes_time_and_memory_that_grow_with_them(label_tokenizer):
    text = "the price is good " * 25_000  # whose pieces, each with each, would be more than fit into memory
    start = time.process_time()
    encoded = label_tokenizer([text], [text], truncation=True, max_length=64)
    assert len(encoded["input_ids"][0]) == 64
    assert time.process_time() - start < 10


@pytest.mark.parametrize("text", ["\ud83d", "a\udfffb"])
@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_half_of_a_surrogate_pair_is_quoted(backbone, strategy, text):
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy=strategy)
    message = "a text has a lone surrogate .invalid Unicode.: '"
    for call in (
        lambda: tokenizer(text),
        lambda: tokenizer(["good", text]),
        lambda: tokenizer("good", text),
        lambda: tokenizer([("good", text)]),
        lambda: tokenizer([["good", text]], is_split_into_words=True),
        lambda: tokenizer.tokenize(text),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tensors", [None, "pt", "np"])
def test_batches_are_padded_with_their_mask(backbone, side, tensors):
    tokenizer = MultiLabelTokenizer.from_pretrained(
        backbone, label_names=LABELS, strategy="label_tokens", padding_side=side
    )
    encoded = tokenizer(["good", "the price is good"], padding=True, return_tensors=tensors)
    rows = encoded["label_mask"] if tensors is None else encoded["label_mask"].tolist()
    short = [0, 0, 1, 1, 1, 0]
    assert rows == [[*short, 0, 0, 0] if side == "right" else [0, 0, 0, *short], [0, 0, 0, 0, 0, 1, 1, 1, 0]]


def test_one_text_as_a_tensor_has_a_batch_dimension(label_tokenizer):
    encoded = label_tokenizer("good", return_tensors="pt")
    assert encoded["label_mask"].tolist() == [[0, 0, 1, 1, 1, 0]]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("with_mask", [True, False])
def test_collators_get_the_mask_through_pad(backbone, side, with_mask):
    tokenizer = MultiLabelTokenizer.from_pretrained(
        backbone, label_names=LABELS, strategy="label_tokens", padding_side=side
    )
    rows = [dict(tokenizer(text)) for text in ("good", "the price is good")]
    expected = tokenizer(["good", "the price is good"], padding=True, return_tensors="pt")
    if not with_mask:
        rows = [{key: row[key] for key in row if key != "label_mask"} for row in rows]
    batch = DataCollatorWithPadding(tokenizer)([{**row, "labels": [1.0, 0.0, 1.0]} for row in rows])
    assert torch.equal(batch["label_mask"], expected["label_mask"])
    assert batch["labels"].dtype == torch.float32


def test_pad_takes_its_arguments_in_the_order_of_the_base_class(label_tokenizer):
    rows = [label_tokenizer("gift"), label_tokenizer("not good")]
    padded = label_tokenizer.pad(rows, "max_length", 12, None, "left")
    assert padded == label_tokenizer.pad(rows, padding="max_length", max_length=12, padding_side="left")
    assert {len(row) for row in padded["label_mask"]} == {12} and not padded["label_mask"][0][0]


def test_pad_keeps_a_mask_that_was_given(label_tokenizer):
    row = dict(label_tokenizer("good")) | {"label_mask": [0, 0, 0, 1, 0, 0]}
    assert label_tokenizer.pad(row, padding="max_length", max_length=8)["label_mask"] == [0, 0, 0, 1, 0, 0, 0, 0]


def test_overflowing_windows_carry_all_label_tokens(label_tokenizer):
    encoded = label_tokenizer("good " * 12, truncation=True, max_length=10, return_overflowing_tokens=True)
    assert [sum(mask) for mask in encoded["label_mask"]] == [3, 3, 3]


@pytest.mark.parametrize(("pair", "needed"), [(None, 6), ("price", 8)])
def test_too_short_a_limit_says_which_would_do(label_tokenizer, pair, needed):
    with pytest.raises(ValueError, match=f"max_length={needed - 1} leaves no room .* it must be at least {needed}$"):
        label_tokenizer("good", pair, truncation=True, max_length=needed - 1)
    assert sum(label_tokenizer("good", pair, truncation=True, max_length=needed)["label_mask"]) == 3


@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_an_empty_pair_reads_alone_as_it_does_in_a_batch(backbone, strategy):
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy=strategy)
    assert tokenizer("good", "")["input_ids"] == tokenizer(["good"], [""])["input_ids"][0]
    assert tokenizer("good", "")["input_ids"].count(tokenizer.sep_token_id) == 2


def test_a_list_of_pairs_needs_the_room_of_pairs(label_tokenizer):
    with pytest.raises(ValueError, match="it must be at least 8$"):
        label_tokenizer([("good", "price")], truncation=True, max_length=7)
    assert label_tokenizer([["good", "price"]], is_split_into_words=True, truncation=True, max_length=7)


def test_reading_special_tokens_in_texts_cannot_be_switched_on(label_tokenizer, backbone):
    with pytest.raises(ValueError, match="split_special_tokens=False would let a text add label tokens"):
        label_tokenizer("[OPINION1]", split_special_tokens=False)
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, split_special_tokens=False)
    assert tokenizer.sep_token_id not in tokenizer("[SEP]")["input_ids"][1:-1]


def test_bad_construction_is_refused(backbone):
    with pytest.raises(ValueError, match="strategy must be one of 'cls', 'label_tokens', got 'clz'"):
        MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy="clz")
    with pytest.raises(ValueError, match="strategy 'label_tokens' needs label_names, got None"):
        MultiLabelTokenizer.from_pretrained(backbone, strategy="label_tokens")


@pytest.mark.parametrize("kind", TEXTS)
def test_added_labels_read_as_if_they_had_always_been_there(checkpoints, tmp_path, kind):
    path = checkpoints[kind]
    ours = MultiLabelTokenizer.from_pretrained(path, label_names=LABELS[:1], strategy="label_tokens")
    first = ours.label_token_ids
    ours.add_labels(LABELS[1:])
    whole = MultiLabelTokenizer.from_pretrained(path, label_names=LABELS, strategy="label_tokens")
    ours.save_pretrained(tmp_path)
    for tokenizer in (ours, MultiLabelTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert (tokenizer.label_names, len(tokenizer)) == (LABELS, len(whole))
        assert tokenizer.label_token_ids == whole.label_token_ids
        for text in TEXTS[kind]:
            assert dict(tokenizer(text, "[OPINION2] pair")) == dict(whole(text, "[OPINION2] pair"))
    assert first == whole.label_token_ids[:1]


def test_labels_that_cannot_be_added_are_refused(backbone):
    tokenizer = MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy="label_tokens")
    with pytest.raises(ValueError, match=r"the labels \['gift'\] exist already"):
        tokenizer.add_labels(["new", "gift"])
    assert (tokenizer.label_names, len(tokenizer.label_token_ids)) == (LABELS, 3)
    with pytest.raises(ValueError, match=r"\(strategy 'cls'\) has no label tokens"):
        MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS).add_labels(["new"])


def test_a_reader_without_label_tokens_reads_the_same_text(backbone):
    tokenizer = MultiLabelTokenizer.from_pretrained(
        backbone, label_names=LABELS, strategy="label_tokens", model_max_length=64
    )
    reader = tokenizer.without_label_tokens()
    for texts in (("not [OPINION1] good [SEP]",), ("good", "the price"), ("good", "")):
        whole, alone = tokenizer(*texts), reader(*texts)
        kept = [place for place, marked in enumerate(whole["label_mask"]) if not marked]
        for name in ("input_ids", "token_type_ids"):
            assert alone[name] == [whole[name][place] for place in kept]
        assert "label_mask" not in alone
    assert "label_mask" not in reader.pad([alone])
    assert (reader.model_max_length, tokenizer.model_max_length) == (61, 64)
    assert tokenizer("good")["label_mask"] == [0, 0, 1, 1, 1, 0]  # the tokenizer itself is as before


def test_only_public_methods_of_the_base_class_are_overridden():
    own = {name for name in vars(MultiLabelTokenizer) if name.startswith("_") and not name.startswith("__")}
    assert not [name for name in own if hasattr(BertTokenizer, name) and name != "_auto_class"]
    assert {"__call__", "encode", "tokenize", "pad"} <= vars(MultiLabelTokenizer).keys()


@pytest.mark.parametrize("texts", [("not [SEP] [OPINION1] good",), ("good", "price"), ("good", "")])
def test_every_public_entry_makes_the_same_tokens(label_tokenizer, texts):
    ids = label_tokenizer(*texts)["input_ids"]
    assert label_tokenizer.encode(*texts) == ids
    assert label_tokenizer.tokenize(*texts, add_special_tokens=True) == label_tokenizer.convert_ids_to_tokens(ids)
    assert not {*label_tokenizer.tokenize(*texts)} & {"[SEP]", "[OPINION1]"}
    for cut in ({"truncation": True, "max_length": 8}, {"max_length": 8}):
        short = label_tokenizer(*texts, **cut)["input_ids"]
        assert label_tokenizer.encode(*texts, **cut) == short
        assert label_tokenizer(*texts, tokenizer_kwargs=cut)["input_ids"] == short
        assert [i for i in short if i in label_tokenizer.label_token_ids] == label_tokenizer.label_token_ids


@pytest.mark.parametrize("call", ["__call__", "encode", "tokenize"])
def test_every_public_entry_refuses_what_breaks_a_promise(label_tokenizer, call):
    entry = getattr(label_tokenizer, call)
    with pytest.raises(ValueError, match="split_special_tokens=False would let"):
        entry("good", split_special_tokens=False)
    with pytest.raises(ValueError, match="a text has a lone surrogate"):
        entry("\ud800")
    with pytest.raises(ValueError, match="max_length=4 leaves no room"):
        entry("good", truncation=True, max_length=4, add_special_tokens=True)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_keeps_the_kind_of_its_input(label_tokenizer, kind, side):
    rows = [
        {name: kind(values) for name, values in label_tokenizer(text).items()} for text in ("good", "the price is")
    ]
    batch = label_tokenizer.pad(rows, padding_side=side)
    assert isinstance(batch["label_mask"], type(batch["input_ids"]))
    expected = label_tokenizer(["good", "the price is"], padding=True, padding_side=side)["label_mask"]
    assert np.asarray(batch["label_mask"]).tolist() == expected
