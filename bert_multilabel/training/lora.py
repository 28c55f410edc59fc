"""Low-rank adapters (https://arxiv.org/abs/2106.09685), added to a model in place by PEFT and merged after training.

The model keeps its class and parameter names meanwhile, so that Trainer, the learning rate of the head and checkpoints
work as without adapters. Checkpoints hold the adapters and are only for resuming; the output directory holds an
ordinary model.
"""

from typing import TYPE_CHECKING

from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel

if TYPE_CHECKING:
    from peft import PeftModel

# All linear layers of the encoder: adapters of attention alone learn less than a whole encoder, whatever their rank
# (https://arxiv.org/abs/2305.14314, section 4).
_LAYERS = r"bert\.encoder\.layer\..*\.(query|key|value|dense)"
# The product of the adapters is multiplied by this over the rank, so that all ranks need the same learning rate. The
# usual value, twice the rank, needs ten times the learning rate of a whole encoder. With this one, adapters learn as
# well at the same rate, so the defaults serve both.
_ALPHA = 512


def add_adapters(model: MultiLabelPreTrainedModel, rank: int) -> "PeftModel":
    """Freeze the encoder and add adapters to its linear layers; the head is trained whole.

    So are the `label_embeddings`, or the rows of the word embeddings that label tokens start from.

    Args:
        model: Changed in place.
        rank: Of the adapters.

    Returns:
        PEFT's wrapper, whose `merge_and_unload` turns `model` back into an ordinary one, in place.
    """
    # PEFT takes seconds to import, and is installed only with the extra "lora".
    from peft import LoraConfig, get_peft_model

    label_token_ids = None if model.config.has_late_label_layers else model.config.label_token_ids
    config = LoraConfig(
        r=rank,
        lora_alpha=_ALPHA,
        target_modules=_LAYERS,
        trainable_token_indices=label_token_ids and {"word_embeddings": label_token_ids},
    )
    adapters = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if name.startswith(model.head_parameter_prefixes):
            parameter.requires_grad = True
    return adapters
