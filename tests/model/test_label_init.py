import copy

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from bert_multilabel import from_backbone
from bert_multilabel.model.label_init import label_texts, mean_of_pieces
from tests.conftest import LABELS

NEW = ["quality", "will not buy"]
TEXTS = ["the price is good", "not good", "quality too expensive, not a gift to buy"]
FORMS = {
    "full": {},
    "isolated": {"label_attention": "isolated"},
    "late": {"label_layers": 1},
    "isolated-late": {"label_attention": "isolated", "label_layers": 1},
}
forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def build(backbone):
    return lambda form, names=LABELS, **more: from_backbone(backbone, names, "label_tokens", **FORMS[form], **more)


def logits(model, tokenizer):
    with torch.inference_mode():
        return model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits


def starts(model, tokenizer):
    """What each label token starts from: its embedding row, or the state with which it joins."""
    if model.config.has_late_label_layers:
        return model.label_embeddings.weight.detach()
    return model.get_input_embeddings().weight[tokenizer.label_token_ids].detach()


def test_a_label_is_read_from_its_description_or_else_from_the_words_of_its_name():
    described = {"too_expensive": "Costs: too much!"}
    assert label_texts(["too_expensive", "a::b", "..."], described) == ["Costs: too much!", "a  b", "..."]


def test_the_mean_over_a_description_is_that_of_its_pieces_without_punctuation(build):
    model, tokenizer = build("full")
    rows = model.get_input_embeddings().weight
    expected = rows[tokenizer.convert_tokens_to_ids(["not", "good", "value"])].mean(0)
    torch.testing.assert_close(mean_of_pieces(rows, tokenizer, ["Not good: value!"])[0], expected)


@forms
def test_a_description_moves_the_start_of_its_own_label_only(build, form):
    plain, described = build(form), build(form, label_descriptions={"gift": "wants to buy"})
    moved = (starts(*plain) != starts(*described)).any(dim=1)
    assert moved.tolist() == [False, False, True]
    torch.testing.assert_close(starts(*described)[2], starts(*build(form, names=["wants to buy"]))[0])


def test_the_rows_of_cls_point_to_what_the_head_makes_of_the_names(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "cls", {"gift": "wants to buy"})
    rows = model.classifier.out_proj.weight.detach()  # (L, H)
    torch.testing.assert_close(rows.norm(dim=1), torch.full((3,), 0.4))
    features = []
    for text in ("good value", "too expensive", "wants to buy"):
        states = model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state  # (1, T, H)
        features.append(torch.tanh(model.classifier.dense(states.mean(dim=1)))[0].detach())
    apart = torch.stack(features) - torch.stack(features).mean(dim=0)
    torch.testing.assert_close(torch.cosine_similarity(rows, apart), torch.ones(3))
    alone, _ = from_backbone(backbone, ["gift"], "cls")
    torch.testing.assert_close(alone.classifier.out_proj.weight.norm(), torch.tensor(0.4))


def test_descriptions_are_not_stored(build, tmp_path):
    model, tokenizer = build("full", label_descriptions={"gift": "xylophone"})
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert not any("xylophone" in path.read_text() for path in tmp_path.glob("*.json"))


@forms
def test_added_labels_start_as_those_that_were_there_from_the_beginning(build, form):
    model, tokenizer = build(form)
    model.add_labels(NEW, tokenizer, {"quality": "good value"})
    whole = build(form, names=[*LABELS, *NEW], label_descriptions={"quality": "good value"})
    torch.testing.assert_close(starts(model, tokenizer), starts(*whole))
    assert tokenizer.model_max_length == whole[1].model_max_length
    assert dict(tokenizer(TEXTS)) == dict(whole[1](TEXTS))
    model.classifier.load_state_dict(whole[0].classifier.state_dict())
    torch.testing.assert_close(logits(model, tokenizer), logits(*whole), atol=1e-6, rtol=0)


@forms
def test_what_is_trained_stays_as_it_is(build, form):
    model, tokenizer = build(form)
    before = copy.deepcopy(model.state_dict())
    model.add_labels(NEW, tokenizer)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights[: len(before[name])] if weights.dim() else weights, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())


@forms
def test_the_old_labels_move_only_where_labels_read_each_other(build, form):
    model, tokenizer = build(form)
    before = logits(model, tokenizer)
    model.add_labels(NEW, tokenizer)
    after = logits(model, tokenizer)
    assert after.shape == (3, 5) and after.isfinite().all()
    change = (after[:, :3] - before).abs().max()
    assert change < 1e-5 if "isolated" in form else change > 1e-5


@forms
def test_model_tokenizer_and_configuration_agree_after_adding(build, form):
    model, tokenizer = build(form, threshold=[0.2, 0.3, 0.9], temperature=[1.0, 3.0, 2.0])
    model.add_labels(NEW, tokenizer)
    config = model.config
    config.validate_multilabel()
    assert config.label_names == tokenizer.label_names == [*LABELS, *NEW]
    assert (config.num_labels, model.num_labels, config.label2id["will not buy"]) == (5, 5, 4)
    assert config.label_token_ids == tokenizer.label_token_ids
    assert config.vocab_size == len(tokenizer) == len(model.get_input_embeddings().weight)
    assert config.threshold == [0.2, 0.3, 0.9, 0.3, 0.3]
    assert config.temperature == [1.0, 3.0, 2.0, 2.0, 2.0]


@forms
def test_a_new_label_begins_with_the_median_bias_and_no_row_of_its_own(build, form):
    model, tokenizer = build(form)
    with torch.no_grad():
        model.label_bias.copy_(torch.tensor([-1.0, -7.0, -2.0]))
        model.classifier.label_weight.fill_(1)
    model.add_labels(NEW, tokenizer)
    assert model.label_bias.tolist() == [-1.0, -7.0, -2.0, -2.0, -2.0]
    assert model.classifier.label_weight.mean(dim=1).tolist() == [1, 1, 1, 0, 0]


