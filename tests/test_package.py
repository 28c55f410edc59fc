import subprocess
import sys
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

import bert_multilabel
from bert_multilabel import BertForMultiLabelCLS, BertForMultiLabelLabelTokens, MultiLabelConfig
from tests.conftest import LABELS

# What the package promises to other people's scripts.
CONTRACT = {
    *("MultiLabelConfig", "MultiLabelTokenizer", "BertForMultiLabelCLS", "BertForMultiLabelLabelTokens"),
    *("from_backbone", "hamming_score", "compute_metrics", "make_compute_metrics", "__version__"),
    *("Explainer", "MultiLabelPredictor", "load_examples", "make_report", "train", "TrainingResult"),
}
SIZE = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def test_what_is_tested_lies_beside_the_tests_or_else_is_what_was_installed():
    beside = Path(__file__).resolve().parents[1]
    package = Path(bert_multilabel.__file__).parent
    script = Path(find_spec("run_multilabel").origin).resolve()
    if (beside / "bert_multilabel").exists():
        assert (package.parent, script.parent) == (beside, beside)
    else:  # a copy of the tests alone, to try a wheel
        installed = Path(sysconfig.get_path("purelib"))
        assert (package.parent, script.parent) == (installed, installed)
        assert version("bert-multilabel") == bert_multilabel.__version__


def test_every_public_name_is_there():
    for name in bert_multilabel.__all__:
        assert getattr(bert_multilabel, name) is not None
    assert set(bert_multilabel.__all__) == CONTRACT and set(dir(bert_multilabel)) >= CONTRACT
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


def test_the_console_command_is_installed():
    command = Path(sysconfig.get_path("scripts")) / "bert-multilabel"
    done = subprocess.run([str(command), "--help"], capture_output=True, text=True, check=True)
    assert "train" in done.stdout and "predict" in done.stdout
