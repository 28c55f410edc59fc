import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from transformers import BertForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

from bert_multilabel import MultiLabelConfig, MultiLabelTokenizer
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES, multi_label_loss
from bert_multilabel.model.positions import check_label_mask, find_tokens, gather_tokens, unpadded_positions
from tests.conftest import LABELS, VOCABULARIES

TEXTS = ["the price is good", "not good", "quality too expensive, not a gift to buy"]
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="module")
def tokenizers(backbone):
    return {
        strategy: MultiLabelTokenizer.from_pretrained(backbone, label_names=LABELS, strategy=strategy)
        for strategy in MODEL_CLASSES
    }


def make_model(strategy, **config):
    torch.manual_seed(0)
    first = len(VOCABULARIES["uncased"])
    ids = list(range(first, first + len(LABELS))) if strategy == "label_tokens" else None
    config = {**SIZE, "vocab_size": first + len(LABELS), "label_token_ids": ids, **config}
    model = MODEL_CLASSES[strategy](MultiLabelConfig(label_names=LABELS, strategy=strategy, **config)).eval()
    torch.nn.init.normal_(model.label_bias)  # as if trained: what goes to another label shows
    if strategy == "label_tokens":
        torch.nn.init.normal_(model.classifier.label_weight)
    return model


both = pytest.mark.parametrize("strategy", list(MODEL_CLASSES))


@both
def test_logits_loss_and_states_have_their_shapes(tokenizers, strategy):
    model = make_model(strategy)
    batch = tokenizers[strategy](TEXTS, padding=True, return_tensors="pt")
    output = model(**batch, labels=torch.tensor([[1, 0, 1]] * 3), output_hidden_states=True)
    assert output.logits.shape == (3, 3)
    assert output.loss.shape == ()
    assert [states.shape for states in output.hidden_states] == [(*batch["input_ids"].shape, 32)] * 3
    assert output.attentions is None
    without = model(**batch)
    assert without.loss is None
    # Only where all states are asked for does the last layer compute what nobody else reads.
    torch.testing.assert_close(without.logits, output.logits, atol=1e-5, rtol=0)
    assert torch.equal(model(**batch, return_dict=False)[0], without.logits)


@both
def test_attentions_are_given_by_eager_attention_which_agrees_with_sdpa(tokenizers, strategy):
    sdpa, eager = make_model(strategy), make_model(strategy, attn_implementation="eager")
    batch = tokenizers[strategy](TEXTS, padding=True, return_tensors="pt")
    output = eager(**batch, output_attentions=True)
    tokens = batch["input_ids"].shape[1]
    assert [weights.shape for weights in output.attentions] == [(3, 4, tokens, tokens)] * 2
    assert sdpa.config._attn_implementation == "sdpa"
    torch.testing.assert_close(output.logits, sdpa(**batch).logits, atol=1e-5, rtol=0)


@both
def test_the_configuration_can_ask_for_states_and_attentions(tokenizers, strategy):
    model = make_model(strategy, attn_implementation="eager", output_hidden_states=True, output_attentions=True)
    output = model(**tokenizers[strategy](TEXTS, padding=True, return_tensors="pt"))
    assert (len(output.hidden_states), len(output.attentions)) == (3, 2)


def test_cls_equals_stock_bert_with_pooler_and_classifier(tokenizers):
    model = make_model("cls")
    stock = BertForSequenceClassification(copy.deepcopy(model.config)).eval()
    stock.bert.load_state_dict(model.bert.state_dict(), strict=False)
    stock.bert.pooler.dense.load_state_dict(model.classifier.dense.state_dict())
    stock.classifier.load_state_dict(model.classifier.out_proj.state_dict())
    batch = tokenizers["cls"](TEXTS, [*TEXTS[1:], ""], padding=True, return_tensors="pt")
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    ours, theirs = model(**batch, labels=labels), stock(**batch, labels=labels)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.loss, theirs.loss)


@both
def test_padding_on_either_side_and_neighbours_change_nothing(tokenizers, strategy):
    model, tokenizer = make_model(strategy), copy.deepcopy(tokenizers[strategy])
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    for side in ("right", "left"):
        tokenizer.padding_side = side
        batch = tokenizer(TEXTS, padding="max_length", max_length=40, return_tensors="pt")
        torch.testing.assert_close(model(**batch).logits, alone, atol=1e-5, rtol=0)


