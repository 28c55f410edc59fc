import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import pipeline

from bert_multilabel import from_backbone
from bert_multilabel.model import scoring
from bert_multilabel.model.scoring import MultiLabelScorer, store_in_bfloat16
from tests import hostile
from tests.conftest import LABELS

TEXTS = ["the price is good", "not good", "", "quality too expensive, not a gift to buy", "good", "the gift is good"]
PAIRS = ["gift", "", "price", "the price", "good", ""]
FORMS = {
    "cls": ("cls", {}),
    "full": ("label_tokens", {}),
    "isolated": ("label_tokens", {"label_attention": "isolated"}),
    "isolated-1": ("label_tokens", {"label_attention": "isolated", "label_layers": 1}),
    "full-1": ("label_tokens", {"label_layers": 1}),
}


@pytest.fixture(params=list(FORMS))
def built(request, backbone):
    strategy, config = FORMS[request.param]
    torch.manual_seed(0)
    return from_backbone(backbone, LABELS, strategy, **config)


def one_by_one(model, tokenizer, pairs=None):
    with torch.inference_mode():
        return torch.cat(
            [
                model(**tokenizer(text, None if pairs is None else pairs[row], return_tensors="pt")).logits
                for row, text in enumerate(TEXTS)
            ]
        )


@pytest.mark.parametrize("tokens_per_batch", [1, 30, 10_000])
@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_logits_are_those_of_the_model_in_the_order_of_the_texts(built, pairs, tokens_per_batch):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer, tokens_per_batch=tokens_per_batch)
    torch.testing.assert_close(scorer.logits(TEXTS, pairs), one_by_one(model, tokenizer, pairs), atol=1e-5, rtol=0)


@given(
    rows=st.lists(st.tuples(hostile.texts, hostile.texts), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    tokens_per_batch=st.sampled_from([1, 40, 10_000]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_scores_do_not_depend_on_padding_neighbours_or_order(built, rows, order, tokens_per_batch):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer, tokens_per_batch=tokens_per_batch)
    alone = torch.cat([scorer.logits([text], [pair]) for text, pair in rows])  # (N, L)
    places = list(range(len(rows)))
    order.shuffle(places)
    together = scorer.logits([rows[place][0] for place in places], [rows[place][1] for place in places])
    torch.testing.assert_close(together, alone[places], atol=1e-5, rtol=0)
    padded = tokenizer(*zip(*rows, strict=True), padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(model(**padded).logits, alone, atol=1e-5, rtol=0)


def test_windows_change_nothing(built, monkeypatch):
    model, tokenizer = built
    monkeypatch.setattr(scoring, "TEXTS_AT_A_TIME", 4)
    logits = MultiLabelScorer(model, tokenizer).logits(TEXTS, PAIRS)
    torch.testing.assert_close(logits, one_by_one(model, tokenizer, PAIRS), atol=1e-5, rtol=0)


def test_bfloat16_comes_near(built):
    model, tokenizer = built
    expected = one_by_one(model, tokenizer)
    logits = MultiLabelScorer(model, tokenizer, "bfloat16").logits(TEXTS)
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().max() > 1e-4  # it does take part
    torch.testing.assert_close(logits, expected, atol=0.1, rtol=0.1)


def test_each_module_keeps_its_mode(built):
    model, tokenizer = built
    model.train()
    model.bert.eval()
    before = [module.training for module in model.modules()]
    scored = MultiLabelScorer(model, tokenizer).logits(TEXTS)
    assert [module.training for module in model.modules()] == before
    torch.testing.assert_close(scored, MultiLabelScorer(model.eval(), tokenizer).logits(TEXTS))


def test_changes_of_the_model_are_seen(built):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer)
    before = scorer.logits(TEXTS)
    assert scorer.model is model
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.self.value.weight.data.mul_(-1)  # which no version counter notices
        model.label_bias[0] += 1
    changed = scorer.logits(TEXTS)
    assert (changed - before).abs().max() > 0.1
    torch.testing.assert_close(changed, one_by_one(model, tokenizer), atol=1e-5, rtol=0)


def test_weights_stored_in_bfloat16_give_the_logits_of_autocast(built):
    model, tokenizer = built
    expected = MultiLabelScorer(model, tokenizer, "bfloat16").logits(TEXTS)
    store_in_bfloat16(model)
    assert model.bert.encoder.layer[0].output.dense.weight.dtype == torch.bfloat16
    assert torch.equal(MultiLabelScorer(model, tokenizer, "bfloat16").logits(TEXTS), expected)


def test_a_pipeline_scores_with_the_model_that_it_has(built):
    model, tokenizer = built
    classify = pipeline("multilabel-classification", model=model, tokenizer=tokenizer)
    before = classify("gift")["scores"]
    classify.model = copy.deepcopy(model)
    with torch.no_grad():
        classify.model.label_bias.add_(1)
    assert all(classify("gift")["scores"][name] > score for name, score in before.items())


def test_added_labels_are_scored(built):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer)
    scorer.logits(TEXTS)
    if model.config.strategy == "cls":
        with pytest.raises(ValueError, match="cannot be added with strategy 'cls'"):
            model.add_labels(["design"], tokenizer)
        return
    model.add_labels(["design"], tokenizer)
    torch.testing.assert_close(scorer.logits(TEXTS), one_by_one(model, tokenizer), atol=1e-5, rtol=0)


def test_under_autocast_logits_are_float32(built):
    model, tokenizer = built
    expected = one_by_one(model, tokenizer)
    classify = pipeline("multilabel-classification", model=model, tokenizer=tokenizer)
    with torch.autocast("cpu", torch.bfloat16):
        logits = MultiLabelScorer(model, tokenizer).logits(TEXTS)
        scores = classify("the price is good")["scores"]
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=0.1, rtol=0.1)
    assert list(scores) == LABELS and all(0 <= score <= 1 for score in scores.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_computes_in_its_own_dtype(built, dtype):
    model, tokenizer = built
    expected = one_by_one(model, tokenizer)
    model.to(dtype)
    seen = set()
    model.classifier.dense.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    logits = MultiLabelScorer(model, tokenizer).logits(TEXTS)
    assert seen == {dtype} and logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=0.1, rtol=0.1)
    pipeline("multilabel-classification", model=model, tokenizer=tokenizer)("good")
    assert seen == {dtype}
    with pytest.raises(ValueError, match="precision is 'float32', but the model's weights are torch"):
        MultiLabelScorer(model, tokenizer, "float32")


