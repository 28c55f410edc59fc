"""Gathers the facts of a run that its model card shows: data, recipe and machine, without paths of this machine."""

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import cast

import torch
from datasets import Dataset
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # meant to be used from there
from transformers import PreTrainedConfig, SchedulerType, TrainingArguments
from transformers.training_args import OptimizerNames

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.hub.run_facts import RunFacts
from bert_multilabel.model.configuration_multilabel import __version__

from .arguments import MultiLabelTrainingArguments
from .options.model import ModelArguments
from .prepare import Prepared
from .trainer import MultiLabelTrainer


def gather_facts(
    prepared: Prepared, frequencies: LabelFrequencies, trainer: MultiLabelTrainer, seconds: float | None
) -> RunFacts:
    """Gather the facts of a run that has trained.

    Args:
        prepared: The run.
        frequencies: Of the labels in the training examples, in the order of the model.
        trainer: The trainer, after training.
        seconds: How long training took, if that is known.
    """
    args, arguments, data = trainer.args, prepared.arguments, prepared.data
    base_model, dataset_name = arguments.model.model_name_or_path, arguments.data.dataset_name
    examples = data.splits["validation"]["text"][: args.card_examples] if args.card_examples else []
    return RunFacts(
        hub_name=None if prepared.push is None else prepared.push.repo_id,
        base_model=_hub_id(base_model) or Path(base_model).resolve().name,
        base_model_id=_base_model_id(base_model),
        train_source=_train_source(arguments.data),
        train_rows=frequencies.rows,
        positives=frequencies.positives.astype(int).tolist(),
        validation_source=validation_source(arguments.data),
        dataset_id=None if dataset_name is None else _hub_id(dataset_name),
        has_pairs=data.pair_column is not None,
        max_seq_length=arguments.data.max_seq_length,
        recipe=_recipe(arguments.model, trainer) | _teachers(trainer, frequencies.rows),
        hardware=_hardware(args),
        seconds=seconds,
        versions={
            "bert-multilabel": __version__,
            **{name: version(name) for name in ("transformers", "torch", "tokenizers", "datasets")},
            "Python": platform.python_version(),
        },
        languages=list(args.card_language or []),
        license=args.card_license,
        examples=list(examples),
    )


def validation_source(data_args: DataArguments) -> str:
    """Return the name of the dataset or file of the validation examples, or of the file they were split off from."""
    if data_args.dataset_name is not None:
        return _train_source(data_args)
    if data_args.validation_file is not None:
        return Path(data_args.validation_file).name
    return f"{_train_source(data_args)} (a part split off)"


def _train_source(data_args: DataArguments) -> str:
    name = data_args.dataset_name
    return (name and _hub_id(name)) or Path(str(name or data_args.train_file)).resolve().name


def _hub_id(name: str) -> str | None:
    """Return a name if it is one of the Hub and no local path, which would take precedence."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return None if Path(name).exists() else name


def _base_model_id(path: str) -> str | None:
    if (name := _hub_id(path)) is not None:
        return name
    # Transformers up to 4 stored what a checkpoint was made from. Without a slash it could be any folder's name.
    origin = str(PreTrainedConfig.get_config_dict(path)[0].get("_name_or_path"))
    return _hub_id(origin) if "/" in origin else None


def _recipe(model_args: ModelArguments, trainer: MultiLabelTrainer) -> dict[str, str]:
    args, state = trainer.args, trainer.state
    length = f"epochs: {state.epoch:g}, steps: {state.global_step:,}, examples per step: {args.examples_per_step}"
    if args.load_best_model_at_end and state.best_global_step:
        metric = str(args.metric_for_best_model).removeprefix("eval_").replace("_", " ")
        length += f"; the weights of step {state.best_global_step:,} had the best {metric} on the validation examples"
    rates = f"{args.learning_rate:.3g} for the encoder, {args.head_learning_rate:.3g} for the head"
    if args.hyperparameter_search is not None:
        rates += f"; found, with other values, in {args.hyperparameter_search} trials"
    warmup = f"{args.warmup_steps:.3g} of the steps" if args.warmup_steps < 1 else f"{args.warmup_steps:g} steps"
    recipe = {
        "length": length,
        "learning rate": f"{rates}; {SchedulerType(args.lr_scheduler_type).value}, warm-up over {warmup}",
        "optimizer": f"{OptimizerNames(args.optim).value}, weight decay {args.weight_decay:.3g}",
        "loss": _loss(args),
        "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "seed": str(args.seed),
    }
    if args.weight_averaging:
        recipe["averaging"] = f"of the weights, decay {args.weight_averaging:g}; the better of both was kept"
    if args.windows is not None:
        recipe["long texts"] = f"read in windows that share {args.windows.stride} tokens, one per epoch in training"
    if model_args.lora_rank is not None:
        recipe["adapters"] = f"low-rank, of rank {model_args.lora_rank}, merged into the encoder"
    if model_args.keep_head:
        recipe["head"] = "started from that of the base model"
    if model_args.label_descriptions is not None:
        recipe["labels"] = "initialized from descriptions"
    return recipe


def _teachers(trainer: MultiLabelTrainer, labelled: int) -> dict[str, str]:
    args, examples = trainer.args, cast(Dataset, trainer.train_dataset)
    if args.teacher is None:
        return {}
    number, added = len(args.teacher), len(examples) - labelled
    teachers = f"the mean probabilities of {number} teachers" if number > 1 else "the probabilities of a teacher"
    texts = f"; {added:,} texts more were labelled by teachers alone" if added else ""
    return {"teachers": f"labels were mixed with {teachers}, whose share was {args.teacher_weight:g}{texts}"}


def _loss(args: MultiLabelTrainingArguments) -> str:
    correlation = args.label_correlation or None
    weights = ["labels weighted by hand"] if args.label_weights is not None else []
    options = {"gamma": args.focal_gamma, "weights up to": args.max_pos_weight, "label correlation": correlation}
    named = [f"{name} {value:g}" for name, value in options.items() if value is not None]
    return ", ".join([args.loss, *named, *weights])


def _hardware(args: TrainingArguments) -> str:
    if args.device.type == "cpu":
        name = f"{_cpu_name()}, threads: {torch.get_num_threads()}"
    else:
        name = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else args.device.type
    devices = max(args.n_gpu, 1) * args.world_size
    return name if devices == 1 else f"{devices} x {name}"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named[1] if named is not None else platform.processor() or platform.machine()
