"""Two processes on CPU cores against one, and how a job ends in which one of them has failed."""

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from bert_multilabel import from_backbone
from bert_multilabel.data.tokenizing import Collator, encode_rows
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.evaluation.decisions import TunedMetrics
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.training.trainer import MultiLabelTrainer
from bert_multilabel.utils.distributed import (
    leave_process_group,
    on_main,
    raise_on_all_ranks,
)
from tests import forked
from tests.conftest import LABELS, make_rows, save_checkpoint
from tests.training.test_trainer import LOSS_WORDS, PARTLY, make_trainer

# Minutes of processor time, most of it in Accelerate and torch, whose releases it depends on.
pytestmark = [pytest.mark.slow, pytest.mark.dependency]
# Not a multiple of what two processes take at a time.
TRAIN_ROWS, VALIDATION_ROWS = 45, 37
# What a machine takes, and with total_flos how much of that was for padding, is not a score.
COSTS = ("time", "per_second", "flos")


def train_steps(backbone, folder, count):
    """Two steps, each of all rows."""
    dealt = f"--per_device_train_batch_size {4 // count} --gradient_accumulation_steps 2 --max_steps 2"
    trainer = make_trainer(backbone, folder, f"{LOSS_WORDS['weighted_bce']} {dealt}")
    assert trainer.args.world_size == count
    trainer.train()
    trainer.save_model(str(folder / "steps"))


def train_epochs(backbone, folder, count):
    """Two epochs of steps of six examples, in an order that depends on lengths; the last batch is not full."""
    for name, words, labels, steps in (
        ("epochs", "", PARTLY, 4),  # the last has two
        ("dropped", "--dataloader_drop_last true", PARTLY, 2),
        ("uneven", '--accelerator_config {"even_batches":false}', PARTLY[:5], 2),
    ):
        words += f" --per_device_train_batch_size {6 // count} --num_train_epochs 2"
        trainer = make_trainer(backbone, folder, words, labels)
        assert trainer.train().global_step == steps
        trainer.save_model(str(folder / name))


def refuse_uneven(backbone, folder, count):
    """What is raised if one process would have a batch more than the other."""
    words = '--accelerator_config {"even_batches":false} --per_device_train_batch_size 2 --max_steps 2'
    try:
        make_trainer(backbone, folder, words, PARTLY[:5]).train()
    except MultiLabelError as error:
        return str(error)


def train_every_form(backbone, folder, count):
    """Two steps of each form of model: a weight that takes no part in one is an error in several processes."""
    isolated = {"label_attention": "isolated"}
    for form in ({}, {"label_layers": 1}, isolated, {**isolated, "label_layers": 1}):
        model, tokenizer = from_backbone(backbone, LABELS, "label_tokens", **form)
        words = f"--model_name_or_path x --output_dir {folder} --do_train --use_cpu --max_steps 2 --save_strategy no"
        args = parse_arguments([*words.split(), "--disable_tqdm", "true"])[2]
        rows = partly_annotated(16, tokenizer)
        MultiLabelTrainer(model=model, args=args, train_dataset=rows, data_collator=Collator(tokenizer)).train()


def evaluate(backbone, folder, count):
    """Metrics of rows of which a third of the labels is missing; and what they were computed of, where they were."""
    torch.manual_seed(0)
    model, tokenizer = from_backbone(backbone, LABELS, "cls")
    words = f"--model_name_or_path x --output_dir {folder} --do_eval --use_cpu --per_device_eval_batch_size 8"
    seen = []
    tuned = TunedMetrics(model.config, DecisionArguments())

    def compute_metrics(prediction):
        seen.append([prediction.predictions.tolist(), prediction.label_ids.tolist()])
        return tuned(prediction)

    trainer = MultiLabelTrainer(
        model=model,
        args=parse_arguments([*words.split(), "--disable_tqdm", "true"])[2],
        eval_dataset=partly_annotated(VALIDATION_ROWS, tokenizer),
        data_collator=Collator(tokenizer),
        compute_metrics=compute_metrics,
    )
    return {"metrics": without_costs(trainer.evaluate()), "seen": seen}


