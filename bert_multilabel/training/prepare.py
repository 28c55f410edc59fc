"""Prepares a run. Wrong input is refused here, before anything is trained or written into the output folder."""

import copy
import os
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedConfig, SchedulerType, TrainerCallback, set_seed
from transformers.training_args import OptimizerNames
from transformers.utils import logging

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.data.examples import LoadedData, load_splits
from bert_multilabel.data.label_descriptions import read_label_descriptions
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.data.splitting import split_validation
from bert_multilabel.data.tokenizing import Collator, encode_rows, longest_first
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import AS_STORED, Decisions, TunedMetrics
from bert_multilabel.evaluation.thresholds import Goal
from bert_multilabel.hub.push import HubPush
from bert_multilabel.loading import from_backbone, read_config
from bert_multilabel.metrics import score_decisions
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.output_dir.checkpoints import read_results, trained_pair_column
from bert_multilabel.utils.distributed import on_main, raise_on_all_ranks
from bert_multilabel.utils.files import explain_write_errors

from .arguments import ModelArguments, MultiLabelTrainingArguments
from .lora import add_adapters
from .resume_callback import ResumeCallback
from .resume_plan import ResumePlan, deciding_arguments, plan_run
from .trainer import MultiLabelTrainer

logger = logging.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that a run needs, once its input has been checked.

    Attributes:
        model_args: Which model the run starts from.
        data_args: Where its examples are.
        training_args: What it does with them, and where the results go.
        plan: What the run will do in its output folder; None if it does not train.
        data: The examples, labels in the order of the model, without the stored training examples: their tokens are
            enough, and the file would count as memory.
        frequencies: Of the labels in the training examples; None without training.
        encoded: The stored training and validation examples, tokenized.
        order: Index of each tokenized validation example among the N examples of `data`, (N,), int64.
        model: The model to train or evaluate.
        tokenizer: Its tokenizer.
        adapters: The low-rank adapters to train instead of the encoder, if any.
        tuned_metrics: Computes the metrics of an evaluation, and fits the decisions to it.
        push: Pushes the results to the Hub, if they go there.
    """

    model_args: ModelArguments
    data_args: DataArguments
    training_args: MultiLabelTrainingArguments
    plan: ResumePlan | None
    data: LoadedData
    frequencies: LabelFrequencies | None
    encoded: dict[str, Dataset]
    order: np.ndarray
    model: MultiLabelPreTrainedModel
    tokenizer: MultiLabelTokenizer
    adapters: Any
    tuned_metrics: TunedMetrics
    push: HubPush | None

    def make_trainer(self, **given: Any) -> MultiLabelTrainer:
        """Make a trainer of a `model` or `model_init`, and `args`."""
        args, stream = self.training_args, self.data.stream
        patience = args.early_stopping_patience
        callbacks: list[TrainerCallback] = [] if patience is None else [EarlyStoppingCallback(patience)]
        if self.plan is not None and self.plan.steps_before is not None:
            callbacks.append(ResumeCallback(self.plan.steps_before))
        return MultiLabelTrainer(
            **given,
            train_dataset=self.encoded.get("train") if stream is None else args.ordered(stream),
            eval_dataset=self.encoded.get("validation"),
            processing_class=self.tokenizer,
            data_collator=Collator(
                scoring_tokenizer(self.tokenizer, self.model.config), self.data_args.max_seq_length
            ),
            compute_metrics=self.tuned_metrics,
            callbacks=callbacks if self.push is None else [*callbacks, self.push],
        )


def prepare_run(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: MultiLabelTrainingArguments,
    decision_args: DecisionArguments,
) -> tuple[Prepared, MultiLabelTrainer]:
    """Prepare a run, and refuse wrong input.

    Examples may be cached on disk, but nothing is written into the output folder.

    Args:
        model_args: Which model to start from.
        data_args: Where the examples are.
        training_args: What to do with them, and where the results go.
        decision_args: How thresholds are fitted on the validation examples.

    Returns:
        What the run needs, and its trainer.

    Raises:
        FileError: If the model to start from is damaged.
        MultiLabelError: If arguments, data and model do not fit together, or the output folder holds another run.
        PushError: If --push_to_hub cannot work.
        OtherProcessError: If another of several processes has failed; that one raises its own error.
    """
    with raise_on_all_ranks():
        return _prepare(model_args, data_args, training_args, decision_args)


def _prepare(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: MultiLabelTrainingArguments,
    decision_args: DecisionArguments,
) -> tuple[Prepared, MultiLabelTrainer]:
    set_seed(training_args.seed)
    output_dir = Path(str(training_args.output_dir))
    _check_output_dir(output_dir)
    # Checkpoints with adapters do not load as a model.
    push = HubPush.take_from(training_args, saves_load=model_args.lora_rank is None)
    saved = _read_saved(model_args, training_args)
    is_ours = saved.model_type == MultiLabelConfig.model_type
    if data_args.text_pair_column is None:
        data_args = replace(data_args, text_pair_column=trained_pair_column(Path(model_args.model_name_or_path)))
    known = saved.label_names if is_ours and not model_args.add_labels else None
    data = load_run_data(data_args, training_args, known)
    _check_card_examples(training_args, data.pair_column)
    # Examples to train on have labels, and a trained model has its own, so there are always names.
    model, tokenizer = _build(model_args, saved, data.label_names or [])
    model.config.warn_about_pairs(data.pair_column is not None)
    if training_args.do_train:
        model.config.trained_on_pairs = data.pair_column is not None
    _settle_decisions(model.config, decision_args, training_args)
    arguments = deciding_arguments(model_args, data_args, decision_args, training_args, data.pair_column)
    plan = on_main(lambda: _plan_run(training_args, arguments)) if training_args.do_train else None
    data = data.ordered_as(model.config.label_names)  # added labels come last
    frequencies = data.frequencies if training_args.do_train else None
    if frequencies is not None and not is_ours:
        start_bias_from_frequencies(model, frequencies)
    adapters = None if model_args.lora_rank is None else add_adapters(model, model_args.lora_rank)
    encoded, order = _encode(data, tokenizer, model.config, data_args, training_args)
    # A model that is not trained here is scored as it is.
    tuned_metrics = TunedMetrics(model.config, decision_args if training_args.do_train else AS_STORED)
    prepared = Prepared(
        model_args=model_args,
        data_args=data_args,
        training_args=training_args,
        plan=plan,
        data=replace(data, splits={name: rows for name, rows in data.splits.items() if name != "train"}),
        frequencies=frequencies,
        encoded=encoded,
        order=order,
        model=model,
        tokenizer=tokenizer,
        adapters=adapters,
        tuned_metrics=tuned_metrics,
        push=push,
    )
    with explain_write_errors(output_dir):  # Trainer makes it
        trainer = prepared.make_trainer(model=model, args=training_args)
    if adapters is not None and trainer.changes_model:
        raise MultiLabelError(
            f"--lora_rank {model_args.lora_rank} cannot be merged into a model that FSDP or DeepSpeed has changed: "
            "drop it, or train with examples/accelerate/ddp.yaml"
        )
    if training_args.do_train and not trainer.changes_model:
        _try_optimizer(trainer)
    return prepared, trainer


def _check_output_dir(output_dir: Path) -> None:
    """Refuse a folder that cannot be made, or whose results cannot be read, before anything else is done."""
    existing = next(path for path in (output_dir, *output_dir.absolute().parents) if path.exists())
    if not existing.is_dir():
        below = "" if existing == output_dir else f" is below {existing}, which"
        raise MultiLabelError(f"--output_dir {output_dir}{below} is a file: choose another folder")
    if not os.access(existing, os.W_OK):
        raise MultiLabelError(f"--output_dir {output_dir}: no permission to write into {existing}; choose another one")
    read_results(output_dir)  # those of this run are added to them


def _check_card_examples(training_args: MultiLabelTrainingArguments, pair_column: str | None) -> None:
    if training_args.card_examples and pair_column is not None:
        raise MultiLabelError(
            f"--card_examples {training_args.card_examples} needs single texts, as the Hub shows no others, but these "
            f"examples are pairs with the column {pair_column!r}: drop it"
        )


def _try_optimizer(trainer: MultiLabelTrainer) -> None:
    """Refuse an optimizer or a schedule that rejects its settings or needs a package that is not installed."""
    try:
        trainer.create_optimizer()
        trainer.create_scheduler(num_training_steps=100)
    except (ValueError, TypeError, ImportError) as error:
        names = OptimizerNames(trainer.args.optim).value, SchedulerType(trainer.args.lr_scheduler_type).value
        raise MultiLabelError(f"--optim {names[0]} with --lr_scheduler_type {names[1]} is refused: {error}") from error
    trainer.optimizer = trainer.lr_scheduler = None


def _read_saved(model_args: ModelArguments, training_args: MultiLabelTrainingArguments) -> PreTrainedConfig:
    """Read the configuration of the model to start from, and refuse what cannot be done with it."""
    if model_args.add_labels and not training_args.do_train:
        raise MultiLabelError("--add_labels needs --do_train: labels that were never trained cannot be predicted")
    saved = read_config(model_args.model_name_or_path)
    if saved.model_type != MultiLabelConfig.model_type and not training_args.do_train:
        raise MultiLabelError(
            f"{model_args.model_name_or_path} is a {saved.model_type!r} model that was never trained on labels: "
            "add --do_train, or give the folder of a trained model"
        )
    if model_args.lora_rank is not None and not training_args.do_train:
        raise MultiLabelError(f"--lora_rank {model_args.lora_rank} is for training: add --do_train, or drop it")
    return saved


def _plan_run(training_args: MultiLabelTrainingArguments, arguments: dict[str, Any]) -> ResumePlan:
    named = training_args.resume_from_checkpoint
    return plan_run(
        Path(str(training_args.output_dir)),
        arguments,
        training_args.overwrite_output_dir,
        None if named is None or named.lower() in ("true", "false") else Path(named),  # as without it
    )


def _encode(
    data: LoadedData,
    tokenizer: MultiLabelTokenizer,
    config: MultiLabelConfig,
    data_args: DataArguments,
    training_args: MultiLabelTrainingArguments,
) -> tuple[dict[str, Dataset], np.ndarray]:
    """Tokenize stored examples, and sort those for validation by length."""
    reader = scoring_tokenizer(tokenizer, config)
    if training_args.windows is not None:
        # Refuse them now, and not after training.
        training_args.windows.check_room(reader, data_args.max_seq_length or reader.model_max_length)
    encoded = {
        name: encode_rows(rows, reader, data_args.max_seq_length)
        for name, rows in data.splits.items()
        if name != "test"  # tokenized while they are scored
    }
    if "validation" not in encoded:
        return encoded, np.arange(0)
    # The order does not change an evaluation, and equal lengths need no padding.
    order = longest_first(encoded["validation"])
    return {**encoded, "validation": encoded["validation"].select(order)}, order


def load_run_data(
    data_args: DataArguments, training_args: MultiLabelTrainingArguments, label_names: list[str] | None
) -> LoadedData:
    """Read the splits that a run needs.

    Missing validation data is split off the training data.

    Args:
        data_args: Where the examples are.
        training_args: Which of train, validation and test are needed.
        label_names: Labels of the model, if it has some and no file names them.

    Raises:
        MultiLabelError: If a split is missing or bad, or streaming is not possible.
    """
    if training_args.streaming and data_args.max_train_samples is not None:
        raise MultiLabelError(
            f"--max_train_samples {data_args.max_train_samples} draws from all examples, which --streaming does not "
            "store: drop one, or train for fewer --max_steps"
        )
    needed = {
        "train": training_args.do_train,
        "validation": training_args.do_eval,
        "test": training_args.do_predict,
    }
    wanted = [split for split, is_needed in needed.items() if is_needed]
    paths = {"train": data_args.train_file, "validation": data_args.validation_file, "test": data_args.test_file}
    files = {split: path for split in wanted if (path := paths[split]) is not None}
    if data_args.dataset_name is None:
        _check_splits(files, wanted)
    loaded = load_splits(
        data_args.spec(label_names),
        files=files if data_args.dataset_name is None else None,
        dataset_name=data_args.dataset_name,
        dataset_config_name=data_args.dataset_config_name,
        wanted=wanted,
        streaming=training_args.streaming,
    )
    splits = dict(loaded.splits)
    _check_splits(splits.keys() | ({"train"} if loaded.stream is not None else set()), wanted)
    if "validation" in wanted and "validation" not in splits:
        if training_args.streaming:
            raise MultiLabelError(
                "--streaming does not store the training examples, so none can be split off for --do_eval: give "
                "a --validation_file, or a --dataset_name with the split 'validation'"
            )
        splits["train"], splits["validation"] = split_validation(
            splits["train"], data_args.validation_fraction, training_args.seed, loaded.label_names
        )
    if "train" in splits and data_args.max_train_samples is not None:
        chosen = min(data_args.max_train_samples, len(splits["train"]))
        splits["train"] = splits["train"].shuffle(seed=training_args.seed).select(range(chosen))
    return replace(loaded, splits=splits)


def _check_splits(given: Container[str], wanted: list[str]) -> None:
    """Refuse a run without the data it needs; validation data can be split off the training data."""
    flags = {"train": "--do_train", "validation": "--do_eval", "test": "--do_predict"}
    for split in wanted:
        can_be_split_off = split == "validation" and "train" in wanted
        if split not in given and not can_be_split_off:
            raise MultiLabelError(
                f"{flags[split]} needs data: give --{split}_file, or a --dataset_name with the split {split!r}"
            )


def _build(
    model_args: ModelArguments, saved: PreTrainedConfig, label_names: list[str]
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    strategy = str(model_args.strategy or getattr(saved, "strategy", "label_tokens"))
    names = ("classifier_dropout", "label_attention", "label_layers")
    given = {name: value for name in names if (value := getattr(model_args, name)) is not None}
    path = model_args.label_descriptions
    descriptions = None if path is None else read_label_descriptions(path, label_names)
    return from_backbone(
        model_args.model_name_or_path,
        label_names,
        strategy,
        descriptions,
        model_args.add_labels,
        model_args.allow_pickle,
        **given,
    )


@torch.no_grad()
def start_bias_from_frequencies(model: MultiLabelPreTrainedModel, frequencies: LabelFrequencies) -> None:
    """Set the bias of each label so that its probability starts at its frequency instead of at one half.

    The first steps are then not spent on learning that most labels are rare.

    Args:
        model: A model whose head is new.
        frequencies: Of the labels in the training examples.
    """
    # One example more of each kind, so that no share is 0 or 1.
    shares = (frequencies.positives + 1) / (frequencies.annotated + 2)  # (L,)
    model.label_bias.copy_(torch.logit(torch.from_numpy(shares)))


def _settle_decisions(
    config: MultiLabelConfig, decision_args: DecisionArguments, training_args: MultiLabelTrainingArguments
) -> None:
    """Check how thresholds are fitted and checkpoints compared, and compare checkpoints by the goal of thresholds."""
    if not (training_args.do_train and training_args.do_eval):
        asked = [name for name, value in asdict(decision_args).items() if value != getattr(DecisionArguments(), name)]
        if asked:
            raise MultiLabelError(
                f"--{asked[0]} {getattr(decision_args, asked[0])} is for thresholds fitted on validation data after "
                "training: add --do_train and --do_eval, or tune a trained model: bert-multilabel tune"
            )
        if training_args.do_train and Decisions.of(config) != Decisions.of(MultiLabelConfig()):
            logger.warning("without --do_eval the model keeps the thresholds that it had before this training")
        return
    goal = Goal.parse(decision_args.threshold_goal)
    if goal.floor is None and training_args.metric_for_best_model == "hamming_score":
        training_args.metric_for_best_model = goal.score
        if goal.score != "hamming_score" and training_args.load_best_model_at_end:
            logger.info("the best checkpoint is chosen by %s, the goal of the thresholds", goal.score)
    if decision_args.min_labels is not None:
        Decisions(config.threshold, config.temperature, decision_args.min_labels).store(copy.copy(config))
    nothing = np.zeros((1, len(config.label_names)), dtype=np.float32)
    known = ["loss", *score_decisions(nothing, nothing, nothing, nothing)]
    metric = str(training_args.metric_for_best_model).removeprefix("eval_")
    is_read = training_args.load_best_model_at_end or training_args.hyperparameter_search is not None
    if is_read and metric not in known:
        raise MultiLabelError(f"--metric_for_best_model {metric} is not evaluated: choose one of {', '.join(known)}")