def test_positions_count_from_the_first_attended_token():
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]])
    assert unpadded_positions(mask).tolist() == [[0, 1, 2, 3], [0, 0, 0, 1], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_gathering_equals_masked_select_on_rows_that_differ():
    torch.manual_seed(0)
    hidden = torch.randn(4, 9, 5)
    mask = torch.zeros(4, 9, dtype=torch.long)
    for row, places in enumerate([(0, 1, 2), (6, 7, 8), (1, 4, 8), (0, 3, 5)]):
        mask[row, list(places)] = 1
    expected = hidden.masked_select(mask.bool()[..., None]).view(4, 3, 5)
    assert torch.equal(gather_tokens(hidden, mask, 3), expected)
    assert torch.equal(gather_tokens(hidden, mask.bool(), 3), expected)


def test_gathering_passes_gradients_to_the_marked_tokens_only():
    hidden = torch.randn(2, 5, 4, requires_grad=True)
    mask = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 1]])
    gather_tokens(hidden, mask, 2).sum().backward()
    assert torch.equal(hidden.grad, mask[..., None].expand(-1, -1, 4).float())


def test_a_label_reads_its_own_token(tokenizers):
    model = make_model("label_tokens")
    batch = tokenizers["label_tokens"](TEXTS, padding=True, return_tensors="pt")
    states = model.bert(
        **{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    ).last_hidden_state
    for row in range(3):
        places = batch["label_mask"][row].nonzero().flatten()
        expected = model.classifier(states[row, places])
        torch.testing.assert_close(model(**batch).logits[row], expected, atol=1e-5, rtol=0)


def test_cls_logits_move_with_their_own_weights_only(tokenizers):
    model = make_model("cls")
    batch = tokenizers["cls"](TEXTS, padding=True, return_tensors="pt")
    before = model(**batch).logits
    with torch.no_grad():
        model.classifier.out_proj.weight[1] += 1
    moved = (model(**batch).logits != before).any(dim=0)
    assert moved.tolist() == [False, True, False]


@both
def test_each_label_has_a_bias_of_its_own(tokenizers, strategy):
    model = make_model(strategy)
    batch = tokenizers[strategy](TEXTS, padding=True, return_tensors="pt")
    before = model(**batch).logits
    with torch.no_grad():
        model.label_bias.add_(torch.tensor([0.0, 3.0, -2.0]))
    torch.testing.assert_close(model(**batch).logits - before, torch.tensor([[0.0, 3.0, -2.0]]).expand(3, 3))


def test_a_folder_from_before_labels_had_rows_and_biases_goes_on_without(tmp_path):
    model = make_model("label_tokens")
    own = [name for name in model.state_dict() if "classifier.label_" in name]
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in model.state_dict().items() if k not in own})
    again, info = MODEL_CLASSES["label_tokens"].from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert len(own) == 2
    assert not any(again.state_dict()[name].any() for name in own)


def test_a_label_mask_that_is_not_given_is_found(tokenizers):
    model = make_model("label_tokens")
    batch = tokenizers["label_tokens"](TEXTS, padding=True, return_tensors="pt")
    expected = model(**batch).logits
    mask = batch.pop("label_mask")
    assert torch.equal(model(**batch).logits, expected)
    embeds = model.get_input_embeddings()(batch.pop("input_ids"))
    torch.testing.assert_close(model(**batch, inputs_embeds=embeds, label_mask=mask).logits, expected)
    with pytest.raises(ValueError, match="label_mask must be given .* there are no input_ids"):
        model(**batch, inputs_embeds=embeds)


def test_a_label_mask_is_found_for_scattered_ids(tokenizers):
    model = make_model("label_tokens", vocab_size=200, label_token_ids=[150, 152, 151])
    input_ids = torch.tensor([[2, 150, 149, 152, 151, 3]])
    assert find_tokens(input_ids, [150, 152, 151]).int().tolist() == [[0, 1, 0, 1, 1, 0]]
    assert find_tokens(torch.tensor([[10, 150, 11, 199]]), [150, 199, 10]).int().tolist() == [[1, 1, 0, 1]]
    model.config.label_token_ids = None
    with pytest.raises(ValueError, match=r"there are no config\.label_token_ids"):
        model(input_ids=input_ids)


