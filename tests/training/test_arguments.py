import json
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import IntervalStrategy

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.evaluation.arguments import DecisionArguments
from bert_multilabel.model.windows import Windows
from bert_multilabel.training import losses
from bert_multilabel.training.arguments import MultiLabelTrainingArguments, parse_arguments
from bert_multilabel.training.arguments.parser import read_options
from bert_multilabel.training.options.model import ModelArguments
from bert_multilabel.training.options.training import LOSSES
from bert_multilabel.utils import option_parser

TRAIN = ["--model_name_or_path", "bert", "--train_file", "a.csv", "--output_dir", "out", "--do_train"]
SEARCH = ["--hyperparameter_search"]


def test_defaults_suit_multi_label_training():
    model, data, training, decision = parse_arguments([*TRAIN, "--do_eval"])
    assert (model.strategy, data.max_seq_length) == (None, None)
    assert training.train_sampling_strategy == "group_by_length"
    assert training.label_names == ["labels"]
    assert training.load_best_model_at_end
    assert (training.metric_for_best_model, training.greater_is_better) == ("hamming_score", True)
    assert training.eval_strategy == training.save_strategy == "epoch"


def test_the_head_learns_twenty_times_as_fast_unless_told_otherwise():
    assert parse_arguments([*TRAIN, "--learning_rate", "2e-5"])[2].head_learning_rate == pytest.approx(4e-4)
    assert parse_arguments([*TRAIN, "--head_learning_rate", "3e-3"])[2].head_learning_rate == 3e-3


@pytest.mark.parametrize("flags", [["--do_train"], ["--do_eval"], ["--do_predict"], ["--do_eval", "--do_predict"]])
def test_without_training_and_evaluation_there_is_nothing_to_choose_between(flags):
    _, _, training, _ = parse_arguments(["--model_name_or_path", "bert", "--output_dir", "out", *flags])
    assert training.eval_strategy == "no"
    assert not training.load_best_model_at_end


def test_one_json_file_holds_all_arguments(tmp_path):
    arguments = {
        "model_name_or_path": "bert",
        "output_dir": "out",
        "do_train": True,
        "train_file": "a.csv",
        "label_column": "toxic",
        "learning_rate": 3e-5,
    }
    path = tmp_path / "arguments.json"
    path.write_text(json.dumps(arguments))
    _, data, training, _ = parse_arguments([str(path)])
    assert data.label_column == ["toxic"]
    assert training.learning_rate == 3e-5


def test_values_of_python_are_read_as_those_of_a_command_line(monkeypatch):
    asked = []
    monkeypatch.setattr(option_parser, "set_verbosity", lambda *loudness: asked.append(loudness))
    named = {
        "model_name_or_path": "bert",
        "output_dir": "-out",
        "seed": np.int64(7),
        "learning_rate": np.float64(0.5),
        "do_train": np.True_,
    }
    _, _, training, _ = read_options({**named, "save_strategy": IntervalStrategy.NO, "quiet": True, "verbose": False})
    assert (training.output_dir, training.seed, training.learning_rate) == ("-out", 7, 0.5)
    assert training.do_train and training.save_strategy == "no"
    assert asked == [(True, False)]


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ({"learning_rat": 1, "do_train": True}, "unknown arguments: --learning_rat 1"),
        (["--do_train"], "must hold one object .* got a list; to train on its rows, add --model"),
        ("{broken", "is not valid JSON: "),
        ('{"seed": 1, "do_train": true, "seed": 2}', "^[^ ]*arguments.json has 'seed' twice: leave one out"),
        ('{"lr_scheduler_kwargs": {"a": 1, "a": 2}}', "^[^ ]*arguments.json has 'a' twice: leave one out"),
    ],
)
def test_bad_json_files_are_refused(tmp_path, content, phrase):
    path = tmp_path / "arguments.json"
    if isinstance(content, dict):
        content = {"model_name_or_path": "bert", "output_dir": "out", **content}
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=phrase):
        parse_arguments([str(path)])


def test_json_values_have_the_types_of_their_arguments(tmp_path):
    path = tmp_path / "arguments.json"
    values = {"learning_rate": "1e-4", "do_train": True, "do_eval": "false", "max_seq_length": "64", "id_column": None}
    path.write_text(json.dumps({"model_name_or_path": "bert", "output_dir": "out", **values}))
    _, data, training, _ = parse_arguments([str(path)])
    assert (training.learning_rate, training.do_eval, data.max_seq_length, data.id_column) == (1e-4, False, 64, None)
    assert training.head_learning_rate == pytest.approx(2e-3)


