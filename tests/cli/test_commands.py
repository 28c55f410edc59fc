import os
import runpy
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest

from bert_multilabel import __version__
from bert_multilabel.cli.commands import start
from bert_multilabel.cli.main import COMMANDS, run
from bert_multilabel.errors import TRACEBACK, DataError, FileError, MissingDependencyError
from bert_multilabel.model.errors import MultiLabelError
from bert_multilabel.output_dir.checkpoints import SEARCH_FILE, list_checkpoints
from tests import forked


def failing_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("error", [MultiLabelError, DataError, FileError, MissingDependencyError])
def test_a_refusal_ends_a_command_with_its_message(error):
    with pytest.raises(SystemExit) as caught:
        start(failing_with(error("no such goal")))
    assert caught.value.code == "no such goal"  # which Python prints, and ends with 1


def test_unknown_options_of_training_end_as_those_of_other_commands_do(capsys):
    words = ["train", "a.csv", "--model_name_or_path", "bert", "--output_dir", "out", "--learning_rat", "1"]
    with pytest.raises(SystemExit, match="2"):
        start(lambda: run(words))
    assert capsys.readouterr().err == (
        "unknown arguments: --learning_rat 1; check the spelling (did you mean --learning_rate?), --help_all "
        "lists them all\n"
    )


@pytest.mark.parametrize("error", [ValueError, OSError, ImportError, ZeroDivisionError])
def test_a_fault_of_ours_keeps_its_traceback(error):
    with pytest.raises(error):
        start(failing_with(error()))


def test_the_traceback_of_a_refusal_is_shown_on_demand(capsys, monkeypatch):
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(SystemExit, match="no such column"):
        start(failing_with(DataError("no such column")))
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("DataError: no such column\n")
    with pytest.raises(SystemExit, match="2"):
        start(lambda: run(["doctor", "nowhere.csv"]))
    assert "DataError: " in capsys.readouterr().err


def test_an_interrupted_command_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit, match="130"):
        start(failing_with(KeyboardInterrupt()))
    assert capsys.readouterr().err == "interrupted: start the same command again\n"


@pytest.mark.parametrize("code", [None, 0, 1])
def test_a_command_ends_with_its_exit_code(code):
    with pytest.raises(SystemExit) as caught:
        start(lambda: code)
    assert caught.value.code == code


def test_the_commands_are_listed_and_nothing_heavy_is_loaded():
    code = "import sys; sys.argv[1:] = ['--help']\nfrom bert_multilabel.cli.main import main\n"
    code += "try: main()\nfinally: assert not {'torch', 'transformers', 'datasets'} & {*sys.modules}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("captum", "explain no-model --text good"),
        ("cleanlab", "report no-model --file no.csv"),
        ("onnx", "export no-model --output out"),
    ],
)
def test_a_missing_package_is_named_before_torch_is_imported(package, words):
    code = f"""
import sys
from bert_multilabel.cli.main import run
from bert_multilabel.errors import MissingDependencyError
sys.modules[{package!r}] = None
try:
    run({words.split()})
except (MissingDependencyError, SystemExit) as error:
    print(error)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"needs the package {package}: pip install" in done.stdout + done.stderr


def test_the_version_is_shown(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"bert-multilabel {__version__}\n"


def test_a_misspelt_option_of_training_is_named_although_others_are_missing(capsys):
    with pytest.raises(SystemExit, match="2"):
        run(["train", "train.csv", "--modle", "bert"])
    shown = capsys.readouterr().err
    assert "unknown arguments: --modle; " in shown and "are required: --model_name_or_path" in shown


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ([], "a command is missing\n"),
        (["trian"], "unknown command: trian; did you mean train?\n"),
        (["fit"], "unknown command: fit\n"),
    ],
)
def test_an_unknown_command_is_refused(capsys, words, phrase):
    assert run(words) == 2
    assert phrase in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_helps_with_each_option_once(capsys, name):
    with pytest.raises(SystemExit, match="0"):
        run([name, "--help"])
    shown = capsys.readouterr().out
    options = [line.split()[0] for line in shown.splitlines() if line.startswith("  --")]
    assert shown.startswith(f"usage: bert-multilabel {name} ")
    assert len({*options}) == len(options) and not [option for option in options if "-" in option[2:]]
    assert TRACEBACK in shown and "python -m" not in shown


SUBJECTS = [
    *("what to do", "model", "files", "columns and labels", "decisions", "training", "loss"),
    *("evaluations and checkpoints", "prediction", "sharing"),
]


def test_the_help_of_training_shows_our_options_by_subject_and_all_of_trainer_on_demand(capsys):
    with pytest.raises(SystemExit, match="0"):
        run(["train", "--help"])
    shown = capsys.readouterr().out
    places = [shown.index(f"\n{subject}:") for subject in SUBJECTS]
    assert places == sorted(places)
    assert max(part.count("\n") for part in shown.split("\n\n")) < 50  # a screen
    assert "--card_license" in shown[places[-1] :] and "--adam_beta1" not in shown
    assert "--label_names " not in shown and "--label_names_file" in shown
    for words in (["train", "--help_all"], ["predict", "--help-all"]):
        with pytest.raises(SystemExit, match="0"):
            run(words)
        shown = capsys.readouterr().out
        others = shown.index("\nother options of Transformers' TrainingArguments:")
        assert shown.index("--adam_beta1") > others > shown.index("--card_license")


@pytest.mark.slow
@pytest.mark.dependency  # of what Transformers imports
def test_a_run_loads_what_only_reports_and_cards_need_when_they_are_written():
    code = "import sys, bert_multilabel.training.run; assert not {'sklearn', 'scipy.stats'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


# Modules whose import takes longer than what these commands do.
HEAVY = {"torch", "transformers", "datasets", "sklearn", "scipy", "accelerate", "fsspec", "matplotlib", "gradio"}


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
        ["doctor", "rows.csv"],
        ["convert", "rows.csv", "out.jsonl"],
    ],
    ids=" ".join,
)
def test_a_command_without_a_model_imports_nothing_heavy(tmp_path, words):
    (tmp_path / "rows.csv").write_text("text,labels\n" + "good,price|gift\nbad,price\nwell,gift\n" * 20)
    code = f"import sys; from bert_multilabel.cli.main import run\ntry: run({words})\nexcept SystemExit: pass\n"
    code += f"print(*sorted({HEAVY} & {{*sys.modules}}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout and done.stderr.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("tune", ["model", "--file", "rows.csv"]),
        ("doctor", ["rows.csv"]),
        ("convert", ["rows.csv", "out.jsonl"]),
        ("export", ["model", "--output", "out"]),
        ("serve", ["model"]),
        ("report", ["model", "--file", "rows.csv"]),
        ("explain", ["model", "--text", "good"]),
        ("page", ["model"]),
    ],
)
def test_unknown_arguments_are_refused(capsys, command, words):
    with pytest.raises(SystemExit, match="2"):
        import_module(f"bert_multilabel.{command}.cli").main([*words, "--prot", "80"])
    assert "unknown arguments: --prot 80; check the spelling" in capsys.readouterr().err


def test_a_model_is_trained_and_predicts_by_the_console_command(backbone, files, tmp_path):
    common = ["--use_cpu", "--disable_tqdm", "true"]
    model, out = tmp_path / "model", tmp_path / "out"
    run(
        ["train", files["train"], "--model-name-or-path", str(backbone), "--output_dir", str(model)]
        + ["--max_steps=1", "--validation-file", files["validation"], *common]
    )
    assert "eval_hamming_score" in (model / "all_results.json").read_text()
    run(["predict", str(model), files["test"], "--output_dir", str(out), *common])
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 21
    assert run(["predict", str(model), "--output_dir", str(out)]) == 2


# Ends as a process of a group does: the threads of gloo may abort a process whose interpreter shuts down.
ENDS_IN_A_GROUP = """
import atexit
from torch import distributed
from bert_multilabel.cli.commands import start
from bert_multilabel.errors import DataError

