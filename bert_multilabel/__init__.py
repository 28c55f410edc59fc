"""bert-multilabel: multi-label text classification with BERT, as a Transformers plug-in."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backbone import from_backbone as from_backbone
    from .configuration_multilabel import MultiLabelConfig as MultiLabelConfig
    from .configuration_multilabel import __version__ as __version__
    from .explanation import Explainer as Explainer
    from .metrics import compute_metrics as compute_metrics
    from .metrics import hamming_score as hamming_score
    from .metrics import make_compute_metrics as make_compute_metrics
    from .modeling_multilabel import BertForMultiLabelCLS as BertForMultiLabelCLS
    from .modeling_multilabel import BertForMultiLabelLabelTokens as BertForMultiLabelLabelTokens
    from .predictor import MultiLabelPredictor as MultiLabelPredictor
    from .tokenization_multilabel import MultiLabelTokenizer as MultiLabelTokenizer

# Names are loaded on first use, so that importing the package costs no more than importing Transformers.
_MODULES = {
    "BertForMultiLabelCLS": "modeling_multilabel",
    "BertForMultiLabelLabelTokens": "modeling_multilabel",
    "Explainer": "explanation",
    "MultiLabelConfig": "configuration_multilabel",
    "MultiLabelPredictor": "predictor",
    "MultiLabelTokenizer": "tokenization_multilabel",
    "__version__": "configuration_multilabel",
    "compute_metrics": "metrics",
    "from_backbone": "backbone",
    "hamming_score": "metrics",
    "make_compute_metrics": "metrics",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _MODULES[name].endswith("_multilabel"):
        import_module(".auto", __name__)
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