@pytest.mark.parametrize(
    ("strategies", "best"),
    [
        ([], True),
        (["--save_strategy", "no"], False),
        (["--eval_strategy", "no"], False),
        (["--eval_strategy", "steps"], False),
        (["--eval_strategy", "steps", "--save_strategy", "steps"], True),
        (["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "3", "--save_steps", "3"], True),
        (["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "3", "--save_steps", "12"], False),
        (["--save_strategy", "best", "--load_best_model_at_end", "true"], True),
    ],
)
def test_the_best_checkpoint_is_kept_where_there_is_one(strategies, best):
    assert parse_arguments([*TRAIN, "--do_eval", *strategies])[2].load_best_model_at_end is best


@pytest.mark.parametrize(
    ("metric", "is_greater"),
    [
        *(("macro_f1", True), ("mean_average_precision", True), ("loss", False), ("hamming_loss_at_half", False)),
        *(("brier_score", False), ("expected_calibration_error_uncalibrated", False)),
    ],
)
def test_of_errors_less_is_better(metric, is_greater):
    words = [*TRAIN, "--do_eval", "--metric_for_best_model", metric]
    assert parse_arguments(words)[2].greater_is_better is is_greater
    assert parse_arguments([*words, "--greater_is_better", "true"])[2].greater_is_better


def test_several_label_columns_are_a_list():
    _, data, _, _ = parse_arguments([*TRAIN, "--label_column", "toxic", "rude"])
    assert data.label_column == ["toxic", "rude"]


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([*TRAIN, "--epochs", "3"], "--epochs"),
        ([*TRAIN, "--learning_rat", "1"], "--learning_rat"),
        (TRAIN[:-1], "nothing to do: give --do_train, --do_eval, --do_predict"),
        (["--model_name_or_path", "bert", "--do_train"], "--output_dir is missing"),
        ([*TRAIN, "--dataset_name", "x"], "--dataset_name x and --train_file exclude each other"),
        ([*TRAIN, "--dataset_config_name", "x"], "--dataset_config_name x needs --dataset_name"),
        ([*TRAIN, "--max_train_samples", "0"], "--max_train_samples must be at least 1, got 0"),
        ([*TRAIN, "--max_seq_length", "-1"], "--max_seq_length must be at least 1, got -1"),
        ([*TRAIN, "--label_names", "toxic", "rude"], "--label_names toxic rude is an option of Trainer"),
        ([*TRAIN, "--top_scores", "0"], "--top_scores must be at least 1, got 0"),
        ([*TRAIN, "--threshold_goal", "accuracy"], "or a bound such as precision=0.9 .* got 'accuracy'"),
        ([*TRAIN, "--min_labels", "-1"], "--min_labels must be at least 0, got -1"),
        ([*TRAIN, "--enable_jit_checkpoint"], "--enable_jit_checkpoint ends training within a step.*: drop it"),
        ([*TRAIN, "--bf16_full_eval", "true"], "--bf16_full_eval would change the weights that are saved: drop it"),
        ([*TRAIN, "--fp16_full_eval", "true"], "--fp16_full_eval would change the weights that are saved: drop it"),
        ([*TRAIN, "--save_on_each_node", "true"], "all nodes share one --output_dir, and one writes: drop"),
        ([*TRAIN, "--streaming", "--dataloader_num_workers", "2"], "give --dataloader_num_workers 0 or 1"),
        (
            [*TRAIN, "--streaming", "--dataloader_num_workers", "1", "--dataloader_persistent_workers", "true"],
            "drop --dataloader_persistent_workers",
        ),
        (
            [*TRAIN, "--do_eval", *"--load_best_model_at_end true --eval_strategy steps --eval_steps 3".split()],
            r"needs a checkpoint of each evaluation.* --save_strategy \(epoch\) .* --eval_steps \(3\)",
        ),
        ([*TRAIN, "--early_stopping_patience", "2"], "--early_stopping_patience 2 needs evaluations to stop by"),
        ([*TRAIN, "--do_eval", "--early_stopping_patience", "0"], "must be at least 1, got 0"),
        ([*TRAIN, "--focal_gamma", "3"], "--focal_gamma 3 is for --loss focal, but --loss is bce: drop it"),
        (
            [*TRAIN, "--loss", "focal", "--max_pos_weight", "3"],
            "--max_pos_weight 3 is for --loss weighted_bce, but --loss is focal: drop it",
        ),
        (
            [*TRAIN, "--loss", "focal", "--focal_gamma", "-1"],
            "--focal_gamma must be a number from 0 up, got -1",
        ),
        (
            [*TRAIN, "--loss", "weighted_bce", "--max_pos_weight", "nan"],
            "--max_pos_weight must be a number from 1 up, got nan",
        ),
        ([*TRAIN, "--label_correlation", "1"], "--label_correlation must be from 0 to below 1, got 1"),
        ([*TRAIN, "--weight_averaging", "1"], "--weight_averaging must be from 0 to below 1, got 1"),
        ([*TRAIN, "--weight_averaging", "nan"], "--weight_averaging must be from 0 to below 1, got nan"),
        ([*TRAIN, "--lora_rank", "0"], "--lora_rank must be at least 1, got 0"),
        ([*TRAIN, "--lora_rank", "-4"], "--lora_rank must be at least 1, got -4"),
        ([*TRAIN, "--do_eval", *SEARCH, "0"], "--hyperparameter_search must be at least 1, got 0"),
        ([*TRAIN, *SEARCH, "3"], "--hyperparameter_search 3 compares .*: add --do_train and --do_eval"),
        (
            [*TRAIN, "--do_eval", *SEARCH, "3", "--resume_from_checkpoint", "out/checkpoint-2"],
            "--hyperparameter_search 3 and --resume_from_checkpoint out/checkpoint-2 exclude each other",
        ),
        ([*TRAIN, "--pooling", "mean"], "pooling='mean' is for windows over long texts: pass a stride, too"),
        (
            [*TRAIN, *"--stride 8 --dataloader_num_workers 1 --dataloader_persistent_workers true".split()],
            "--stride 8 reads other windows in each epoch, .*: drop --dataloader_persistent_workers",
        ),
        ([*TRAIN, "--stride", "-1"], "stride must be a whole number of tokens from 0 up, got -1"),
        ([*TRAIN, "--card_examples", "2"], "--card_examples 2 are of the validation data: add --do_eval"),
        ([*TRAIN, "--do_eval", "--card_examples", "-1"], "--card_examples must be 0 or more, got -1"),
        (
            [*TRAIN[:-1], "--do_eval", "--card_license", "mit"],
            "--card_license mit is for the model card, .* --do_train",
        ),
        ([*TRAIN, "--card_license", "Apache 2"], "such as apache-2.0 or other, got 'Apache 2'"),
        ([*TRAIN, "--card_language", "en", "English"], "codes such as en, pt-BR or multilingual, got 'English'"),
        (["missing.json"], "missing.json could not be read: No such file"),
    ],
)
def test_bad_arguments_are_refused(arguments, phrase):
    with pytest.raises(ValueError, match=phrase):
        parse_arguments(arguments)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([*TRAIN, "--strategy", "both"], "invalid choice: 'both'"),
        ([*TRAIN, "--loss", "mse"], "invalid choice: 'mse'"),
        ([*TRAIN, "--bf16", "maybe"], "expected true or false, got 'maybe'"),
        ([*TRAIN, "--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--output_dir", "out"], "required: --model_name_or_path"),
    ],
)
def test_argparse_says_what_is_wrong(arguments, phrase, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert phrase in capsys.readouterr().err


def test_a_boolean_that_says_false_is_false():
    assert parse_arguments([*TRAIN, "--overwrite_output_dir", "False"])[2].overwrite_output_dir is False


def test_windows_are_asked_for_by_a_stride():
    base = ["--model_name_or_path", "bert", "--output_dir", "out", "--do_predict"]
    assert parse_arguments(base)[2].windows is None
    assert parse_arguments([*base, "--stride", "8"])[2].windows == Windows(8, "max")
    assert parse_arguments([*base, "--stride", "0", "--pooling", "mean"])[2].windows == Windows(0, "mean")


def test_predictions_have_the_precision_of_the_training_unless_told_otherwise():
    base = ["--model_name_or_path", "bert", "--output_dir", "out", "--do_predict", "--use_cpu"]
    assert parse_arguments(base)[2].predict_precision == "float32"
    assert parse_arguments([*base, "--bf16", "true"])[2].predict_precision == "bfloat16"
    assert (
        parse_arguments([*base, "--bf16", "true", "--predict_precision", "float32"])[2].predict_precision == "float32"
    )


def test_an_engine_is_for_predictions_in_its_own_precision():
    pytest.importorskip("onnxruntime")
    base = ["--model_name_or_path", "bert", "--output_dir", "out", "--do_predict", "--use_cpu", "--engine", "onnx"]
    assert parse_arguments([*base, "--bf16", "true"])[2].predict_precision == "float32"
    with pytest.raises(MultiLabelError, match="engine 'onnx' computes in float32, not in bfloat16"):
        parse_arguments([*base, "--predict_precision", "bfloat16"])
    with pytest.raises(MultiLabelError, match="--engine onnx is for predictions: add --do_predict, or drop it"):
        parse_arguments([word.replace("--do_predict", "--do_train") for word in base])


def test_an_engine_that_cannot_compute_here_is_refused_before_training(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    words = [*TRAIN, "--output_dir", "out", "--do_predict", "--use_cpu", "--engine", "compile"]
    with pytest.raises(MultiLabelError, match="needs a C.. compiler, but there is no 'no-such-compiler'"):
        parse_arguments(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("bce", None, None, 0.0)),
        (["--loss", "focal"], ("focal", 2.0, None, 0.0)),
        (["--loss", "focal", "--focal_gamma", "0"], ("focal", 0.0, None, 0.0)),
        (["--loss", "weighted_bce", "--label_correlation", "0.2"], ("weighted_bce", None, 10.0, 0.2)),
    ],
)
def test_a_loss_has_the_options_that_it_reads_and_no_others(words, expected):
    training = parse_arguments([*TRAIN, *words])[2]
    assert (training.loss, training.focal_gamma, training.max_pos_weight, training.label_correlation) == expected


