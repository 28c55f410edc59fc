"""Makes the Auto classes and pipelines of Transformers know the plug-in; importing this module is its whole effect."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY

from bert_multilabel.model.configuration_multilabel import TASK, MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MODEL_CLASSES
from bert_multilabel.model.pipeline_multilabel import MultiLabelPipeline
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

AutoConfig.register(MultiLabelConfig.model_type, MultiLabelConfig)
AutoTokenizer.register(MultiLabelConfig, tokenizer_class=MultiLabelTokenizer)
for _auto_class in (AutoModel, AutoModelForSequenceClassification):
    # Both at once: Transformers then picks by `config.architectures`; a second call would replace the first.
    _auto_class.register(MultiLabelConfig, tuple(MODEL_CLASSES.values()))
PIPELINE_REGISTRY.register_pipeline(TASK, MultiLabelPipeline, pt_model=AutoModelForSequenceClassification, type="text")
