"""Makes the Auto classes and pipelines of Transformers know the plug-in; importing this module is its whole effect."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_multilabel import TASK, MultiLabelConfig
from .modeling_multilabel import MODEL_CLASSES
from .pipeline_multilabel import MultiLabelPipeline
from .tokenization_multilabel import MultiLabelTokenizer

AutoConfig.register(MultiLabelConfig.model_type, MultiLabelConfig)
AutoTokenizer.register(MultiLabelConfig, tokenizer_class=MultiLabelTokenizer)
for _auto_class in (AutoModel, AutoModelForSequenceClassification):
    # Both at once: Transformers then picks by `config.architectures`; a second call would replace the first.
    _auto_class.register(MultiLabelConfig, tuple(MODEL_CLASSES.values()))
PIPELINE_REGISTRY.register_pipeline(TASK, MultiLabelPipeline, pt_model=AutoModelForSequenceClassification, type="text")