def run_script(backbone, folder, count):
    """All that the script does, with the same rows in each step."""
    words = f"""--model_name_or_path {backbone} --strategy cls --train_file {folder.parent / "train.jsonl"} --use_cpu
        --validation_file {folder.parent / "validation.jsonl"} --test_file {folder.parent / "validation.jsonl"}
        --output_dir {folder / "run"} --do_train --do_eval --do_predict --disable_tqdm true --optim sgd
        --num_train_epochs 3 --learning_rate 0.05 --head_learning_rate 0.5 --lr_scheduler_type constant
        --warmup_steps 0 --per_device_train_batch_size {8 // count} --per_device_eval_batch_size 8"""
    return without_costs(run(parse_arguments(words.split())))


def go_on(backbone, folder, count):
    """A run whole, and from within its second epoch."""
    words = f"""--model_name_or_path {backbone} --strategy cls --train_file {folder.parent / "train.jsonl"} --use_cpu
        --do_train --disable_tqdm true --num_train_epochs 2 --save_strategy steps --save_steps 8 --save_total_limit 5
        --per_device_train_batch_size {8 // count}"""
    run(parse_arguments([*words.split(), "--output_dir", str(folder / "whole")]))
    named = ["--resume_from_checkpoint", str(folder / "whole" / "checkpoint-8")]
    run(parse_arguments([*words.split(), "--output_dir", str(folder / "gone_on"), *named]))


def run_evaluation(backbone, folder, count):
    """The evaluation of a folder that one process has trained."""
    words = f"""--model_name_or_path {folder.parent / "1" / "run"} --output_dir {folder / "evaluated"} --do_eval
        --validation_file {folder.parent / "validation.jsonl"} --per_device_eval_batch_size 8 --use_cpu
        --disable_tqdm true"""
    return without_costs(run(parse_arguments(words.split())))


