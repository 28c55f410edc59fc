import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, BertModel, GPT2Config

from bert_multilabel import BertForMultiLabelCLS, MultiLabelConfig, MultiLabelTokenizer, from_backbone
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.errors import FileError, MultiLabelError
from bert_multilabel.loading import load_trained, read_tokenizer
from bert_multilabel.training.prepare import start_bias_from_frequencies
from tests.conftest import LABELS, save_checkpoint

both = pytest.mark.parametrize("strategy", ["cls", "label_tokens"])


@both
def test_the_encoder_comes_as_it_is(backbone, strategy):
    model, _ = from_backbone(backbone, LABELS, strategy)
    theirs = BertModel.from_pretrained(backbone).state_dict()
    ours = model.bert.state_dict()
    for name, weights in ours.items():
        assert torch.equal(weights[: len(theirs[name])], theirs[name]), name
    assert set(theirs) - set(ours) == {"pooler.dense.weight", "pooler.dense.bias"}


@both
def test_the_head_starts_from_a_trained_pooler(backbone, strategy):
    model, _ = from_backbone(backbone, LABELS, strategy)
    pooler = BertModel.from_pretrained(backbone).pooler.dense
    assert torch.equal(model.classifier.dense.weight, pooler.weight)
    assert torch.equal(model.classifier.dense.bias, pooler.bias)


@both
def test_the_head_starts_from_the_identity_where_the_pooler_is_noise_or_absent(tmp_path, strategy):
    folder = save_checkpoint(tmp_path, "uncased")
    stock = BertModel.from_pretrained(folder)
    torch.nn.init.zeros_(stock.pooler.dense.bias)
    stock.save_pretrained(folder)
    BertModel(stock.config, add_pooling_layer=False).save_pretrained(tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).write_text((folder / name).read_text())
    for path in (folder, tmp_path / "bare"):
        model, _ = from_backbone(path, LABELS, strategy)
        assert torch.equal(model.classifier.dense.weight, torch.eye(32))


def test_label_tokens_start_from_the_mean_of_their_names(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    rows = model.get_input_embeddings().weight
    for token_id, words in zip(tokenizer.label_token_ids, ["good value", "too expensive", "gift"], strict=True):
        pieces = tokenizer.convert_tokens_to_ids(words.split())
        torch.testing.assert_close(rows[token_id], rows[pieces].mean(dim=0))
    assert model.config.label_token_ids == tokenizer.label_token_ids
    assert rows.shape[0] == model.config.vocab_size == len(tokenizer)


def test_a_padded_vocabulary_keeps_its_size(tmp_path):
    folder = save_checkpoint(tmp_path, "uncased", vocab_size=128)
    model, tokenizer = from_backbone(folder, LABELS, "label_tokens")
    assert len(tokenizer) < 128 == model.config.vocab_size
    assert model(**tokenizer("good", return_tensors="pt")).logits.shape == (1, 3)


@both
@pytest.mark.parametrize(
    "names", [["only"], [f"label {number}" for number in range(40)], ["lamps, desk", "c|d", "好"]]
)
def test_any_number_of_labels_with_any_names(backbone, tmp_path, strategy, names):
    model, tokenizer = from_backbone(backbone, names, strategy)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = from_backbone(tmp_path, names, strategy)
    batch = tokenizer(["good price", "not"], padding=True, return_tensors="pt")
    output = again(**batch, labels=torch.ones(2, len(names)))
    assert output.logits.shape == (2, len(names))
    assert output.loss.isfinite()
    assert again.config.label_names == names


def test_names_without_letters_still_start_somewhere(backbone):
    model, tokenizer = from_backbone(backbone, ["...", "_"], "label_tokens")
    rows = model.get_input_embeddings().weight
    expected = [rows[tokenizer.convert_tokens_to_ids(token)] for token in (".", "_")]
    torch.testing.assert_close(rows[tokenizer.label_token_ids], torch.stack(expected))


def test_names_without_pieces_start_from_the_unknown_token(backbone):
    model, tokenizer = from_backbone(backbone, ["\u0301", "gift"], "label_tokens")
    rows = model.get_input_embeddings().weight
    assert torch.equal(rows[tokenizer.label_token_ids[0]], rows[tokenizer.unk_token_id])
    assert model(**tokenizer("good", return_tensors="pt")).logits.isfinite().all()


def test_heads_of_other_tasks_are_left_behind(tmp_path, backbone):
    stock = BertForMaskedLM(BertConfig.from_pretrained(backbone))
    stock.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((backbone / name).read_text())
    model, _ = from_backbone(tmp_path, LABELS, "cls")
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, stock.bert.embeddings.word_embeddings.weight)