def test_batches_are_of_like_length_and_hold_every_text_once(built):
    model, tokenizer = built
    scorer = MultiLabelScorer(model, tokenizer, tokens_per_batch=20)
    lengths = [3, 20, 7, 7, 1, 25, 9]
    batches = list(scorer._batches(lengths))
    if model.config.label_layers == 1 and model.config.label_attention == "full":  # three labels join each text
        assert batches == [[5], [1], [6], [2, 3], [0, 4]]
    else:
        assert batches == [[5], [1], [6, 2], [3, 0], [4]]


def test_no_texts_give_no_logits(built):
    assert MultiLabelScorer(*built).logits([]).shape == (0, 3)


def test_long_texts_are_cut_at_the_limit_or_earlier(built):
    model, tokenizer = built
    long = "good " * 100
    assert MultiLabelScorer(model, tokenizer).logits([long]).shape == (1, 3)
    cut = MultiLabelScorer(model, tokenizer, max_length=12)
    kept = 12 - cut.tokenizer.num_special_tokens_to_add()
    torch.testing.assert_close(cut.logits([long]), cut.logits(["good " * kept]))


def test_an_unknown_precision_is_refused(built):
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16', got 'int8'"):
        MultiLabelScorer(*built, precision="int8")


@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
def test_other_activations_are_computed(backbone, activation):
    model, tokenizer = from_backbone(backbone, LABELS, "cls", hidden_act=activation)
    torch.testing.assert_close(
        MultiLabelScorer(model, tokenizer).logits(TEXTS), one_by_one(model, tokenizer), atol=1e-5, rtol=0
    )


def test_models_that_record_their_states_are_scored_all_the_same(built):
    model, tokenizer = built
    expected = one_by_one(model, tokenizer)
    model.config.output_hidden_states = True
    torch.testing.assert_close(MultiLabelScorer(model, tokenizer).logits(TEXTS), expected, atol=1e-5, rtol=0)


def test_logits_can_be_fitted(built):
    temperature = torch.ones((), requires_grad=True)
    (MultiLabelScorer(*built).logits(TEXTS) / temperature).sum().backward()
    assert temperature.grad is not None


def test_wrapped_weights_are_called(built):
    class Doubled(torch.nn.Linear):
        def forward(self, vectors):
            return 2 * super().forward(vectors)

    model, tokenizer = built
    before = one_by_one(model, tokenizer)
    attention = model.bert.encoder.layer[0].attention.self
    doubled = Doubled(32, 32)
    doubled.load_state_dict(attention.value.state_dict())
    attention.value = doubled
    logits = MultiLabelScorer(model, tokenizer).logits(TEXTS)
    assert (logits - before).abs().max() > 1e-3
    torch.testing.assert_close(logits, one_by_one(model, tokenizer), atol=1e-5, rtol=0)


def test_one_text_pairs_that_do_not_fit_and_too_long_a_limit_are_refused(built):
    model, tokenizer = built
    with pytest.raises(ValueError, match="texts must be a list of texts, got the text 'good price'"):
        MultiLabelScorer(model, tokenizer).logits("good price")
    with pytest.raises(ValueError, match="pairs must be a list of texts, got the text 'ab'"):
        MultiLabelScorer(model, tokenizer).logits(["good", "price"], "ab")
    with pytest.raises(ValueError, match="there are 2 texts, but 1 pairs"):
        MultiLabelScorer(model, tokenizer).logits(["good", "price"], ["a"])
    with pytest.raises(ValueError, match="max_length=500 is more than the 64 tokens"):
        MultiLabelScorer(model, tokenizer, max_length=500)
