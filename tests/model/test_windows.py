import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.model.choices import POOLINGS
from bert_multilabel.model.scoring import MultiLabelScorer, scoring_tokenizer
from bert_multilabel.model.windows import Windows
from tests.conftest import LABELS

WORDS = "the price is good quality wants to buy a gift too expensive value not".split()
FORMS = {
    "cls": ("cls", {}),
    "full": ("label_tokens", {}),
    "isolated-1": ("label_tokens", {"label_attention": "isolated", "label_layers": 1}),
}


def words(count):
    """A text of so many tokens, in which no two windows are alike."""
    return " ".join(WORDS[(number * number // 3) % len(WORDS)] for number in range(count))


@pytest.fixture(scope="module", params=list(FORMS))
def built(request, backbone):
    strategy, config = FORMS[request.param]
    torch.manual_seed(0)
    return from_backbone(backbone, LABELS, strategy, **config)


@pytest.mark.parametrize("pairs", [None, ["gift", "", "the price is good"]])
@pytest.mark.parametrize("stride", [0, 1, 5])
def test_windows_are_those_of_the_tokenizers_library(built, pairs, stride):
    model, tokenizer = built
    reader = scoring_tokenizer(tokenizer, model.config)
    texts = [words(70), "", words(13)]
    for length in range(16, 24):
        expected = reader(
            texts,
            pairs,
            truncation="only_first",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
        )
        whole = reader(texts, pairs, verbose=False)
        ids, types, counts = Windows(stride).cut(whole["input_ids"], whole["token_type_ids"], reader, length)
        assert ids == expected["input_ids"]
        assert types == expected["token_type_ids"]
        assert [row for row, count in enumerate(counts) for _ in range(count)] == expected[
            "overflow_to_sample_mapping"
        ]
        for window in ids:
            assert [token for token in window if token in reader.label_token_ids] == reader.label_token_ids


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_probabilities_are_those_of_windows_made_by_hand(built, pooling):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer, max_length=20, tokens_per_batch=60)
    room, stride = 20 - scorer.tokenizer.num_special_tokens_to_add(), 4
    long = words(40).split()
    by_hand = [" ".join(long[start : start + room]) for start in range(0, len(long) - stride, room - stride)]
    assert len(by_hand) > 2
    probabilities = model.config.decide(scorer.logits(by_hand))[0]  # (w, L)
    expected = probabilities.amax(0) if pooling == "max" else probabilities.mean(0)
    logits = scorer.logits(["good", " ".join(long), "gift"], windows=Windows(stride, pooling))
    torch.testing.assert_close(model.config.decide(logits)[0][1], expected, atol=1e-6, rtol=0)
    # What fits is one window, and as it were without.
    torch.testing.assert_close(logits[[0, 2]], scorer.logits(["good", "gift"]), atol=1e-5, rtol=0)


def test_a_label_that_only_the_end_speaks_of_is_found_by_windows_alone(built):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer, max_length=20)
    texts = ["the " * 60, "the " * 60 + "gift"]
    cut, read = scorer.logits(texts), scorer.logits(texts, windows=Windows(2, "mean"))
    torch.testing.assert_close(cut[0], cut[1])
    assert (read[0] - read[1]).abs().max() > 1e-3


def test_many_long_texts_keep_their_order(built, monkeypatch):
    model, tokenizer = built
    monkeypatch.setattr("bert_multilabel.model.scoring.LONG_TEXTS_AT_A_TIME", 2)
    scorer = MultiLabelScorer(model, tokenizer, max_length=20)
    texts = [words(count) for count in (50, 1, 90, 20, 33)]
    alone = torch.cat([scorer.logits([text], windows=Windows(3)) for text in texts])
    torch.testing.assert_close(scorer.logits(texts, windows=Windows(3)), alone, atol=1e-5, rtol=0)
    assert scorer.logits([], windows=Windows(3)).shape == (0, 3)


def test_no_rows_are_pooled_to_none():
    assert Windows(0).pool(torch.empty(0, 3), []).shape == (0, 3)


def test_pooling_by_hand():
    logits = torch.tensor([[0.0, 2.0], [1.0, -3.0], [7.0, 7.0]])
    assert torch.equal(Windows(0, "max").pool(logits, [2, 1]), torch.tensor([[1.0, 2.0], [7.0, 7.0]]))
    pooled = Windows(0, "mean").pool(logits, [2, 1])
    torch.testing.assert_close(pooled[0].sigmoid(), logits[:2].sigmoid().mean(0))
    assert torch.equal(pooled[1], logits[2])


def test_the_mean_of_saturated_probabilities_stays_finite():
    logits = torch.tensor([[200.0, 200.0, -200.0], [-200.0, 200.0, -300.0]])
    pooled = Windows(0, "mean").pool(logits, [2])
    expected = torch.tensor([[0.0, 200.0, -200.0 - torch.log(torch.tensor(2.0))]])  # 1, 0; 1, 1; and e^-200 / 2
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ((-1,), "stride must be a whole number of tokens from 0 up, got -1"),
        ((2.0,), "stride must be a whole number of tokens from 0 up, got 2.0"),
        ((True,), "got True"),
        ((2, "sum"), "pooling must be one of 'max', 'mean', got 'sum'"),
    ],
)
def test_bad_windows_are_refused(arguments, phrase):
    with pytest.raises(ValueError, match=phrase):
        Windows(*arguments)


def test_a_stride_without_room_and_a_pair_without_room_are_refused(built):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer, max_length=20)
    room = 20 - scorer.tokenizer.num_special_tokens_to_add()
    assert scorer.logits([words(50)], windows=Windows(room - 1)).shape == (1, 3)
    with pytest.raises(ValueError, match=f"stride={room} must be less than {room}, as"):
        scorer.logits(["good"], windows=Windows(room))
    scorer.logits(["good"], ["the price"], windows=Windows(4))
    with pytest.raises(ValueError, match="text of 50 tokens .* its pair, 'the price the price .* room for 0 tokens"):
        scorer.logits(["good", words(50)], ["", "the price " * 10], windows=Windows(4))


def test_nothing_warns_of_texts_that_are_read_in_windows(built, caplog):
    model, tokenizer = built
    MultiLabelScorer(model, tokenizer).logits([words(100)], windows=Windows(4))
    assert not caplog.records
