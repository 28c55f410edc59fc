"""The script, started in two processes as users start it: what is learnt, and how a job ends in which one fails."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from safetensors.torch import load_file
from transformers import AutoModel

from bert_multilabel import BertForMultiLabelCLS
from bert_multilabel.model.layer import EncoderLayer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from tests.conftest import make_rows, mark_unfinished, save_checkpoint
from tests.forked import PATIENCE, end_all

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "examples" / "accelerate"
SCRIPT = ROOT / "run_multilabel.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
ACCELERATE_CPU = [*ACCELERATE, str(CONFIGS / "cpu.yaml"), "--main_process_port", "0"]
# FSDP on the cores of this machine: all is as on GPUs, but for the device, of which Accelerate takes none but those.
AS_IF_ON_GPUS = f"""
import os, runpy
from accelerate.state import PartialState
from accelerate.utils import DistributedType
PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
# Shows the threads of gloo that are left at the end.
SHOWS_THREADS = f"""
import atexit, glob, runpy, time
def show():
    time.sleep(1)  # the system may list a thread a moment longer
    names = [open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")]
    print("left at the end:", [name for name in names if "gloo" in name], flush=True)
atexit.register(show)
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
ONE_RAISES = f"""
import os, runpy
from bert_multilabel.training.trainer import MultiLabelTrainer
step = MultiLabelTrainer.training_step
def training_step(self, *arguments, **more):
    if os.environ["RANK"] == "1" and self.state.global_step == 3:
        raise MemoryError("no room for step 3")
    return step(self, *arguments, **more)
MultiLabelTrainer.training_step = training_step
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


def launched_as(config, monkeypatch, *words):
    """What `accelerate launch` makes of a config: its arguments and the environment of the processes it starts."""
    args = launch_command_parser().parse_args(["--config_file", str(CONFIGS / config), *words, "script.py"])
    args, _, _ = _validate_launch_command(args)
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ""
        environment = prepare_deepspeed_cmd_env(args)[1]
    else:
        environment = prepare_multi_gpu_env(args)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return args


def test_each_config_says_how_it_is_started():
    names = {path.name for path in CONFIGS.iterdir()}
    assert names == {"cpu.yaml", "ddp.yaml", "fsdp.yaml", "deepspeed.yaml"}
    for name in names:
        config = load_config_from_file(str(CONFIGS / name))
        assert config.num_processes == 2 and config.num_machines == 1 and config.mixed_precision == "no"
        assert f"accelerate launch --config_file examples/accelerate/{name} " in (CONFIGS / name).read_text()


@pytest.mark.parametrize("config", ["cpu.yaml", "ddp.yaml"])
def test_the_plain_configs_start_processes_by_torchrun(config, monkeypatch):
    args = launched_as(config, monkeypatch, "--num_processes", "8")
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed, args.cpu) == (True, False, False, False)
    assert args.nproc_per_node == "8" and args.use_cpu == (config == "cpu.yaml")
    assert "ACCELERATE_USE_FSDP" not in os.environ and os.environ["ACCELERATE_MIXED_PRECISION"] == "no"


def test_the_config_of_fsdp_shards_layer_by_layer_and_saves_all_weights(monkeypatch):
    args = launched_as("fsdp.yaml", monkeypatch)
    assert args.use_fsdp and not args.multi_gpu and os.environ["ACCELERATE_USE_FSDP"] == "true"
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.state_dict_type.name) == (2, "FULL_STATE_DICT")
    assert plugin.reshard_after_forward is True and plugin.cpu_ram_efficient_loading is False
    assert plugin.transformer_cls_names_to_wrap == [EncoderLayer.__name__]


def test_the_config_of_deepspeed_leaves_weights_whole_and_the_optimizer_ours(monkeypatch):
    assert launched_as("deepspeed.yaml", monkeypatch).use_deepspeed
    plugin = DeepSpeedPlugin()
    assert plugin.zero_stage == 2 and plugin.zero3_init_flag is False
    assert plugin.hf_ds_config.get_value("zero_optimization.offload_optimizer.device") == "none"
    assert plugin.hf_ds_config.get_value("gradient_clipping") == "auto"
    assert plugin.hf_ds_config.get_value("optimizer") is None


