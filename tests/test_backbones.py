"""BERT's relatives, converted, against the classes of Transformers: every hidden state is the same."""

import json
import logging
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ElectraForPreTraining,
)

from bert_multilabel import from_backbone
from bert_multilabel.backbones import FAMILIES, UNLIKE_BERT
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from tests import families
from tests.backbones import new_model, save_backbone, save_family, save_word_pieces
from tests.conftest import LABELS

every_family = pytest.mark.parametrize("model_type", [*FAMILIES])
heads_of_berts_form = pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "camembert"])
TEXTS = ["the price is not good", "quality", "buy gift " * 40, "too expensive value is not"]
PAIRS = ["gift", "the quality is too good", "not " * 40, ""]


@pytest.fixture(scope="module")
def checkpoints_of(tmp_path_factory):
    """The checkpoint of each family."""
    root = tmp_path_factory.mktemp("families")
    for model_type in FAMILIES:
        save_backbone(root / model_type, model_type)
    return root


def positions_for(reference, attention_mask):
    """Positions as Transformers wants them, which RoBERTa counts from behind its padding token."""
    positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    is_roberta = FAMILIES[reference.config.model_type].counts_from_padding
    return positions + reference.config.pad_token_id + 1 if is_roberta else positions


def states_of(reference, batch, **options):
    """Hidden states by the class of Transformers, which has token types only for BERT and ELECTRA."""
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], **options}
    if reference.config.model_type in ("bert", "electra"):
        inputs["token_type_ids"] = batch["token_type_ids"]
    if "position_ids" not in inputs and not FAMILIES[reference.config.model_type].counts_from_padding:
        inputs["position_ids"] = positions_for(reference, batch["attention_mask"])
    return reference(**inputs, output_hidden_states=True).hidden_states


def reference_for(model, path, **options):
    """Load the class of Transformers, with the vectors of label tokens added."""
    reference = AutoModel.from_pretrained(path, **options).eval()
    reference.resize_token_embeddings(model.config.vocab_size, mean_resizing=False)
    reference.get_input_embeddings().weight.data.copy_(model.get_input_embeddings().weight)
    return reference


def largest_difference(ours, theirs, attention_mask):
    is_token = attention_mask.bool()
    return max(float((one[is_token] - other[is_token]).abs().max()) for one, other in zip(ours, theirs, strict=True))


@every_family
@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
@pytest.mark.parametrize("padding_side", ["right", "left"])
@torch.no_grad()
def test_every_hidden_state_is_that_of_transformers(checkpoints_of, model_type, strategy, padding_side):
    model, tokenizer = from_backbone(checkpoints_of / model_type, LABELS, strategy)
    reference = reference_for(model, checkpoints_of / model_type)
    for pairs in (None, PAIRS):
        batch = tokenizer(TEXTS, pairs, padding=True, truncation=True, padding_side=padding_side, return_tensors="pt")
        assert batch["input_ids"].shape == (4, 64)  # the limit
        ours = model(**batch, output_hidden_states=True).hidden_states
        assert largest_difference(ours, states_of(reference, batch), batch["attention_mask"]) == 0.0


@pytest.mark.parametrize("family", [*families.FAMILIES])
@torch.no_grad()
def test_a_text_has_the_states_that_the_tokenizer_and_model_of_its_family_give(tmp_path, family):
    save_family(tmp_path, family)
    model, tokenizer = from_backbone(tmp_path, LABELS, "cls")
    reader = AutoTokenizer.from_pretrained(tmp_path)
    reference = AutoModel.from_pretrained(tmp_path).eval()
    texts, options = [*families.TEXT, ""], {"padding": True, "truncation": True, "return_tensors": "pt"}
    for pairs in (None, [*families.TEXT[::-1], "gift"]):
        theirs = reader(texts, pairs, max_length=64, **options)
        batch = tokenizer(texts, pairs, **options)
        assert torch.equal(theirs["input_ids"], batch["input_ids"])
        expected = reference(**theirs, output_hidden_states=True).hidden_states
        ours = model(**batch, output_hidden_states=True).hidden_states
        assert largest_difference(ours, expected, batch["attention_mask"]) == 0.0


