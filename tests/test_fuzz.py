"""The fuzz targets run, and find nothing in their first inputs; `python -m fuzz.run` tries many more."""

from random import Random

import pytest

fuzzing = pytest.importorskip("fuzz.run", reason="fuzz/ is no part of an installed package")


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_the_first_inputs_of_a_target_crash_nothing(name):
    for number in range(50):
        fuzzing.TARGETS[name](Random(f"{name} 0 {number}"))


def test_a_crash_is_printed_with_the_number_that_repeats_it(monkeypatch, capsys):
    def crash(generator):
        assert generator.random() < 0.9, "too large"

    monkeypatch.setitem(fuzzing.TARGETS, "label_cells", crash)
    for name in ("logging.disable", "signal.signal", "warnings.simplefilter"):  # these would outlast the test
        monkeypatch.setattr(f"fuzz.run.{name}", lambda *arguments: None)
    first = next(number for number in range(1000) if Random(f"label_cells 0 {number}").random() >= 0.9)
    for words in (["--inputs", "200"], ["--inputs", "1", "--first", str(first)]):
        monkeypatch.setattr("sys.argv", ["fuzz.run", "--targets", "label_cells", *words])
        with pytest.raises(SystemExit, match="1"):
            fuzzing.main()
        shown = capsys.readouterr().out
        assert f"label_cells, input {first}: AssertionError" in shown and "AssertionError: too large" in shown
        assert shown.endswith("1 different crashes\n")
