# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Multi-label BERT models: one skeleton, two strategies.

Shapes: B batch, T tokens, L labels, S labels that are scored (all L, or a subset), H hidden size.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn
from transformers import BertPreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_multilabel import MultiLabelConfig
from .encoder import MultiLabelBert
from .errors import MultiLabelError
from .hub_readme import PushedInParts
from .label_init import check_label_descriptions, label_texts, mean_of_pieces, mean_of_states
from .positions import (
    check_label_mask,
    find_tokens,
    first_states,
    gather_tokens,
    with_positions,
)
from .tokenization_multilabel import MultiLabelTokenizer, check_tokenizer

if TYPE_CHECKING:
    # Never imported from here. But when Transformers saves or loads a model, it reads in the text of this file which
    # others belong to it: so the pipeline with what it needs, and the handler of endpoints, are in every folder.
    from .handler import EndpointHandler as EndpointHandler
    from .pipeline_multilabel import MultiLabelPipeline as MultiLabelPipeline

# Of the vectors in which the rows of a new classifier start; a random one of 384 weights has the same.
_INIT_NORM = 0.4
# What BERT's encoder is given, by the names of its arguments.
Inputs = dict[str, torch.Tensor | None]
# What a forward records on the way, if asked to: hidden states and attentions.
Recorded = tuple[Any, Any]


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
        """Map vectors (..., H) to what the last layer reads, (..., H)."""
        return torch.tanh(self.dense(self.dropout(states)))


