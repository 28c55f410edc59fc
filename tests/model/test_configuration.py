import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from bert_multilabel import MultiLabelConfig
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model import configuration_multilabel
from bert_multilabel.model.configuration_multilabel import __version__
from tests.model.test_decision import RULE

NAMES = ["good value", "too expensive", "gift"]


def test_label_names_fill_what_transformers_asks_for():
    config = MultiLabelConfig(label_names=NAMES)
    assert config.num_labels == 3
    assert config.id2label == {0: "good value", 1: "too expensive", 2: "gift"}
    assert config.label2id == {"good value": 0, "too expensive": 1, "gift": 2}
    assert config.problem_type == "multi_label_classification"


def test_num_labels_or_id2label_alone_name_the_labels():
    assert MultiLabelConfig().label_names == ["LABEL_0", "LABEL_1"]
    assert MultiLabelConfig(num_labels=3).label_names == ["LABEL_0", "LABEL_1", "LABEL_2"]
    config = MultiLabelConfig(id2label={"1": "b", "0": "a"})
    assert config.label_names == ["a", "b"]
    assert config.label2id == {"a": 0, "b": 1}


def test_save_and_load_keep_every_field(tmp_path):
    fields = {
        "label_names": NAMES,
        "strategy": "label_tokens",
        "label_token_ids": [97, 98, 99],
        "vocab_size": 100,
        "threshold": [0.1, 0.5, 0.9],
        "temperature": 2.0,
        "min_labels": 1,
        "label_rules": {"implies": {"gift": ["good value"]}, "exclusive": [["good value", "too expensive"]]},
        "classifier_dropout": 0.3,
    }
    MultiLabelConfig(**fields).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is MultiLabelConfig
    assert {name: getattr(loaded, name) for name in fields} == fields
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "bert_multilabel"
    assert saved["bert_multilabel_version"] == __version__
    assert saved["auto_map"]["AutoModel"] == "modeling_multilabel.BertForMultiLabelLabelTokens"


def test_saving_stamps_the_version_of_the_code_that_writes(tmp_path):
    config = MultiLabelConfig(label_names=NAMES, bert_multilabel_version="0.0.9")
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["bert_multilabel_version"] == __version__


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ({"strategy": "clz"}, "strategy must be one of 'cls', 'label_tokens', got 'clz'"),
        ({"label_names": []}, "label_names is empty"),
        ({"label_names": ["a", " "]}, r"label_names\[1\] is ' '"),
        ({"label_names": ["a", "b", "a"]}, r"label_names repeats \['a'\]"),
        ({"num_labels": 4}, "num_labels is 4 but there are 3 label names"),
        ({"id2label": {0: "x", 1: "y", 2: "z"}}, r"id2label names \['x', 'y', 'z'\] but label_names are"),
        ({"id2label": {0: "good value", 2: "gift"}}, r"id2label must have the keys 0 to 1, got \[0, 2\]"),
        ({"label2id": {"good value": 1, "too expensive": 0, "gift": 2}}, "but the order of label_names is"),
        ({"threshold": 1.5}, "threshold must be a number from 0 to 1, got 1.5"),
        ({"threshold": float("nan")}, "threshold must be a number from 0 to 1, got nan"),
        ({"threshold": [0.5, 0.5]}, "threshold lists 2 values for 3 labels"),
        ({"threshold": [0.5, -0.1, 0.5]}, "got -0.1 for label 'too expensive'"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"temperature": [1.0]}, "temperature lists 1 values for 3 labels"),
        ({"min_labels": 4}, "min_labels must be a whole number from 0 to the number of labels, 3, got 4"),
        ({"label_rules": {"implies": {"gift": ["price"]}}}, "label_rules name labels that the model .* have: 'price'"),
        ({"label_rules": {1: []}}, r"label_rules must have the form .* got \['1'\]"),
        ({"label_rules": {"exclusive": [{"gift"}]}}, "label_rules must be JSON values .* got {'exclusive'"),
        ({"label_rules": []}, r"label_rules must have the form .* got \[\]"),
        (
            {"label_rules": {"exclusive": [NAMES]}, "min_labels": 2},
            "min_labels is 2, but label_rules allow at most 1 labels",
        ),
        ({"problem_type": "regression"}, "problem_type must be 'multi_label_classification', got 'regression'"),
        ({"label_token_ids": [7, 8, 9]}, "label_token_ids need strategy 'label_tokens'"),
        ({"strategy": "label_tokens", "label_token_ids": [7, 8]}, "must be 3 different ids, one per label"),
        (
            {"strategy": "label_tokens", "label_token_ids": [7, 8, 99], "vocab_size": 99},
            r"\[99\] are outside the vocabulary of 99",
        ),
        ({"bert_multilabel_version": "99.0.0"}, "written by bert-multilabel 99.0.0, newer than this"),
        ({"bert_multilabel_version": "next"}, "bert_multilabel_version must be a version such as .*, got 'next'"),
    ],
)
def test_bad_fields_are_refused_with_the_value(fields, phrase):
    with pytest.raises(ValueError, match=phrase):
        MultiLabelConfig(**{"label_names": NAMES, **fields})


