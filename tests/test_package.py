import subprocess
import sys

import pytest
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

import bert_multilabel
from bert_multilabel import BertForMultiLabelCLS, BertForMultiLabelLabelTokens, MultiLabelConfig

from .conftest import LABELS

SIZE = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def test_every_public_name_is_there():
    for name in bert_multilabel.__all__:
        assert getattr(bert_multilabel, name) is not None
    assert dir(bert_multilabel) == bert_multilabel.__all__
    with pytest.raises(AttributeError, match="no attribute 'BertForMultiLable'"):
        _ = bert_multilabel.BertForMultiLable


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, bert_multilabel; print(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_auto_classes_pick_by_strategy():
    for strategy, expected in (("cls", BertForMultiLabelCLS), ("label_tokens", BertForMultiLabelLabelTokens)):
        config = MultiLabelConfig(label_names=LABELS, strategy=strategy, **SIZE)
        assert type(AutoModel.from_config(config)) is expected
        assert type(AutoModelForSequenceClassification.from_config(config)) is expected
    assert type(AutoConfig.for_model("bert_multilabel")) is MultiLabelConfig