def test_an_unknown_loss_is_refused_in_python_too():
    with pytest.raises(ValueError, match="--loss must be one of bce, weighted_bce, .*, got mse"):
        MultiLabelTrainingArguments(output_dir="out", do_train=True, loss="mse")


def test_reports_to_what_is_not_installed_are_refused():
    with pytest.raises(ValueError, match=r"--report_to clearml is not installed here \(.*\): inst"):
        parse_arguments([*TRAIN, "--report_to", "clearml"])


@pytest.mark.parametrize(
    ("option", "package", "extra"), [("lora_rank", "peft", "lora"), ("hyperparameter_search", "optuna", "hpo")]
)
def test_what_an_extra_brings_is_asked_for_by_name(monkeypatch, option, package, extra):
    arguments = [*TRAIN, "--do_eval", f"--{option}", "2"]
    parse_arguments(arguments)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ImportError, match=rf"--{option} needs .* {package}: pip install 'bert-multilabel\[{extra}\]'"):
        parse_arguments(arguments)


def test_a_search_in_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr("bert_multilabel.training.arguments.MultiLabelTrainingArguments.world_size", 2)
    with pytest.raises(ValueError, match="--hyperparameter_search 3 runs in one process, but there are 2"):
        parse_arguments([*TRAIN, "--do_eval", *SEARCH, "3"])