def test_the_next_minor_version_is_newer_and_the_next_patch_is_not():
    major, minor, patch = map(int, __version__.split("."))
    for version in (f"{major}.{minor}.{patch + 1}", f"{major}.{minor}.{patch}rc1", f"{major}.{minor - 1}.99"):
        config = MultiLabelConfig.from_dict({"label_names": NAMES, "bert_multilabel_version": version})
        assert config.bert_multilabel_version == version
    for version in (f"{major}.{minor + 1}.0", f"{major}.{minor + 10}.0.dev1", f"{major + 1}.0.0"):
        # Before a value that only that version knows.
        fields = {"label_names": NAMES, "strategy": "new", "threshold": "new", "bert_multilabel_version": version}
        with pytest.raises(ValueError, match=f"written by bert-multilabel {version}, newer than this {__version__}"):
            MultiLabelConfig.from_dict(fields)


@pytest.mark.parametrize(
    "version", ["", "2", "v0.2.0", "0.2.0 or later", "-1.0", None, 3, ["0.2.0"], "9" * 5000 + ".0"]
)
def test_what_is_no_version_is_refused(version):
    with pytest.raises(ValueError, match="bert_multilabel_version must be a version such as"):
        MultiLabelConfig.from_dict({"label_names": NAMES, "bert_multilabel_version": version})


@pytest.mark.parametrize(
    ("field", "value", "phrase"),
    [("num_labels", 5, "but label_names are"), ("threshold", 2.0, "got 2.0"), ("strategy", "x", "got 'x'")],
)
def test_what_is_broken_after_construction_is_refused_when_saving(tmp_path, field, value, phrase):
    config = MultiLabelConfig(label_names=NAMES)
    setattr(config, field, value)
    with pytest.raises(Exception, match=phrase):
        config.save_pretrained(tmp_path)


def test_decide_at_one_threshold_counts_the_threshold_itself():
    config = MultiLabelConfig(label_names=NAMES)
    probabilities, decisions = config.decide(torch.tensor([[0.0, -1.0, 1.0]]))
    torch.testing.assert_close(probabilities, torch.tensor([[0.5, 0.26894142, 0.73105858]]))
    assert decisions.tolist() == [[True, False, True]]


def test_decide_by_temperature_and_one_threshold_per_label():
    config = MultiLabelConfig(label_names=NAMES, temperature=2.0, threshold=[0.3, 0.7, 0.75])
    probabilities, decisions = config.decide(torch.tensor([[-1.0, 1.0, 2.0]]))
    torch.testing.assert_close(probabilities, torch.tensor([[0.37754067, 0.62245933, 0.73105858]]))
    assert decisions.tolist() == [[True, False, False]]


