"""Executes a run: train, evaluate, save, report, predict."""

import shlex
from contextlib import ExitStack
from pathlib import Path

from transformers.utils import logging

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import Tuned, fingerprint
from bert_multilabel.hub.model_card import write_model_card
from bert_multilabel.hub.push import HubPush
from bert_multilabel.hub.run_facts import store_facts
from bert_multilabel.inference.predict_file import PredictionOptions, predict_split
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.output_dir.atomic_save import atomic_model_save, lock_output_dir
from bert_multilabel.output_dir.checkpoints import (
    PREDICTIONS_FILE,
    REPORT_FILES,
    RESULTS_FILE,
    RUN_FILE,
    SEARCH_FILE,
    TUNED_ON,
    add_to_run,
    read_history,
    write_results,
)
from bert_multilabel.report.figures import Evaluation
from bert_multilabel.report.html import write_report
from bert_multilabel.utils.distributed import on_main, wait_for_file

from .arguments import ModelArguments, MultiLabelTrainingArguments
from .prepare import Prepared, prepare_run
from .progress import summary
from .resume_plan import ResumePlan
from .run_facts import gather_facts, validation_source
from .search import search
from .trainer import MultiLabelTrainer

logger = logging.get_logger(__name__)


def run(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: MultiLabelTrainingArguments,
    decision_args: DecisionArguments,
) -> dict[str, float]:
    """Train, evaluate and predict, as the arguments ask; see `prepare_run` and `execute`."""
    return execute(*prepare_run(model_args, data_args, training_args, decision_args))


def execute(prepared: Prepared, trainer: MultiLabelTrainer) -> dict[str, float]:
    """Execute a prepared run.

    Args:
        prepared: As `prepare_run` returns it.
        trainer: The trainer that it returns as well.

    Returns:
        The metrics of this call, by their names in `all_results.json`.

    Raises:
        FileError: If something cannot be written (the same command then resumes the run), or if another run is writing
            into the output folder.
        DataError: If a text to predict does not fit into windows.
        PushError: If --push_to_hub has failed, after everything else.
        OtherProcessError: If another of several processes has failed.
    """
    output_dir = Path(str(prepared.training_args.output_dir))
    with ExitStack() as stack:
        on_main(lambda: stack.enter_context(lock_output_dir(output_dir)))
        return _execute(prepared, trainer, output_dir)


def _execute(prepared: Prepared, trainer: MultiLabelTrainer, output_dir: Path) -> dict[str, float]:
    args, push = prepared.training_args, prepared.push
    results: dict[str, float] = {}
    seconds = None
    plan, frequencies = prepared.plan, prepared.frequencies
    if plan is not None and frequencies is not None:
        checkpoint = on_main(lambda: _begin(plan, push))
        wait_for_file(output_dir / RUN_FILE)
        trainer = _searched(prepared, trainer, output_dir)
        results |= _train(prepared, trainer, checkpoint, frequencies.rows, output_dir)
        # Trainer measures the time of this call alone.
        seconds = results["train_runtime"] if checkpoint is None else None
    if args.do_eval:
        results |= _evaluate(prepared, trainer, output_dir)
    model = trainer.whole_model()
    tuned, is_main = prepared.tuned_metrics.tuned, trainer.is_world_process_zero()
    if frequencies is not None and is_main:
        _save(prepared, trainer, model, frequencies, seconds, output_dir)
    if args.report and tuned is not None and is_main:
        _write_report(prepared, trainer, tuned, output_dir)
    if args.do_predict:
        results |= _predict(prepared, trainer, model, output_dir)
    if is_main:
        if args.do_train:
            add_to_run(output_dir, finished=True)
        _log_outputs(prepared, output_dir)
        for warning in () if tuned is None else tuned.warnings():
            logger.warning(warning)
    if push is not None:
        push.push_run()  # last, so that a failed push loses nothing
    return results


def _begin(plan: ResumePlan, push: HubPush | None) -> Path | None:
    """Prepare what the run writes to, and return the checkpoint to resume from, if there is one."""
    if push is not None:
        push.create_repository()
    return plan.apply()


def _searched(prepared: Prepared, trainer: MultiLabelTrainer, output_dir: Path) -> MultiLabelTrainer:
    """Return a trainer with the values of the hyperparameter search, if there is one."""
    if prepared.training_args.hyperparameter_search is None:
        return trainer
    found = search(prepared.make_trainer, prepared.model, prepared.training_args, output_dir / SEARCH_FILE)
    return prepared.make_trainer(model=prepared.model, args=found)


