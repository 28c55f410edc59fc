"""Arguments to Trainer and back; what lands in the output folder."""

import copy
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoConfig, EarlyStoppingCallback, PreTrainedConfig, Trainer, set_seed
from transformers.utils import logging

from . import auto as auto  # our own folders load through AutoConfig
from .adapters import add_adapters
from .arguments import DataArguments, DecisionArguments, ModelArguments, MultiLabelTrainingArguments
from .backbone import from_backbone, start_bias_from_frequencies
from .checkpoints import (
    CONTENT,
    PREDICTIONS_FILE,
    REPORT_FILES,
    RESULTS_FILE,
    SEARCH_FILE,
    TUNED_ON,
    add_to_run,
    check_can_go_on,
    find_damage,
    mark_finished,
    read_history,
    start_or_resume,
    trained_pair_column,
    write_results,
)
from .configuration_multilabel import MultiLabelConfig
from .data import LoadedData, label_frequencies, load_splits
from .decisions import AS_STORED, Decisions, TunedMetrics, fingerprint
from .descriptions import read_label_descriptions
from .encoding import Collator, encode_rows, longest_first
from .files import FileError, find_cut, sha256
from .hub import HubPush
from .metrics import score_decisions
from .model_card import write_model_card
from .modeling_multilabel import MultiLabelPreTrainedModel
from .prediction import PredictionOptions, predict_split
from .processes import failing_together, on_main
from .progress import summary
from .report_figures import Evaluation
from .report_page import write_report
from .run_facts import gather_facts, store_facts, validation_source
from .saving import saving_model
from .scoring_multilabel import text_reader
from .search import search
from .splitting import split_validation
from .thresholds import Goal
from .tokenization_multilabel import MultiLabelTokenizer
from .trainer import MultiLabelTrainer

logger = logging.get_logger(__name__)

# What may differ between two calls that continue the same run: where it goes, what it shows and what comes after it.
_NOT_OF_THE_RUN = {
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "do_predict", "test_file", "top_scores"),
    *("predict_precision", "stride", "pooling", "save_total_limit", "restore_callback_states_from_checkpoint"),
    *("report", "disable_tqdm", "log_level", "log_level_replica", "logging_steps", "report_to", "run_name", "project"),
    *("card_examples", "card_language", "card_license"),
    *("push_to_hub", "hub_token", "hub_model_id", "hub_revision", "hub_strategy", "hub_private_repo"),
    *("hub_always_push", "allow_pickle"),
}


@dataclass(frozen=True)
class _Ready:
    """All that a run works with, once nothing of it can be refused any more."""

    data: LoadedData
    model: MultiLabelPreTrainedModel
    tokenizer: MultiLabelTokenizer
    splits: dict[str, Dataset]
    order: np.ndarray
    adapters: Any
    tuned_metrics: TunedMetrics
    push: HubPush | None
    make_trainer: Callable[..., MultiLabelTrainer]
    trainer: MultiLabelTrainer


