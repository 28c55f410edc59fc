"""Low-rank adapters (https://arxiv.org/abs/2106.09685), put into a model in place by PEFT and merged after training.

In between it stays our own class with our own parameter names, so that Trainer, the learning rate of the head, the
fast steps on a CPU and checkpoints work as without adapters. A checkpoint of such a run is for going on with it: it
holds the adapters beside the weights, while the folder that a run leaves is an ordinary one.
"""

from typing import TYPE_CHECKING

from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel

# All linear layers of the encoder: with attention alone adapters fall behind a whole encoder, whatever their rank
# (https://arxiv.org/abs/2305.14314, section 4).
_LAYERS = r"bert\.encoder\.layer\..*\.(query|key|value|dense)"
# The adapters' product is multiplied with this over the rank, so that ranks want the same learning rate. With twice
# the rank, as usual, they would want ten times that of a whole encoder. With this they learn as well at its rate, and
# --learning_rate, --head_learning_rate and what label tokens learn by mean the same with adapters and without.
_ALPHA = 512


def add_adapters(model: MultiLabelPreTrainedModel, rank: int) -> "LoraModel":
    """Freeze the encoder and give its linear layers adapters; what is new with the task is trained whole.

    That is the head, the `label_embeddings`, and where label tokens start from the word embeddings their rows there.

    Args:
        model: Any of this package's models, changed in place.
        rank: Of the adapters.

    Returns:
        PEFT's handle, whose `merge_and_unload` turns the model back into an ordinary one, in place as well.
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
