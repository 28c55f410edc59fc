"""Labels whose tokens the model adds to the encoded text: late, isolated, in chunks and in part."""

import copy

import pytest
import torch

from bert_multilabel import MultiLabelConfig, from_backbone
from bert_multilabel.model import encoder
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES
from tests.conftest import LABELS

TEXTS = ["the price is good", "not good", "quality too expensive, not a gift to buy"]
PAIRS = ["gift", "", "the price"]
APART = [
    {"label_attention": "isolated"},
    {"label_attention": "isolated", "label_layers": 1},
    {"label_attention": "isolated", "label_layers": 2},
    {"label_attention": "full", "label_layers": 1},
]
forms = pytest.mark.parametrize("form", APART, ids=lambda form: "-".join(map(str, form.values())))
isolated = pytest.mark.parametrize("form", APART[:2], ids=["all-layers", "last-layer"])


@pytest.fixture
def build(backbone):
    def build_model(form, label_names=LABELS, **config):
        torch.manual_seed(0)
        model, tokenizer = from_backbone(backbone, label_names, "label_tokens", num_hidden_layers=2, **form, **config)
        torch.nn.init.normal_(model.label_bias)  # as if trained: what goes to another label shows
        torch.nn.init.normal_(model.classifier.label_weight)
        return model, tokenizer

    return build_model


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@forms
def test_the_short_way_gives_the_logits_of_the_whole_sequence(build, form):
    model, tokenizer = build(form)
    batch = tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")
    whole = model(**batch, output_hidden_states=True)
    assert_close(model(**batch).logits, whole.logits)
    text_and_labels = batch["input_ids"].shape[1]
    assert [states.shape for states in whole.hidden_states] == [(3, text_and_labels, 32)] * 3
    assert whole.attentions is None


@forms
def test_attentions_are_whole(build, form):
    model, tokenizer = build(form)
    model.set_attn_implementation("eager")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    output = model(**batch, output_attentions=True)
    together = batch["input_ids"].shape[1]
    first = together - len(LABELS) if form.get("label_layers") == 1 else together
    assert [weights.shape[-1] for weights in output.attentions] == [first, together]
    assert output.hidden_states is None
    assert_close(output.logits, model(**batch).logits)
    if form["label_attention"] == "isolated":
        text = together - len(LABELS)
        last = output.attentions[-1]
        assert not last[:, :, :text, text:].any()
        assert torch.equal(last[:, :, text:, text:] != 0, torch.eye(len(LABELS)).bool().expand(3, 4, -1, -1))