def _prepare(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: MultiLabelTrainingArguments,
    decision_args: DecisionArguments,
) -> _Ready:
    """Look at everything that could be refused, and write nothing yet."""
    set_seed(training_args.seed)
    # Checkpoints with adapters are for going on with the run: they do not load as a model.
    push = HubPush.take_from(training_args, saves_load=model_args.lora_rank is None)
    if model_args.add_labels and not training_args.do_train:
        raise ValueError("--add_labels needs --do_train: labels that were never trained have nothing to say yet")
    _check_is_whole(Path(model_args.model_name_or_path))
    saved = AutoConfig.from_pretrained(model_args.model_name_or_path)
    if saved.model_type != MultiLabelConfig.model_type and not training_args.do_train:
        raise ValueError(
            f"{model_args.model_name_or_path} is a {saved.model_type!r} model that was never trained on labels, so "
            "it has nothing to say yet: add --do_train, or give a folder that this script trained"
        )
    if model_args.lora_rank is not None and not training_args.do_train:
        raise ValueError(f"--lora_rank {model_args.lora_rank} is for training: add --do_train, or drop it")
    if data_args.text_pair_column is None:
        data_args = replace(data_args, text_pair_column=trained_pair_column(Path(model_args.model_name_or_path)))
    known = None if model_args.add_labels else getattr(saved, "label_names", None)
    data = load_run_data(data_args, training_args, known)
    if training_args.card_examples and data.pair_column is not None:
        raise ValueError(
            f"--card_examples {training_args.card_examples} asks for single texts, for the Hub shows no others, but "
            f"these rows are pairs with the column {data.pair_column!r}: drop it"
        )
    # Rows to train on have labels, and a trained model knows its own: there are always names.
    model, tokenizer = _build(model_args, saved, data.label_names or [])
    data = data.ordered_as(model.config.label_names)  # added labels stand behind those that were there
    if training_args.do_train and saved.model_type != MultiLabelConfig.model_type:
        start_bias_from_frequencies(model, label_frequencies(data.train))
    adapters = None if model_args.lora_rank is None else add_adapters(model, model_args.lora_rank)
    reader = text_reader(tokenizer, model.config)
    if training_args.windows is not None:
        # Now, and not hours later when they are cut, is the time to refuse them.
        training_args.windows.check_room(reader, data_args.max_seq_length or reader.model_max_length)
    splits = {
        name: encode_rows(rows, reader, data_args.max_seq_length)
        for name, rows in data.splits.items()
        if name != "test"  # whose texts are tokenized as they are scored
    }
    stream = None if data.stream is None else training_args.ordered(data.stream)
    order = np.arange(0)
    if "validation" in splits:
        # Evaluation does not mind the order, and like lengths spare padding.
        order = longest_first(splits["validation"])
        splits["validation"] = splits["validation"].select(order)
    _check_decisions(model.config, decision_args, training_args)
    # A model that is not trained here is scored as it is.
    tuned_metrics = TunedMetrics(model.config, decision_args if training_args.do_train else AS_STORED)

    def make_trainer(**given: Any) -> MultiLabelTrainer:
        patience = training_args.early_stopping_patience
        return MultiLabelTrainer(
            **given,
            train_dataset=splits.get("train") if stream is None else stream,
            eval_dataset=splits.get("validation"),
            processing_class=tokenizer,
            data_collator=Collator(reader, data_args.max_seq_length),
            compute_metrics=tuned_metrics,
            callbacks=[
                *([] if patience is None else [EarlyStoppingCallback(patience)]),
                *([] if push is None else [push]),
            ],
        )

    trainer = make_trainer(model=model, args=training_args)
    if adapters is not None and trainer.changes_model:
        raise ValueError(
            f"--lora_rank {model_args.lora_rank} cannot be merged into what FSDP or DeepSpeed makes of a model: drop "
            "it, or train with examples/accelerate/ddp.yaml"
        )
    return _Ready(data, model, tokenizer, splits, order, adapters, tuned_metrics, push, make_trainer, trainer)


