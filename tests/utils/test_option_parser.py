from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from transformers import HfArgumentParser, IntervalStrategy, TrainingArguments

from bert_multilabel.training.options.training import TrainingOptions
from bert_multilabel.utils.option_parser import OptionParser, option, path_argument

WORDS = """
--output_dir out --learning_rate 1e-3 --max_steps 7 --do_train --do_eval true --eval_strategy steps --label_names a b
--bf16 --optim adamw_torch --logging_steps 0.1 --lr_scheduler_kwargs {} --save_strategy best --use_cpu 1
--report_to none --run_name x --warmup_steps 0.2 --no_logging_nan_inf_filter --fsdp_config f.json
--hub_private_repo yes --include_for_metrics inputs --seed 3
""".split()


@dataclass
class Options:
    name: str = field(metadata={"help": "Needed."})
    count: int | None = option("How many. Default: all.")
    share: float = option("A share, in %%.", 0.5)
    names: list[str] | None = option("Names.")
    loud: bool = option("Whether.", False)
    quick: bool = option("Whether.", True)
    either: bool | None = option("Whether.")
    kind: str = option("Which.", "a", choices=("a", "b"))


def parse(*words):
    (options,) = OptionParser(Options, prog="p").parse(["--name", "n", *words])
    return options


def test_values_have_the_types_of_their_fields():
    assert vars(parse()) == vars(Options("n"))
    words = "--count 3 --share .25 --names x y --loud --quick false --either no --kind b"
    expected = Options("n", 3, 0.25, ["x", "y"], True, False, False, "b")
    assert vars(parse(*words.split())) == vars(expected)
    assert parse("--no-quick", "--loud=false").quick is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "x"], "argument --count: invalid int value: 'x'"),
        (["--loud", "maybe"], "argument --loud: expected true or false, got 'maybe'"),
        (["--kind", "c"], "argument --kind: invalid choice: 'c'"),
        (
            ["--nam", "x"],
            "unknown arguments: --nam x; check the spelling (did you mean --name?), --help lists them all",
        ),
        (["--zzzz", "x"], "unknown arguments: --zzzz x; check the spelling, --help lists them all"),
    ],
)
def test_wrong_values_are_refused(capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        parse(*words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nmae", "x"], "error: unknown arguments: --nmae; check the spelling (did you mean --name?), --help lists "
        "them all; the following arguments are required: --name\n"),
        (["--qiet", "--count", "x"], "(did you mean --quiet?), --help lists them all; argument --count: invalid int"),
        (["--coun=3"], "unknown arguments: --coun=3; check the spelling (did you mean --count?), "),
        (["--quiet", "--no-quick", "--", "--nmae"], "error: the following arguments are required: --name\n"),
    ],
)  # fmt: skip
def test_misspelt_options_are_named_with_what_else_is_wrong(capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        OptionParser(Options, prog="p").parse(words)
    assert message in capsys.readouterr().err


def test_an_empty_path_is_not_the_current_folder(capsys):
    parser = OptionParser(Options, prog="p")
    parser.add_argument("--out", type=path_argument)
    assert parser.parse(["--name", "n", "--out", "a/b"])[1].out == Path("a/b")
    with pytest.raises(SystemExit, match="2"):
        parser.parse(["--name", "n", "--out", ""])
    assert "argument --out: the path is empty" in capsys.readouterr().err


def test_the_help_shows_each_option_once_with_its_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse("--help")
    shown = capsys.readouterr().out
    assert "--count N" in shown and "How many. Default: all." in shown
    assert "A share, in %. Default: 0.5." in shown
    assert "--quick [BOOL]" in shown and "--no_quick" not in shown


def test_the_options_of_trainer_are_read_as_its_own_parser_reads_them():
    (theirs,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(WORDS)
    (ours,) = OptionParser(TrainingArguments).parse(WORDS)
    assert ours.eval_strategy is IntervalStrategy.STEPS and ours.learning_rate == 1e-3
    different = [name for name, value in theirs.to_dict().items() if ours.to_dict()[name] != value]
    assert different == []


def test_options_of_trainer_that_we_describe_have_its_types():
    known = {one.name: one for one in fields(TrainingArguments)}
    # A default of ours that is no other than Trainer's is one that a new version may change.
    changed = {
        *("per_device_train_batch_size per_device_eval_batch_size learning_rate weight_decay warmup_steps").split(),
        *("train_sampling_strategy eval_strategy save_strategy save_total_limit load_best_model_at_end").split(),
        *("metric_for_best_model restore_callback_states_from_checkpoint hub_private_repo").split(),
    }
    shared = [one for one in fields(TrainingOptions) if one.name in known]
    assert {one.name for one in shared if one.default != known[one.name].default} == changed