class LabelTokenHead(MultiLabelHead):
    """Dropout, dense, tanh, linear to 1 for the vector of each label token.

    All labels share these layers. Beside the last one each label has a row and a bias of its own, which begin at zero:
    what tells a label apart, and how frequent it is, need not go through its token then.
    """

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config, num_outputs=1)
        self.label_weight = nn.Parameter(torch.zeros(len(config.label_names), config.hidden_size))
        self.label_bias = nn.Parameter(torch.zeros(len(config.label_names)))

    def forward(self, states: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Map the vectors (B, S, H) of labels (1 or B, S), by default of all L in order, to logits (B, S)."""
        every = slice(None) if labels is None else labels
        rows = self.out_proj.weight + self.label_weight[every]  # (1 or B, S, H) or (L, H)
        return (self.features(states) * rows).sum(-1) + self.out_proj.bias + self.label_bias[every]

    @torch.no_grad()
    def add_labels(self, count: int) -> None:
        """Make room for more labels, which get no row of their own yet, and the median bias of the others."""
        weight, bias = self.label_weight, self.label_bias
        rows = torch.cat([weight, weight.new_zeros(count, weight.size(1))])  # (L + count, H)
        self.label_weight = nn.Parameter(rows, weight.requires_grad)
        self.label_bias = nn.Parameter(torch.cat([bias, bias.median().expand(count)]), bias.requires_grad)


class MultiLabelPreTrainedModel(PushedInParts, BertPreTrainedModel):  # type: ignore[misc]  # a wrapped push_to_hub
    """What both strategies share: the encoder, the head, the loss and the output.

    A strategy adds its head, and its `forward`, which picks the vectors that the head reads.

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
    # Begin the names of the parameters that are new with the task, not from the backbone: these have far to go.
    head_parameter_prefixes = ("classifier.", "label_embeddings.")

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config)
        # Fields that `from_pretrained(..., field=value)` replaced have not been held against each other yet.
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
        """What each label's logit begins with, (L,)."""
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
            loaded: Any = super(MultiLabelPreTrainedModel, cls._for(config)).from_pretrained(*args, **options)
        except Exception as error:
            # By name: files that travel with a model import as little as possible.
            if type(error).__name__ != "SafetensorError":
                raise
            raise MultiLabelError(f"The weights in {source} are damaged ({error}): copy them again.") from error
        model, info = loaded
        _check_loaded(source, info, allows_sizes=bool(kwargs.get("ignore_mismatched_sizes")))
        return (model, info) if output_loading_info else model

    @classmethod
    def _from_config(cls, config: MultiLabelConfig, **kwargs: Any) -> "MultiLabelPreTrainedModel":
        model: MultiLabelPreTrainedModel = super(MultiLabelPreTrainedModel, cls._for(config))._from_config(
            config, **kwargs
        )
        return model

    @classmethod
    def _for(cls, config: Any) -> "type[MultiLabelPreTrainedModel]":
        strategy = getattr(config, "strategy", cls.strategy)
        return cls if strategy == cls.strategy else MODEL_CLASSES.get(strategy, cls)

    def add_labels(
        self, names: Sequence[str], tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Let a trained model and its tokenizer know more labels; only with label tokens."""
        raise MultiLabelError(
            f"labels {list(names)} cannot be added with strategy {self.strategy!r}, where each label has a trained "
            "row of its own: train anew from the plain BERT checkpoint, or use strategy 'label_tokens'"
        )

    def _encode(
        self,
        pick: Callable[[torch.Tensor], torch.Tensor],
        inputs: Inputs,
        record: dict[str, bool | None],
    ) -> tuple[torch.Tensor, Recorded]:
        """Return the states that `pick` takes of the last ones, (B, T, H), and what is recorded on the way to them."""
        inputs, mask = with_positions(inputs), inputs["attention_mask"]
        # A mask that says for each token what it may read holds for the whole sequence only.
        if self._records(record) or (mask is not None and mask.dim() != 2):
            # Only what is given: an explicit None would hide what the configuration says.
            given = {name: value for name, value in {**inputs, **record}.items() if value is not None}
            encoded = self.bert(return_dict=True, **given)
            return pick(encoded.last_hidden_state), (encoded.hidden_states, encoded.attentions)
        return self.bert.read(pick, **inputs), (None, None)

    def _records(self, record: dict[str, bool | None], *names: str) -> bool:
        """Whether any of these (by default states or attentions) are asked for, by the call or the configuration."""
        return any(getattr(self.config, name) if record[name] is None else record[name] for name in names or record)

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
        """What each label's logit begins with, (L,)."""
        return cast(torch.Tensor, self.classifier.out_proj.bias)

    @torch.no_grad()
    def init_label_embeddings(
        self, tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Give each label's row of the last layer its weights, made of what the label is called.

        A row points to where the head puts the encoder's own reading of the description, or else the name, apart from
        what all labels share; and it is short, so that training begins near the last bias.

        Args:
            tokenizer: The model's tokenizer.
            descriptions: What is said of labels, by name.
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
        """Score all labels of every row.

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
        record = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        states, recorded = self._encode(
            lambda states: first_states(states, attention_mask)[:, None], inputs, record
        )  # (B, 1, H)
        return self._output(self.classifier(states[:, 0]), labels, recorded)


class BertForMultiLabelLabelTokens(MultiLabelPreTrainedModel):
    """Classifies every label from the vector of its own label token, with layers shared by all labels.

    Where the configuration lets labels stand apart (`label_attention` "isolated", or fewer `label_layers` than there
    are), the text is encoded by itself, so the input need not hold label tokens: without any, all labels are scored.
    """

    strategy = "label_tokens"
    # Folders saved before labels had a row and a bias of their own go on without.
    _keys_to_ignore_on_load_missing = ["classifier.label_weight", "classifier.label_bias"]

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config)
        if config.has_late_label_layers:
            # The state with which each label joins the deeper layers.
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
        """What each label's logit begins with, (L,); beside it there is the bias that all labels share."""
        return cast(LabelTokenHead, self.classifier).label_bias

    def add_labels(
        self, names: Sequence[str], tokenizer: MultiLabelTokenizer, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Let a trained model and its tokenizer know more labels, behind those that are there.

        What is trained stays as it is; a new label starts from its description or its name, as `from_backbone` has
        it. With `label_attention` "isolated" the logits of the old labels stay, too; with "full" they move, since
        all labels read each other. An optimizer has to be made after this. On an error nothing has changed.

        Args:
            names: Names of the new labels.
            tokenizer: The model's own tokenizer, which learns the tokens of the new labels.
            descriptions: What is said of new labels, by name; those without start from their names.

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
        """Give label tokens their weights, made of what their labels are called.

        The embedding row of each becomes the mean of the rows of the word pieces of its description, or else its
        name. The state with which it joins deeper layers (`label_layers`) becomes the encoder's own reading of that
        text: the mean of the states at that depth.

        Args:
            tokenizer: The model's tokenizer, which knows all label tokens; its `model_max_length` makes room for them
                where they stand apart.
            descriptions: What is said of labels, by name.
            first: Labels before this one have their weights and keep them.
        """
        self.num_labels = len(self.config.label_names)
        self.config.label_token_ids = list(tokenizer.label_token_ids)
        # Some vocabularies are padded: the matrix may have room for the label tokens already.
        self.resize_token_embeddings(max(len(tokenizer), self.config.vocab_size), mean_resizing=False)
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
        label_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        subset: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Score all labels of every row, or some of them.

        Args:
            input_ids: (B, T) token ids, or else `inputs_embeds`.
            attention_mask: (B, T), 1 at tokens, 0 at padding; padding may be on either side.
            token_type_ids: (B, T) segment ids.
            position_ids: (B, T); by default they count from the first token that is not padding.
            inputs_embeds: (B, T, H) in place of `input_ids`; then `label_mask` must be given.
            label_mask: (B, T), 1 at exactly L label tokens of each row, which stand in label order; by default the
                places in `input_ids` that hold one of the configuration's `label_token_ids`. Where labels stand
                apart, each row may mark any labels in any order, as many as the other rows, or none for all labels;
                what `inputs_embeds` holds there is not read, so all labels have to be marked in label order, or none.
                A compiled model cannot count them: there an input without mask is text alone, and a mask marks all.
            labels: (B, L) multi-hot of any number type; NaN or -100 means "not annotated".
            output_attentions: Return the attention weights of every layer.
            output_hidden_states: Return the hidden states of every layer; where labels stand apart, those of the text
                and behind them those of the labels.
            subset: (S,) int64, the labels to score by their index, in place of those in the input; only with
                `label_attention` "isolated", where a label's logit does not depend on the others.

        Returns:
            `logits` (B, L) in label order, or (B, S) in the order asked for, and with labels the mean `loss` over
            what is annotated.

        Raises:
            MultiLabelError: If the mask does not have the shape of the tokens, is neither given nor derivable, or does
                not mark the right number of tokens in a row; if a subset is asked for that is not to be had; or if
                the labels do not fit the logits or are not numbers from 0 to 1.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        record = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        token_ids = self.config.label_token_ids
        # How many labels stand in a text decides on shapes, so a compiled graph takes an input without mask for text.
        assumes_text = self.config.encodes_text_separately and torch.compiler.is_compiling()
        if label_mask is None and input_ids is not None and token_ids is not None and not assumes_text:
            label_mask = find_tokens(input_ids, token_ids)  # (B, T)
        self._check_shape(label_mask, input_ids if inputs_embeds is None else inputs_embeds)
        if subset is not None:
            subset = self._check_subset(subset)
        if self.config.encodes_text_separately:
            logits, recorded = self._score_apart(inputs, label_mask, subset, record)
        else:
            logits, recorded = self._score_together(inputs, label_mask, record)
        return self._output(logits, labels, recorded)

    def _check_shape(self, label_mask: torch.Tensor | None, tokens: torch.Tensor | None) -> None:
        if label_mask is not None and tokens is not None and label_mask.shape != tokens.shape[:2]:
            raise MultiLabelError(
                f"label_mask has the shape {tuple(label_mask.shape)}, the tokens {tuple(tokens.shape[:2])}"
            )

    def _score_together(
        self, inputs: Inputs, label_mask: torch.Tensor | None, record: dict[str, bool | None]
    ) -> tuple[torch.Tensor, Recorded]:
        """Score labels that are part of the sequence: logits (B, L), and what is recorded on the way."""
        if label_mask is None:
            missing = "input_ids" if inputs["input_ids"] is None else "config.label_token_ids"
            raise MultiLabelError(f"label_mask must be given where it cannot be derived: there are no {missing}")
        check_label_mask(label_mask, self.num_labels)
        label_states, recorded = self._encode(
            lambda states: gather_tokens(states, label_mask, self.num_labels), inputs, record
        )  # (B, L, H)
        return self.classifier(label_states), recorded  # (B, L)

    def _score_apart(
        self,
        inputs: Inputs,
        label_mask: torch.Tensor | None,
        subset: torch.Tensor | None,
        record: dict[str, bool | None],
    ) -> tuple[torch.Tensor, Recorded]:
        """Score labels that stand apart from the text: logits (B, S), and what is recorded on the way."""
        mask = inputs["attention_mask"]
        if mask is not None and mask.dim() != 2:
            raise MultiLabelError(
                f"attention_mask must be (B, T) where labels stand apart, got shape {tuple(mask.shape)}"
            )
        text, indices = self._take_apart(inputs, label_mask)
        if subset is not None:
            indices = subset[None]  # (1, S)
        text = with_positions(text)
        starts = self._label_starts(indices)  # (1, S, H) or (B, S, H)
        if self._records(record):
            states, attentions = self.bert.encode_labels(starts, **text)
            logits = self.classifier(states[-1][:, -starts.size(1) :], indices)  # (B, S)
            return logits, (
                tuple(states) if self._records(record, "output_hidden_states") else None,
                tuple(attentions) if self._records(record, "output_attentions") else None,
            )
        parts: list[torch.Tensor] = []
        done = 0
        for label_states in self.bert.read_labels(starts, **text):  # (B, S', H)
            read = label_states.size(1)
            parts.append(self.classifier(label_states, indices[:, done : done + read]))  # (B, S')
            done += read
        return torch.cat(parts, dim=1), (None, None)  # (B, S)

    def _take_apart(self, inputs: Inputs, label_mask: torch.Tensor | None) -> tuple[Inputs, torch.Tensor]:
        """Return the inputs without label tokens, and which labels those were: (1, S) or (B, S) indices."""
        every_label = torch.arange(self.num_labels, device=self.device)[None]  # (1, L)
        if label_mask is None:
            return inputs, every_label
        # Counting needs the host, so in a compiled graph a mask has to mark all labels.
        marked = self.num_labels if torch.compiler.is_compiling() else int(label_mask[0].ne(0).sum())
        check_label_mask(label_mask, marked)
        if marked == 0:
            return inputs, every_label
        if inputs["input_ids"] is None:
            check_label_mask(label_mask, self.num_labels)
            indices = every_label
        else:
            indices = self._label_indices(gather_tokens(inputs["input_ids"], label_mask, marked))

        def take_text(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.expand(len(label_mask), *tensor.shape[1:])  # BERT takes one row of positions for all
            return gather_tokens(tensor, label_mask == 0, label_mask.size(1) - marked)  # (B, T - S) or (B, T - S, H)

        return {name: None if tensor is None else take_text(tensor) for name, tensor in inputs.items()}, indices

    def _label_indices(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Look up which labels the label tokens (B, S) stand for; one row (1, S) where all rows are alike."""
        known, order = self._label_token_ids().sort()  # (L,), (L,)
        places = torch.searchsorted(known, token_ids).clamp(max=len(known) - 1)  # (B, S)
        if token_ids.device.type == "cpu" and not torch.compiler.is_compiling():
            if not torch.equal(known[places], token_ids):
                unknown = token_ids[known[places] != token_ids][0]
                raise MultiLabelError(
                    f"label_mask marks token {int(unknown)}, which is not one of config.label_token_ids"
                )
            if (places == places[:1]).all():
                places = places[:1]  # (1, S): what does not depend on the text is then computed once
        return order[places]

    def _label_token_ids(self) -> torch.Tensor:
        if self.config.label_token_ids is None:
            raise MultiLabelError("config.label_token_ids is missing: it says which label each label token stands for")
        return torch.tensor(self.config.label_token_ids, device=self.device)  # (L,)

    def _check_subset(self, subset: torch.Tensor) -> torch.Tensor:
        if self.config.label_attention != "isolated":
            raise MultiLabelError(
                f"subset needs label_attention 'isolated', but it is {self.config.label_attention!r}: here every "
                "label's logit depends on the others"
            )
        indices = torch.as_tensor(subset, device=self.device)  # (S,)
        is_list = indices.dim() == 1 and len(indices) > 0 and indices.dtype in (torch.int32, torch.int64)
        if not is_list or not bool(((indices >= 0) & (indices < self.num_labels)).all()):
            raise MultiLabelError(
                f"subset must list label indices from 0 to {self.num_labels - 1}, got {indices.tolist()}"
            )
        return indices

    def _label_starts(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the states with which labels (1 or B, S) join: (1 or B, S, H)."""
        if self.config.has_late_label_layers:
            starts: torch.Tensor = self.label_embeddings(indices)
            return starts
        # All at the first position, where [CLS] reads the whole text, too.
        token_ids = self._label_token_ids()[indices]  # (1 or B, S)
        starts = self.bert.embeddings(input_ids=token_ids, position_ids=torch.zeros_like(token_ids))
        return starts


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
        MultiLabelError: If the shapes differ, or (on CPU) if a label is no number from 0 to 1.
    """
    targets, annotated = split_targets(labels, logits)
    loss: torch.Tensor = nn.BCEWithLogitsLoss(weight=annotated.float(), reduction="sum")(logits.float(), targets)
    return loss / annotated.sum().clamp(min=1)


def split_targets(labels: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take labels apart into targets and what is annotated.

    Args:
        labels: (B, L), numbers from 0 to 1 of any dtype; NaN or -100 means "not annotated".
        logits: (B, L), any floating dtype, for which the labels are.

    Returns:
        The targets, (B, L), float32, 0 where not annotated, and what is annotated, (B, L), bool; both on the device of
        the logits.

    Raises:
        MultiLabelError: If the shapes differ, or (on CPU) if a label is no number from 0 to 1.
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