def test_min_labels_adds_the_likeliest_where_too_few_pass():
    logits = torch.tensor([[-3.0, -1.0, -2.0], [3.0, -1.0, -2.0], [1.0, 1.5, -2.0]])
    one = MultiLabelConfig(label_names=NAMES, min_labels=1)
    assert one.decide(logits)[1].tolist() == [[False, True, False], [True, False, False], [True, True, False]]
    two = MultiLabelConfig(label_names=NAMES, min_labels=2)
    assert two.decide(logits)[1].tolist() == [[False, True, True], [True, True, False], [True, True, False]]


def test_min_labels_tells_saturated_probabilities_apart():
    config = MultiLabelConfig(label_names=NAMES, min_labels=1, threshold=1.0)
    assert config.decide(torch.tensor([[-200.0, -300.0, -150.0]]))[1].tolist() == [[False, False, True]]


RULES = {"implies": {"gift": ["good value"]}, "exclusive": [["good value", "too expensive"]]}


def test_label_rules_are_obeyed_whatever_the_thresholds():
    config = MultiLabelConfig(label_names=NAMES, threshold=[0.5, 0.2, 0.5], label_rules=RULES)
    logits = torch.tensor([[-1.0, -4.0, 2.0], [-1.0, -4.0, 0.5], [1.0, 0.0, -3.0], [1.0, -5.0, 1.0]])
    # Margins of the second label are higher by 1.39, the logit of 0.8.
    assert config.decide(logits)[1].tolist() == [
        [True, False, True],
        [False, False, False],
        [False, True, False],
        [True, False, True],
    ]
    torch.testing.assert_close(config.decide(logits)[0], logits.sigmoid())  # probabilities stay what they are
    obeying = config.with_decision(0.5, min_labels=2).decide(logits)[1]
    assert obeying.tolist() == [[True, False, True]] * 4
    assert config.decide(logits[:, [2, 1]], torch.tensor([2, 1]))[1].tolist() == [
        [True, False],
        [True, False],
        [False, True],
        [True, False],
    ]


def test_label_rules_are_described():
    assert MultiLabelConfig(label_names=NAMES).describe_rules() == "no label rules"
    config = MultiLabelConfig(label_names=NAMES, label_rules=RULES)
    assert config.describe_rules() == "1 implication and 1 exclusive group, obeyed exactly"
    names = [f"label {number}" for number in range(30)]
    pairs = [[names[index], names[index + 1]] for index in range(29)]
    config = MultiLabelConfig(label_names=names, label_rules={"exclusive": pairs})
    assert "29 exclusive groups, obeyed by approximation for 30 labels" in config.describe_rules()


def test_rules_stay_when_labels_are_added_and_refuse_one_that_is_renamed():
    config = MultiLabelConfig(label_names=NAMES, label_rules=RULES)
    config.add_labels(["quality"], [])
    decisions = config.decide(torch.tensor([[-1.0, -4.0, 2.0, 1.0]]))[1]
    assert decisions.tolist() == [[True, False, True, True]]
    fields = {"label_names": ["good value", "expensive", "gift"], "label_rules": RULES}
    with pytest.raises(MultiLabelError, match="does not have: 'too expensive'. Its labels: 'good value', 'expensive'"):
        MultiLabelConfig.from_dict(fields)


def test_a_copy_decides_by_other_thresholds():
    config = MultiLabelConfig(label_names=NAMES, threshold=0.2)
    some = config.with_decision({"gift": 1}, min_labels=1)
    assert (some.threshold, some.min_labels) == ([0.2, 0.2, 1.0], 1)
    assert some.with_decision({"good value": 0.3}).threshold == [0.3, 0.2, 1.0]
    assert config.with_decision(0.7).threshold == 0.7
    assert (config.threshold, config.min_labels) == (0.2, 0)
    logits = torch.tensor([[-2.0, -1.0, 3.0]])  # probabilities 0.12, 0.27, 0.95
    assert config.decide(logits)[1].tolist() == [[False, True, True]]
    assert some.decide(logits)[1].tolist() == [[False, True, False]]
    with pytest.raises(ValueError, match=r"Unknown labels in threshold: \['gifts'\]. Known labels: \['good"):
        config.with_decision({"gifts": 0.5})


