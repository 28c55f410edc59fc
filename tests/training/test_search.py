import json
import math

import optuna
import pytest
import torch
from optuna.trial import FixedTrial
from safetensors.torch import load_file

import bert_multilabel.training.search
from bert_multilabel.errors import DivergedError, FileError
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from bert_multilabel.training.search import suggest
from bert_multilabel.training.trainer import MultiLabelTrainer
from tests.conftest import make_rows, mark_unfinished


@pytest.fixture(scope="module")
def command(backbone, tmp_path_factory):
    """The command line, without its output folder, of a short run after a search with three trials."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 24), ("validation", 16)):
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in make_rows(count)))
    words = f"""--model_name_or_path {backbone} --train_file {folder / "train.jsonl"} --do_train --do_eval
        --validation_file {folder / "validation.jsonl"} --hyperparameter_search 3 --num_train_epochs 3
        --learning_rate 1e-3 --per_device_train_batch_size 8 --save_total_limit 9 --use_cpu --disable_tqdm true
        --thresholds global --calibration keep"""
    return words.split()


def run_into(output_dir, command, *more):
    run(parse_arguments([*command, *more, "--output_dir", str(output_dir)]))
    return json.loads((output_dir / "hyperparameter_search.json").read_text())


@pytest.fixture(scope="module")
def searched(command, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("searched") / "out"
    return output_dir, run_into(output_dir, command)


def trained_with(output_dir):
    """The values with which the newest checkpoint was trained."""
    *_, last = sorted(output_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return torch.load(last / "training_args.bin", weights_only=False)


def test_a_run_trains_with_the_best_values_of_its_search(searched):
    output_dir, found = searched
    assert found["metric"] == "eval_hamming_score"
    scores = [trial["score"] for trial in found["trials"]]
    assert len(scores) == 3
    assert found["best_score"] == max(scores)
    assert found["best"] == found["trials"][scores.index(max(scores))]["values"]
    args = trained_with(output_dir)
    assert {name: getattr(args, name) for name in found["best"]} == found["best"]
    # What was asked for stands in the record, as a run that goes on will ask for it again.
    asked = json.loads((output_dir / "training_run.json").read_text())["arguments"]
    assert (asked["learning_rate"], asked["hyperparameter_search"]) == (1e-3, 3)


def test_the_given_values_come_first_and_the_others_differ(searched):
    _, found = searched
    first, *others = (trial["values"] for trial in found["trials"])
    assert first == pytest.approx(
        {
            "learning_rate": 1e-3,
            "head_learning_rate": 2e-2,
            "warmup_steps": 0.1,
            "weight_decay": 0.01,
            "per_device_train_batch_size": 8,
            "num_train_epochs": 3,
        }
    )
    assert len({values["learning_rate"] for values in (first, *others)}) == 3


def test_trials_leave_nothing_but_the_record_and_repeat(searched, command, tmp_path):
    output_dir, found = searched
    assert not list(output_dir.glob("run-*"))
    assert run_into(tmp_path / "again", command) == found
    ends = [(folder / "model.safetensors").read_bytes() for folder in (output_dir, tmp_path / "again")]
    assert ends[0] == ends[1]


def test_an_interrupted_run_goes_on_with_what_was_found(searched, command, monkeypatch):
    output_dir, found = searched
    whole = load_file(output_dir / "model.safetensors")
    mark_unfinished(output_dir)
    checkpoints = sorted(output_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert len(checkpoints) == trained_with(output_dir).num_train_epochs
    for name in ("trainer_state.json", "model.safetensors"):
        (checkpoints[-1] / name).unlink()
    monkeypatch.setattr("bert_multilabel.training.search._try_values", lambda *_: pytest.fail("searched again"))
    assert run_into(output_dir, command) == found
    again = load_file(output_dir / "model.safetensors")
    assert all(torch.equal(weights, again[name]) for name, weights in whole.items())


def interrupt_search(monkeypatch, finished, output_dir, *words):
    """Run a command that is interrupted when so many trials are written."""
    write = bert_multilabel.training.search.write_json

    def write_and_stop(path, record):
        write(path, record)
        if len(record["trials"]) == finished:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bert_multilabel.training.search.write_json", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run_into(output_dir, *words)
    assert "best" not in json.loads((output_dir / "hyperparameter_search.json").read_text())


@pytest.fixture
def trainings(monkeypatch):
    """How many steps each training of this test has made."""
    train, steps = MultiLabelTrainer.train, []

    def train_and_count(trainer, *arguments, **named):
        output = train(trainer, *arguments, **named)
        steps.append(trainer.state.global_step)
        return output

    monkeypatch.setattr(MultiLabelTrainer, "train", train_and_count)
    return steps


@pytest.mark.parametrize("finished", [1, 3])
def test_an_interrupted_search_goes_on_and_finds_the_same(
    searched, command, tmp_path, monkeypatch, trainings, finished
):
    interrupt_search(monkeypatch, finished, tmp_path, command)
    assert run_into(tmp_path, command) == searched[1]
    assert len(trainings) == 3 + 1  # the trials, each once, and the run


def test_trials_that_stop_early_or_diverge_are_trials_of_their_own(command, tmp_path, monkeypatch, trainings):
    create = MultiLabelTrainer.create_optimizer

    def create_and_ruin(trainer, *arguments):
        optimizer = create(trainer, *arguments)
        if trainer.args.learning_rate == ruined:
            for group in optimizer.param_groups:
                group["lr"] = 1e30
        return optimizer

    monkeypatch.setattr(MultiLabelTrainer, "create_optimizer", create_and_ruin)
    # Nothing is learned, so every trial stops early.
    words = "--early_stopping_patience 1 --learning_rate 1e-12 --head_learning_rate 1e-12".split()
    ruined, words = None, [*command, *words]
    interrupt_search(monkeypatch, 2, tmp_path / "one", words)
    first = json.loads((tmp_path / "one" / "hyperparameter_search.json").read_text())
    ruined = first["trials"][1]["values"]["learning_rate"]
    found = run_into(tmp_path / "two", words)
    assert [trial["score"] is None for trial in found["trials"]] == [False, True, False]
    assert 0 not in trainings
    interrupt_search(monkeypatch, 2, tmp_path / "three", words)
    assert run_into(tmp_path / "three", words) == found


def test_a_search_in_which_all_diverge_says_so(command, tmp_path):
    words = [*command, "--learning_rate", "1e30", "--hyperparameter_search", "1"]
    with pytest.raises(DivergedError, match="the model diverged in all trials .*lower --learning_rate"):
        run_into(tmp_path, words)


@pytest.mark.parametrize(
    "damage",
    [
        {"trials": [{"score": 1}]},
        {"trials": [{"score": 1, "values": {}}]},
        {"trials": [{"score": "high", "values": None}]},
        {"trials": [], "best": {"output_dir": "elsewhere"}},
        {"trials": [], "best": None},
        {"trials": 7},
        {"trials": [{"score": math.inf, "values": {}}]},
    ],
)
def test_a_damaged_record_is_named(command, tmp_path, damage):
    path = tmp_path / "hyperparameter_search.json"
    path.write_text(json.dumps(damage))
    args = given_values()
    args.hyperparameter_search = 3
    with pytest.raises(FileError, match=f"{path} is damaged .*: repair or remove it"):
        bert_multilabel.training.search.search(pytest.fail, None, args, path)


def test_a_trial_counts_by_the_metric_that_chooses_the_checkpoint(command, tmp_path):
    found = run_into(
        tmp_path / "out", command, *"--metric_for_best_model loss --hyperparameter_search 2 --max_steps 4".split()
    )
    scores = [trial["score"] for trial in found["trials"]]
    assert (found["metric"], found["best_score"]) == ("eval_loss", min(scores))


def test_trials_and_run_start_from_the_same_adapters(command, backbone, tmp_path):
    words = "--lora_rank 2 --hyperparameter_search 2 --max_steps 2 --strategy cls".split()
    found = run_into(tmp_path / "out", command, *words)
    assert len(found["trials"]) == 2
    before, after = (load_file(folder / "model.safetensors") for folder in (backbone, tmp_path / "out"))
    norm = "encoder.layer.0.output.LayerNorm.weight"
    assert torch.equal(before[norm], after[f"bert.{norm}"])  # no trial has trained the model itself
    query = "encoder.layer.0.attention.self.query.weight"
    moved = after[f"bert.{query}"] - before[query]
    # What two steps of adapters of rank 2 can do; weights that trials had moved as well would have another rank.
    assert torch.linalg.matrix_rank(moved, rtol=1e-3) == 2


def test_a_metric_that_is_not_evaluated_is_refused(command, tmp_path):
    with pytest.raises(ValueError, match="--metric_for_best_model f2 is not evaluated: choose one of .*hamming_score"):
        run_into(tmp_path / "out", command, "--metric_for_best_model", "f2")
    assert not (tmp_path / "out" / "hyperparameter_search.json").exists()


def given_values(*words):
    return parse_arguments(["--model_name_or_path", "x", "--output_dir", "out", "--do_train", *words])[2]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ((), set()),
        (("--warmup_steps", "100"), {"warmup_steps"}),
        (("--warmup_steps", "0.5"), {"warmup_steps"}),
        (("--weight_decay", "0", "--warmup_steps", "0"), {"weight_decay", "warmup_steps"}),
        (("--max_steps", "10"), {"num_train_epochs"}),
        (("--num_train_epochs", "1.5"), {"num_train_epochs"}),
    ],
)
def test_what_is_meant_as_given_is_not_searched(words, kept):
    given = given_values(*words)
    names = {
        *("learning_rate", "head_learning_rate", "warmup_steps", "weight_decay"),
        *("per_device_train_batch_size", "num_train_epochs"),
    }
    values = suggest(FixedTrial({name: getattr(given, name) for name in names}), given)
    assert names - values.keys() == kept


def test_trials_stay_near_what_is_given():
    given = given_values("--num_train_epochs", "5")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [suggest(study.ask(), given) for _ in range(200)]

    def seen(name):
        return {trial[name] for trial in trials}

    assert seen("per_device_train_batch_size") == {8, 16, 32}
    assert seen("num_train_epochs") == {3, 4, 5}
    for name, low, high in (
        ("learning_rate", 2e-5, 5e-4),
        ("head_learning_rate", 4e-4, 1e-2),
        ("warmup_steps", 0.05, 0.2),
        ("weight_decay", 1e-3, 1e-1),
    ):
        assert low <= min(seen(name)) < 1.2 * low
        assert high / 1.2 < max(seen(name)) <= high
        assert sum(value < (low * high) ** 0.5 for value in seen(name)) == pytest.approx(100, abs=25)  # log scale
