"""Executes a run: train, evaluate, save, report, predict."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bert_multilabel.evaluation.decisions import Tuned, fingerprint
from bert_multilabel.hub.model_card import write_model_card
from bert_multilabel.hub.push import HubPush
from bert_multilabel.hub.run_facts import RunFacts, store_facts
from bert_multilabel.inference.predict_file import PredictionOptions, predict_split
from bert_multilabel.model.label_rules import quantity
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
    read_results,
    write_results,
)
from bert_multilabel.utils.distributed import on_main, wait_for_file
from bert_multilabel.utils.shell import join_words

from .arguments import RunArguments
from .prepare import Prepared, prepare_run
from .progress import summary
from .resume_plan import ResumePlan
from .run_facts import gather_facts, validation_source
from .search import search
from .trainer import MultiLabelTrainer

logger = logging.getLogger(__name__)


def run(arguments: RunArguments) -> dict[str, float]:
    """Train, evaluate and predict, as the arguments ask.

    Returns:
        The metrics of this call, by their names in `all_results.json`.

    Raises:
        MultiLabelError: If the input is refused (see `prepare_run`), or a text to predict does not fit into windows.
        FileError: If something cannot be written (the same command then resumes the run), or if another run is writing
            into the output folder.
        PushError: If --push_to_hub has failed, after everything else.
        OtherProcessError: If another of several processes has failed.
    """
    prepared, trainer = prepare_run(arguments)
    output_dir = Path(str(arguments.training.output_dir))
    with ExitStack() as stack:
        on_main(lambda: stack.enter_context(lock_output_dir(output_dir)))
        return _execute(prepared, trainer, output_dir)


def _execute(prepared: Prepared, trainer: MultiLabelTrainer, output_dir: Path) -> dict[str, float]:
    args, push = prepared.arguments.training, prepared.push
    results: dict[str, float] = {}
    seconds = None
    plan, frequencies = prepared.plan, prepared.frequencies
    if plan is not None and frequencies is not None:
        checkpoint = on_main(lambda: _begin(plan, push))
        wait_for_file(output_dir / RUN_FILE)
        if args.hyperparameter_search is not None:
            found = search(prepared.make_trainer, prepared.model, args, output_dir / SEARCH_FILE)
            trainer = prepared.make_trainer(model=prepared.model, args=found)
        results |= _train(prepared, trainer, checkpoint)
        # Trainer measures the time of this call alone.
        seconds = results["train_runtime"] if checkpoint is None else None
    if args.do_eval:
        results |= _evaluate(prepared, trainer)
    model = trainer.whole_model()
    tuned, is_main = prepared.tuned_metrics.tuned, trainer.is_world_process_zero()
    if frequencies is not None and is_main:
        facts = gather_facts(prepared, frequencies, trainer, seconds)
        _save(prepared, model, facts, output_dir)
    elif prepared.is_conversion and is_main:
        with atomic_model_save(output_dir) as folder:
            _save_model(prepared, model, folder)
    if args.report and tuned is not None and is_main:
        _write_report(prepared, trainer, tuned, output_dir)
    if args.do_predict:
        results |= _predict(prepared, trainer, model)
    if is_main:
        if args.do_train:
            add_to_run(output_dir, finished=True)
        if args.do_eval and tuned is not None:
            logger.info("the model %s", tuned.describe())
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


def _train(prepared: Prepared, trainer: MultiLabelTrainer, checkpoint: Path | None) -> dict[str, float]:
    trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if prepared.adapters is not None:
        prepared.adapters.merge_and_unload()
    if checkpoint is not None and checkpoint.name.endswith(f"-{trained.global_step}"):
        return {}  # there was no step left
    examples: Any = trainer.train_dataset  # stored, or a stream
    return _report(trainer, "train", {**trained.metrics, "train_samples": len(examples)})


def _evaluate(prepared: Prepared, trainer: MultiLabelTrainer) -> dict[str, float]:
    """Score the validation examples, and store the thresholds and temperature fitted to them."""
    prepared.tuned_metrics.is_final = True
    evaluated = trainer.evaluate()
    on_main(prepared.tuned_metrics.decisions).store(prepared.model.config)
    tuned = prepared.tuned_metrics.tuned
    for note in [] if tuned is None else tuned.notes():
        logger.info("%s; the scores of each epoch above are at one fitted threshold", note)
    return _report(trainer, "eval", {**evaluated, "eval_samples": len(prepared.order)})


def _save(prepared: Prepared, model: MultiLabelPreTrainedModel, facts: RunFacts, output_dir: Path) -> None:
    """Write the model, its tokenizer, its card and the facts that later commands read."""
    store_facts(output_dir, facts)
    tuned = prepared.tuned_metrics.tuned
    if tuned is not None and tuned.is_cross_fitted:
        add_to_run(output_dir, **{TUNED_ON: fingerprint(tuned.labels)})
    with atomic_model_save(output_dir) as folder:
        _save_model(prepared, model, folder)
        write_model_card(folder / "README.md", model.config, facts, tuned)


def _save_model(prepared: Prepared, model: MultiLabelPreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)
    prepared.tokenizer.save_pretrained(folder)


def _write_report(prepared: Prepared, trainer: MultiLabelTrainer, tuned: Tuned, output_dir: Path) -> None:
    from bert_multilabel.report.figures import Evaluation  # only now: scikit-learn takes half a second to import
    from bert_multilabel.report.html import Report

    arguments = prepared.arguments
    evaluation = Evaluation(
        prepared.model.config,
        tuned,
        prepared.data.splits["validation"].select(prepared.order),
        (prepared.order + 1).tolist(),
        validation_source(arguments.data),
        trainer.state.log_history
        if arguments.training.do_train
        else read_history(Path(arguments.model.model_name_or_path)),
    )
    Report.of(output_dir.resolve().name, evaluation).write(output_dir)


def _predict(prepared: Prepared, trainer: MultiLabelTrainer, model: MultiLabelPreTrainedModel) -> dict[str, float]:
    _, data_args, args, _ = prepared.arguments
    examples = prepared.data.splits["test"]
    options = PredictionOptions(
        args.engine, str(args.predict_precision), data_args.max_seq_length, args.windows, data_args.top_scores
    )
    source = data_args.test_file or f"{data_args.dataset_name}, split 'test'"
    metrics = predict_split(model, prepared.tokenizer, examples, source, Path(str(args.output_dir)), options)
    is_labelled = "labels" in examples.column_names
    if not is_labelled:
        number = quantity(len(examples), "example")
        logger.info("predicted %s; %s has no labels, so there are no scores", number, source)
    return _report(trainer, "test", {**metrics, "test_samples": len(examples)}, has_scores=is_labelled)


def _report(
    trainer: MultiLabelTrainer, split: str, metrics: dict[str, float], has_scores: bool = True
) -> dict[str, float]:
    """Show the metrics of a split if scores are among them, and put them into `all_results.json`."""
    if has_scores:
        trainer.log_metrics(split, summary(metrics))
    if trainer.is_world_process_zero():
        write_results(Path(str(trainer.args.output_dir)), split, metrics)
    return metrics


def _log_outputs(prepared: Prepared, output_dir: Path) -> None:
    args = prepared.arguments.training
    has_model = args.do_train or prepared.is_conversion
    written = {
        "model": has_model and "model.safetensors and what loads it",
        "model card": args.do_train and "README.md",
        _describe_results(read_results(output_dir)): RESULTS_FILE,
        "report": args.report and ", ".join(REPORT_FILES),
        "predictions": args.do_predict and PREDICTIONS_FILE,
    }
    files = "; ".join(f"{what}: {name}" for what, name in written.items() if what and name)
    logger.info("written to %s: %s", output_dir, files)
    if has_model:
        folder = join_words([str(output_dir)])
        logger.info("predict a file: bert-multilabel predict %s FILE --output_dir DIR", folder)
        logger.info("try the model on a page: bert-multilabel page %s", folder)


def _describe_results(results: dict[str, float]) -> str:
    """Say what `all_results.json` holds; "" if there is none."""
    if any(name.endswith("_hamming_score") for name in results):
        return "scores"
    speed = "training loss and speed" if "train_loss" in results else "speed"
    return speed if results else ""
