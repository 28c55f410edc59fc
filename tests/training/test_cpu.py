import copy
import platform
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bert_multilabel import MultiLabelConfig, from_backbone
from bert_multilabel.model.layer import SelfAttention
from bert_multilabel.training.cpu import CheapDropout, attention_forward, cheap_dropout, cpu_training
from tests.conftest import LABELS

TEXTS = ["the price is good", "not good", "quality too expensive, not a gift to buy"]


def test_cheap_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    values = torch.ones(1001, 999)
    for p in (0.1, 0.5, 0.9):
        dropped = cheap_dropout(values, p)
        assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
        assert dropped.mean().item() == pytest.approx(1.0, abs=1e-2)
        assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)


def test_neighbours_are_dropped_independently():
    # Four values share a draw of the generator: each bit of it has to be as good as the others.
    torch.manual_seed(0)
    kept = (cheap_dropout(torch.ones(400_000), 0.5) != 0).float().view(-1, 4)
    assert kept.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.01)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.015


def test_the_generator_decides_and_gradients_follow_the_values():
    values = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    first = cheap_dropout(values, 0.3)
    torch.manual_seed(3)
    assert torch.equal(cheap_dropout(values, 0.3), first)
    assert not torch.equal(cheap_dropout(values, 0.3), first)
    first.sum().backward()
    torch.testing.assert_close(values.grad, (first / values).detach())
    assert cheap_dropout(values.bfloat16(), 0.3).dtype == torch.bfloat16


def test_probabilities_of_zero_and_one_do_what_they_say():
    assert torch.equal(cheap_dropout(torch.ones(5), 0.0), torch.ones(5))
    assert not cheap_dropout(torch.ones(5), 1.0).any()


def test_a_cheap_dropout_module_rests_in_evaluation():
    module = CheapDropout(0.5)
    assert (module(torch.ones(100)) == 0).any()
    assert torch.equal(module.eval()(torch.ones(100)), torch.ones(100))


@pytest.mark.parametrize("masked", [True, False])
def test_attention_without_dropout_is_that_of_torch(masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 8, requires_grad=True) for tokens in (4, 6, 6))
    scaling = 0.7
    mask = torch.ones(2, 1, 4, 6, dtype=torch.bool)
    mask[1, :, :, 4:] = False
    mask = mask if masked else None
    expected = nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=scaling).transpose(1, 2)
    module = SelfAttention(MultiLabelConfig(label_names=LABELS, hidden_size=24, num_attention_heads=3))
    trained, _ = attention_forward(module, query, key, value, mask, scaling=scaling)
    torch.testing.assert_close(trained, expected)
    if masked:
        added = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        torch.testing.assert_close(attention_forward(module, query, key, value, added, scaling=scaling)[0], expected)
    with torch.no_grad():
        torch.testing.assert_close(attention_forward(module, query, key, value, mask, scaling=scaling)[0], expected)


def test_attention_of_a_decoder_reads_what_it_did():
    query, key, value = (torch.randn(2, heads, 5, 8, requires_grad=True) for heads in (4, 2, 2))
    decoder = nn.Module()  # with keys and values for two heads of the query each
    decoder.is_causal, decoder.num_key_value_groups = True, 2
    mixed, _ = attention_forward(decoder, query, key, value, None)
    expected = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(mixed, expected.transpose(1, 2))


def steps(model, batches, optimizer, accumulate=1):
    for number, batch in enumerate(batches, start=1):
        model(**batch, labels=torch.ones(len(batch["input_ids"]), 3)).loss.backward()
        if number % accumulate == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            model.zero_grad()


@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_without_dropout_training_is_that_of_stock_torch(backbone, strategy, accumulate):
    model, tokenizer = from_backbone(
        backbone, LABELS, strategy, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    batches = [tokenizer(TEXTS[n % 3 :], padding=True, return_tensors="pt") for n in range(6)]
    stock, ours = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    steps(stock, batches, torch.optim.SGD(stock.parameters(), lr=0.1, momentum=0.9), accumulate)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    with cpu_training(ours):
        steps(ours, batches, optimizer, accumulate)
    moved = False
    for (name, expected), actual in zip(stock.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4, msg=name)
        moved = moved or not torch.equal(actual, model.get_parameter(name))
    assert moved


@pytest.mark.parametrize(
    "form", [{"strategy": "cls"}, {"strategy": "label_tokens", "label_attention": "isolated", "label_layers": 1}]
)
def test_states_between_layers_are_as_narrow_as_the_products(backbone, form):
    model, tokenizer = from_backbone(
        backbone, LABELS, **form, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    seen = []
    for layer in model.bert.encoder["layer"]:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output[0].dtype))

    def gradients(autocast):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            model(**batch, labels=torch.ones(3, 3)).loss.backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    model.train()
    exact = gradients(autocast=False)
    with cpu_training(model, is_alone=False):
        assert seen and set(seen) == {torch.float32}
        seen.clear()
        narrow = gradients(autocast=True)
        assert seen and set(seen) == {torch.bfloat16}
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            model.eval()(**batch)  # an evaluation on the way computes what a prediction will
        assert seen and set(seen) == {torch.float32}
    assert (narrow - exact).norm() < 0.02 * exact.norm()
    seen.clear()
    model.train()
    gradients(autocast=True)
    assert set(seen) == {torch.float32}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is another one")
