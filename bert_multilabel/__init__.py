"""bert-multilabel: multi-label text classification with BERT, as a Transformers plug-in."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_multilabel.explain.explainer import Explainer as Explainer
    from bert_multilabel.inference.predictor import MultiLabelPredictor as MultiLabelPredictor
    from bert_multilabel.model.configuration_multilabel import MultiLabelConfig as MultiLabelConfig
    from bert_multilabel.model.configuration_multilabel import __version__ as __version__
    from bert_multilabel.model.modeling_multilabel import BertForMultiLabelCLS as BertForMultiLabelCLS
    from bert_multilabel.model.modeling_multilabel import BertForMultiLabelLabelTokens as BertForMultiLabelLabelTokens
    from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer as MultiLabelTokenizer

    from .data.examples import load_examples as load_examples
    from .loading import from_backbone as from_backbone
    from .metrics import compute_metrics as compute_metrics
    from .metrics import hamming_score as hamming_score
    from .metrics import make_compute_metrics as make_compute_metrics
    from .report.labelled import make_report as make_report
    from .training.train import TrainingResult as TrainingResult
    from .training.train import train as train

# Names are loaded on first use, so that importing the package costs no more than importing Transformers.
_MODULES = {
    "BertForMultiLabelCLS": "model.modeling_multilabel",
    "BertForMultiLabelLabelTokens": "model.modeling_multilabel",
    "Explainer": "explain.explainer",
    "MultiLabelConfig": "model.configuration_multilabel",
    "MultiLabelPredictor": "inference.predictor",
    "MultiLabelTokenizer": "model.tokenization_multilabel",
    "TrainingResult": "training.train",
    "__version__": "model.configuration_multilabel",
    "compute_metrics": "metrics",
    "from_backbone": "loading",
    "hamming_score": "metrics",
    "load_examples": "data.examples",
    "make_compute_metrics": "metrics",
    "make_report": "report.labelled",
    "train": "training.train",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _MODULES[name].startswith("model."):
        import_module(".auto", __name__)
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
