"""The engine that compiles a model."""

import logging
import time

import torch

from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import MultiLabelScorer

logger = logging.getLogger(__name__)


def use_compiled(scorer: MultiLabelScorer, model: MultiLabelPreTrainedModel) -> None:
    """Let a scorer compute with a compiled model, and compile it now."""
    compiled = torch.compile(model, dynamic=True)

    def compute(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = compiled(**batch, output_attentions=False, output_hidden_states=False).logits
        return logits

    scorer.engine = compute
    logger.warning("compiling the model for engine 'compile'")
    started = time.perf_counter()
    # A batch of one text is compiled apart.
    for texts in (["a", "another text"], ["a"]):
        scorer.logits(texts, texts if scorer.config.trained_on_pairs else None)
    logger.warning("compiled in %.0f seconds", time.perf_counter() - started)