def test_half_precision_checkpoints_are_trained_in_float32(tmp_path, backbone):
    BertModel.from_pretrained(backbone).half().save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((backbone / name).read_text())
    model, _ = from_backbone(tmp_path, LABELS, "cls")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@both
def test_our_own_folder_is_taken_up_with_its_weights(backbone, tmp_path, strategy):
    model, tokenizer = from_backbone(backbone, LABELS, strategy, threshold=0.3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = from_backbone(tmp_path, LABELS, strategy, classifier_dropout=0.5)
    assert again.classifier.dropout.p == 0.5
    assert again.config.threshold == 0.3
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])


@pytest.mark.parametrize(
    ("labels", "strategy", "phrase"),
    [
        (LABELS, "cls", "was trained with strategy 'label_tokens', not 'cls'"),
        (["good value", "gift", "new"], "label_tokens", r"has \['too_expensive'\] .* and lacks \['new'\]"),
        (LABELS[::-1], "label_tokens", "the same labels in another order"),
    ],
)
def test_our_own_folder_is_refused_for_another_task(backbone, tmp_path, labels, strategy, phrase):
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=phrase):
        from_backbone(tmp_path, labels, strategy)


def save_trained(backbone, folder, strategy="label_tokens", **config):
    model, tokenizer = from_backbone(backbone, LABELS, strategy, **config)
    torch.nn.init.normal_(model.classifier.out_proj.weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def test_a_folder_grows_by_the_labels_that_it_lacks(backbone, tmp_path):
    trained, reader = save_trained(backbone, tmp_path)
    names, described = ["quality", "gift", "good value", "price", "too_expensive"], {"price": "not good", "gift": "x"}
    model, tokenizer = from_backbone(tmp_path, names, "label_tokens", described, add_labels=True)
    assert model.config.label_names == tokenizer.label_names == [*LABELS, "quality", "price"]
    trained.add_labels(["quality", "price"], reader, {"price": "not good"})
    for name, weights in trained.state_dict().items():
        assert torch.equal(weights, model.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"lacks \['new'\]. .* new ones only if add_labels=True \(--add_lab"):
        from_backbone(tmp_path, [*LABELS, "new"], "label_tokens")
    with pytest.raises(ValueError, match=r"has \['gift'\] that are not asked for"):
        from_backbone(tmp_path, [*LABELS[:2], "new"], "label_tokens", add_labels=True)


def test_adding_labels_where_there_are_none_to_add_or_none_to_add_to(backbone, tmp_path):
    save_trained(backbone, tmp_path)
    model, _ = from_backbone(tmp_path, LABELS[::-1], "label_tokens", add_labels=True)
    assert model.config.label_names == LABELS
    with pytest.raises(ValueError, match="was not trained on labels"):
        from_backbone(backbone, LABELS, "label_tokens", add_labels=True)
    save_trained(backbone, tmp_path / "cls", "cls")
    with pytest.raises(ValueError, match="cannot be added with strategy 'cls'"):
        from_backbone(tmp_path / "cls", [*LABELS, "new"], "cls", add_labels=True)


def test_descriptions_that_nothing_would_read_are_refused(backbone, tmp_path):
    save_trained(backbone, tmp_path)
    with pytest.raises(ValueError, match=r"has trained the labels \['gift'\] already, .* leave the descriptions out"):
        from_backbone(tmp_path, LABELS, "label_tokens", {"gift": "a present"})
    with pytest.raises(ValueError, match=r"Unknown labels in descriptions: \['gifts'\]. Known labels: "):
        from_backbone(backbone, LABELS, "label_tokens", {"gifts": "a present"})


def test_labels_without_a_description_are_noted(backbone, caplog):
    with caplog.at_level(logging.INFO, "bert_multilabel"):
        from_backbone(backbone, LABELS, "label_tokens", {"gift": "a present"})
    assert "initialized from their names: ['good value', 'too_expensive']" in caplog.text


def test_other_architectures_fields_and_strategies_are_refused(backbone, tmp_path):
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type 'gpt2', which does not compute what BERT computes"):
        from_backbone(tmp_path, LABELS, "cls")
    with pytest.raises(ValueError, match="label_names must be a list of names, got 'price'"):
        from_backbone(backbone, "price", "cls")
    with pytest.raises(ValueError, match="MultiLabelConfig has no field 'clasifier_dropout'"):
        from_backbone(backbone, LABELS, "cls", clasifier_dropout=0.1)
    with pytest.raises(ValueError, match="strategy must be one of 'cls', 'label_tokens', got 'both'"):
        from_backbone(backbone, LABELS, "both")


@both
def test_bad_fields_are_refused_for_our_own_folder_too(backbone, tmp_path, strategy):
    model, tokenizer = from_backbone(backbone, LABELS, strategy)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="threshold must be a number from 0 to 1, got 2.0"):
        from_backbone(tmp_path, LABELS, strategy, threshold=2.0)


