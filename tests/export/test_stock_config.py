import json

from transformers import AutoConfig, BertConfig

from bert_multilabel import MultiLabelConfig
from bert_multilabel.export.stock_config import stock_config
from tests.conftest import LABELS, SIZES

RULES = {"implies": {"gift": ["good value"]}}
DECISIONS = {"threshold": [0.2, 0.4, 0.6], "min_labels": 1, "label_rules": RULES, "trained_on_pairs": True}


def written(tmp_path, threshold=None, **config):
    config = {"label_names": LABELS, "temperature": [0.5, 1.0, 2.0], **DECISIONS, **SIZES, **config}
    stock_config(MultiLabelConfig(**config), threshold).save_pretrained(tmp_path)
    return json.loads((tmp_path / "config.json").read_text())


def test_any_reader_finds_a_stock_classifier_of_several_labels(tmp_path):
    written(tmp_path, hidden_act="relu", pad_token_id=3, classifier_dropout=0.3)
    config = AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
    assert type(config) is BertConfig and config.architectures == ["BertForSequenceClassification"]
    assert config.id2label == dict(enumerate(LABELS)) and config.label2id["gift"] == 2
    assert config.problem_type == "multi_label_classification"
    assert (config.hidden_act, config.pad_token_id, config.classifier_dropout) == ("relu", 3, 0.3)
    assert {name: getattr(config, name) for name in SIZES} == SIZES


def test_it_keeps_our_decisions_under_one_key_and_nothing_else_of_ours(tmp_path):
    content = written(tmp_path)
    assert content.pop("multi_label") == {**DECISIONS, "decision": None}
    left = {"auto_map", "custom_pipelines", "label_names", "strategy", "temperature", "threshold", "min_labels"}
    assert not left & content.keys()


def test_folded_thresholds_are_replaced(tmp_path):
    assert written(tmp_path, threshold=0.5)["multi_label"] == {**DECISIONS, "threshold": 0.5, "decision": None}


def test_readers_that_want_numbers_get_numbers(tmp_path):
    content = written(tmp_path, pad_token_id=None)
    assert content["pad_token_id"] == 0 and content["position_embedding_type"] == "absolute"


def test_label_tokens_leave_no_trace(tmp_path):
    form = {"strategy": "label_tokens", "label_attention": "isolated", "label_layers": 1}
    content = written(tmp_path, **form, label_token_ids=[140, 141, 142], vocab_size=143)
    assert content["vocab_size"] == 143 and not content.keys() & {*form, "label_token_ids"}