def main():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    atexit.register(print, "shuts down")
    print("said before")
    raise {error}

start(main)
"""


@pytest.mark.parametrize(
    ("error", "code", "said"), [("KeyboardInterrupt", 130, "interrupted"), ("DataError('no')", 1, "no")]
)
def test_a_process_of_a_group_exits_without_the_shutdown_that_may_abort_it(error, code, said):
    command = [sys.executable, "-c", ENDS_IN_A_GROUP.format(error=error)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (code, "said before\n") and said in ended.stderr


def run_package(*words):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    sys.argv = ["bert-multilabel", *words]
    runpy.run_module("bert_multilabel", run_name="__main__")


@pytest.mark.parametrize(
    ("left", "words", "said"),
    [
        (None, [], "there is no checkpoint yet, the same command starts again"),
        (SEARCH_FILE, [], "the same command continues after the last finished trial of the search"),
        (
            "checkpoint-9",
            ["--overwrite_output_dir"],
            "the same command without --overwrite_output_dir continues from {}",
        ),
    ],
)
def test_an_interrupted_training_says_what_is_left(tmp_path, monkeypatch, capsys, left, words, said):
    def leave(arguments):
        if left == SEARCH_FILE:
            (tmp_path / left).touch()
        elif left is not None:
            (tmp_path / "checkpoint-10").touch()  # a file is none
            (tmp_path / left).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("bert_multilabel.training.start.run", leave)
    with pytest.raises(SystemExit, match="130"):
        start(lambda: run(["train", "a.csv", "--model_name_or_path", "bert", "--output_dir", str(tmp_path), *words]))
    assert capsys.readouterr().err.endswith(f"interrupted: {said.format(tmp_path / 'checkpoint-9')}\n")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("processes", [1, 2])
def test_interrupted_training_says_that_the_same_command_goes_on(backbone, files, tmp_path, processes):
    out = tmp_path / "out"
    words = [
        *("train", files["train"], "--model_name_or_path", str(backbone), "--output_dir", str(out), "--use_cpu"),
        *("--num_train_epochs", "5000", "--disable_tqdm", "true", "--validation_file", files["validation"]),
    ]
    logs = [tmp_path / f"{rank}.log" for rank in range(processes)]
    with forked.group(run_package, *words, logs=logs) as started:
        while not list(out.glob("checkpoint-*")):
            assert all(process.is_alive() for process in started), logs[0].read_text()
            time.sleep(0.2)
        for process in started:
            os.kill(process.pid, signal.SIGINT)
        for process in started:
            process.join(120)
        assert [process.exitcode for process in started] == [130] * processes
    said = [log.read_text() for log in logs]
    last = list_checkpoints(out)[-1]
    assert f"interrupted: the same command continues from {last}\n" in said[0]
    assert not [text for text in said if "Traceback" in text] and all("interrupted" not in text for text in said[1:])
