from importlib import import_module

import pytest

from bert_multilabel.cli.commands import start


def failing_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("error", [ValueError("no such goal"), OSError("no such goal"), ImportError("no such goal")])
def test_a_fault_ends_a_command_with_its_message(error):
    with pytest.raises(SystemExit) as caught:
        start(failing_with(error))
    assert caught.value.code == "no such goal"  # which Python prints, and ends with 1


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        start(failing_with(ZeroDivisionError()))


@pytest.mark.parametrize("code", [None, 0, 1])
def test_a_command_ends_with_its_exit_code(code):
    with pytest.raises(SystemExit) as caught:
        start(lambda: code)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("tune", ["model", "--file", "rows.csv"]),
        ("doctor", ["rows.csv"]),
        ("export", ["model", "--output", "out"]),
        ("serve", ["model"]),
        ("report", ["model", "--file", "rows.csv"]),
        ("explain", ["model", "--text", "good"]),
        ("page", ["model"]),
    ],
)
def test_what_nothing_reads_is_refused(capsys, command, words):
    with pytest.raises(SystemExit, match="2"):
        import_module(f"bert_multilabel.{command}.cli").main([*words, "--prot", "80"])
    assert "unknown arguments: --prot 80; check the spelling, --help lists them all" in capsys.readouterr().err