@every_family
@torch.no_grad()
def test_isolated_labels_read_the_states_of_transformers(checkpoints_of, model_type):
    options = {"label_attention": "isolated"}
    model, tokenizer = from_backbone(checkpoints_of / model_type, LABELS, "label_tokens", **options)
    reference = reference_for(model, checkpoints_of / model_type)
    reader = tokenizer.without_label_tokens()
    batch = reader(TEXTS, PAIRS, padding=True, truncation=True, return_tensors="pt")
    joint = model(**batch, output_hidden_states=True).hidden_states  # the text, then the labels
    tokens, labels = batch["input_ids"].size(1), len(LABELS)
    ids = torch.tensor(tokenizer.label_token_ids).expand(4, -1)
    mask = torch.nn.functional.pad(batch["attention_mask"], (0, labels), value=1)
    positions = positions_for(reference, batch["attention_mask"])
    reads = torch.zeros(4, 1, tokens + labels, tokens + labels, dtype=torch.bool)
    reads[:, :, :, :tokens] = batch["attention_mask"][:, None, None].bool()
    reads[:, 0, range(tokens, tokens + labels), range(tokens, tokens + labels)] = True
    theirs = states_of(
        reference,
        {
            "input_ids": torch.cat([batch["input_ids"], ids], dim=1),
            "attention_mask": torch.zeros_like(reads, dtype=torch.float32).masked_fill(~reads, -torch.inf),
            "token_type_ids": torch.nn.functional.pad(batch["token_type_ids"], (0, labels)),
        },
        position_ids=torch.cat([positions, positions[:, :1].expand(-1, labels)], dim=1),
    )
    assert largest_difference(joint, theirs, mask) <= 1e-6
    logits = model.classifier(theirs[-1][:, tokens:])
    torch.testing.assert_close(model(**batch).logits, logits, rtol=0, atol=1e-5)


@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_checkpoints_give_the_same_states_in_any_precision(tmp_path, model_type, dtype):
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 80}
    wide = {"embedding_size": 48} if model_type == "electra" else {}
    new_model(model_type, **sizes, **wide).to(dtype).save_pretrained(tmp_path)
    save_word_pieces(tmp_path, model_type)
    model, tokenizer = from_backbone(tmp_path, LABELS, "cls")
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    for compute in (torch.float32, torch.bfloat16):
        reference = AutoModel.from_pretrained(tmp_path, dtype=compute).eval()
        ours = model.to(compute)(**batch, output_hidden_states=True).hidden_states
        assert largest_difference(ours, states_of(reference, batch), batch["attention_mask"]) == 0.0


@every_family
@torch.no_grad()
def test_other_kernels_give_the_same_states(checkpoints_of, model_type):
    model, tokenizer = from_backbone(checkpoints_of / model_type, LABELS, "cls")
    model.set_attn_implementation("eager")
    reference = AutoModel.from_pretrained(checkpoints_of / model_type, attn_implementation="eager").eval()
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    ours = model(**batch, output_hidden_states=True).hidden_states
    assert largest_difference(ours, states_of(reference, batch), batch["attention_mask"]) <= 1e-6


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "silu"])
@torch.no_grad()
def test_every_activation_that_transformers_knows_by_name(tmp_path, activation):
    for model_type, field in (("roberta", "hidden_act"), ("distilbert", "activation")):
        save_backbone(tmp_path / model_type, model_type, **{field: activation})
        model, tokenizer = from_backbone(tmp_path / model_type, LABELS, "cls")
        batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        ours = model(**batch, output_hidden_states=True).hidden_states
        theirs = states_of(AutoModel.from_pretrained(tmp_path / model_type).eval(), batch)
        assert largest_difference(ours, theirs, batch["attention_mask"]) == 0.0


@torch.no_grad()
def test_sinusoidal_positions_come_with_the_weights(tmp_path):
    save_backbone(tmp_path, "distilbert", sinusoidal_pos_embds=True)
    model, tokenizer = from_backbone(tmp_path, LABELS, "cls")
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    ours = model(**batch, output_hidden_states=True).hidden_states
    theirs = states_of(AutoModel.from_pretrained(tmp_path).eval(), batch)
    assert largest_difference(ours, theirs, batch["attention_mask"]) == 0.0


