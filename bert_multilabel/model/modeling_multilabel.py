# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Multi-label BERT models: one skeleton, two strategies.

Shapes: B batch, T tokens, L labels, S labels that are scored (all L, or a subset), H hidden size.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict, Unpack, cast

import torch
from torch import nn
from transformers import BertPreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_multilabel import MultiLabelConfig
from .encoder import MultiLabelBert
from .errors import MultiLabelError

# This import is for the folders of saved models: Transformers copies what the files of a model import.
from .handler import EndpointHandler as EndpointHandler
from .hub_readme import PushedInParts
from .label_init import check_label_descriptions, label_texts, mean_of_pieces, mean_of_states
from .pipeline_multilabel import MultiLabelPipeline as MultiLabelPipeline  # as for the handler
from .positions import check_label_mask, count_marked, find_tokens, first_token_states, gather_tokens, with_positions
from .tokenization_multilabel import MultiLabelTokenizer, check_tokenizer

# The norm of each row of a new classifier: that of 384 weights drawn with BERT's standard deviation, 0.02.
_INIT_NORM = 0.4
# What BERT's embeddings and masks are made of, by the names of `forward`.
Inputs = dict[str, torch.Tensor | None]
# The hidden states and attentions of a forward pass, if they were asked for.
Recorded = tuple[Any, Any]


class LabelMask(TypedDict, total=False):
    """A keyword of `BertForMultiLabelLabelTokens.forward`: Trainer takes each parameter named "label" for labels."""

    label_mask: torch.Tensor | None


class MultiLabelHead(nn.Module):
    """Dropout, dense, tanh, linear: vectors (..., H) to outputs (..., num_outputs)."""

    def __init__(self, config: MultiLabelConfig, num_outputs: int) -> None:
        super().__init__()
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Map vectors (..., H) to outputs (..., num_outputs)."""
        outputs: torch.Tensor = self.out_proj(self.features(states))
        return outputs

    def features(self, states: torch.Tensor) -> torch.Tensor:
        """Map vectors (..., H) to the input of the last layer, (..., H)."""
        return torch.tanh(self.dense(self.dropout(states)))


class LabelTokenHead(MultiLabelHead):
    """Dropout, dense, tanh, linear to 1 for the vector of each label token.

    All labels share these layers. In the last one each label adds weights and a bias of its own, which start at zero:
    they hold how frequent a label is, and what its token does not say of it.
    """

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config, num_outputs=1)
        self.label_weight = nn.Parameter(torch.zeros(len(config.label_names), config.hidden_size))
        self.label_bias = nn.Parameter(torch.zeros(len(config.label_names)))

    def forward(self, states: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Map the vectors (B, S, H) of labels (1 or B, S), by default of all L in order, to logits (B, S)."""
        every = slice(None) if labels is None else labels
        features = self.features(states)  # (B, S, H)
        own = (features * self.label_weight[every]).sum(-1)  # (B, S)
        # The bias comes last: OpenVINO 2026.4 confuses the axes of a bias that is added to a sum.
        logits: torch.Tensor = self.out_proj(features).squeeze(-1) + own + self.label_bias[every]
        return logits

    @torch.no_grad()
    def add_labels(self, count: int) -> None:
        """Add labels whose own weights are zero, and whose bias is the median of the others."""
        weight, bias = self.label_weight, self.label_bias
        rows = torch.cat([weight, weight.new_zeros(count, weight.size(1))])  # (L + count, H)
        self.label_weight = nn.Parameter(rows, weight.requires_grad)
        self.label_bias = nn.Parameter(torch.cat([bias, bias.median().expand(count)]), bias.requires_grad)


