import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, EarlyStoppingCallback, TrainerCallback

from bert_multilabel import from_backbone
from bert_multilabel.errors import FileError
from bert_multilabel.output_dir.checkpoints import AVERAGED_WEIGHTS_FILE, RAW_WEIGHTS_FILE
from tests.conftest import LABELS, mark_unfinished
from tests.training.test_run import run_script
from tests.training.test_trainer import make_trainer, partly_annotated_rows


class Recorder(TrainerCallback):
    """Keeps the weights at the start and after each step of the optimizer."""

    def __init__(self):
        self.weights = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.weights.append({name: weights.detach().clone() for name, weights in model.named_parameters()})

    on_step_end = on_train_begin


class Scores:
    """Scores that are known beforehand: one for each evaluation, the weights before their average."""

    def __init__(self, *scores):
        self.left = list(scores)

    def __call__(self, prediction):
        return {"hamming_score": self.left.pop(0)}


def average_by_hand(recorded, decay):
    average = {name: weights.clone() for name, weights in recorded[0].items()}
    for step, weights in enumerate(recorded[1:], 1):
        d = min(decay, (1 + step) / (10 + step))
        average = {name: d * average[name] + (1 - d) * weights[name] for name in average}
    return average


def weights_of(model):
    return {name: weights.detach().clone() for name, weights in model.named_parameters()}


def train(backbone, folder, words, *scores, callbacks=()):
    """Train with known scores; return the trainer, and the weights at the start and after each step."""
    trainer, recorder = make_untrained(backbone, folder, words, *scores, callbacks=callbacks)
    trainer.train()
    return trainer, recorder.weights


def make_untrained(backbone, folder, words, *scores, callbacks=()):
    recorder = Recorder()
    trainer = make_trainer(
        backbone,
        folder,
        f"--do_eval --weight_averaging 0.25 --per_device_train_batch_size 2 {words}",
        eval_dataset=partly_annotated_rows(from_backbone(backbone, LABELS, "cls")[1]),
        compute_metrics=Scores(*scores),
        callbacks=[recorder, *callbacks],
    )
    return trainer, recorder


def evaluations(trainer):
    return [log for log in trainer.state.log_history if "eval_loss" in log]


@pytest.mark.parametrize("words", ["", "--gradient_accumulation_steps 2 --num_train_epochs 6", "--bf16 true"])
def test_the_average_is_that_of_the_formula_once_a_step_and_in_float32(backbone, tmp_path, words):
    # The third step is the first for which the decay, and not its warm-up, decides: 4 / 13.
    trainer, recorded = train(backbone, tmp_path, f"--eval_strategy no {words}", 0.1, 0.2)
    assert len(recorded) == 13
    expected = average_by_hand(recorded, 0.25)
    weights = weights_of(trainer.model)
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-5)
    assert any(not torch.allclose(weights[name], recorded[-1][name], atol=1e-4) for name in weights)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_the_training_is_that_without_an_average(backbone, tmp_path):
    ends = []
    for decay in (0, 0.9):
        words = f"--weight_averaging {decay} --train_sampling_strategy random"
        ends.append((train(backbone, tmp_path, words, *[0.5] * 6)[1], torch.get_rng_state()))
    (alone, state), (same, state_with_average) = ends
    assert all(torch.equal(one[name], other[name]) for one, other in zip(alone, same, strict=True) for name in one)
    assert torch.equal(state, state_with_average)  # on which dropout depends


def test_both_are_scored_at_each_evaluation_and_the_better_one_counts(backbone, tmp_path):
    trainer, recorded = train(backbone, tmp_path, "", 0.5, 0.4, 0.3, 0.6, 0.7, 0.7)
    keys = ("eval_hamming_score", "eval_raw_hamming_score", "eval_averaged_hamming_score")
    found = [tuple(log[key] for key in keys) for log in evaluations(trainer)]
    assert found == [(0.5, 0.5, 0.4), (0.6, 0.3, 0.6), (0.7, 0.7, 0.7)]
    assert trainer.state.best_metric == 0.7
    # Equal scores are no reason for the average.
    weights = weights_of(trainer.model)
    assert all(torch.equal(weights[name], recorded[-1][name]) for name in weights)


def test_a_lower_loss_is_better(backbone, tmp_path):
    trainer, recorded = train(backbone, tmp_path, "--metric_for_best_model loss --num_train_epochs 1", 0.1, 0.1)
    (log,) = evaluations(trainer)
    assert log["eval_loss"] == min(log["eval_raw_loss"], log["eval_averaged_loss"])
    assert log["eval_raw_loss"] != log["eval_averaged_loss"]


def test_the_loss_decides_if_the_score_is_not_computed(backbone, tmp_path):
    trainer, _ = make_untrained(backbone, tmp_path, "--eval_strategy no")
    trainer.compute_metrics = None
    trainer.train()
    (log,) = evaluations(trainer)
    assert log["eval_loss"] == min(log["eval_raw_loss"], log["eval_averaged_loss"])