def test_freed_memory_is_kept_for_the_next_step_and_then_given_back(backbone):
    resource = pytest.importorskip("resource")
    model, _ = from_backbone(backbone, LABELS, "cls")

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(4 * 2**20) for _ in range(16)]  # 16 MiB each
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with cpu_training(model):
        first = faults()
        # Small blocks of others may come to lie between the freed ones, so not every round finds all of them.
        assert min(faults() for _ in range(5)) < 0.5 * first
    assert faults() > 0.5 * first


def test_the_gradient_of_the_embeddings_is_written_where_a_batch_touches_it(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    model.train()
    weight = model.get_input_embeddings().weight
    with cpu_training(model):
        gradients = []
        for text in ("good", "price"):
            batch = tokenizer(text, return_tensors="pt")
            model(**batch, labels=torch.ones(1, 3)).loss.backward()
            touched = weight.grad.abs().sum(1).nonzero().flatten().tolist()
            assert touched == sorted(set(batch["input_ids"][0].tolist()))
            gradients.append(weight.grad)
            model.zero_grad()
    assert gradients[0].data_ptr() == gradients[1].data_ptr()  # one matrix for all steps


def test_afterwards_the_model_is_as_before(backbone):
    model, _ = from_backbone(backbone, LABELS, "cls")
    before = {name: type(module) for name, module in model.named_modules()}
    embedding = model.get_input_embeddings()
    with pytest.raises(RuntimeError, match="stop"), cpu_training(model):
        assert embedding.sparse
        assert any(type(module) is CheapDropout for module in model.modules())
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is attention_forward
        raise RuntimeError("stop")
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward
    assert not embedding.sparse
    batch = {"input_ids": torch.tensor([[2, 5, 3]])}
    model(**batch, labels=torch.ones(1, 3)).loss.backward()  # no hook is left that would expect sparse gradients
    assert not embedding.weight.grad.is_sparse


def test_eager_attention_stays_eager(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    model.set_attn_implementation("eager")
    with cpu_training(model), torch.no_grad():
        outputs = model(**tokenizer("good", return_tensors="pt"), output_attentions=True)
    assert outputs.attentions[0].shape == (1, 4, 3, 3)


@pytest.mark.parametrize(
    "form", [{}, {"label_attention": "isolated", "label_layers": 1}, {"label_attention": "isolated"}]
)
@pytest.mark.parametrize("fast", [True, False])
def test_attention_weights_are_dropped_in_training(backbone, form, fast):
    model, tokenizer = from_backbone(
        backbone, LABELS, "label_tokens", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5, **form
    )
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with cpu_training(model.train()) if fast else nullcontext(model.train()):
        # Everything before the last layer is held still, so that its own dropout shows.
        for layer in model.bert.encoder.layer[:-1]:
            layer.eval()
        assert not torch.equal(model(**batch).logits, model(**batch).logits)


def test_frozen_embeddings_stay_as_they_are(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    model.train().bert.requires_grad_(False)
    with cpu_training(model):
        model(**tokenizer("good", return_tensors="pt"), labels=torch.ones(1, 3)).loss.backward()
    assert model.get_input_embeddings().weight.grad is None


def test_a_matrix_that_is_read_elsewhere_too_has_its_whole_gradient(backbone):
    model, tokenizer = from_backbone(
        backbone, LABELS, "cls", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    batch = tokenizer("good", return_tensors="pt")
    weight = model.train().get_input_embeddings().weight

    def gradient():
        model.zero_grad()
        (model(**batch, labels=torch.ones(1, 3)).loss + weight.square().sum()).backward()
        return weight.grad.clone()

    expected = gradient()
    with cpu_training(model):
        torch.testing.assert_close(gradient(), expected)
        torch.testing.assert_close(gradient(), expected)


def test_reentrant_checkpoints_are_computed_again_with_the_same_numbers(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "cls", attention_probs_dropout_prob=0.5)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": True})
            model.enable_input_require_grads()
        model.zero_grad()
        with cpu_training(model.train()):
            torch.manual_seed(0)
            model(**batch, labels=torch.ones(3, 3)).loss.backward()
        gradients.append(model.bert.encoder.layer[0].output.dense.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