def test_a_saved_configuration_names_the_pipeline_also_after_a_pipeline_has_read_it(tmp_path):
    config = MultiLabelConfig(label_names=NAMES)
    config.custom_pipelines["multilabel-classification"]["pt"] = (torch.nn.Linear,)  # as `pipeline(...)` does
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]
    assert saved["multilabel-classification"]["impl"] == "pipeline_multilabel.MultiLabelPipeline"
    assert saved["multilabel-classification"]["pt"] == ["AutoModelForSequenceClassification"]
    assert AutoConfig.from_pretrained(tmp_path).custom_pipelines == saved


def test_decide_takes_half_precision():
    probabilities, _ = MultiLabelConfig(label_names=NAMES).decide(torch.zeros(1, 3, dtype=torch.bfloat16))
    assert probabilities.dtype == torch.float32


def test_labels_stand_apart_where_the_text_does_not_read_them_in_every_layer():
    def apart(**fields):
        config = MultiLabelConfig(label_names=NAMES, strategy="label_tokens", num_hidden_layers=3, **fields)
        return config.encodes_text_separately, config.has_late_label_layers

    assert apart() == (False, False)
    assert apart(label_layers=3) == (False, False)
    assert apart(label_layers=2) == (True, True)
    assert apart(label_attention="isolated") == (True, False)
    assert apart(label_attention="isolated", label_layers=1) == (True, True)


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ({"label_attention": "none"}, "label_attention must be 'full' or 'isolated', got 'none'"),
        ({"label_layers": 0}, "label_layers must be a whole number from 1 to 3, got 0"),
        ({"label_layers": 4}, "label_layers must be a whole number from 1 to 3, got 4"),
        ({"label_layers": 1, "strategy": "cls"}, "label_layers is 1, but strategy 'cls' has no label tokens"),
        (
            {"label_attention": "isolated", "strategy": "cls"},
            "label_attention is 'isolated', but strategy 'cls' has no label tokens",
        ),
    ],
)
def test_label_forms_that_make_no_sense_are_refused(fields, phrase):
    with pytest.raises(ValueError, match=phrase):
        MultiLabelConfig(**{"label_names": NAMES, "strategy": "label_tokens", "num_hidden_layers": 3, **fields})


def test_a_subset_is_decided_by_the_thresholds_of_its_labels():
    config = MultiLabelConfig(label_names=["a", "b", "c"], threshold=[0.1, 0.5, 0.9], temperature=[1.0, 2.0, 4.0])
    logits = torch.tensor([[0.5, 0.5, 0.5], [-3.0, -3.0, 9.0]])
    probabilities, decisions = config.decide(logits)
    for subset in ([2, 0], [1], [2, 0, 1]):
        some = config.decide(logits[:, subset], torch.tensor(subset))
        torch.testing.assert_close(some[0], probabilities[:, subset])
        assert torch.equal(some[1], decisions[:, subset])
    for wrong in ({"logits": logits[:, :1]}, {"logits": logits, "subset": torch.tensor([0, 1])}):
        with pytest.raises(ValueError, match="labels: pass a subset"):
            config.decide(**wrong)
    lenient = MultiLabelConfig(label_names=["a", "b", "c"], min_labels=2)
    assert lenient.decide(torch.tensor([[-5.0]]), torch.tensor([1]))[1].tolist() == [[True]]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("threshold", [0.5, 1, 0.5], [0.5, 1.0, 0.5]),
        ("threshold", np.array([0.25, 0.5, 1.0]), [0.25, 0.5, 1.0]),
        ("threshold", np.float32(0.25), 0.25),
        ("temperature", (1, 2, 3), [1.0, 2.0, 3.0]),
        ("temperature", torch.tensor([1, 2, 3]), [1.0, 2.0, 3.0]),
        ("label_token_ids", [97.0, 98, 99.0], [97, 98, 99]),
        ("label_token_ids", np.array([97, 98, 99]), [97, 98, 99]),
    ],
)
def test_lists_of_numbers_may_hold_any_kind_of_number(tmp_path, field, value, expected):
    fields = {"label_names": NAMES, "strategy": "label_tokens", "vocab_size": 100}
    config = MultiLabelConfig(**fields, **{field: value})
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, field: np.asarray(value).tolist()}))
    for found in (getattr(config, field), getattr(AutoConfig.from_pretrained(tmp_path), field)):
        assert found == expected
        assert [type(number) for number in np.atleast_1d(found).tolist()] == [
            type(number) for number in np.atleast_1d(expected).tolist()
        ]