def test_texts_without_labels_can_be_scored_while_training(backbone, tmp_path):
    class Scorer(TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            found.append(trainer.predict(trainer.eval_dataset.remove_columns("labels")).predictions.shape)

    found = []
    trainer, _ = make_untrained(backbone, tmp_path, "--eval_strategy no", 0.2, 0.3, callbacks=[Scorer()])
    trainer.train()
    assert set(found) == {(len(trainer.eval_dataset), len(LABELS))}


@pytest.mark.parametrize("words", ["", "--save_strategy epoch --load_best_model_at_end false"])
@pytest.mark.parametrize("last", [(0.2, 0.3), (0.3, 0.2)])
def test_a_training_ends_with_the_better_of_the_last_evaluation(backbone, tmp_path, words, last):
    trainer, recorded = train(backbone, tmp_path, words, 0.8, 0.9, 0.9, 0.8, *last)
    expected = average_by_hand(recorded, 0.25) if last[1] > last[0] else recorded[-1]
    torch.testing.assert_close(weights_of(trainer.model), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scores", [(0.2, 0.3), (0.3, 0.2)])
def test_without_an_evaluation_at_the_last_step_both_are_scored_then(backbone, tmp_path, scores):
    words = "--eval_strategy steps --eval_steps 2 --max_steps 3"
    trainer, recorded = train(backbone, tmp_path, words, 0.5, 0.5, *scores)
    expected = average_by_hand(recorded, 0.25) if scores[1] > scores[0] else recorded[-1]
    torch.testing.assert_close(weights_of(trainer.model), expected, atol=1e-6, rtol=1e-5)
    assert trainer.compute_metrics is not None and len(evaluations(trainer)) == 2


@pytest.mark.parametrize("strategy", ["epoch", "best"])
@pytest.mark.parametrize("best", [(0.8, 0.9), (0.9, 0.8)])
def test_the_best_checkpoint_holds_the_better_ones(backbone, tmp_path, strategy, best):
    words = f"--save_strategy {strategy} --load_best_model_at_end true"
    trainer, recorded = train(backbone, tmp_path, words, 0.1, 0.2, *best, 0.4, 0.3)
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-8")
    expected = average_by_hand(recorded[:9], 0.25) if best[1] > best[0] else recorded[8]
    weights = weights_of(trainer.model)
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-5)
    in_checkpoint = load_file(tmp_path / "checkpoint-8" / "model.safetensors")
    assert all(torch.equal(in_checkpoint[name], weights[name]) for name in weights)


def test_early_stopping_counts_evaluations_of_the_better_ones(backbone, tmp_path):
    # The weights become better and their average worse, so the second and third evaluations are no better.
    words = "--save_strategy epoch --load_best_model_at_end true --num_train_epochs 5"
    scores = (0.1, 0.9, 0.2, 0.8, 0.3, 0.7)
    trainer, _ = train(backbone, tmp_path, words, *scores, callbacks=[EarlyStoppingCallback(2)])
    assert trainer.state.global_step == 12


@pytest.mark.parametrize("lora", [{}, {"lora_rank": 2}])
def test_a_resumed_run_ends_bit_for_bit_as_if_it_had_not_been_interrupted(backbone, files, tmp_path, lora):
    common = {"model_name_or_path": backbone, "train_file": files["train"], "do_train": True, "do_eval": True, **lora}
    common |= {"weight_averaging": 0.9, "num_train_epochs": 4, "learning_rate": 3e-3, "save_total_limit": 9}
    common |= {"validation_file": files["validation"], "metric_for_best_model": "loss"}
    whole = tmp_path / "whole"
    run_script(**common, output_dir=whole)
    names = ["checkpoint-2", "checkpoint-4", "checkpoint-6", "checkpoint-8"]
    other = {}  # the file of the weights that the model of the checkpoint does not have
    for step in (2, 4, 6, 8):
        (other[f"checkpoint-{step}"],) = (whole / f"checkpoint-{step}").glob("*_weights.safetensors")
    names = [path.name for path in other.values()]
    assert set(names) == {AVERAGED_WEIGHTS_FILE, RAW_WEIGHTS_FILE}
    left = names.index(RAW_WEIGHTS_FILE if lora else AVERAGED_WEIGHTS_FILE)
    assert left < 3  # so there are steps after it
    again = shutil.copytree(whole, tmp_path / "again")
    for checkpoint in [*other][left + 1 :]:
        shutil.rmtree(again / checkpoint)
    mark_unfinished(again)
    run_script(**common, output_dir=again)
    ends = [f"{checkpoint}/{file}" for checkpoint, path in other.items() for file in ("model.safetensors", path.name)]
    for name in ("model.safetensors", *ends):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name
    averaged = load_file(next(iter(other.values())))
    assert averaged and not [name for name in averaged if "base_layer" in name]  # which adapters leave as it is


def test_a_checkpoint_is_the_model_that_was_evaluated(backbone, tmp_path):
    trainer, recorded = train(backbone, tmp_path, "--save_strategy epoch --num_train_epochs 1", 0.1, 0.2)
    checkpoint = tmp_path / "checkpoint-4"
    weights = weights_of(AutoModel.from_pretrained(checkpoint))
    torch.testing.assert_close(weights, average_by_hand(recorded, 0.25), atol=1e-6, rtol=1e-5)
    raw = load_file(checkpoint / RAW_WEIGHTS_FILE)
    assert all(torch.equal(raw[name], recorded[-1][name]) for name in weights)
    assert not (checkpoint / AVERAGED_WEIGHTS_FILE).exists()


def test_a_checkpoint_without_an_average_is_refused(backbone, tmp_path):
    words = "--save_strategy epoch --num_train_epochs 1 --weight_averaging 0"
    train(backbone, tmp_path, words, 0.1)
    assert not list((tmp_path / "checkpoint-4").glob("*_weights.safetensors"))
    trainer, _ = make_untrained(backbone, tmp_path, "--num_train_epochs 2")
    with pytest.raises(FileError, match="checkpoint-4 is of a run without averaged weights: resume it with --weight_"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