@pytest.mark.parametrize(("row", "marks"), [([0, 1, 1, 0], 2), ([1, 1, 1, 1], 4), ([0, 0, 0, 0], 0)])
def test_a_mask_with_another_number_of_labels_is_refused_by_row(row, marks):
    mask = torch.tensor([[1, 1, 1, 0], row])
    with pytest.raises(ValueError, match=f"exactly 3 tokens in every row, but row 1 marks {marks}"):
        check_label_mask(mask, 3)


def test_the_model_refuses_rows_that_would_mix(tokenizers):
    # Two rows with 2 and 4 marks have 2 x 3 in all: masked_select would take them without a word.
    batch = tokenizers["label_tokens"](["the good price", "the good price"], return_tensors="pt")
    batch["label_mask"][0, 4], batch["label_mask"][1, 1] = 0, 1
    with pytest.raises(ValueError, match="row 0 marks 2"):
        make_model("label_tokens")(**batch)


@pytest.mark.parametrize("part", [(slice(1), slice(None)), (slice(None), slice(-1))])
def test_a_mask_of_another_shape_than_the_tokens_is_refused(tokenizers, part):
    batch = tokenizers["label_tokens"](TEXTS, padding=True, return_tensors="pt")
    batch["label_mask"] = batch["label_mask"][part]
    with pytest.raises(ValueError, match="label_mask has the shape .*, the tokens"):
        make_model("label_tokens")(**batch)


def test_a_subclass_stays_what_it_is(tmp_path):
    class Mine(MODEL_CLASSES["cls"]):
        pass

    make_model("cls").save_pretrained(tmp_path)
    config = MultiLabelConfig.from_pretrained(tmp_path)
    assert type(Mine.from_pretrained(tmp_path, config=config)) is Mine
    assert type(Mine._from_config(config)) is Mine


@both
def test_a_configuration_of_the_other_strategy_is_refused(strategy):
    other = next(name for name in MODEL_CLASSES if name != strategy)
    with pytest.raises(ValueError, match=f"is for strategy '{strategy}', but .* '{other}': use BertFor"):
        MODEL_CLASSES[strategy](MultiLabelConfig(strategy=other, **SIZE))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_labels_of_any_number_type_give_the_loss_of_bce_with_logits(dtype):
    logits = torch.tensor([[0.3, -2.0], [4.0, 0.1]])
    labels = torch.tensor([[1, 0], [0, 1]])
    expected = nn.BCEWithLogitsLoss()(logits, labels.float())
    torch.testing.assert_close(multi_label_loss(logits, labels.to(dtype)), expected)


@pytest.mark.parametrize("unknown", [-100.0, float("nan")])
def test_what_is_not_annotated_counts_neither_in_the_sum_nor_in_the_mean(unknown):
    logits = torch.tensor([[0.3, -2.0], [4.0, 0.1]], requires_grad=True)
    loss = multi_label_loss(logits, torch.tensor([[1.0, unknown], [unknown, 0.5]]))
    expected = nn.BCEWithLogitsLoss()(logits.diagonal(), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (logits.grad == 0).tolist() == [[False, True], [True, False]]


def test_a_batch_without_annotations_has_loss_zero_and_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = multi_label_loss(logits, torch.full((2, 3), -100))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_bad_labels_are_refused():
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"multi-hot of shape \(2, 3\), one column per label, got shape \(2,\)"):
        multi_label_loss(logits, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="row 1, label 2 is 2$"):
        multi_label_loss(logits, torch.tensor([[0, 0, 0], [0, 1, 2]]))


@both
def test_the_loss_is_float32_under_bf16(tokenizers, strategy):
    model = make_model(strategy)
    batch = tokenizers[strategy](TEXTS, padding=True, return_tensors="pt")
    expected = model(**batch).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch, labels=torch.ones(3, 3))
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.logits.float(), expected, atol=0.1, rtol=0.1)
    half = model.to(torch.bfloat16)(**batch, labels=torch.ones(3, 3))
    assert half.logits.dtype == torch.bfloat16
    assert half.loss.dtype == torch.float32