@every_family
def test_the_configuration_says_what_the_checkpoint_was(tmp_path, model_type):
    dropout = {
        "distilbert": {"dropout": 0.2, "attention_dropout": 0.3, "seq_classif_dropout": 0.4},
    }.get(
        model_type,
        {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.4},
    )
    save_backbone(tmp_path / "source", model_type, initializer_range=0.05, **dropout)
    model, tokenizer = from_backbone(tmp_path / "source", LABELS, "label_tokens")
    model.save_pretrained(tmp_path / "ours")
    tokenizer.save_pretrained(tmp_path / "ours")
    config = load_trained(tmp_path / "ours")[0].config
    assert config.backbone_model_type == model_type
    rates = (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.classifier_dropout)
    assert rates == (0.2, 0.3, 0.4)
    assert config.initializer_range == 0.05
    assert config.layer_norm_eps == (1e-5 if FAMILIES[model_type].counts_from_padding else 1e-12)
    assert (config.max_position_embeddings, config.type_vocab_size) == (64, 2)
    assert tokenizer.model_max_length == 64
    weights = load_file(tmp_path / "ours" / "model.safetensors")
    assert weights["bert.embeddings.position_embeddings.weight"].shape == (64, 32)


def test_the_one_token_type_is_doubled_and_the_missing_ones_are_zero(checkpoints_of):
    roberta, _ = from_backbone(checkpoints_of / "roberta", LABELS, "cls")
    row = load_file(checkpoints_of / "roberta" / "model.safetensors")["embeddings.token_type_embeddings.weight"]
    assert torch.equal(roberta.bert.embeddings.token_type_embeddings.weight, torch.cat([row, row]))
    distilbert, _ = from_backbone(checkpoints_of / "distilbert", LABELS, "cls")
    assert not distilbert.bert.embeddings.token_type_embeddings.weight.any()


@heads_of_berts_form
@torch.no_grad()
def test_a_kept_head_gives_the_logits_of_the_checkpoint(tmp_path, model_type):
    names = dict(enumerate(LABELS))
    settings = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    task = {"problem_type": "multi_label_classification"}
    save_backbone(tmp_path / "stranger", model_type, AutoModelForSequenceClassification, **settings, **task)
    stranger = AutoModelForSequenceClassification.from_pretrained(tmp_path / "stranger").eval()
    model, tokenizer = from_backbone(tmp_path / "stranger", LABELS, "cls", keep_head=True)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    inputs = {name: tensor for name, tensor in batch.items() if name != "token_type_ids" or model_type == "bert"}
    expected = stranger(**inputs).logits
    torch.testing.assert_close(model(**batch).logits, expected, rtol=0, atol=1e-6)
    other_order, _ = from_backbone(tmp_path / "stranger", LABELS[::-1], "cls", keep_head=True)
    torch.testing.assert_close(other_order(**batch).logits, expected.flip(1), rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path / "ours")
    tokenizer.save_pretrained(tmp_path / "ours")
    again, _ = load_trained(tmp_path / "ours")
    torch.testing.assert_close(again(**batch).logits, expected, rtol=0, atol=1e-6)


def test_labels_without_names_are_taken_in_order(tmp_path, caplog):
    save_backbone(tmp_path, "roberta", AutoModelForSequenceClassification, num_labels=3)
    model, _ = from_backbone(tmp_path, LABELS, "cls", keep_head=True)
    assert f"does not name its labels: they are taken to be {LABELS}, in this order" in caplog.text
    assert "does not say whether its head was trained on several labels" in caplog.text
    assert model.config.label_names == LABELS
    with pytest.raises(MultiLabelError, match=r"3 labels without names, but \['gift'\] were given"):
        from_backbone(tmp_path, ["gift"], "cls", keep_head=True)


@pytest.mark.parametrize(
    ("model_type", "auto_class", "config", "arguments", "phrase"),
    [
        ("roberta", AutoModel, {}, {}, "has no head to keep: its architecture is .'RobertaModel'"),
        ("distilbert", AutoModelForSequenceClassification, {}, {}, "that of DistilBERT has no tanh. Leave keep_head"),
        ("electra", AutoModelForSequenceClassification, {}, {}, "that of ELECTRA has no tanh"),
        (
            "bert",
            AutoModelForSequenceClassification,
            {"problem_type": "single_label_classification"},
            {},
            "it was trained for single_label_classification, so that its logits are no independent decisions",
        ),
        (
            "bert",
            AutoModelForSequenceClassification,
            {},
            {"strategy": "label_tokens"},
            "keep_head needs strategy 'cls'",
        ),
        (
            "bert",
            AutoModelForSequenceClassification,
            {},
            {"label_descriptions": {"gift": "a present"}},
            "the head of .* is kept, so descriptions have no effect",
        ),
        (
            "bert",
            AutoModelForSequenceClassification,
            {"id2label": {0: "a", 1: "b", 2: "gift"}},
            {},
            r"has the labels \['a', 'b', 'gift'\], but .* were given: pass its own",
        ),
    ],
)
def test_heads_that_cannot_be_kept_are_refused(tmp_path, model_type, auto_class, config, arguments, phrase):
    save_backbone(tmp_path, model_type, auto_class, **{"num_labels": 3, **config})
    with pytest.raises(MultiLabelError, match=phrase):
        from_backbone(tmp_path, LABELS, **{"strategy": "cls", "keep_head": True, **arguments})