@pytest.mark.parametrize("group", [ModelArguments, DataArguments, DecisionArguments, MultiLabelTrainingArguments])
def test_help_explains_the_fields_of_the_arguments(group):
    own = group.__annotations__.keys() - {"label_names"}
    assert {name for name in own if f"\n    {name}: " in group.__doc__} == own
    assert "SUPPRESS" not in group.__doc__


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size must be at least 1, got 0"),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps must be at least 1, got 0"),
        (["--dataloader_num_workers=-1"], "--dataloader_num_workers must be 0 or more, got -1"),
        (["--num_train_epochs=-1"], "--num_train_epochs must be 0 or more, got -1"),
        (["--accelerator_config", '{"nope": 1}'], "unexpected keyword argument 'nope'"),
        (["--warmup_steps=-3"], "warmup_steps >= 0"),
    ],
)
def test_values_that_trainer_would_fail_with_are_refused(words, phrase):
    with pytest.raises(MultiLabelError, match=phrase):
        parse_arguments([*TRAIN, *words])


def test_the_losses_to_choose_from_are_those_that_there_are():
    assert set(LOSSES) == losses.LOSSES.keys()


def test_an_output_folder_that_cannot_be_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(MultiLabelError, match="cannot be a folder, since .*file is a file: choose another"):
            parse_arguments([*TRAIN, "--output_dir", str(folder)])
    with pytest.raises(MultiLabelError, match="--output_dir is missing"):
        parse_arguments([*TRAIN, "--output_dir", ""])
    parse_arguments([*TRAIN, "--output_dir", str(tmp_path / "new" / "folder")])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a file system to which even the superuser adds nothing")
def test_a_file_system_that_takes_no_folder_is_refused_at_once():
    with pytest.raises(MultiLabelError, match=r"/proc/none/x cannot be written, since nothing can be added to /proc"):
        parse_arguments([*TRAIN, "--output_dir", "/proc/none/x"])


def test_there_are_no_progress_bars_where_the_output_is_no_terminal(monkeypatch):
    assert parse_arguments(TRAIN)[2].disable_tqdm is True  # tests have none
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    assert parse_arguments(TRAIN)[2].disable_tqdm is False
    assert parse_arguments([*TRAIN, "--disable_tqdm", "true"])[2].disable_tqdm is True