def fail_in_the_second(backbone, folder, count):
    """What the script raises in each process if the second one does not find the rows."""
    if count == 1:
        return None
    name = "train.jsonl" if os.environ["RANK"] == "0" else "missing.jsonl"
    words = f"""--model_name_or_path {backbone} --strategy cls --train_file {folder.parent / name} --do_train
        --output_dir {folder / "failed"} --use_cpu --disable_tqdm true"""
    try:
        run(parse_arguments(words.split()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def fail_in_the_first(backbone, folder, count):
    """What is raised in each process if the first one fails in what it does for all, within another block."""
    try:
        with raise_on_all_ranks():
            on_main(lambda: 1 / 0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def do_on_main(backbone, folder, count):
    """Where something was done that is done once, and what is known of it."""
    return on_main(lambda: os.getpid()), os.getpid()


SCENARIOS = (
    *(train_steps, train_epochs, refuse_uneven, train_every_form, evaluate, run_script, go_on, run_evaluation),
    *(fail_in_the_second, fail_in_the_first, do_on_main),
)


def go_through(root, count, rank):
    """Go through all scenarios and write down what they return."""
    folder = Path(root) / str(count)
    folder.mkdir(exist_ok=True)
    backbone = Path(root) / "backbone"
    found = {scenario.__name__: scenario(backbone, folder, count) for scenario in SCENARIOS}
    (folder / f"{rank}.json").write_text(json.dumps(found))


def go_through_as_one_of_two(root):
    """What each of two processes does from its start to its end."""
    rank = os.environ["RANK"]  # as torchrun says it
    go_through(root, 2, rank)
    leave_process_group()
    limit = time.monotonic() + 30  # the system may list a thread a moment longer
    while any("gloo" in name for name in thread_names()) and time.monotonic() < limit:
        time.sleep(0.01)
    (Path(root) / "2" / f"{rank}.threads").write_text(json.dumps(list(thread_names())))


def thread_names():
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it ends just now
            yield path.read_text().strip()


def without_costs(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith(COSTS)}


def partly_annotated(count, tokenizer):
    rows = list(make_rows(count))
    labels = [
        [math.nan if (n + i) % 3 == 0 else float(name in row["labels"]) for i, name in enumerate(LABELS)]
        for n, row in enumerate(rows)
    ]
    return encode_rows(Dataset.from_dict({"text": [row["text"] for row in rows], "labels": labels}), tokenizer)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the scenarios came to in one process, and in the first and the second of two."""
    root = tmp_path_factory.mktemp("processes")
    save_checkpoint(root / "backbone", "uncased", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for name, count in (("train", TRAIN_ROWS), ("validation", VALIDATION_ROWS)):
        (root / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in make_rows(count)))
    go_through(root, 1, 0)
    logs = [root / f"{rank}.log" for rank in ("0", "1")]
    with forked.group(go_through_as_one_of_two, root, logs=logs) as running:
        for process, log in zip(running, logs, strict=True):
            process.join(forked.PATIENCE)
            assert process.exitcode == 0, log.read_text()
    results = [json.loads((root / name).read_text()) for name in ("1/0.json", "2/0.json", "2/1.json")]
    return root, *results


@pytest.mark.parametrize("name", ["steps", "epochs", "dropped", "uneven", "run"])
def test_two_processes_learn_what_one_learns(found, name):
    root = found[0]
    one, two = (load_file(root / count / name / "model.safetensors") for count in ("1", "2"))
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-4)
    start = load_file(root / "backbone" / "model.safetensors")["encoder.layer.0.output.dense.weight"]
    assert (one["bert.encoder.layer.0.output.dense.weight"] - start).abs().max() > 1e-3  # something was learnt


def test_batches_that_one_process_lacks_are_refused(found):
    _, one, first, second = found
    assert one["refuse_uneven"] is None
    for several in (first, second):
        assert "5 examples in batches of 2 do not divide evenly among 2 processes" in several["refuse_uneven"]


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_run_goes_on_within_its_second_epoch_as_if_it_had_never_stopped(found, count):
    whole, gone_on = ((found[0] / count / name / "model.safetensors").read_bytes() for name in ("whole", "gone_on"))
    assert whole == gone_on


def test_metrics_are_those_of_all_rows_in_their_order_computed_once(found):
    _, one, first, second = found
    assert len(first["evaluate"]["seen"]) == 1 and second["evaluate"]["seen"] == []
    (logits, labels), (logits_of_one, labels_of_one) = first["evaluate"]["seen"][0], one["evaluate"]["seen"][0]
    torch.testing.assert_close(torch.tensor(labels), torch.tensor(labels_of_one), equal_nan=True, atol=0, rtol=0)
    torch.testing.assert_close(torch.tensor(logits), torch.tensor(logits_of_one), atol=1e-5, rtol=1e-5)
    assert len(labels) == VALIDATION_ROWS
    for several in (first, second):
        assert several["evaluate"]["metrics"] == pytest.approx(one["evaluate"]["metrics"], abs=1e-6)


@pytest.mark.parametrize("scenario", ["run_script", "run_evaluation"])
def test_the_script_gives_every_process_the_metrics_of_one(found, scenario):
    root, one, first, second = found
    for several in (first, second):
        for name, value in one[scenario].items():
            assert several[scenario][name] == pytest.approx(value, abs=1e-5), name
    folder = {"run_script": "run", "run_evaluation": "evaluated"}[scenario]
    written = without_costs(json.loads((root / "2" / folder / "all_results.json").read_text()))
    assert written == first[scenario]


def test_the_files_are_those_of_one_process(found):
    root = found[0]
    one, two = (
        {str(path.relative_to(root / count / "run")) for path in (root / count / "run").rglob("*")}
        for count in ("1", "2")
    )
    # Of a checkpoint, each process has its own random numbers.
    assert {name for name in one if "rng_state" not in name} == {name for name in two if "rng_state" not in name}
    assert sum("rng_state" in name for name in two) == 2 * sum("rng_state" in name for name in one)


def test_a_process_that_cannot_begin_ends_all_before_anything_is_written(found):
    root, _, first, second = found
    assert first["fail_in_the_second"] == "OtherProcessError: process 1 has failed; see its message"
    assert "missing.jsonl" in second["fail_in_the_second"]
    assert not (root / "2" / "failed").exists()


def test_what_is_done_once_fails_for_all_and_is_known_to_all(found):
    _, one, first, second = found
    assert one["fail_in_the_first"] == first["fail_in_the_first"] == "ZeroDivisionError: division by zero"
    assert second["fail_in_the_first"] == "OtherProcessError: process 0 has failed; see its message"
    assert first["do_on_main"][0] == first["do_on_main"][1] == second["do_on_main"][0] != second["do_on_main"][1]


def test_no_thread_of_the_group_outlives_it(found):
    for rank in ("0", "1"):  # one that let go of a tensor while the interpreter ends would abort the process
        names = json.loads((found[0] / "2" / f"{rank}.threads").read_text())
        assert names and not [name for name in names if "gloo" in name]