def test_a_model_of_this_package_has_no_head_to_keep(checkpoints_of, tmp_path):
    for part in from_backbone(checkpoints_of / "roberta", LABELS, "cls"):
        part.save_pretrained(tmp_path)
    with pytest.raises(MultiLabelError, match="which keeps its head: leave keep_head out"):
        from_backbone(tmp_path, LABELS, "cls", keep_head=True)


def test_a_new_head_starts_from_the_dense_layer_of_a_classifier_with_tanh_only(tmp_path):
    roberta = save_backbone(tmp_path / "roberta", "roberta", AutoModelForSequenceClassification)
    model, _ = from_backbone(tmp_path / "roberta", LABELS, "label_tokens")
    assert torch.equal(model.classifier.dense.weight, roberta.classifier.dense.weight)
    assert torch.equal(model.classifier.dense.bias, roberta.classifier.dense.bias)
    for model_type in ("distilbert", "electra"):
        save_backbone(tmp_path / model_type, model_type, AutoModelForSequenceClassification)
        model, _ = from_backbone(tmp_path / model_type, LABELS, "label_tokens")
        assert torch.equal(model.classifier.dense.weight, torch.eye(32))


@pytest.mark.parametrize(
    ("model_type", "auto_class", "left_over"),
    [
        ("roberta", AutoModelForMaskedLM, "lm_head.bias, lm_head.dense.bias"),
        ("distilbert", AutoModelForMaskedLM, "vocab_layer_norm.bias"),
        ("bert", AutoModelForMaskedLM, "cls.predictions.bias"),
        ("electra", ElectraForPreTraining, "discriminator_predictions.dense.bias"),
        ("bert", AutoModelForSequenceClassification, "classifier.bias, classifier.weight"),
        ("distilbert", AutoModelForSequenceClassification, "classifier.bias, .*pre_classifier.weight"),
    ],
)
def test_what_is_left_over_is_named_in_one_line(tmp_path, caplog, model_type, auto_class, left_over):
    stock = auto_class._from_config if auto_class is ElectraForPreTraining else auto_class.from_config
    config = new_model(model_type).config
    stock(config).save_pretrained(tmp_path)
    save_word_pieces(tmp_path, model_type)
    with caplog.at_level(logging.INFO, "bert_multilabel"):
        model, _ = from_backbone(tmp_path, LABELS, "cls")
    (line,) = [record.message for record in caplog.records if "left over from" in record.message]
    assert re.search(left_over, line)
    expected = AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, expected)


def refuse(path, phrase):
    with pytest.raises(MultiLabelError, match=phrase):
        from_backbone(path, LABELS, "cls")