class MultiLabelPreTrainedModel(PushedInParts, BertPreTrainedModel):  # type: ignore[misc]  # a wrapped push_to_hub
    """What both strategies share: the encoder, the loss and the output.

    A strategy adds its head, and its `forward`, which selects the vectors that the head reads.

    Args:
        config: Its strategy must be the one of the class.

    Raises:
        MultiLabelError: If the configuration asks for another strategy, or contradicts itself.
    """

    config: MultiLabelConfig
    config_class = MultiLabelConfig
    # The loss is a mean over what its batch annotates, so Trainer has to average over accumulated batches.
    accepts_loss_kwargs = False
    strategy: ClassVar[str]
    # The names of the parameters that do not come from the backbone start with these.
    head_parameter_prefixes = ("classifier.", "label_embeddings.")

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config)
        # `from_pretrained(..., field=value)` has replaced fields that are not checked against each other yet.
        config.validate_multilabel()
        if config.strategy != self.strategy:
            raise MultiLabelError(
                f"{type(self).__name__} is for strategy {self.strategy!r}, but the configuration says "
                f"{config.strategy!r}: use {MODEL_CLASSES[config.strategy].__name__}"
            )
        self.num_labels = len(config.label_names)
        self.bert = MultiLabelBert(config)
        self.classifier = self._new_head(config)
        self.post_init()

    @staticmethod
    def _new_head(config: MultiLabelConfig) -> MultiLabelHead:
        raise NotImplementedError

    @property
    def label_bias(self) -> torch.Tensor:
        """The bias of each label's logit, (L,)."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, *args: Any, config: Any = None, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load a directory or a Hub repository; the strategy of its configuration decides on the class.

        Two directories of the same name share their code in one process. Once the Auto classes know it from a model
        of one strategy, they offer that strategy's class for the other model too.

        Only safetensors are loaded; `use_safetensors=None` also admits a pickle, `pytorch_model.bin`.

        Raises:
            MultiLabelError: If the weights are damaged, or are not those that the configuration describes.
        """
        kwargs.setdefault("use_safetensors", True)
        source = args[0] if args else kwargs.get("pretrained_model_name_or_path")
        # Mismatches are refused below, together with missing and unexpected weights.
        options = {"ignore_mismatched_sizes": True, **kwargs, "config": config, "output_loading_info": True}
        try:
            loaded: Any = super(MultiLabelPreTrainedModel, cls._class_for(config)).from_pretrained(*args, **options)
        except Exception as error:
            # By name: files that travel with a model import as little as possible.
            if type(error).__name__ != "SafetensorError":
                raise
            raise MultiLabelError(f"The weights in {source} are damaged ({error}): copy them again.") from error
        model, info = loaded
        _check_loaded(source, info, allows_sizes=bool(kwargs.get("ignore_mismatched_sizes")))
        return (model, info) if output_loading_info else model

    @classmethod
    def _from_config(cls, config: MultiLabelConfig, **kwargs: Any) -> Any:
        # `AutoModel.from_config` calls the wrong class where two directories share their code, as described above.
        return super(MultiLabelPreTrainedModel, cls._class_for(config))._from_config(config, **kwargs)

    @classmethod
    def _class_for(cls, config: Any) -> "type[MultiLabelPreTrainedModel]":
        strategy = getattr(config, "strategy", cls.strategy)
        return cls if strategy == cls.strategy else MODEL_CLASSES.get(strategy, cls)

    def add_labels(
        self, names: Sequence[str], tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Add labels to a trained model and its tokenizer; only with label tokens."""
        raise MultiLabelError(
            f"labels {list(names)} cannot be added with strategy {self.strategy!r}, where each label has trained "
            "weights of its own: train again from the plain BERT checkpoint, or use strategy 'label_tokens'"
        )

    def _encode_selected(
        self, select: Callable[[torch.Tensor], torch.Tensor], inputs: Inputs, record: dict[str, bool]
    ) -> tuple[torch.Tensor, Recorded]:
        """Return the states that `select` takes of the last ones, (B, T, H), and what was asked to be recorded."""
        inputs, mask = with_positions(inputs), inputs["attention_mask"]
        # A mask of which token reads which, (B, 1, T, T), needs all tokens in every layer.
        if any(record.values()) or (mask is not None and mask.dim() != 2):
            encoded = self.bert(**inputs, **record)
            return select(encoded.last_hidden_state), (encoded.hidden_states, encoded.attentions)
        return self.bert.encode_selected(select, **inputs), (None, None)

    def _what_to_record(self, attentions: bool | None, hidden_states: bool | None) -> dict[str, bool]:
        """Return what to record: what the call asks for, or else the configuration."""
        asked = {"output_attentions": attentions, "output_hidden_states": hidden_states}
        return {name: bool(getattr(self.config, name) if value is None else value) for name, value in asked.items()}

    def _output(
        self, logits: torch.Tensor, labels: torch.Tensor | None, recorded: Recorded
    ) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(
            loss=None if labels is None else multi_label_loss(logits, labels),
            logits=logits,
            hidden_states=recorded[0],
            attentions=recorded[1],
        )


class BertForMultiLabelCLS(MultiLabelPreTrainedModel):
    """Classifies every label from the [CLS] vector.

    With the same weights and no dropout it equals stock BERT with its pooler and a linear classifier.
    """

    strategy = "cls"

    @staticmethod
    def _new_head(config: MultiLabelConfig) -> MultiLabelHead:
        return MultiLabelHead(config, num_outputs=len(config.label_names))

    @property
    def label_bias(self) -> torch.Tensor:
        """The bias of each label's logit, (L,)."""
        return cast(torch.Tensor, self.classifier.out_proj.bias)

    @torch.no_grad()
    def init_label_embeddings(
        self, tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Initialize each label's weights of the last layer from its description, or else its name.

        The weights are the head's features of the text, as the encoder reads it, less the mean over all labels, and
        scaled to a small norm, so that training starts near the bias.

        Args:
            tokenizer: The model's tokenizer.
            descriptions: Texts that describe labels, by name.
        """
        texts = label_texts(self.config.label_names, descriptions or {})
        states = mean_of_states(self.bert, self.config.num_hidden_layers, tokenizer, texts)  # (L, H)
        features = torch.tanh(self.classifier.dense(states))  # (L, H)
        if len(texts) > 1:
            features = features - features.mean(dim=0)
        self.classifier.out_proj.weight.copy_(_INIT_NORM * nn.functional.normalize(features))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Score all labels of every text.

        Args:
            input_ids: (B, T) token ids, or else `inputs_embeds`.
            attention_mask: (B, T), 1 at tokens, 0 at padding; padding may be on either side.
            token_type_ids: (B, T) segment ids.
            position_ids: (B, T); by default they count from the first token that is not padding.
            inputs_embeds: (B, T, H) in place of `input_ids`.
            labels: (B, L) multi-hot of any number type; NaN or -100 means "not annotated".
            output_attentions: Return the attention weights of every layer.
            output_hidden_states: Return the hidden states of every layer.

        Returns:
            `logits` (B, L), and with labels the mean `loss` over what is annotated.

        Raises:
            MultiLabelError: If the labels do not fit the logits or are not numbers from 0 to 1.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        record = self._what_to_record(output_attentions, output_hidden_states)
        states, recorded = self._encode_selected(
            lambda states: first_token_states(states, attention_mask)[:, None], inputs, record
        )  # (B, 1, H)
        return self._output(self.classifier(states[:, 0]), labels, recorded)


class BertForMultiLabelLabelTokens(MultiLabelPreTrainedModel):
    """Classifies every label from the vector of its own label token, with layers shared by all labels.

    Where the text is encoded separately (`label_attention` "isolated", or fewer `label_layers` than layers), the input
    need not hold label tokens: without any, all labels are scored.
    """

    strategy = "label_tokens"
    # Version 0.1.0 saved folders without these, which are then zero.
    _keys_to_ignore_on_load_missing = ["classifier.label_weight", "classifier.label_bias"]

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config)
        if config.has_late_label_layers:
            # Each label's state before its first layer.
            self.label_embeddings = nn.Embedding(len(config.label_names), config.hidden_size)
            self.post_init()

    @staticmethod
    def _new_head(config: MultiLabelConfig) -> MultiLabelHead:
        return LabelTokenHead(config)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LabelTokenHead):
            init.zeros_(module.label_weight)
            init.zeros_(module.label_bias)

    @property
    def label_bias(self) -> torch.Tensor:
        """The bias of each label's logit, (L,), to which the bias of the shared layer is added."""
        return cast(LabelTokenHead, self.classifier).label_bias

    def add_labels(
        self, names: Sequence[str], tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Add labels to a trained model and its tokenizer, after those they have.

        All trained weights stay as they are. A new label is initialized from its description or its name, as in
        `from_backbone`. With `label_attention` "isolated" the logits of the old labels stay the same; with "full" they
        change, since all labels read each other. Create the optimizer after this. On an error nothing has changed.

        Args:
            names: Names of the new labels.
            tokenizer: The model's own tokenizer, to which the new label tokens are added.
            descriptions: Texts that describe new labels, by name; the others are initialized from their names.

        Raises:
            MultiLabelError: If the tokenizer is another model's, a name is blank, repeated or taken, a description is
                blank or of another label, or the label tokens would leave no room for text.
        """
        descriptions = descriptions or {}
        old, limit = self.num_labels, self.config.max_labels
        check_tokenizer(tokenizer, self.config)
        if limit is not None and old + len(names) > limit:
            raise MultiLabelError(
                f"{old + len(names)} label tokens leave no room for text in the "
                f"{self.config.max_position_embeddings} positions of this model, which has {old}: add at most "
                f"{max(limit - old, 0)}, or train a model with label_attention='isolated', where they take none"
            )
        check_label_descriptions(descriptions, names)
        tokenizer.add_labels(names)  # refuses bad names; nothing after this does
        self.config.add_labels(names, tokenizer.label_token_ids)
        cast(LabelTokenHead, self.classifier).add_labels(len(names))
        self.init_label_embeddings(tokenizer, descriptions, first=old)

    @torch.no_grad()
    def init_label_embeddings(
        self, tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None, first: int = 0
    ) -> None:
        """Initialize the vectors of label tokens from the descriptions, or else the names, of their labels.

        The word embedding of a label token becomes the mean over the word pieces of the text. With fewer
        `label_layers`, the label's embedding becomes the mean of the encoder's states of the text before those layers.

        Args:
            tokenizer: The model's tokenizer, which has all label tokens; its `model_max_length` grows by their number
                where the text is encoded separately.
            descriptions: Texts that describe labels, by name.
            first: The first label to initialize; those before it keep their vectors.
        """
        self.num_labels = len(self.config.label_names)
        self.config.label_token_ids = list(tokenizer.label_token_ids)
        # Some vocabularies are padded, so the matrix may already have rows for the label tokens.
        rows_needed = max(len(tokenizer), *(number + 1 for number in tokenizer.label_token_ids))
        self.resize_token_embeddings(max(rows_needed, self.config.vocab_size), mean_resizing=False)
        # Of all labels, so that a new one starts differently from a known one of the same words.
        texts = label_texts(self.config.label_names, descriptions or {})
        if self.config.encodes_text_separately:
            tokenizer.model_max_length += len(texts) - first  # they take no positions from the text
        rows = self.bert.embeddings.word_embeddings.weight  # (V, H)
        rows[self.config.label_token_ids[first:]] = mean_of_pieces(rows, tokenizer, texts)[first:]  # (S, H)
        if self.config.has_late_label_layers:
            depth = self.config.num_hidden_layers - cast(int, self.config.label_layers)
            old = self.label_embeddings.weight[:first]  # (L - S, H)
            new = mean_of_states(self.bert, depth, tokenizer, texts)[first:]  # (S, H)
            self.label_embeddings = nn.Embedding.from_pretrained(
                torch.cat([old, new]), freeze=not self.label_embeddings.weight.requires_grad
            )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        subset: torch.Tensor | None = None,
        **kwargs: Unpack[LabelMask],
    ) -> SequenceClassifierOutput:
        """Score all labels of every text, or some of them.

        Args:
            input_ids: (B, T) token ids, or else `inputs_embeds`.
            attention_mask: (B, T), 1 at tokens, 0 at padding; padding may be on either side.
            token_type_ids: (B, T) segment ids.
            position_ids: (B, T); by default they count from the first token that is not padding.
            inputs_embeds: (B, T, H) in place of `input_ids`; then `label_mask` must be given.
            labels: (B, L) multi-hot of any number type; NaN or -100 means "not annotated".
            output_attentions: Return the attention weights of every layer.
            output_hidden_states: Return the hidden states of every layer; where the text is encoded separately, those
                of the text and behind them those of the labels.
            subset: (S,) int64, the indices of the labels to score, in place of those in the input; only with
                `label_attention` "isolated", where a label's logit does not depend on the others.
            **kwargs: `label_mask`, (B, T), 1 at exactly L label tokens of each text, in label order; by default
                wherever `input_ids` has one of the configuration's `label_token_ids`. Where the text is encoded
                separately, each text may mark any labels in any order, as many as the other texts, or none for all
                labels; of `inputs_embeds` it must mark all labels in label order, or none, as their vectors are not
                read. In a compiled model an input without mask is text alone, and a mask marks all labels.

        Returns:
            `logits` (B, L) in label order, or (B, S) in the order of the input or the subset, and with labels the mean
            `loss` over what is annotated.

        Raises:
            MultiLabelError: If the mask does not have the shape of the tokens, is neither given nor derivable, or does
                not mark the right number of tokens of a text (on an accelerator, such a text gets NaN logits); if the
                subset cannot be scored; or if the labels do not fit the logits or are not numbers from 0 to 1.
            TypeError: If another keyword is passed.
        """
        mask = kwargs.pop("label_mask", None)
        if kwargs:
            raise TypeError(f"forward() got an unexpected keyword argument {next(iter(kwargs))!r}")
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        record = self._what_to_record(output_attentions, output_hidden_states)
        token_ids = self.config.label_token_ids
        # The number of label tokens decides on shapes, so in a compiled graph an input without mask is text alone.
        assumes_text = self.config.encodes_text_separately and torch.compiler.is_compiling()
        if mask is None and input_ids is not None and token_ids is not None and not assumes_text:
            mask = find_tokens(input_ids, token_ids)  # (B, T)
        tokens = input_ids if inputs_embeds is None else inputs_embeds
        if mask is not None and tokens is not None and mask.shape != tokens.shape[:2]:
            raise MultiLabelError(
                f"label_mask has the shape {tuple(mask.shape)}, the tokens {tuple(tokens.shape[:2])}"
            )
        if subset is not None:
            subset = self._check_subset(subset)
        if self.config.encodes_text_separately:
            logits, recorded = self._score_separately(inputs, mask, subset, record)
        else:
            logits, recorded = self._score_jointly(inputs, mask, record)
        return self._output(logits, labels, recorded)

    def _score_jointly(
        self, inputs: Inputs, label_mask: torch.Tensor | None, record: dict[str, bool]
    ) -> tuple[torch.Tensor, Recorded]:
        """Score labels whose tokens are part of the text: logits (B, L), and what was recorded."""
        if label_mask is None:
            missing = "input_ids" if inputs["input_ids"] is None else "config.label_token_ids"
            raise MultiLabelError(f"label_mask must be given where it cannot be derived: there are no {missing}")
        check_label_mask(label_mask, self.num_labels)
        label_states, recorded = self._encode_selected(
            lambda states: gather_tokens(states, label_mask, self.num_labels), inputs, record
        )  # (B, L, H)
        return self.classifier(label_states), recorded  # (B, L)

    def _score_separately(
        self, inputs: Inputs, label_mask: torch.Tensor | None, subset: torch.Tensor | None, record: dict[str, bool]
    ) -> tuple[torch.Tensor, Recorded]:
        """Score labels whose tokens are added to the encoded text: logits (B, S), and what was recorded."""
        mask = inputs["attention_mask"]
        if mask is not None and mask.dim() != 2:
            raise MultiLabelError(
                f"attention_mask must be (B, T) where the text is encoded separately, got shape {tuple(mask.shape)}"
            )
        text, indices = self._split_inputs(inputs, label_mask)
        if subset is not None:
            indices = subset[None]  # (1, S)
        text = with_positions(text)
        label_inputs = self._label_inputs(indices)  # (1, S, H) or (B, S, H)
        if any(record.values()):
            states, attentions = self.bert.record_labels(label_inputs, **text)
            logits = self.classifier(states[-1][:, -label_inputs.size(1) :], indices)  # (B, S)
            return logits, (
                tuple(states) if record["output_hidden_states"] else None,
                tuple(attentions) if record["output_attentions"] else None,
            )
        chunks: list[torch.Tensor] = []
        done = 0
        for label_states in self.bert.encode_labels(label_inputs, **text):  # (B, S', H)
            end = done + label_states.size(1)
            chunks.append(self.classifier(label_states, indices[:, done:end]))  # (B, S')
            done = end
        return torch.cat(chunks, dim=1), (None, None)  # (B, S)

    def _split_inputs(self, inputs: Inputs, label_mask: torch.Tensor | None) -> tuple[Inputs, torch.Tensor]:
        """Return the inputs without label tokens, and the indices of the labels that these stand for, (1 or B, S)."""
        every_label = torch.arange(self.num_labels, device=self.label_bias.device)[None]  # (1, L)
        if label_mask is None:
            return inputs, every_label
        # Counting needs the host, so in a compiled graph a mask has to mark all labels.
        marked = self.num_labels if torch.compiler.is_compiling() else count_marked(label_mask)
        if marked == 0:
            return inputs, every_label
        if inputs["input_ids"] is None:
            check_label_mask(label_mask, self.num_labels)
            indices = every_label
        else:
            indices = self._label_indices(gather_tokens(inputs["input_ids"], label_mask, marked))

        def take_text(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.expand(label_mask.size(0), *tensor.shape[1:])  # BERT takes positions (1, T) for all texts
            return gather_tokens(tensor, label_mask == 0, label_mask.size(1) - marked)  # (B, T - S) or (B, T - S, H)

        return {name: None if tensor is None else take_text(tensor) for name, tensor in inputs.items()}, indices

    def _label_indices(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Return the labels of label tokens (B, S): (B, S), or (1, S) where all texts have the same."""
        known, order = self._label_token_ids().sort()  # (L,), (L,)
        positions = torch.searchsorted(known, token_ids).clamp(max=len(known) - 1)  # (B, S)
        if token_ids.device.type == "cpu" and not torch.compiler.is_compiling():
            if not torch.equal(known[positions], token_ids):
                unknown = token_ids[known[positions] != token_ids][0]
                raise MultiLabelError(
                    f"label_mask marks token {int(unknown)}, which is not one of config.label_token_ids"
                )
            if (positions == positions[:1]).all():
                positions = positions[:1]  # (1, S): what does not depend on the text is then computed once
        return order[positions]

    def _label_token_ids(self) -> torch.Tensor:
        if self.config.label_token_ids is None:
            raise MultiLabelError("config.label_token_ids is missing: it says which label each label token stands for")
        return torch.tensor(self.config.label_token_ids, device=self.label_bias.device)  # (L,)

    def _check_subset(self, subset: torch.Tensor) -> torch.Tensor:
        if self.config.label_attention != "isolated":
            raise MultiLabelError(
                f"subset needs label_attention 'isolated', but it is {self.config.label_attention!r}: here every "
                "label's logit depends on the others"
            )
        indices = torch.as_tensor(subset, device=self.label_bias.device)  # (S,)
        is_list = indices.dim() == 1 and len(indices) > 0 and indices.dtype in (torch.int32, torch.int64)
        if not is_list or not bool(((indices >= 0) & (indices < self.num_labels)).all()):
            raise MultiLabelError(
                f"subset must list label indices from 0 to {self.num_labels - 1}, got {indices.tolist()}"
            )
        return indices

    def _label_inputs(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the states of labels (1 or B, S) before their first layer: (1 or B, S, H)."""
        if self.config.has_late_label_layers:
            states: torch.Tensor = self.label_embeddings(indices)
            return states
        # All at the first position, from which BERT's [CLS] reads the whole text.
        token_ids = self._label_token_ids()[indices]  # (1 or B, S)
        states = self.bert.embeddings(input_ids=token_ids, position_ids=torch.zeros_like(token_ids))
        return states


MODEL_CLASSES: dict[str, type[MultiLabelPreTrainedModel]] = {
    model_class.strategy: model_class for model_class in (BertForMultiLabelCLS, BertForMultiLabelLabelTokens)
}


def _check_loaded(source: Any, info: Mapping[str, Any], allows_sizes: bool) -> None:
    """Refuse a model unless each of its weights was in the file, and each weight of the file is in the model."""
    sizes = [f"{name} {tuple(theirs)} instead of {tuple(own)}" for name, theirs, own in info["mismatched_keys"]]
    problems = {
        "lack": sorted(info["missing_keys"]),
        "hold, beyond the model,": sorted(info["unexpected_keys"]),
        "have other sizes:": [] if allows_sizes else sorted(sizes),
    }
    if not any(problems.values()):
        return
    found = "; ".join(
        f"they {problem} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for problem, names in problems.items()
        if names
    )
    if any(".lora_" in name for name in info["unexpected_keys"]):
        advice = "This is a checkpoint of a run with --lora_rank, which only that run can load: use its output_dir."
    else:
        advice = (
            "Copy config.json and the weights of one model, unedited; to start from a BERT checkpoint, use "
            "bert_multilabel.from_backbone."
        )
    raise MultiLabelError(f"The weights in {source} do not fit its config.json: {found}. {advice}")


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy with logits, averaged over what is annotated.

    Args:
        logits: (B, L), any floating dtype; the loss is computed in float32.
        labels: (B, L), numbers from 0 to 1 of any dtype; NaN or -100 means "not annotated" and counts nowhere.

    Returns:
        The loss, float32, (); 0 if nothing is annotated.

    Raises:
        MultiLabelError: If the shapes differ, or (on a CPU) if a label is not a number from 0 to 1.
    """
    targets, annotated = split_targets(labels, logits)
    loss: torch.Tensor = nn.BCEWithLogitsLoss(weight=annotated.float(), reduction="sum")(logits.float(), targets)
    return loss / annotated.sum().clamp(min=1)


def split_targets(labels: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split labels into targets and a mask of what is annotated.

    Args:
        labels: (B, L), numbers from 0 to 1 of any dtype; NaN or -100 means "not annotated".
        logits: (B, L), any floating dtype.

    Returns:
        The targets, (B, L), float32, 0 where not annotated, and the mask of what is annotated, (B, L), bool; both on
        the device of the logits.

    Raises:
        MultiLabelError: If the shapes differ, or (on a CPU) if a label is not a number from 0 to 1.
    """
    if labels.shape != logits.shape:
        raise MultiLabelError(
            f"labels must be a multi-hot of shape {tuple(logits.shape)}, one column per label, got shape "
            f"{tuple(labels.shape)}"
        )
    labels = labels.to(logits.device, torch.float32)  # (B, L)
    annotated = ~labels.isnan() & (labels != -100)  # (B, L)
    targets = torch.where(annotated, labels, 0.0)  # (B, L)
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_targets(targets)
    return targets, annotated


def _check_targets(targets: torch.Tensor) -> None:
    valid = (targets >= 0) & (targets <= 1)  # (B, L)
    if not valid.all():
        row, column = (int(index) for index in (~valid).nonzero()[0])
        raise MultiLabelError(
            f"labels must be numbers from 0 to 1 (or -100 or NaN for not annotated), but row {row}, label {column} "
            f"is {targets[row, column].item():g}"
        )


for _model_class in MODEL_CLASSES.values():
    _model_class.register_for_auto_class("AutoModel")
