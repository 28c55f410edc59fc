"""Prepares a run, and refuses wrong input before anything is trained or written into the output folder."""

import copy
import logging
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedConfig, SchedulerType, TrainerCallback, set_seed
from transformers.training_args import OptimizerNames

from bert_multilabel.backbones import check_backbone, check_head, head_label_names
from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.data.examples import LoadedData, load_splits, mean_weight
from bert_multilabel.data.label_files import read_label_descriptions, read_label_weights
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.data.label_rules import ChosenRules
from bert_multilabel.data.splitting import split_validation
from bert_multilabel.data.tokenizing import Collator, cut_rows, encode_rows, longest_first
from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import AS_STORED, Decisions, TunedMetrics
from bert_multilabel.evaluation.goals import Goal
from bert_multilabel.hub.push import HubPush
from bert_multilabel.loading import from_backbone, read_config
from bert_multilabel.metrics import score_decisions
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.model.windows import NoRoom
from bert_multilabel.output_dir.checkpoints import read_results, trained_pair_column
from bert_multilabel.utils.distributed import on_main, raise_on_all_ranks
from bert_multilabel.utils.files import explain_write_errors

from .arguments import MultiLabelTrainingArguments, RunArguments
from .label_rules import choose_rules, settle_rules, warn_of_broken_rows
from .lora import add_adapters
from .losses import normalized_weights
from .options.model import ModelArguments
from .resume_callback import ResumeCallback
from .resume_plan import ResumePlan, deciding_arguments, plan_run
from .soft_targets import Teaching
from .teachers import ROW
from .trainer import MultiLabelTrainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that a run needs, once its input has been checked.

    Attributes:
        arguments: Its options.
        plan: What it does in its output folder; None if it does not train.
        data: The examples, without the stored training examples, whose tokens are enough.
        frequencies: Of the labels in the training examples; None without training.
        label_weights: (L,), float32, of the labels in the loss; None: all weigh the same.
        mean_weight: The mean of the weights of the training examples; 1 if they have none.
        encoded: The stored training and validation examples, tokenized; the latter perhaps cut into windows.
        order: (N,), int64, index in `data` of each evaluated validation example.
        model: The model to train or evaluate.
        tokenizer: Its tokenizer.
        adapters: The low-rank adapters to train instead of the encoder, if any.
        tuned_metrics: Computes the metrics of an evaluation, and fits the decisions to it.
        push: Pushes the results to the Hub, if they go there.
    """

    arguments: RunArguments
    plan: ResumePlan | None
    data: LoadedData
    frequencies: LabelFrequencies | None
    label_weights: torch.Tensor | None
    mean_weight: float
    encoded: dict[str, Dataset]
    order: np.ndarray
    model: MultiLabelPreTrainedModel
    tokenizer: MultiLabelTokenizer
    adapters: Any
    tuned_metrics: TunedMetrics
    push: HubPush | None

    @property
    def is_conversion(self) -> bool:
        """Whether the classifier of another tool is stored as a model of this package, without training."""
        return self.arguments.model.keep_head and not self.arguments.training.do_train

    def make_trainer(self, **settings: Any) -> MultiLabelTrainer:
        """Make a trainer of a `model` or `model_init`, and `args`."""
        args = self.arguments.training
        train: Any = self.encoded.get("train")
        if self.data.stream is not None:
            train = self.data.stream.ordered(args.train_sampling_strategy, args.examples_per_step, args.order_seed)
        patience = args.early_stopping_patience
        callbacks: list[TrainerCallback] = [] if patience is None else [EarlyStoppingCallback(patience)]
        if self.plan is not None and self.plan.steps_before is not None:
            callbacks.append(ResumeCallback(self.plan.steps_before))
        reader = scoring_tokenizer(self.tokenizer, self.model.config)
        return MultiLabelTrainer(
            **settings,
            label_weights=self.label_weights,
            mean_weight=self.mean_weight,
            train_dataset=train,
            eval_dataset=self.encoded.get("validation"),
            processing_class=self.tokenizer,
            data_collator=Collator(reader, self.arguments.data.max_seq_length, args.windows, args.order_seed),
            compute_metrics=self.tuned_metrics,
            callbacks=callbacks if self.push is None else [*callbacks, self.push],
        )


@raise_on_all_ranks()
def prepare_run(arguments: RunArguments) -> tuple[Prepared, MultiLabelTrainer]:
    """Prepare a run and its trainer, and refuse wrong input; nothing is written into the output folder.

    Raises:
        FileError: If the model to start from is damaged.
        MultiLabelError: If arguments, data and model do not fit together, or the output folder holds another run.
        PushError: If --push_to_hub cannot work.
        OtherProcessError: If another of several processes has failed.
    """
    args = arguments.training
    _settle_weights(arguments)
    set_seed(args.seed)
    output_dir = Path(str(args.output_dir))
    read_results(output_dir)  # those of this run are added to them
    # Checkpoints with adapters do not load as a model.
    push = HubPush.take_from(args, saves_load=arguments.model.lora_rank is None)
    saved = _read_saved(arguments.model, args.do_train)
    arguments = _settle_pair_column(arguments)
    rules = choose_rules(arguments, getattr(saved, "label_rules", None))
    data = load_run_data(arguments.data, args, _known_labels(arguments, saved))
    warn_of_broken_rows(rules, data, arguments.data)
    teaching = Teaching.of(arguments, data)
    data = choose_examples(data, arguments.data, args)
    model, tokenizer = _build(arguments, saved, data, rules)
    plan = _plan(arguments, output_dir, data.pair_column) if args.do_train else None
    names = model.config.label_names  # added labels come last
    frequencies = data.ordered_as(names).frequencies if args.do_train else None
    is_new_head = saved.model_type != MultiLabelConfig.model_type and not arguments.model.keep_head
    if frequencies is not None and is_new_head:
        start_bias_from_frequencies(model, frequencies)
    adapters = None if arguments.model.lora_rank is None else add_adapters(model, arguments.model.lora_rank)
    if teaching is not None:
        data = teaching.applied_to(data, args.seed)
    data = data.ordered_as(names)
    encoded, order = _encode(data, tokenizer, model.config, arguments)
    prepared = Prepared(
        arguments=arguments,
        plan=plan,
        data=replace(data, splits={name: split for name, split in data.splits.items() if name != "train"}),
        frequencies=frequencies,
        label_weights=_read_label_weights(args, names, frequencies),
        mean_weight=mean_weight(data.train) if args.do_train else 1.0,
        encoded=encoded,
        order=order,
        model=model,
        tokenizer=tokenizer,
        adapters=adapters,
        # A model that is not trained here is scored as it is.
        tuned_metrics=TunedMetrics(model.config, arguments.decisions if args.do_train else AS_STORED),
        push=push,
    )
    return prepared, _checked_trainer(prepared, output_dir)


def _settle_weights(arguments: RunArguments) -> None:
    """Refuse weights without training, and let Trainer pass those of examples on."""
    args = arguments.training
    weights = {"label_weights": args.label_weights, "weight_column": arguments.data.weight_column}
    for name, value in weights.items():
        if value is not None and not args.do_train:
            raise MultiLabelError(f"--{name} {value} is for the loss of a training: add --do_train, or drop it")
    if arguments.data.weight_column is not None:
        args.remove_unused_columns = False  # unused by the model; the collator takes what it needs


def _read_saved(model_args: ModelArguments, do_train: bool) -> PreTrainedConfig:
    """Read the configuration of the model to start from, and refuse what needs training without it."""
    saved = read_config(model_args.model_name_or_path)
    if do_train:
        return saved
    if model_args.add_labels:
        raise MultiLabelError("--add_labels needs --do_train: labels that were never trained cannot be predicted")
    if saved.model_type != MultiLabelConfig.model_type and not model_args.keep_head:
        raise MultiLabelError(
            f"{model_args.model_name_or_path} is a {saved.model_type!r} model that was never trained on labels: "
            "add --do_train, or give the folder of a trained model. --keep_head keeps the classifier of a checkpoint"
        )
    if model_args.lora_rank is not None:
        raise MultiLabelError(f"--lora_rank {model_args.lora_rank} is for training: add --do_train, or drop it")
    return saved


def _settle_pair_column(arguments: RunArguments) -> RunArguments:
    """Read pairs from the column that the model to start from was trained on, unless another one is named."""
    if arguments.data.text_pair_column is not None:
        return arguments
    pair_column = trained_pair_column(Path(arguments.model.model_name_or_path))
    return arguments._replace(data=replace(arguments.data, text_pair_column=pair_column))


def _known_labels(arguments: RunArguments, saved: PreTrainedConfig) -> list[str] | None:
    """Return the labels that the model to start from has already; None if the data has to name them."""
    model_args = arguments.model
    if saved.model_type == MultiLabelConfig.model_type:
        return None if model_args.add_labels else saved.label_names
    if not model_args.keep_head:
        return None
    check_backbone(model_args.model_name_or_path, saved)
    check_head(model_args.model_name_or_path, saved)
    names = head_label_names(saved)
    if names is None and arguments.data.label_names_file is None:
        raise MultiLabelError(
            f"{model_args.model_name_or_path} does not name its {saved.num_labels} labels: give them in the order of "
            "its logits with --label_names_file"
        )
    output_dir = Path(str(arguments.training.output_dir))
    if not arguments.training.do_train and (output_dir / "config.json").exists():
        raise MultiLabelError(f"--output_dir {output_dir} holds a model already: choose another folder")
    return names


def load_run_data(
    data_args: DataArguments, training_args: MultiLabelTrainingArguments, label_names: list[str] | None
) -> LoadedData:
    """Read the splits that a run needs, as they are; missing validation data can be split off the training data.

    Args:
        data_args: Where the examples are.
        training_args: Which of train, validation and test are needed.
        label_names: Labels of the model, if it has some and no file names them.

    Raises:
        MultiLabelError: If a split is missing or bad, or streaming is not possible.
    """
    if training_args.streaming and data_args.max_train_samples is not None:
        raise MultiLabelError(
            f"--max_train_samples {data_args.max_train_samples} needs stored examples, not --streaming: drop one"
        )
    needed = {
        "train": (training_args.do_train, data_args.train_file),
        "validation": (training_args.do_eval, data_args.validation_file),
        "test": (training_args.do_predict, data_args.test_file),
    }
    wanted = {split: path for split, (is_needed, path) in needed.items() if is_needed}
    files = {split: path for split, path in wanted.items() if path is not None}
    if data_args.dataset_name is None:
        _check_splits(files, wanted)
        _check_no_split_off(files, wanted, training_args.streaming)  # before all rows are read
    loaded = load_splits(
        data_args.spec(label_names),
        files=files if data_args.dataset_name is None else None,
        dataset_name=data_args.dataset_name,
        dataset_config_name=data_args.dataset_config_name,
        wanted=[*wanted],
        streaming=training_args.streaming,
    )
    _check_splits(loaded.splits.keys() | ({"train"} if loaded.stream is not None else set()), wanted)
    _check_no_split_off(loaded.splits, wanted, training_args.streaming)
    return loaded


def choose_examples(
    data: LoadedData, data_args: DataArguments, training_args: MultiLabelTrainingArguments
) -> LoadedData:
    """Split off missing validation data, and choose the training examples; with teachers they get the column `row`.

    Raises:
        MultiLabelError: If one of the sides of a split would be empty.
    """
    splits = dict(data.splits)
    if training_args.teacher is not None:
        splits["train"] = splits["train"].add_column(ROW, np.arange(len(splits["train"])))
    if training_args.do_eval and "validation" not in splits:
        splits["train"], validation = split_validation(
            splits["train"], data_args.validation_fraction, training_args.seed, data.label_names
        )
        splits["validation"] = validation.remove_columns([name for name in [ROW] if name in validation.features])
    if "train" in splits and data_args.max_train_samples is not None:
        chosen = min(data_args.max_train_samples, len(splits["train"]))
        splits["train"] = splits["train"].shuffle(seed=training_args.seed).select(range(chosen))
    return replace(data, splits=splits)


def _check_splits(found: Container[str], wanted: Container[str]) -> None:
    """Refuse a run without the data it needs; validation data can be split off the training data."""
    for split, flag in (("train", "--do_train"), ("validation", "--do_eval"), ("test", "--do_predict")):
        can_be_split_off = split == "validation" and "train" in wanted
        if split in wanted and split not in found and not can_be_split_off:
            raise MultiLabelError(f"{flag} needs data: give --{split}_file, or a --dataset_name with split {split!r}")


def _check_no_split_off(found: Container[str], wanted: Container[str], streaming: bool) -> None:
    if streaming and "validation" in wanted and "validation" not in found:
        raise MultiLabelError(
            "--streaming stores no training examples to split off for --do_eval: give a --validation_file, or a "
            "--dataset_name with the split 'validation', or pass --do_train alone"
        )


def _build(
    arguments: RunArguments, saved: PreTrainedConfig, data: LoadedData, rules: ChosenRules | None
) -> tuple[MultiLabelPreTrainedModel, MultiLabelTokenizer]:
    """Build the model, with the pairs, rules and decisions of the run in its configuration, and its tokenizer."""
    model_args, fields = arguments.model, ("classifier_dropout", "label_attention", "label_layers")
    # Examples to train on have labels, and a trained model has its own, so there are always names.
    label_names, path = data.label_names or [], model_args.label_descriptions
    model, tokenizer = from_backbone(
        model_args.model_name_or_path,
        label_names,
        str(model_args.strategy or getattr(saved, "strategy", "cls" if model_args.keep_head else "label_tokens")),
        None if path is None else read_label_descriptions(path, label_names),
        model_args.add_labels,
        model_args.allow_pickle,
        model_args.keep_head,
        **{name: value for name in fields if (value := getattr(model_args, name)) is not None},
    )
    _settle_pairs(model.config, data.pair_column, arguments.training)
    settle_rules(model.config, rules)
    _settle_decisions(model.config, arguments)
    return model, tokenizer


def _settle_pairs(config: MultiLabelConfig, pair_column: str | None, args: MultiLabelTrainingArguments) -> None:
    if args.card_examples and pair_column is not None:
        raise MultiLabelError(
            f"--card_examples {args.card_examples} shows single texts, but there are pairs ({pair_column!r}): drop"
        )
    config.warn_about_pairs(pair_column is not None)
    if args.do_train:
        config.trained_on_pairs = pair_column is not None


def _settle_decisions(config: MultiLabelConfig, arguments: RunArguments) -> None:
    """Check how thresholds are fitted and checkpoints compared, and compare checkpoints by the goal of thresholds."""
    training_args, decision_args = arguments.training, arguments.decisions
    if not (training_args.do_train and training_args.do_eval):
        defaults = asdict(DecisionArguments())
        defaults["label_rules"] = decision_args.label_rules  # nothing is fitted for them
        if asked := [(name, value) for name, value in asdict(decision_args).items() if value != defaults[name]]:
            raise MultiLabelError(
                f"--{asked[0][0]} {asked[0][1]} is for thresholds fitted on validation data after training: add "
                "--do_train and --do_eval, or tune a trained model: bert-multilabel tune"
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


def _plan(arguments: RunArguments, output_dir: Path, pair_column: str | None) -> ResumePlan:
    args, deciding = arguments.training, deciding_arguments(arguments, pair_column)
    return on_main(lambda: plan_run(output_dir, deciding, args.overwrite_output_dir, args.named_checkpoint))


def _read_label_weights(
    args: MultiLabelTrainingArguments, label_names: list[str], frequencies: LabelFrequencies | None
) -> torch.Tensor | None:
    """Read the weights of labels in the loss, (L,), float32, if there are any."""
    if args.label_weights is None or frequencies is None:
        return None
    return normalized_weights(read_label_weights(args.label_weights, label_names), frequencies)


@torch.no_grad()
def start_bias_from_frequencies(model: MultiLabelPreTrainedModel, frequencies: LabelFrequencies) -> None:
    """Set the bias of each label of a new head so that its probability starts at its frequency in training.

    The first steps are then not spent on learning that most labels are rare.
    """
    # One example more of each kind, so that no share is 0 or 1.
    shares = (frequencies.positives + 1) / (frequencies.annotated + 2)  # (L,)
    model.label_bias.copy_(torch.logit(torch.from_numpy(shares)))


def _encode(
    data: LoadedData, tokenizer: MultiLabelTokenizer, config: MultiLabelConfig, arguments: RunArguments
) -> tuple[dict[str, Dataset], np.ndarray]:
    """Tokenize stored examples, and sort those for validation, or their windows, by length."""
    reader, max_seq_length = scoring_tokenizer(tokenizer, config), arguments.data.max_seq_length
    windows, encoded = arguments.training.windows, {}
    if windows is not None:
        # Refuse them now, and not after training.
        windows.check_room(reader, max_seq_length or reader.model_max_length)
    for name, split in data.splits.items():
        if name == "test":  # tokenized while they are scored
            continue
        try:
            encoded[name] = encode_rows(split, reader, max_seq_length, windows)
        except NoRoom as error:
            raise DataError(f"row {error.row + 1} of the {name} examples, {error}") from error
    if "validation" not in encoded:
        return encoded, np.arange(0)
    evaluated = encoded["validation"]
    if windows is not None:
        evaluated = cut_rows(evaluated, reader, max_seq_length, windows)
    # The order does not change an evaluation, and equal lengths need no padding.
    order = longest_first(evaluated)
    encoded["validation"] = evaluated.select(order)
    return encoded, order if windows is None else np.arange(len(data.splits["validation"]))  # as they are pooled


def _checked_trainer(prepared: Prepared, output_dir: Path) -> MultiLabelTrainer:
    """Make the trainer, and refuse an optimizer or schedule that rejects its settings or is not installed."""
    args, rank = prepared.arguments.training, prepared.arguments.model.lora_rank
    with explain_write_errors(output_dir):  # Trainer makes it
        trainer = prepared.make_trainer(model=prepared.model, args=args)
    if args.do_train and args.weight_averaging and trainer.changes_model:
        raise MultiLabelError(
            f"--weight_averaging {args.weight_averaging:g} cannot average the weights of a model that FSDP or "
            "DeepSpeed has changed: pass --weight_averaging 0, or train with examples/accelerate/ddp.yaml"
        )
    if rank is not None and trainer.changes_model:
        raise MultiLabelError(
            f"--lora_rank {rank} cannot be merged into a model that FSDP or DeepSpeed has changed: drop it, or train "
            "with examples/accelerate/ddp.yaml"
        )
    if args.do_train and not trainer.changes_model:
        try:
            trainer.create_optimizer()
            trainer.create_scheduler(num_training_steps=100)
        except (ValueError, TypeError, ImportError) as error:
            names = f"--optim {OptimizerNames(args.optim).value} with --lr_scheduler_type"
            schedule = SchedulerType(args.lr_scheduler_type).value
            raise MultiLabelError(f"{names} {schedule} is refused: {error}") from error
        trainer.optimizer = trainer.lr_scheduler = None
    return trainer