def test_one_threshold_for_all_stays_one(build):
    model, tokenizer = build("full", threshold=0.3)
    model.add_labels(NEW, tokenizer)
    assert (model.config.threshold, model.config.temperature) == (0.3, 1.0)


@forms
def test_a_grown_folder_gives_the_same_logits(build, form, tmp_path):
    model, tokenizer = build(form)
    model.add_labels(NEW, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loads = [
        logits(AutoModel.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)),
        logits(*from_backbone(tmp_path, [*LABELS, *NEW], "label_tokens")),
    ]
    assert torch.equal(*loads)
    torch.testing.assert_close(loads[0], logits(model, tokenizer), atol=1e-5, rtol=0)
    again, reader = AutoModel.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    again.add_labels(["value"], reader)
    assert logits(again, reader).shape == (3, 6)


def test_a_model_that_is_being_trained_reads_new_names_without_dropout(build):
    model, tokenizer = build("late", hidden_dropout_prob=0.5)
    other, reader = copy.deepcopy(model).train(), copy.deepcopy(tokenizer)
    model.add_labels(NEW, tokenizer)
    other.add_labels(NEW, reader)
    assert torch.equal(model.label_embeddings.weight, other.label_embeddings.weight)
    assert other.bert.training
    loss = other(**reader(TEXTS, padding=True, return_tensors="pt"), labels=torch.ones(3, 5)).loss
    loss.backward()
    assert other.label_embeddings.weight.grad[3:].any(dim=1).all()


@pytest.mark.parametrize(
    ("names", "descriptions", "phrase"),
    [
        (["gift", "new"], None, r"the labels \['gift'\] exist already: add only new ones"),
        (["new", "new"], None, r"names repeats \['new'\]"),
        (["new", " "], None, r"names\[1\] is ' '"),
        ([], None, "names is empty: pass at least one label"),
        ("new", None, "names must be a list of names, got .new."),
        (["new"], {"gift": "a present"}, r"Unknown labels in descriptions: \['gift'\]. Known labels: \['new'\]"),
        (["new"], {"new": " "}, "the description of label 'new' is ' ': it must be a text"),
        ([f"label {n}" for n in range(57)], None, "60 label tokens leave no room .* which has 3: add at most 56, or"),
    ],
)
def test_what_cannot_be_added_changes_nothing(build, names, descriptions, phrase):
    model, tokenizer = build("full")
    weights, config, ids = copy.deepcopy(model.state_dict()), model.config.to_dict(), tokenizer(TEXTS)["input_ids"]
    with pytest.raises(ValueError, match=phrase):
        model.add_labels(names, tokenizer, descriptions)
    assert model.config.to_dict() == config
    assert (tokenizer.label_names, len(tokenizer)) == (LABELS, config["vocab_size"])
    assert tokenizer(TEXTS)["input_ids"] == ids
    assert model.num_labels == 3
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


NAMES = ["c", "c++", "c#", "C", "...", "!", "\u00e9\u00e9", "\u00e8\u00e8", "\u597d", "\u574f"]


@pytest.mark.parametrize(
    "form", [{}, {"strategy": "cls"}, {"label_attention": "isolated"}, {"label_layers": 1}], ids=str
)
def test_labels_with_different_names_start_differently(backbone, form):
    form = {"strategy": "label_tokens", **form}
    builds = [from_backbone(backbone, NAMES, **form) for _ in range(2)]
    starts = []
    for model, tokenizer in builds:
        if form["strategy"] == "cls":
            starts.append([model.classifier.out_proj.weight])
        else:
            starts.append([model.get_input_embeddings().weight[tokenizer.label_token_ids]])
        if "label_layers" in form:
            starts[-1].append(model.label_embeddings.weight)
    for vectors, same in zip(*starts, strict=True):
        assert torch.equal(vectors, same)
        assert torch.cdist(vectors, vectors).fill_diagonal_(torch.inf).min() > 0.01


def test_a_new_label_starts_differently_from_one_whose_words_it_has(backbone):
    model, tokenizer = from_backbone(backbone, ["c"], "label_tokens")
    model.add_labels(["c++"], tokenizer)
    old, new = model.get_input_embeddings().weight[tokenizer.label_token_ids]
    assert (old - new).abs().max() > 0.01


def test_as_many_labels_as_leave_room_are_added(build):
    model, tokenizer = build("full")
    model.add_labels([f"label {number}" for number in range(56)], tokenizer)
    inputs = tokenizer("good " * 70, "price", truncation=True, return_tensors="pt")
    assert model(**inputs).logits.shape == (1, 59)


def test_labels_that_take_no_positions_are_added_without_a_limit(build):
    model, tokenizer = build("isolated")
    model.add_labels([f"label {number}" for number in range(100)], tokenizer)
    inputs = tokenizer("good " * 70, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape == (1, 64 + 103)
    assert model(**inputs).logits.shape == (1, 103)


def test_a_tokenizer_of_another_model_and_cls_are_refused(build, backbone):
    model, tokenizer = build("full")
    with pytest.raises(ValueError, match=r"its label_names\[0\] is 'only', the model's 'good value'. Use the"):
        model.add_labels(NEW, build("full", names=["only"])[1])
    with pytest.raises(ValueError, match=r"its label_token_ids\[0\] is None, the model's"):
        model.add_labels(NEW, tokenizer.without_label_tokens())
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    with pytest.raises(ValueError, match="cannot be added with strategy 'cls', .* or use strategy 'label_tokens'"):
        model.add_labels(NEW, tokenizer)