def _train(
    prepared: Prepared, trainer: MultiLabelTrainer, checkpoint: Path | None, rows: int, output_dir: Path
) -> dict[str, float]:
    trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if prepared.adapters is not None:
        prepared.adapters.merge_and_unload()
    if checkpoint is not None and checkpoint.name.endswith(f"-{trained.global_step}"):
        return {}  # there was no step left
    return _report(trainer, output_dir, "train", {**trained.metrics, "train_samples": rows})


def _evaluate(prepared: Prepared, trainer: MultiLabelTrainer, output_dir: Path) -> dict[str, float]:
    """Score the validation examples, and store the thresholds and temperature fitted to them."""
    prepared.tuned_metrics.is_final = True
    evaluated = trainer.evaluate()
    on_main(prepared.tuned_metrics.decisions).store(prepared.model.config)
    return _report(trainer, output_dir, "eval", {**evaluated, "eval_samples": len(prepared.encoded["validation"])})


def _save(
    prepared: Prepared,
    trainer: MultiLabelTrainer,
    model: MultiLabelPreTrainedModel,
    frequencies: LabelFrequencies,
    seconds: float | None,
    output_dir: Path,
) -> None:
    """Write the model, its tokenizer, its card and the facts that later commands read."""
    hub_name = None if prepared.push is None else prepared.push.repo_id
    facts = gather_facts(
        prepared.model_args, prepared.data_args, prepared.data, frequencies, trainer, seconds, hub_name
    )
    store_facts(output_dir, facts)
    tuned = prepared.tuned_metrics.tuned
    if tuned is not None and tuned.is_cross_fitted:
        add_to_run(output_dir, **{TUNED_ON: fingerprint(tuned.labels)})
    with atomic_model_save(output_dir) as folder:
        model.save_pretrained(folder)
        prepared.tokenizer.save_pretrained(folder)
        write_model_card(folder / "README.md", model.config, facts, tuned)


def _write_report(prepared: Prepared, trainer: MultiLabelTrainer, tuned: Tuned, output_dir: Path) -> None:
    is_trained = prepared.training_args.do_train
    evaluation = Evaluation(
        prepared.model.config,
        tuned,
        prepared.data.splits["validation"].select(prepared.order),
        (prepared.order + 1).tolist(),
        validation_source(prepared.data_args),
        trainer.state.log_history if is_trained else read_history(Path(prepared.model_args.model_name_or_path)),
    )
    write_report(output_dir, output_dir.resolve().name, evaluation)


def _predict(
    prepared: Prepared, trainer: MultiLabelTrainer, model: MultiLabelPreTrainedModel, output_dir: Path
) -> dict[str, float]:
    args, data_args, rows = prepared.training_args, prepared.data_args, prepared.data.splits["test"]
    options = PredictionOptions(
        str(args.predict_precision), data_args.max_seq_length, args.windows, data_args.top_scores
    )
    source = data_args.test_file or f"{data_args.dataset_name}, split 'test'"
    metrics = predict_split(model, prepared.tokenizer, rows, source, output_dir, options)
    return _report(trainer, output_dir, "test", {**metrics, "test_samples": len(rows)})


def _report(trainer: MultiLabelTrainer, output_dir: Path, split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Show the metrics of a split and put them into `all_results.json`."""
    trainer.log_metrics(split, summary(metrics))
    if trainer.is_world_process_zero():
        write_results(output_dir, split, metrics)
    return metrics


def _log_outputs(prepared: Prepared, output_dir: Path) -> None:
    args = prepared.training_args
    written = {
        "model": args.do_train and "model.safetensors and what loads it",
        "model card": args.do_train and "README.md",
        "scores": RESULTS_FILE,
        "report": args.report and ", ".join(REPORT_FILES),
        "predictions": args.do_predict and PREDICTIONS_FILE,
    }
    logger.info(
        "written to %s: %s", output_dir, "; ".join(f"{what}: {name}" for what, name in written.items() if name)
    )
    if args.do_train:
        folder = shlex.quote(str(output_dir))
        logger.info("predict a file: bert-multilabel predict %s FILE --output_dir DIR", folder)
        logger.info("try the model on a page: bert-multilabel page %s", folder)