def run(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: MultiLabelTrainingArguments,
    decision_args: DecisionArguments,
) -> dict[str, float]:
    """Train, evaluate and predict, as the arguments ask.

    Args:
        model_args: Which model to start from.
        data_args: Where the rows are.
        training_args: What to do with them, and where the results go.
        decision_args: What is fitted on the validation rows after training.

    Returns:
        The metrics of this call, by the names under which they stand in `all_results.json`.

    Raises:
        FileError: If the model to start from is damaged, or something cannot be written; the same command goes on.
        ValueError: If arguments, data and model do not fit together, or the output folder holds another run.
        PushError: If --push_to_hub cannot work, before anything is done, or has failed, after everything else.
        OtherProcessError: If another of several processes has failed before training: that one raises what it was.
    """
    with failing_together():
        ready = _prepare(model_args, data_args, training_args, decision_args)
    data, splits, order = ready.data, ready.splits, ready.order
    model, tokenizer, adapters = ready.model, ready.tokenizer, ready.adapters
    make_trainer, trainer, tuned_metrics, push = ready.make_trainer, ready.trainer, ready.tuned_metrics, ready.push
    output_dir = Path(str(training_args.output_dir))
    results: dict[str, float] = {}
    if training_args.do_train:

        def claim() -> Path | None:
            if push is not None:
                push.create_repository()
            # Not before everything else is known to work: from here on the folder belongs to this run.
            return _claim(output_dir, [model_args, data_args, decision_args], training_args, data.pair_column)

        checkpoint = on_main(claim)
        if training_args.hyperparameter_search is not None:
            training_args = search(make_trainer, model, training_args, output_dir / SEARCH_FILE)
            trainer = make_trainer(model=model, args=training_args)
        trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if adapters is not None:
            adapters.merge_and_unload()
        results |= _report(trainer, output_dir, "train", {**trained.metrics, "train_samples": len(data.train)})
    if training_args.do_eval:
        evaluated = trainer.evaluate()
        on_main(tuned_metrics.decisions).store(model.config)
        results |= _report(trainer, output_dir, "eval", {**evaluated, "eval_samples": len(splits["validation"])})
    model = trainer.whole_model()
    if training_args.do_train and trainer.is_world_process_zero():
        # Trainer measures from where this call began.
        seconds = results["train_runtime"] if checkpoint is None else None
        facts = gather_facts(model_args, data_args, data, trainer, seconds, None if push is None else push.repo_id)
        store_facts(output_dir, facts)
        if tuned_metrics.tuned is not None and tuned_metrics.tuned.is_unseen:
            add_to_run(output_dir, **{TUNED_ON: fingerprint(tuned_metrics.tuned.labels)})
        with saving_model(output_dir) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            write_model_card(folder / "README.md", model.config, facts, tuned_metrics.tuned)
    if training_args.report and tuned_metrics.tuned is not None and trainer.is_world_process_zero():
        evaluation = Evaluation(
            model.config,
            tuned_metrics.tuned,
            data.splits["validation"].select(order),
            (order + 1).tolist(),
            validation_source(data_args),
            trainer.state.log_history if training_args.do_train else read_history(Path(model_args.model_name_or_path)),
        )
        write_report(output_dir, output_dir.resolve().name, evaluation)
    if training_args.do_predict:
        predicted = _predict(model, tokenizer, data.splits["test"], data_args, training_args)
        results |= _report(trainer, output_dir, "test", predicted)
    if training_args.do_train and trainer.is_world_process_zero():
        mark_finished(output_dir)
    if trainer.is_world_process_zero():
        _say_what_is_where(output_dir, training_args)
    if push is not None:
        push.push_run()  # nothing comes after it that it could prevent
    return results


def _check_is_whole(model_dir: Path) -> None:
    """Refuse a folder with a damaged model, of which the libraries do not say what it is."""
    damage = find_cut(model_dir) if model_dir.is_dir() else None
    if damage is not None:
        raise FileError(f"{model_dir} is not whole ({damage}): copy it again, or give another --model_name_or_path")


