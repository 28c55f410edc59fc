"""Low-rank adapters (https://arxiv.org/abs/2106.09685), added to a model in place by PEFT and merged after training.

The model keeps its class and parameter names meanwhile, so that Trainer and the learning rate of the head work as
without adapters. Checkpoints hold the adapters and only serve to resume; the output folder holds an ordinary model.
"""

from typing import TYPE_CHECKING

from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel

if TYPE_CHECKING:
    from peft import PeftModel

# All linear layers of the encoder: adapters of attention alone learn less than a whole encoder, whatever their rank
# (https://arxiv.org/abs/2305.14314, section 4).
_LAYERS = r"bert\.encoder\.layer\..*\.(query|key|value|dense)"
# The product of the adapters is multiplied by this over the rank. The usual value, twice the rank, needs ten times the
# learning rate of a whole encoder; with this one all ranks learn well at the default rate.
_ALPHA = 512


def add_adapters(model: MultiLabelPreTrainedModel, rank: int) -> "PeftModel":
    """Freeze the encoder of a model and add adapters to its linear layers, in place.

    The head is trained whole, and so are the `label_embeddings`, or the word embeddings of label tokens.

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
