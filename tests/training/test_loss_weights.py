"""Weights of labels and of examples in the loss of a training, from their files to its steps."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.training.losses import normalized_weights
from tests import forked
from tests.conftest import LABELS, make_rows, save_checkpoint
from tests.training.test_launching import check_same
from tests.training.test_run import run_script
from tests.training.test_trainer import LOSS_WORDS, PARTLY, make_trainer

WEIGHTS = [3.0, 0.0, 1.0, 0.5, 2.0, 1.0, 0.25, 4.0]  # of the eight examples
OF_LABELS = [2.0, 0.0, 1.5]


def weighted_trainer(backbone, folder, words, weights, of_labels):
    trainer = make_trainer(
        backbone,
        folder,
        f"--max_steps 1 {words}",
        label_weights=normalized_weights(of_labels, LabelFrequencies.of([PARTLY])),
        mean_weight=float(np.mean(weights)),
    )
    trainer.args.remove_unused_columns = False
    trainer.train_dataset = trainer.train_dataset.add_column("weight", np.array(weights, np.float32))
    return trainer


def step(*arguments):
    """Train for a step; return how the weights of the model have changed, and the loss."""
    trainer = weighted_trainer(*arguments)
    before = {name: weights.detach().clone() for name, weights in trainer.model.named_parameters()}
    loss = trainer.train().training_loss
    return {name: weights.detach() - before[name] for name, weights in trainer.model.named_parameters()}, loss


@pytest.mark.parametrize(("rows", "accumulation"), [(8, 1), (2, 4), (3, 3)])
def test_a_step_is_the_weighted_mean_over_all_annotated_labels(backbone, tmp_path, rows, accumulation):
    dealt = f"--per_device_train_batch_size {rows} --gradient_accumulation_steps {accumulation}"
    changes, loss = step(backbone, tmp_path, dealt, WEIGHTS, OF_LABELS)

    trainer = make_trainer(backbone, tmp_path, "")
    batch = trainer.data_collator(list(trainer.train_dataset))
    probabilities = trainer.model(batch["input_ids"], batch["attention_mask"]).logits.sigmoid()
    # The labels are annotated 6, 5 and 3 times, so their weights have the mean (6 * 2 + 3 * 1.5) / 14; those of the
    # examples have the mean 11.75 / 8.
    total = torch.zeros(())
    for row, labels in enumerate(PARTLY):
        for column, label in enumerate(labels):
            if not math.isnan(label) and label != -100:
                p = probabilities[row, column]
                term = -label * p.log() - (1 - label) * (1 - p).log()
                total = total + WEIGHTS[row] / (11.75 / 8) * OF_LABELS[column] / (16.5 / 14) * term
    expected = total / 14
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    gradients = torch.autograd.grad(expected, list(trainer.model.parameters()))
    for (name, change), gradient in zip(changes.items(), gradients, strict=True):
        torch.testing.assert_close(change, -0.5 * gradient, atol=1e-6, rtol=1e-3, msg=name)


# By default of two losses, since each trains four times.
@pytest.mark.parametrize(
    "loss",
    ["bce", "zlpr", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("weighted_bce", "focal", "asymmetric"))],
)
def test_equal_weights_change_nothing_bit_for_bit_nor_does_doubling_them(backbone, tmp_path, loss):
    words = LOSS_WORDS.get(loss, "--loss asymmetric") + " --per_device_train_batch_size 4"
    plain = make_trainer(backbone, tmp_path, f"--max_steps 1 {words}")
    start = {name: weights.detach().clone() for name, weights in plain.model.named_parameters()}
    plain.train()
    changes = {name: weights.detach() - start[name] for name, weights in plain.model.named_parameters()}
    ones, _ = step(backbone, tmp_path, words, [1.0] * 8, [1.0] * 3)
    once, _ = step(backbone, tmp_path, words, WEIGHTS, OF_LABELS)
    twice, _ = step(backbone, tmp_path, words, [2 * x for x in WEIGHTS], [2 * x for x in OF_LABELS])
    for name, change in changes.items():
        assert torch.equal(ones[name], change) and torch.equal(once[name], twice[name])
    assert any(not torch.allclose(once[name], change, atol=1e-4) for name, change in changes.items())


def test_an_evaluation_is_not_weighted(backbone, tmp_path):
    trainer = weighted_trainer(backbone, tmp_path, "", WEIGHTS, OF_LABELS)
    plain = make_trainer(backbone, tmp_path, "")
    losses = [one.evaluate(one.train_dataset)["eval_loss"] for one in (trainer, plain)]
    assert losses[0] == losses[1]


def test_weights_of_labels_that_are_all_0_are_refused():
    with pytest.raises(MultiLabelError, match="--label_weights gives the weight 0 to all labels"):
        normalized_weights([0.0, 0.0, 1.0], LabelFrequencies.of([[[1.0, 0.0, math.nan]]]))


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """The options of a run with weights and averaged weights, without its output folder and its batch size."""
    root = tmp_path_factory.mktemp("weighted")
    backbone = save_checkpoint(root / "backbone", "uncased", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for name, count in (("train", 45), ("validation", 37)):
        rows = [{**row, "trust": number % 5 / 2} for number, row in enumerate(make_rows(count))]
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "weights.json").write_text(json.dumps({LABELS[0]: 3, LABELS[2]: 0.5}))
    return {
        **{"model_name_or_path": backbone, "strategy": "cls", "do_train": True, "do_eval": True},
        **{f"{name}_file": root / f"{name}.jsonl" for name in ("train", "validation")},
        **{"label_weights": root / "weights.json", "weight_column": "trust", "weight_averaging": 0.9},
        **{"learning_rate": 1e-3, "num_train_epochs": 2, "adam_epsilon": 1e-3},
    }


def test_two_processes_learn_what_one_learns(weighted, tmp_path):
    one = run_script(**weighted, output_dir=tmp_path / "one", per_device_train_batch_size=8)
    options = {**weighted, "output_dir": tmp_path / "two", "per_device_train_batch_size": 4, "use_cpu": True}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    with forked.group(forked.run_script, *words, logs=logs) as processes:
        for process, log in zip(processes, logs, strict=True):
            process.join(forked.PATIENCE)
            assert process.exitcode == 0, log.read_text()
    check_same(tmp_path / "two", (tmp_path / "one", one))


def test_a_stream_learns_with_the_same_weights(weighted, tmp_path):
    # All examples are in one batch, so their order does not matter.
    common = {**weighted, "per_device_train_batch_size": 45, "save_strategy": "no", "weight_averaging": 0}
    run_script(**common, output_dir=tmp_path / "stored")
    run_script(**common, output_dir=tmp_path / "stream", streaming=True)
    stored, stream = (load_file(tmp_path / name / "model.safetensors") for name in ("stored", "stream"))
    torch.testing.assert_close(stream, stored, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_weights": "x.json", "do_train": False}, "--label_weights x.json is for the loss of a training: add"),
        ({"weight_column": "trust", "do_train": False}, "--weight_column trust is for the loss of a training: add"),
        ({"weight_column": "trusted"}, "train.jsonl has no column 'trusted' for the weight; name one of"),
        ({"weight_column": "trust", "one_label_per_line": True}, "weight_column 'trust' has a weight for each row"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weighted, tmp_path, options, message):
    asked = {name: value for name, value in weighted.items() if name not in ("label_weights", "weight_column")}
    with pytest.raises(MultiLabelError, match=message):
        run_script(**{**asked, **options}, output_dir=tmp_path)