def load_run_data(
    data_args: DataArguments, training_args: MultiLabelTrainingArguments, label_names: list[str] | None
) -> LoadedData:
    """Read the splits that a run needs.

    Missing validation data is split off the training rows.

    Args:
        data_args: Where the rows are.
        training_args: Which of train, validation and test are needed.
        label_names: Labels of the model, if it has some and no file names them.

    Raises:
        ValueError: If a split is missing, its rows are bad, or streaming cannot give what is asked for.
    """
    if training_args.streaming and data_args.max_train_samples is not None:
        raise ValueError(
            f"--max_train_samples {data_args.max_train_samples} draws from all rows, and --streaming never has all of "
            "them at hand: drop one, or train for fewer --max_steps"
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
    if "validation" in wanted and "validation" not in splits and training_args.streaming:
        raise ValueError(
            "--streaming never has all training rows at hand, so none can be split off for --do_eval: give a "
            "--validation_file, or a --dataset_name with the split 'validation'"
        )
    if "validation" in wanted and "validation" not in splits:
        splits["train"], splits["validation"] = split_validation(
            splits["train"], data_args.validation_fraction, training_args.seed, loaded.label_names
        )
    if "train" in splits and data_args.max_train_samples is not None:
        chosen = min(data_args.max_train_samples, len(splits["train"]))
        splits["train"] = splits["train"].shuffle(seed=training_args.seed).select(range(chosen))
    return replace(loaded, splits=splits)


def _check_splits(given: Container[str], wanted: list[str]) -> None:
    """Refuse a run without the rows it needs; validation rows can come off the training rows."""
    flags = {"train": "--do_train", "validation": "--do_eval", "test": "--do_predict"}
    for split in wanted:
        can_be_split_off = split == "validation" and "train" in wanted
        if split not in given and not can_be_split_off:
            raise ValueError(
                f"{flags[split]} needs rows: give --{split}_file, or a --dataset_name with the split {split!r}"
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


def _check_decisions(
    config: MultiLabelConfig, decision_args: DecisionArguments, training_args: MultiLabelTrainingArguments
) -> None:
    """Refuse what cannot be tuned or judged by, before anything is trained; and say what will not be tuned."""
    if not (training_args.do_train and training_args.do_eval):
        asked = [name for name, value in asdict(decision_args).items() if value != getattr(DecisionArguments(), name)]
        if asked:
            raise ValueError(
                f"--{asked[0]} {getattr(decision_args, asked[0])} is for what is fitted on validation rows after "
                "training: add --do_train and --do_eval, or tune a trained folder: python -m bert_multilabel.tune"
            )
        if training_args.do_train and Decisions.of(config) != Decisions.of(MultiLabelConfig()):
            logger.warning("without --do_eval the thresholds stay those of the model before this training")
        return
    goal = Goal.parse(decision_args.threshold_goal)
    if goal.floor is None and training_args.metric_for_best_model == "hamming_score":
        training_args.metric_for_best_model = goal.score
    if decision_args.min_labels is not None:
        Decisions(config.threshold, config.temperature, decision_args.min_labels).store(copy.copy(config))
    nothing = np.zeros((1, len(config.label_names)), dtype=np.float32)
    known = ["loss", *score_decisions(nothing, nothing, nothing, nothing)]
    metric = str(training_args.metric_for_best_model).removeprefix("eval_")
    is_read = training_args.load_best_model_at_end or training_args.hyperparameter_search is not None
    if is_read and metric not in known:
        raise ValueError(f"--metric_for_best_model {metric} is not evaluated: choose one of {', '.join(known)}")


def _claim(
    output_dir: Path, others: list[Any], training_args: MultiLabelTrainingArguments, pair_column: str | None
) -> Path | None:
    """Take possession of the output folder and return the checkpoint to go on from, if there is one."""
    arguments = training_args.to_dict()
    for group in others:
        arguments |= asdict(group)
    arguments = {name: value for name, value in arguments.items() if name not in _NOT_OF_THE_RUN}
    arguments["text_pair_column"] = pair_column or ""  # as found: `trained_pair_column` reads it
    for name in ("train_file", "validation_file", "label_names_file", "label_descriptions"):
        if arguments[name] is not None:
            # A file that was changed in between would make two halves of different runs into one.
            arguments[name + CONTENT] = sha256(Path(arguments[name]))
    if Path(arguments["model_name_or_path"]).resolve() == output_dir.resolve():
        raise ValueError(
            f"--output_dir {output_dir} is --model_name_or_path, too, so after an interruption nothing would be left "
            "to start from: choose another --output_dir"
        )
    named = training_args.resume_from_checkpoint
    if named is None or named.lower() in ("true", "false"):  # by itself, as always
        return start_or_resume(output_dir, arguments, training_args.overwrite_output_dir)
    damage = find_damage(Path(named))
    if damage is None:
        check_can_go_on(Path(named))
    if damage is not None or training_args.overwrite_output_dir:
        reason = damage or "--overwrite_output_dir would remove it"
        raise ValueError(f"cannot go on from --resume_from_checkpoint {named}: {reason}")
    start_or_resume(output_dir, arguments, overwrite=False)
    return Path(named)


def _say_what_is_where(output_dir: Path, training_args: MultiLabelTrainingArguments) -> None:
    written = {
        "model": training_args.do_train and "model.safetensors and what loads it",
        "model card": training_args.do_train and "README.md",
        "scores": RESULTS_FILE,
        "report": training_args.report and ", ".join(REPORT_FILES),
        "predictions": training_args.do_predict and PREDICTIONS_FILE,
    }
    logger.info(
        "written to %s: %s", output_dir, "; ".join(f"{what}: {name}" for what, name in written.items() if name)
    )


def _report(trainer: Trainer, output_dir: Path, split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Show the metrics of a split and put them into `all_results.json`."""
    trainer.log_metrics(split, summary(metrics))
    if trainer.is_world_process_zero():
        write_results(output_dir, split, metrics)
    return metrics


def _predict(
    model: MultiLabelPreTrainedModel,
    tokenizer: MultiLabelTokenizer,
    rows: Dataset,
    data_args: DataArguments,
    args: MultiLabelTrainingArguments,
) -> dict[str, float]:
    precision = str(args.predict_precision)
    options = PredictionOptions(precision, data_args.max_seq_length, args.windows, data_args.top_scores)
    source = data_args.test_file or f"{data_args.dataset_name}, split 'test'"
    metrics = predict_split(model, tokenizer, rows, source, Path(str(args.output_dir)), options)
    return {**metrics, "test_samples": len(rows)}