@forms
def test_text_alone_is_enough(build, form):
    model, tokenizer = build(form)
    texts = tokenizer.without_label_tokens()(TEXTS, PAIRS, padding=True, return_tensors="pt")
    assert "label_mask" not in texts
    assert_close(model(**texts).logits, model(**tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")).logits)
    embeds = model.get_input_embeddings()(texts.pop("input_ids"))
    assert_close(
        model(**texts, inputs_embeds=embeds).logits,
        model(**tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")).logits,
    )


@isolated
def test_the_text_is_encoded_as_without_labels(build, form):
    model, tokenizer = build(form)
    batch = tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")
    texts = tokenizer.without_label_tokens()(TEXTS, PAIRS, padding=True, return_tensors="pt")
    alone = model.bert(**texts).last_hidden_state
    with_labels = model(**batch, output_hidden_states=True).hidden_states[-1][:, : alone.shape[1]]
    real = texts["attention_mask"].bool()
    assert_close(with_labels[real], alone[real])


@forms
def test_padding_on_either_side_and_neighbours_change_nothing(build, form):
    model, tokenizer = build(form)
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    for side in ("right", "left"):
        tokenizer.padding_side = side
        batch = tokenizer(TEXTS, padding="max_length", max_length=40, return_tensors="pt")
        assert_close(model(**batch).logits, alone)


@isolated
def test_a_score_depends_neither_on_order_nor_on_presence_of_other_labels(build, form):
    model, tokenizer = build(form)
    batch = tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")
    logits = model(**batch).logits
    assert_close(model(**batch, subset=torch.tensor([2, 0])).logits, logits[:, [2, 0]])
    # The label tokens stand in another order in each row, and one of them is not there.
    places = batch["label_mask"].nonzero()[:, 1].view(3, 3)
    order = torch.tensor([[1, 0], [2, 1], [0, 2]])
    token_ids = torch.tensor(model.config.label_token_ids)
    for row in range(3):
        batch["input_ids"][row, places[row, :2]] = token_ids[order[row]]
        batch["label_mask"][row, places[row, 2]] = 0
        batch["input_ids"][row, places[row, 2]] = 0
        batch["attention_mask"][row, places[row, 2]] = 0
        batch["token_type_ids"][row, places[row, 2]] = 0
    position = torch.arange(batch["input_ids"].shape[1]).expand(3, -1).clone()
    for row in range(3):  # the last [SEP] keeps the place that it has without labels
        position[row, places[row, 2] + 1] = places[row, 0]
    assert_close(model(**batch, position_ids=position).logits, logits.gather(1, order))


@isolated
def test_labels_in_chunks_give_identical_gradients(build, form, monkeypatch):
    gradients = []
    for at_once in (1000, 3):
        monkeypatch.setattr(encoder, "LABEL_TOKENS_AT_ONCE", at_once)
        model, tokenizer = build(form, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        model.train()(**batch, labels=torch.ones(3, 3)).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@isolated
def test_labels_in_chunks_give_identical_results(build, form, monkeypatch):
    names = [f"label {number}" for number in range(11)]
    model, tokenizer = build(form, names)
    texts = tokenizer.without_label_tokens()(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        at_once = model(**texts).logits
        monkeypatch.setattr(encoder, "LABEL_TOKENS_AT_ONCE", 3 * 4)
        parts = [len(part[0]) for part in model.bert.encode_labels(torch.zeros(1, 11, 32), **_inputs(texts))]
        in_chunks = model(**texts).logits
    assert parts == [4, 4, 3]
    assert_close(in_chunks, at_once)


def _inputs(texts):
    return {**texts, "position_ids": None, "inputs_embeds": None}


@forms
def test_more_labels_than_positions(build, form):
    names = [f"label {number}" for number in range(100)]
    model, tokenizer = build(form, names)
    batch = tokenizer(["good " * 100, "good"], padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == 64 + 100
    assert batch["label_mask"].sum(1).tolist() == [100, 100]
    assert model(**batch).logits.shape == (2, 100)
    text = tokenizer.without_label_tokens()(["good " * 100], truncation=True)
    assert len(text["input_ids"][0]) == 64


@forms
def test_every_parameter_that_is_read_gets_a_gradient(build, form):
    model, tokenizer = build(form)
    model.train()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    model(**batch, labels=torch.ones(3, 3)).loss.backward()
    unread = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unread == []
    # In the last layer, the text is read but not computed: its own gradient comes through key and value.
    assert model.bert.encoder.layer[-1].attention.self.key.weight.grad.abs().sum() > 0


@forms
def test_gradient_checkpointing_changes_no_gradient(build, form):
    gradients = []
    for checkpointing in (False, True):
        model, tokenizer = build(form, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**tokenizer(TEXTS, padding=True, return_tensors="pt"), labels=torch.ones(3, 3)).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@forms
def test_a_saved_folder_gives_the_same_logits(build, form, tmp_path):
    model, tokenizer = build(form)
    model.save_pretrained(tmp_path)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert_close(loaded(**batch).logits, model(**batch).logits)
    for part in ("encoder", "label_init", "positions"):
        assert (tmp_path / f"{part}.py").exists()


def test_all_label_layers_are_the_same_as_none_given(build):
    first, tokenizer = build({"label_attention": "isolated"})
    second, _ = build({"label_attention": "isolated", "label_layers": 2})
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(first(**batch).logits, second(**batch).logits)


def test_late_labels_start_from_the_encoders_states_of_their_names(build):
    model, tokenizer = build({"label_attention": "isolated", "label_layers": 1})
    for index, words in enumerate(["good value", "too expensive", "gift"]):  # of three lengths
        inputs = tokenizer.without_label_tokens()(words, return_tensors="pt")
        expected = model.bert(**inputs, output_hidden_states=True).hidden_states[1][0].mean(0)
        assert_close(model.label_embeddings.weight[index], expected)


def test_names_without_words_start_from_what_they_are(build):
    model, _ = build({"label_layers": 1}, ["...", "!!!"])
    assert not torch.equal(*model.label_embeddings.weight)


@pytest.mark.parametrize(("strategy", "read"), [("cls", 1), ("label_tokens", 3)])
def test_the_last_layer_computes_what_is_read_and_no_more(backbone, strategy, read):
    model, tokenizer = from_backbone(backbone, LABELS, strategy)
    computed = []
    for layer in model.bert.encoder.layer:
        layer.intermediate.dense.register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].shape[1]))
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    model(**batch)
    assert computed == [batch["input_ids"].shape[1], read]


@forms
def test_text_alone_can_be_exported(build, form):
    model, tokenizer = build(form)
    texts = dict(tokenizer.without_label_tokens()(TEXTS, padding=True, return_tensors="pt"))
    exported = torch.export.export(model, (), texts).module()
    assert_close(exported(**texts).logits, model(**texts).logits)


@forms
def test_a_mask_for_every_token_is_refused(build, form):
    model, tokenizer = build(form)
    batch = tokenizer("good", return_tensors="pt")
    batch["attention_mask"] = torch.ones(1, 1, 6, 6)
    with pytest.raises(
        ValueError, match=r"attention_mask must be \(B, T\) where the text is encoded separately, got shape"
    ):
        model(**batch)


def test_a_subset_that_cannot_be_had_is_refused(build):
    isolated_model, tokenizer = build({"label_attention": "isolated"})
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    for subset in ([3], [-1], [], [[0]], [0.0], [True]):
        with pytest.raises(ValueError, match="subset must list label indices from 0 to 2, got"):
            isolated_model(**batch, subset=torch.tensor(subset))
    late, _ = build({"label_layers": 1})
    with pytest.raises(ValueError, match="subset needs label_attention 'isolated', but it is 'full'"):
        late(**batch, subset=torch.tensor([0]))
    together, _ = build({})
    with pytest.raises(ValueError, match="subset needs label_attention 'isolated'"):
        together(**batch, subset=torch.tensor([0]))


def test_a_marked_token_that_is_no_label_is_refused(build):
    model, tokenizer = build({"label_attention": "isolated"})
    batch = tokenizer("good", return_tensors="pt")
    batch["label_mask"] = torch.tensor([[0, 1, 1, 1, 0, 0]])
    with pytest.raises(ValueError, match=r"label_mask marks token \d+, which is not one of config.label_token_ids"):
        model(**batch)
    batch["label_mask"] = torch.tensor([[0, 1, 1]])
    with pytest.raises(ValueError, match="label_mask has the shape"):
        model(**batch)


def test_neither_or_both_inputs_are_refused():
    config = MultiLabelConfig(
        label_names=LABELS, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = MODEL_CLASSES["cls"](config)
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()


@isolated
def test_positions_and_segments_of_one_row_hold_for_all(build, form):
    model, tokenizer = build(form)
    batch = tokenizer(["good price", "good gift"], return_tensors="pt")
    expected = model(**batch).logits
    batch["token_type_ids"] = batch["token_type_ids"][:1]
    batch["position_ids"] = torch.tensor([[0, 1, 2, 2, 2, 2, 3]])
    assert_close(model(**batch).logits, expected)


@isolated
def test_embeddings_with_a_mask_have_to_hold_all_labels(build, form):
    model, tokenizer = build(form)
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    expected = model(**batch).logits
    embeds = model.get_input_embeddings()(batch.pop("input_ids"))
    assert_close(model(**batch, inputs_embeds=embeds).logits, expected)
    last = batch["label_mask"].cumsum(1) == 3
    batch["label_mask"] = batch["label_mask"] * ~last
    with pytest.raises(ValueError, match="exactly 3 tokens in every row, but row 0 marks 2"):
        model(**batch, inputs_embeds=embeds)


def test_label_tokens_without_known_ids_are_refused(build):
    model, tokenizer = build({"label_attention": "isolated"})
    batch = tokenizer("good", return_tensors="pt")
    model.config.label_token_ids = None
    with pytest.raises(ValueError, match="config.label_token_ids is missing"):
        model(**batch)