def test_zero_stage_3_is_refused(monkeypatch, tmp_path):
    args = parse_arguments(["--model_name_or_path", "x", "--output_dir", str(tmp_path), "--do_train"])[2]
    launched_as("deepspeed.yaml", monkeypatch, "--zero_stage", "3")
    args.deepspeed_plugin = DeepSpeedPlugin()  # which Transformers makes only where DeepSpeed is installed
    with pytest.raises(ValueError, match=r"ZeRO stage 3 shards the weights .* examples/accelerate/deepspeed.yaml"):
        args._check_integrations()


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """The options of a run that two processes and one do alike, without its output folder and its batch size."""
    root = tmp_path_factory.mktemp("launching")
    backbone = save_checkpoint(root / "backbone", "uncased", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for name, count in (("train", 45), ("validation", 37)):
        (root / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in make_rows(count)))
    return f"""--model_name_or_path {backbone} --strategy cls --train_file {root / "train.jsonl"} --do_train --do_eval
        --validation_file {root / "validation.jsonl"} --disable_tqdm true --learning_rate 1e-3 --num_train_epochs 2
        --adam_epsilon 1e-3""".split()


@pytest.fixture(scope="module")
def of_one_process(options, tmp_path_factory):
    """The folder and the results of that run in one process."""
    folder = tmp_path_factory.mktemp("one") / "out"
    words = ["--per_device_train_batch_size", "8", "--use_cpu", "--output_dir", str(folder)]
    return folder, run(parse_arguments([*options, *words]))