@pytest.mark.parametrize("model_type", [*UNLIKE_BERT])
def test_each_encoder_that_differs_from_bert_is_refused_with_the_nearest_that_works(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    reason, nearest = UNLIKE_BERT[model_type]
    refuse(tmp_path, f"has model_type '{model_type}', .*: {reason}. Use {FAMILIES[nearest].example}")


def test_the_documentation_lists_what_is_taken_and_what_is_refused():
    page = (Path(__file__).resolve().parents[1] / "docs" / "backbones.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    told = {name: row for row in rows for name in re.findall("`(.+?)`", row[0])}
    assert told.keys() - {"model_type"} == FAMILIES.keys() | UNLIKE_BERT.keys()
    for model_type, (reason, nearest) in UNLIKE_BERT.items():
        assert told[model_type][1:] == [reason, f"`{FAMILIES[nearest].example}`"]


@pytest.mark.parametrize(
    ("model_type", "entries", "phrase"),
    [
        ("gpt2", {}, "it is none of BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, ELECTRA"),
        ("bert", {"position_embedding_type": "relative_key"}, "its position_embedding_type is 'relative_key'"),
        (
            "roberta",
            {"position_embedding_type": "relative_key_query"},
            "its position_embedding_type is 'relative_key_q",
        ),
        ("bert", {"is_decoder": True}, "is_decoder is true, but an encoder reads the text alone"),
        ("roberta", {"add_cross_attention": True}, "add_cross_attention is true"),
        ("roberta", {"hidden_act": "mystery"}, "its activation is 'mystery'"),
        ("distilbert", {"activation": "mystery"}, "its activation is 'mystery'"),
        ("electra", {"embedding_size": 16}, "its embeddings have 16 dimensions and its layers 32, with a projection"),
        ("roberta", {"pad_token_id": None}, "pad_token_id, from which its positions are counted, is missing"),
        ("bert", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "its weights are quantized"),
    ],
)
def test_what_cannot_be_exact_is_refused(tmp_path, model_type, entries, phrase):
    if model_type != "gpt2":
        AutoConfig.for_model(model_type, hidden_size=32).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    before = json.loads(path.read_text()) if path.exists() else {"model_type": model_type}
    path.write_text(json.dumps({**before, **entries}))
    refuse(tmp_path, phrase)


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@every_family
def test_weights_that_are_missing_unknown_or_of_other_shapes_are_named(tmp_path, model_type):
    save_backbone(tmp_path, model_type)
    whole = (tmp_path / "model.safetensors").read_bytes()
    layer = "transformer.layer.1" if model_type == "distilbert" else "encoder.layer.1"
    last = [name for name in load_file(tmp_path / "model.safetensors") if name.startswith(layer)][-1]
    for change, phrase in (
        (lambda weights: weights.pop(last), f"lacks {last}: its weights and config.json do not belong together"),
        (lambda weights: weights.update({f"{layer}.distance": torch.ones(2)}), f"has, beyond .*, {layer}.distance"),
        (lambda weights: weights.update({last: torch.ones(7)}), f"has other shapes of {last}"),
    ):
        edit_weights(tmp_path, change)
        refuse(tmp_path, phrase)
        (tmp_path / "model.safetensors").write_bytes(whole)


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["roberta", "distilbert"])
def test_any_file_of_weights_gives_the_same_model(tmp_path, model_type):
    plain = save_backbone(tmp_path / "plain", model_type)
    expected = from_backbone(tmp_path / "plain", LABELS, "cls")[0].bert.state_dict()
    plain.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    prefix = {f"{plain.base_model_prefix}.{name}": weights for name, weights in plain.state_dict().items()}
    buffer = {f"{plain.base_model_prefix}.embeddings.position_ids": torch.arange(64)[None]}
    plain.config.save_pretrained(tmp_path / "prefixed")
    save_file({**prefix, **buffer}, tmp_path / "prefixed" / "model.safetensors", metadata={"format": "pt"})
    plain.config.save_pretrained(tmp_path / "pickled")
    torch.save(plain.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    for kind in ("sharded", "prefixed", "pickled"):
        save_word_pieces(tmp_path / kind, model_type)
        if kind == "pickled":
            refuse(tmp_path / kind, "are a pickle .pytorch_model.bin.")
        model, _ = from_backbone(tmp_path / kind, LABELS, "cls", allow_pickle=kind == "pickled")
        for name, weights in model.bert.state_dict().items():
            assert torch.equal(weights, expected[name]), (kind, name)


@every_family
@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_tokens_that_the_checkpoint_lacks_get_vectors(tmp_path, caplog, model_type, strategy):
    save_backbone(tmp_path / "source", model_type, vocab_size=100)  # of 107
    model, tokenizer = from_backbone(tmp_path / "source", LABELS, strategy)
    assert "the checkpoint has no vectors of 7 tokens of its tokenizer, such as ['-', '_', ':']" in caplog.text
    logits = model(**tokenizer("a gift: good_value", return_tensors="pt")).logits
    assert logits.isfinite().all()
    model.save_pretrained(tmp_path / "ours")
    tokenizer.save_pretrained(tmp_path / "ours")
    again, _ = load_trained(tmp_path / "ours")
    after = again(**tokenizer("a gift: good_value", return_tensors="pt")).logits
    torch.testing.assert_close(after, logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_a_padding_token_that_the_configuration_does_not_know_does_no_harm(tmp_path, strategy):
    save_backbone(tmp_path, "bert", pad_token_id=2)  # the tokenizer's is 0, and 2 is [CLS]
    model, tokenizer = from_backbone(tmp_path, LABELS, strategy)
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    model(**batch).logits.square().sum().backward()
    gradients = model.get_input_embeddings().weight.grad
    assert gradients[2].any()
    assert not gradients[0].any()