@pytest.mark.parametrize(
    ("field", "value", "phrase"),
    [
        (
            "threshold",
            [0.5, "0.5", 0.5],
            "threshold must be a number from 0 to 1, got '0.5' for label 'too expensive'",
        ),
        ("threshold", [0.5, True, 0.5], "got True for label 'too expensive'"),
        ("threshold", [0.5, 10**400, 0.5], "threshold must be a number from 0 to 1, got 1000"),
        ("temperature", 10**400, "temperature must be a positive number, got 1000"),
        ("threshold", None, "threshold must be a number from 0 to 1, got None"),
        ("temperature", "warm", "temperature must be a positive number, got 'warm'"),
        ("temperature", {"gift": 1.0}, "temperature must be a positive number, got {'gift': 1.0}"),
        ("label_token_ids", ["97", "98", "99"], r"must be a list of whole numbers, got \['97', '98', '99'\]"),
        ("label_token_ids", [97.5, 98, 99], r"must be a list of whole numbers, got \[97.5, 98, 99\]"),
        ("label_token_ids", 97, "must be a list of whole numbers, got 97"),
        ("min_labels", 1.0, "min_labels must be a whole number from 0 to the number of labels, 3, got 1.0"),
        ("min_labels", "1", "min_labels must be a whole number .* got '1'"),
        ("label_layers", "1", "label_layers must be a whole number .* got '1'"),
        ("label_attention", 7, "label_attention must be 'full' or 'isolated', got 7"),
        ("strategy", 7, "strategy must be one of 'cls', 'label_tokens', got 7"),
        ("strategy", ["cls"], r"strategy must be one of 'cls', 'label_tokens', got \['cls'\]"),
        ("trained_on_pairs", "yes", "trained_on_pairs must be true, false or null, got 'yes'"),
        ("label_names", "price", "label_names must be a list of names, got 'price'"),
        ("label_names", {"gift", "price"}, r"label_names is a set, .* pass sorted\(...\) of it"),
        ("label_names", [3, 4, 5], r"label_names\[0\] is 3, not a string: convert it, as to '3'"),
        ("hidden_size", "wide", "config.json is invalid: Validation error for field 'hidden_size'"),
        ("id2label", {"a": "x"}, r"id2label must have whole numbers as keys, got \['a'\]"),
    ],
)
def test_fields_of_a_wrong_type_get_our_own_message(field, value, phrase):
    fields = {"label_names": NAMES, "strategy": "label_tokens", "vocab_size": 100, field: value}
    with pytest.raises(MultiLabelError, match=phrase):
        MultiLabelConfig.from_dict(fields)
    if field != "hidden_size":
        with pytest.raises(MultiLabelError, match=phrase):
            MultiLabelConfig(**fields)


def test_names_of_numpy_are_saved_as_text(tmp_path):
    config = MultiLabelConfig(label_names=np.array(["price", "gift"]))
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).label_names == ["price", "gift"]
    assert {type(name) for name in config.label_names} == {str}


