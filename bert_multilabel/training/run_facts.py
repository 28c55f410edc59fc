"""Gathers the facts of a run that its model card shows: data, recipe and machine, without paths of this machine."""

import platform
import re
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # meant to be used from there
from transformers import PreTrainedConfig, SchedulerType, TrainingArguments
from transformers.training_args import OptimizerNames

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.data.examples import LoadedData
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.hub.run_facts import RunFacts
from bert_multilabel.model.configuration_multilabel import __version__

from .arguments import ModelArguments, MultiLabelTrainingArguments
from .trainer import MultiLabelTrainer

_LIBRARIES = ("transformers", "torch", "tokenizers", "datasets")


def gather_facts(
    model_args: ModelArguments,
    data_args: DataArguments,
    data: LoadedData,
    frequencies: LabelFrequencies,
    trainer: MultiLabelTrainer,
    seconds: float | None,
    hub_name: str | None,
) -> RunFacts:
    """Gather the facts of a run that has trained.

    Args:
        model_args: Which model it started from.
        data_args: Where the rows were.
        data: The clean rows.
        frequencies: Of the labels in the training rows, in the order of the model.
        trainer: What trained.
        seconds: How long it took, if that is known.
        hub_name: Where the model goes on the Hub, "user/name", if it does.
    """
    args = trainer.args
    dataset_id = None if data_args.dataset_name is None else _hub_id(data_args.dataset_name)
    examples = data.splits["validation"]["text"][: args.card_examples] if args.card_examples else []
    return RunFacts(
        hub_name=hub_name,
        base_model=_hub_id(model_args.model_name_or_path) or Path(model_args.model_name_or_path).resolve().name,
        base_model_id=_base_model_id(model_args.model_name_or_path),
        train_source=_train_source(data_args),
        train_rows=frequencies.rows,
        positives=frequencies.positives.astype(int).tolist(),
        validation_source=validation_source(data_args),
        dataset_id=dataset_id,
        has_pairs=data.pair_column is not None,
        max_seq_length=data_args.max_seq_length,
        recipe=_recipe(model_args, trainer),
        hardware=_hardware(args),
        seconds=seconds,
        versions={
            "bert-multilabel": __version__,
            **{name: version(name) for name in _LIBRARIES},
            "Python": platform.python_version(),
        },
        languages=list(args.card_language or []),
        license=args.card_license,
        examples=list(examples),
    )


def validation_source(data_args: DataArguments) -> str:
    """Name the data set or file of the validation rows, or say what they were split off."""
    if data_args.dataset_name is None and data_args.validation_file is not None:
        return Path(data_args.validation_file).name
    source = _train_source(data_args)
    return source if data_args.dataset_name is not None else f"{source} (a part split off)"


def _train_source(data_args: DataArguments) -> str:
    name = data_args.dataset_name
    hub_id = None if name is None else _hub_id(name)
    return hub_id or Path(str(name or data_args.train_file)).resolve().name


def _hub_id(name: str) -> str | None:
    """Return a name if it is one of the Hub and no folder here, which would go before it."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return None if Path(name).exists() else name


def _base_model_id(path: str) -> str | None:
    if (name := _hub_id(path)) is not None:
        return name
    # Transformers up to 4 wrote down what a checkpoint was made from. Without a slash that could be any folder's name.
    origin = str(PreTrainedConfig.get_config_dict(path)[0].get("_name_or_path"))
    return _hub_id(origin) if "/" in origin else None


def _recipe(model_args: ModelArguments, trainer: MultiLabelTrainer) -> dict[str, str]:
    args, state = trainer.args, trainer.state
    rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    length = f"epochs: {state.epoch:g}, steps: {state.global_step:,}, rows per step: {rows}"
    if args.load_best_model_at_end and state.best_global_step:
        metric = str(args.metric_for_best_model).removeprefix("eval_").replace("_", " ")
        length += (
            f"; the weights are those of step {state.best_global_step:,}, chosen for their {metric} on the validation "
            "rows"
        )
    rates = f"{args.learning_rate:.3g} for the encoder, {args.head_learning_rate:.3g} for the head"
    warmup = f"{args.warmup_steps:.3g} of the steps" if args.warmup_steps < 1 else f"{args.warmup_steps:g} steps"
    if args.hyperparameter_search is not None:
        rates += f"; found, with other values, in {args.hyperparameter_search} trials"
    recipe = {
        "length": length,
        "learning rate": f"{rates}; {SchedulerType(args.lr_scheduler_type).value}, warm-up over {warmup}",
        "optimizer": f"{OptimizerNames(args.optim).value}, weight decay {args.weight_decay:.3g}",
        "loss": _loss(args),
        "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "seed": str(args.seed),
    }
    if model_args.lora_rank is not None:
        recipe["adapters"] = f"of rank {model_args.lora_rank} in place of the encoder, merged into it"
    if model_args.label_descriptions is not None:
        recipe["labels"] = "started from descriptions"
    return recipe


def _loss(args: MultiLabelTrainingArguments) -> str:
    options = {
        "gamma": args.focal_gamma,
        "positives weighted up to": args.max_pos_weight,
        "label correlation": args.label_correlation or None,
    }
    return ", ".join([args.loss, *(f"{name} {value:g}" for name, value in options.items() if value is not None)])


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