def test_the_limit_of_the_positions_becomes_that_of_the_tokenizer(backbone):
    _, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    assert tokenizer.model_max_length == 64


@pytest.mark.parametrize(
    ("strategy", "options"),
    [("cls", {}), ("label_tokens", {}), ("label_tokens", {"label_attention": "isolated"})],
)
def test_the_tokenizer_comes_without_the_weights(backbone, tmp_path, strategy, options):
    model, expected = from_backbone(backbone, LABELS, strategy, **options)
    model.save_pretrained(tmp_path)
    expected.save_pretrained(tmp_path)
    for path in (backbone, tmp_path):
        config, tokenizer = read_tokenizer(path, LABELS, strategy, **options)
        assert config.encodes_text_separately == model.config.encodes_text_separately
        assert tokenizer.model_max_length == expected.model_max_length
        assert tokenizer("good price")["input_ids"] == expected("good price")["input_ids"]


def test_a_trained_folder_that_is_not_whole_is_refused(checkpoints, tmp_path):
    for part in from_backbone(checkpoints["uncased"], LABELS, "cls"):
        part.save_pretrained(tmp_path)
    assert load_trained(tmp_path)[0].config.label_names == LABELS
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-20])
        with pytest.raises(FileError, match=f"{tmp_path} is damaged .{name}: .*: copy it again"):
            load_trained(tmp_path)
        (tmp_path / name).write_bytes(content)
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).unlink()
        with pytest.raises(ValueError, match=f"is not a model directory: .*{name} is missing"):
            load_trained(tmp_path)


@pytest.mark.parametrize("path", ["./no-model", "runs/no/model", "/no-model", "~/no", "runs/no-model", "no-model"])
def test_a_folder_that_does_not_exist_is_named_first(path):
    with pytest.raises(MultiLabelError, match=f"^there is no folder {path}") as caught:
        from_backbone(path, LABELS, "cls")
    # Only what may be the name of a model on the Hub is looked for there.
    assert ("of the Hub" in str(caught.value)) == (path in ("runs/no-model", "no-model"))
    with pytest.raises(MultiLabelError, match="is not a model directory: there is no such folder"):
        load_trained(path)


def test_the_configuration_inherits_the_encoder_only(backbone):
    model, _ = from_backbone(backbone, LABELS, "cls", hidden_dropout_prob=0.0)
    assert type(model.config) is MultiLabelConfig
    assert (model.config.hidden_size, model.config.hidden_dropout_prob) == (32, 0.0)
    assert model.config.label_names == LABELS


@pytest.mark.parametrize(
    ("field", "value"), [("label_attention", "full"), ("label_layers", 2)], ids=["attention", "layers"]
)
def test_a_folder_with_another_label_form_is_refused(backbone, tmp_path, field, value):
    trained = {"label_attention": "isolated", "label_layers": 1}
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens", **trained)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, reader = from_backbone(tmp_path, LABELS, "label_tokens", **trained)
    assert again.config.label_layers == 1
    assert reader.model_max_length == 64 + 3
    with pytest.raises(ValueError, match=f"was trained with {field} {trained[field]!r}, not {value!r}"):
        from_backbone(tmp_path, LABELS, "label_tokens", **{**trained, field: value})


def test_all_layers_and_none_given_are_the_same_label_form(backbone, tmp_path):
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert from_backbone(tmp_path, LABELS, "label_tokens", label_layers=2)[0].config.label_layers == 2
    with pytest.raises(ValueError, match="was trained with label_layers None, not 1"):
        from_backbone(tmp_path, LABELS, "label_tokens", label_layers=1)