def start(*words):
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        list(map(str, words)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    """Wait for a launcher and return its output; one that takes too long is ended, with what it has started."""
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        end_all(process)
        raise AssertionError(process.communicate()[0]) from None


@pytest.mark.slow
def test_the_config_for_cpu_cores_really_starts_two(options, of_one_process, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SHOWS_THREADS)
    words = ["--per_device_train_batch_size", "4", "--use_cpu", "--output_dir", tmp_path / "out"]
    process = start(*ACCELERATE_CPU, script, *options, *words)
    output = finish(process)
    assert process.returncode == 0, output
    if find_spec("deepspeed") is None:  # which holds on to the group
        assert output.count("left at the end: []") == 2
    check_same(tmp_path / "out", of_one_process)
    assert len(list((tmp_path / "out" / "checkpoint-12").glob("rng_state_*.pth"))) == 2  # of two processes
    for once in ("3 labels with their training rows", "***** eval metrics *****", "written to"):
        assert output.count(once) == 1


@pytest.mark.slow
def test_fsdp_learns_the_same_and_leaves_an_ordinary_folder(options, of_one_process, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(AS_IF_ON_GPUS)
    launcher = [*ACCELERATE, CONFIGS / "fsdp.yaml", "--main_process_port", "0", script]
    dealt = ["--per_device_train_batch_size", "4", "--output_dir", tmp_path / "out"]
    predict = ["--do_predict", "--test_file", options[options.index("--validation_file") + 1]]
    process = start(*launcher, *options, *dealt, *predict)
    output = finish(process)
    assert process.returncode == 0, output
    check_same(tmp_path / "out", of_one_process)
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert type(model) is BertForMultiLabelCLS
    assert model.config.auto_map["AutoModel"] == "modeling_multilabel.BertForMultiLabelCLS"
    saved = load_file(tmp_path / "out" / "model.safetensors")
    checkpoint = tmp_path / "out" / "checkpoint-12"
    assert all(
        torch.equal(saved[name], weights) for name, weights in load_file(checkpoint / "model.safetensors").items()
    )
    for folder in (tmp_path / "out", checkpoint):
        assert not list(folder.glob("_*.py"))  # torch's own code, by the class that FSDP makes

    # Refused before anything is done, in one message.
    dealt = ["--output_dir", tmp_path / "other"]
    for refused, message in (
        (["--lora_rank", "2"], "--lora_rank 2 cannot be merged into a model that FSDP"),
        (["--weight_averaging", "0.9"], "--weight_averaging 0.9 cannot average the weights of a model that FSDP"),
        (["--do_train", "false", "--model_name_or_path", tmp_path / "out"], "FSDP is for training"),
    ):
        output = finish(start(*launcher, *options, *refused, *dealt))
        assert len(re.findall(f"^{message}", output, re.MULTILINE)) == 1, output


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs DeepSpeed")
def test_deepspeed_learns_the_same_and_goes_on_from_a_checkpoint(options, of_one_process, tmp_path, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    out = tmp_path / "out"
    words = ["--per_device_train_batch_size", "4", "--use_cpu", "--output_dir", out]
    command = [*ACCELERATE, CONFIGS / "deepspeed.yaml", "--main_process_port", "0", SCRIPT, *options, *words]
    process = start(*command)
    output = finish(process)
    assert process.returncode == 0, output
    check_same(out, of_one_process)
    left_alone = load_file(out / "model.safetensors")

    # As a kill after the first of two checkpoints would leave the folder.
    shutil.rmtree(out / "checkpoint-12")
    mark_unfinished(out)
    process = start(*command)
    output = finish(process)
    assert process.returncode == 0 and f"resuming from {out / 'checkpoint-6'}" in output, output
    weights = load_file(out / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in left_alone.items())


@pytest.mark.slow
def test_two_processes_read_the_windows_that_one_reads(options, tmp_path):
    words = [*options, "--use_cpu", "--stride", "2", "--max_seq_length", "12", "--per_device_eval_batch_size", "5"]
    one, two = tmp_path / "one", tmp_path / "two"
    results = run(parse_arguments([*words, "--per_device_train_batch_size", "8", "--output_dir", str(one)]))
    process = start(*TORCHRUN, SCRIPT, *words, "--per_device_train_batch_size", "4", "--output_dir", two)
    output = finish(process)
    assert process.returncode == 0, output
    found = json.loads((two / "all_results.json").read_text())
    # Not average precision, where rounding orders equal texts.
    for name in ("eval_loss", "eval_hamming_score", "eval_micro_f1"):
        assert found[name] == pytest.approx(results[name], abs=1e-4), name
    weights = (load_file(folder / "model.safetensors") for folder in (two, one))
    torch.testing.assert_close(*weights, atol=1e-4, rtol=1e-3)


def check_same(folder, of_one_process):
    """The weights and the scores of a folder are those of the run in one process."""
    other, results = of_one_process
    found = json.loads((folder / "all_results.json").read_text())
    for name, value in results.items():
        if name.startswith("eval_") and not name.endswith(("time", "per_second")):
            assert found[name] == pytest.approx(value, abs=1e-4), name
    one, two = (load_file(path / "model.safetensors") for path in (other, folder))
    torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-3)


def end_of(process, log=""):
    """Read the rest of a launcher's output, which ends long before the processes would; return all of it."""
    output = finish(process)
    assert process.returncode != 0, log + output
    return log + output


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "rank"), [(TORCHRUN, "1"), (ACCELERATE_CPU, "0")])
def test_a_process_that_is_killed_ends_the_job(options, tmp_path, launcher, rank):
    endless = ["--max_steps", "1000000", "--save_strategy", "no", "--eval_strategy", "no", "--logging_steps", "1"]
    process = start(*launcher, SCRIPT, *options, *endless, "--use_cpu", "--output_dir", tmp_path / "out")
    log = ""
    try:
        while "step 5 of" not in log:
            line = process.stdout.readline()
            assert line, log
            log += line
        (one,) = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.environ().get("RANK") == rank and str(SCRIPT) in child.cmdline()
        ]
        one.kill()
        assert "exitcode  : -9" in end_of(process, log)
    finally:
        end_all(process)
    assert not json.loads((tmp_path / "out" / "training_run.json").read_text())["finished"]


@pytest.mark.slow
def test_a_process_that_raises_ends_the_job(options, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ONE_RAISES)
    words = ["--per_device_train_batch_size", "4", "--use_cpu", "--output_dir", tmp_path / "out"]
    process = start(*TORCHRUN, script, *options, *words)
    assert "MemoryError: no room for step 3" in end_of(process)


@pytest.mark.slow
def test_what_all_processes_find_out_is_said_once(options, tmp_path):
    folder = ["--output_dir", str(tmp_path / "out")]
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "labels": ["x"]}\n{"text": 7, "labels": ["x"]}')
    for words, message in (
        (
            [*options, *folder, "--use_cpu", "--train_file", str(tmp_path / "bad.jsonl")],
            "7 is not text but of type int",
        ),
        ([*options, *folder, "--use_cpu", "--learning_rat", "1"], "unknown arguments: --learning_rat 1"),
        ([*options, *folder], r"2 processes were started \(WORLD_SIZE\), but training would see 1"),
    ):
        output = end_of(start(*TORCHRUN, SCRIPT, *words))
        assert len(re.findall(message, output)) == 1, output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