@both
def test_gradient_checkpointing_gives_the_same_gradients(tokenizers, strategy):
    model = make_model(strategy, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    batch = tokenizers[strategy](TEXTS, padding=True, return_tensors="pt")
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.zero_grad()
        model(**batch, labels=torch.ones(3, 3)).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert model.is_activation_checkpointing
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.slow
@pytest.mark.dependency  # of torch's compiler
@both
def test_the_compiled_graph_is_whole_and_gives_the_same_logits(tokenizers, strategy):
    model = make_model(strategy, num_hidden_layers=1)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for texts in (TEXTS, TEXTS[:2]):
        batch = tokenizers[strategy](texts, padding=True, return_tensors="pt")
        labels = torch.ones(len(texts), 3)
        expected, output = model(**batch, labels=labels), compiled(**batch, labels=labels)
        torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(output.loss, expected.loss, atol=1e-5, rtol=0)


@both
def test_a_misspelt_argument_is_refused(tokenizers, strategy):
    batch = tokenizers[strategy](TEXTS, padding=True, return_tensors="pt")
    with pytest.raises(TypeError, match="token_types_ids"):
        make_model(strategy)(**batch, token_types_ids=None)


@both
def test_head_dropout_is_the_classifier_dropout(strategy):
    assert make_model(strategy, classifier_dropout=0.4).classifier.dropout.p == 0.4
    assert make_model(strategy, hidden_dropout_prob=0.2).classifier.dropout.p == 0.2


@pytest.mark.gpu
def test_what_we_add_to_bert_never_waits_for_the_host():
    hidden = torch.randn(2, 5, 4, device="cuda", requires_grad=True)
    mask = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 1]], device="cuda")
    labels = torch.ones(2, 2, device="cuda")
    expected = hidden.masked_select(mask.bool()[..., None]).view(2, 2, 4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        check_label_mask(mask, 2)
        states = gather_tokens(hidden, mask, 2)
        unpadded_positions(mask)
        multi_label_loss(states.sum(-1), labels).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(states, expected)


@both
def test_a_mask_that_says_for_every_token_what_it_reads_is_kept(tokenizers, strategy):
    model = make_model(strategy)
    batch = tokenizers[strategy](TEXTS[:1], return_tensors="pt")
    tokens = batch["input_ids"].shape[1]
    mask = torch.eye(tokens, dtype=torch.bool)[None, None]  # each token reads itself alone
    logits = model(**{**batch, "attention_mask": mask}).logits
    states = model.bert(**{name: batch[name] for name in ("input_ids", "token_type_ids")}, attention_mask=mask)[0]
    read = states[:, :1] if strategy == "cls" else states[batch["label_mask"].bool()][None]
    torch.testing.assert_close(logits, model.classifier(read).flatten(1), atol=1e-6, rtol=0)
    assert not torch.allclose(logits, model(**batch).logits)


FORMS = {
    "cls": {},
    "full": {},
    "full-1": {"label_layers": 1},
    "isolated": {"label_attention": "isolated"},
    "isolated-1": {"label_attention": "isolated", "label_layers": 1},
}
every_form = pytest.mark.parametrize("form", FORMS)


def make_form(form):
    return make_model("cls" if form == "cls" else "label_tokens", **FORMS[form])


def replica_of(model):
    """Copy a model as `torch.nn.parallel.replicate` does: replicas have plain tensors in place of parameters."""
    copies = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in copies.items():
        for name, child in module._modules.items():
            if child is not None:
                setattr(replica, name, copies[child])
        for name, parameter in module.named_parameters(recurse=False):
            setattr(replica, name, parameter * 1)
    return copies[model]


@every_form
def test_a_replica_of_data_parallel_computes_the_same(tokenizers, form):
    model = make_form(form)
    batch = tokenizers[model.strategy](TEXTS, padding=True, return_tensors="pt")
    labels = torch.ones(3, 3)
    expected = model(**batch, labels=labels)
    replica = replica_of(model)
    assert not list(replica.parameters())
    output = replica(**batch, labels=labels)
    assert torch.equal(output.logits, expected.logits)
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    if FORMS[form].get("label_attention"):
        scored = replica(**batch, subset=torch.tensor([1])).logits
        torch.testing.assert_close(scored, expected.logits[:, [1]], atol=1e-5, rtol=0)


@every_form
@pytest.mark.parametrize("removes", [True, False], ids=["unused columns removed", "all columns"])
def test_a_plain_trainer_hands_plain_labels_to_metrics(tokenizers, form, removes, tmp_path):
    model = make_form(form)
    tokenizer = tokenizers[model.strategy]
    rows = [{**tokenizer(text), "labels": [1.0, 0.0, 1.0]} for text in TEXTS]
    seen = []

    def compute_metrics(prediction):
        seen.append(prediction.label_ids)
        return {"f1": f1_score(prediction.label_ids, prediction.predictions > 0, average="micro")}

    trainer = Trainer(
        model,
        TrainingArguments(
            tmp_path, use_cpu=True, remove_unused_columns=removes, max_steps=1, report_to=[], disable_tqdm=True
        ),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
    )
    before = model.label_bias.clone()
    trainer.train()
    assert not torch.equal(model.label_bias, before)
    metrics = trainer.evaluate()
    assert np.array_equal(seen[0], [[1, 0, 1]] * 3)
    assert 0 <= metrics["eval_f1"] <= 1


@every_form
@pytest.mark.filterwarnings("ignore")
def test_dynamic_quantization_of_torch_works(tokenizers, form):
    model = make_form(form)
    batch = tokenizers[model.strategy](TEXTS, padding=True, return_tensors="pt")
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    with torch.no_grad():
        logits, expected = quantized(**batch).logits, model(**batch).logits
    assert not torch.equal(logits, expected)
    assert (logits - expected).abs().mean() < 0.3  # the tiny model's weights have a wide range


def two_batches(model, tokenizer):
    """Two batches of other sizes: texts alone, where the model adds the label tokens itself."""
    if model.config.encodes_text_separately:
        tokenizer = tokenizer.without_label_tokens()
    for texts in (TEXTS, [*TEXTS, "not a gift to buy, the price is not good"]):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        yield {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


@every_form
@pytest.mark.filterwarnings("ignore")
def test_a_traced_model_takes_other_batches(tokenizers, form):
    model = make_form(form)
    first, second = two_batches(model, tokenizers[model.strategy])
    with torch.no_grad():
        traced = torch.jit.trace(model, example_kwarg_inputs=first, strict=False)
        torch.testing.assert_close(traced(**second)["logits"], model(**second).logits, atol=1e-5, rtol=0)


@every_form
def test_an_exported_model_takes_other_batches(tokenizers, form):
    model = make_form(form)
    first, second = two_batches(model, tokenizers[model.strategy])
    sizes = {0: torch.export.Dim("batch", max=512), 1: torch.export.Dim("tokens", min=4, max=64)}
    exported = torch.export.export(model, (), first, dynamic_shapes=dict.fromkeys(first, sizes)).module()
    torch.testing.assert_close(exported(**second).logits, model(**second).logits, atol=1e-5, rtol=0)


@pytest.mark.gpu
@every_form
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_a_gpu_half_precision_and_attention_implementations_agree(tokenizers, form, dtype):
    model = make_form(form)
    batch = tokenizers[model.strategy](TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**batch).logits
        model.to("cuda")
        batch = {name: tensor.to("cuda") for name, tensor in batch.items()}
        for implementation in ("sdpa", "eager"):
            model.set_attn_implementation(implementation)
            torch.testing.assert_close(model(**batch).logits.cpu(), expected, atol=1e-3, rtol=0)
        model.set_attn_implementation("sdpa")
        with torch.autocast("cuda", dtype):
            torch.testing.assert_close(model(**batch).logits.cpu().float(), expected, atol=0.1, rtol=0.1)
        model.to(dtype)
        torch.testing.assert_close(model(**batch).logits.cpu().float(), expected, atol=0.1, rtol=0.1)
        if form == "full":  # nothing is checked on a GPU, but a wrong mask gives no logits that look right
            batch["label_mask"] = batch["label_mask"].clone()
            batch["label_mask"][1] = 0
            is_nan = model(**batch).logits.isnan().all(dim=1)
            assert is_nan.tolist() == [False, True, False]