@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
def test_a_new_head_begins_at_the_frequencies_of_the_labels(checkpoints, strategy):
    model, _ = from_backbone(checkpoints["uncased"], LABELS, strategy)
    labels = torch.tensor([[1.0, 0, 0], [1, 0, torch.nan], [1, 1, -100], [0, 0, 0]])
    start_bias_from_frequencies(model, LabelFrequencies.of([labels[:3].tolist(), labels[3:].tolist()]))
    torch.testing.assert_close(model.label_bias.sigmoid(), torch.tensor([4 / 6, 2 / 6, 1 / 4]))


def edit_config(folder, **entries):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_by_auto_class(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize("load", [load_trained, load_by_auto_class])
@pytest.mark.parametrize(
    ("edit", "phrase"),
    [
        (lambda folder: edit_config(folder, num_hidden_layers=1), "they hold, beyond the model, bert.encoder.layer.1"),
        (lambda folder: edit_config(folder, num_hidden_layers=3), "they lack bert.encoder.layer.2"),
        (
            lambda folder: edit_config(folder, max_position_embeddings=32),
            r"bert.embeddings.position_embeddings.weight \(64, 32\) instead of \(32, 32\)",
        ),
        (
            lambda folder: edit_weights(folder, lambda weights: weights.pop("classifier.dense.bias")),
            "they lack classifier.dense.bias",
        ),
        (
            lambda folder: edit_weights(folder, lambda weights: weights.update(scale=torch.ones(1))),
            "they hold, beyond the model, scale",
        ),
    ],
)
def test_weights_that_the_configuration_does_not_describe_are_named(backbone, tmp_path, load, edit, phrase):
    save_trained(backbone, tmp_path)
    edit(tmp_path)
    with pytest.raises(MultiLabelError, match=f"do not fit its config.json: .*{phrase}") as caught:
        load(tmp_path)
    assert "lora" not in str(caught.value)


def test_a_truncated_file_is_named_through_the_auto_classes_too(backbone, tmp_path):
    save_trained(backbone, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(FileError, match="is damaged .model.safetensors: "):
        load_trained(tmp_path)
    with pytest.raises(MultiLabelError, match=f"The weights in {tmp_path} are damaged .*: copy them again"):
        load_by_auto_class(tmp_path)


def test_a_plain_checkpoint_is_not_given_a_random_head(backbone):
    with pytest.raises(MultiLabelError, match="they lack classifier.* use bert_multilabel.from_backbone"):
        BertForMultiLabelCLS.from_pretrained(backbone)


def test_other_label_tokens_than_those_of_the_tokenizer_are_refused(backbone, tmp_path):
    _, tokenizer = save_trained(backbone, tmp_path)
    ids = tokenizer.label_token_ids
    edit_config(tmp_path, label_token_ids=ids[::-1])
    with pytest.raises(MultiLabelError, match=rf"its label_token_ids\[0\] is {ids[0]}, the model's {ids[2]}. Use the"):
        load_trained(tmp_path)


def test_a_field_of_a_wrong_type_in_the_file_gets_our_message(backbone, tmp_path):
    save_trained(backbone, tmp_path)
    edit_config(tmp_path, min_labels="1")
    with pytest.raises(MultiLabelError, match="min_labels must be a whole number"):
        load_trained(tmp_path)
    edit_config(tmp_path, min_labels=0, hidden_size="wide")
    with pytest.raises(MultiLabelError, match="config.json is invalid: .*'hidden_size'"):
        load_by_auto_class(tmp_path)


@pytest.mark.parametrize(
    ("names", "phrase"),
    [
        ([1, 2, 3], r"label_names\[0\] is 1, not a string: convert it, as to '1'"),
        ({"a", "b"}, r"label_names is a set, .* pass sorted"),
        (["a", "a"], r"label_names repeats \['a'\]"),
    ],
)
def test_names_that_are_no_list_of_texts_are_refused(backbone, names, phrase):
    for build in (from_backbone, read_tokenizer):
        with pytest.raises(MultiLabelError, match=phrase):
            build(backbone, names, "cls")
    with pytest.raises(MultiLabelError, match=phrase):
        MultiLabelTokenizer.from_pretrained(backbone, label_names=names)


def test_an_array_of_names_is_taken(backbone):
    model, tokenizer = from_backbone(backbone, np.array(LABELS), "label_tokens")
    assert model.config.label_names == tokenizer.label_names == LABELS