@pytest.mark.parametrize("convert", [np.array, torch.tensor, list])
def test_decide_takes_arrays_and_lists(convert):
    config = MultiLabelConfig(label_names=NAMES)
    probabilities, decisions = config.decide(convert([[0.0, -1.0, 1.0]]))
    torch.testing.assert_close(probabilities, torch.tensor([[0.5, 0.26894142, 0.73105858]]))
    assert decisions.tolist() == [[True, False, True]]
    some = config.decide(convert([[0.0, -1.0]]), convert([0, 1]))
    assert some[1].tolist() == [[True, False]]
    with pytest.raises(ValueError, match=r"logits have shape \(\), but there are 3 labels"):
        config.decide(0.5)


def test_a_list_of_thresholds_replaces_all_of_them():
    config = MultiLabelConfig(label_names=NAMES)
    for thresholds in ([0.1, 1, 0.3], np.array([0.1, 1.0, 0.3]), (0.1, 1.0, 0.3)):
        assert config.with_decision(thresholds).threshold == [0.1, 1.0, 0.3]
    with pytest.raises(ValueError, match="threshold lists 2 values for 3 labels"):
        config.with_decision([0.1, 0.2])


@pytest.mark.parametrize(
    ("trained", "has_pairs", "phrase"),
    [
        (True, False, "was trained on pairs of texts, but gets single texts"),
        (False, True, "was trained on single texts, but gets pairs of texts"),
        (True, True, None),
        (False, False, None),
        (None, True, None),
        (None, False, None),
    ],
)
def test_the_wrong_kind_of_input_is_warned_about_once(tmp_path, caplog, trained, has_pairs, phrase):
    MultiLabelConfig(label_names=NAMES, trained_on_pairs=trained).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    configuration_multilabel.logger.warning_once.cache_clear()
    for _ in range(2):
        config.warn_about_pairs(has_pairs)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (phrase is not None)
    assert all(phrase in message for message in found)


def test_a_decision_decides_and_thresholds_of_a_call_replace_it(tmp_path):
    # 0.98 and 0.4: the second is not worth it, though it reaches its threshold. Three of 0.4 are.
    logits = torch.logit(torch.tensor([[0.98, 0.4, 0.001], [0.4, 0.4, 0.4]]))
    by_score, by_threshold = [[True, False, False], [True, True, True]], [[True, True, False], [True, True, True]]
    MultiLabelConfig(label_names=NAMES, threshold=0.39, decision=RULE).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.decision == RULE
    assert config.decide(logits)[1].tolist() == by_score
    assert config.with_decision(min_labels=1).decide(logits)[1].tolist() == by_score
    assert config.with_decision(0.39).decide(logits)[1].tolist() == by_threshold
    assert config.with_decision({"gift": 0.39}).decide(logits)[1].tolist() == by_threshold
    assert config.cutoffs(logits).shape == logits.shape
    # Among the last two labels alone, the second is worth it no more than in an example that has only these.
    assert config.decide(logits[:1, 1:], torch.tensor([1, 2]))[1].tolist() == [[False, False]]


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"rule": "best"}, "decision has the rule 'best', but must have 'expected_score'"),
        ({"score": "macro_f1"}, "decision has the score 'macro_f1', but must have 'hamming_score' or 'samples_f1'"),
        ({"temperature": 0}, "the temperature of decision must be a positive number, got 0"),
        ({"shift": float("nan")}, "the shift of decision must be a number, got nan"),
        ({"shift": 10**400}, "the shift of decision must be a number, got 1000"),
        ({"threshold_weight": "1"}, "the threshold_weight of decision must be a number, got '1'"),
        ({"extra": 1}, "decision must be null or have the fields rule, score, temperature, threshold_weight, shift"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(change, phrase):
    with pytest.raises(MultiLabelError, match=phrase):
        MultiLabelConfig(label_names=NAMES, decision={**RULE, **change})
