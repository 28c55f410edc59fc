"""Training that is killed, starved and damaged for real, and goes on by the same command to the same weights.

`python benchmarks/faults.py [--times 5] [--seed 0] [--faults NAME ...] [--folder DIR]`

A small run, with checkpoints after 20, 40 and 60 steps, is left alone once. Then each fault strikes it `--times`
times, at moments drawn by the seed: in turn at any moment, and within a save. After that it is started again with the
same command until it ends, and its weights are held against those of the run that was left alone. All the while
another process loads every model folder that it can see, the output folder and the checkpoints, over and over: each
must be a whole model of one save. The processes are forked from one that has imported what they need, and are real
ones in all else. For a full disk, a file system of limited size is mounted; only root can do that.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel, BertTokenizer
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from bert_multilabel import auto as auto  # the Auto classes know our folders
from bert_multilabel.output_dir.atomic_save import UNFINISHED
from bert_multilabel.output_dir.checkpoints import RUN_FILE
from bert_multilabel.utils.files import CHECKSUMS_FILE, sha256

SCRIPT = Path(__file__).resolve().parents[1] / "run_multilabel.py"
FORKS = multiprocessing.get_context("forkserver")
CHECKPOINTS = ["checkpoint-20", "checkpoint-40", "checkpoint-60"]
OUT = "out"


def make_command(folder: Path) -> list[str]:
    """Write a tiny BERT and rows to train it on, and return the command line without its output folder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "price", "is", "good", "gift", *"abcdefgt", "##t"]
    # A large vocabulary makes saving take long enough to be hit, and leaves the steps short.
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=40_000, **sizes)).save_pretrained(folder / "bert")
    BertTokenizer({word: number for number, word in enumerate(words)}).save_pretrained(folder / "bert")
    rows = [
        {
            "text": " ".join(["the price"] * (n % 7 + 1)),
            "labels": [name for bit, name in enumerate("abc") if n >> bit & 1],
        }
        for n in range(120)
    ]
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    options = f"""--model_name_or_path {folder / "bert"} --train_file {folder / "train.jsonl"} --do_train --do_eval
        --use_cpu --max_steps 60 --per_device_train_batch_size 4 --save_strategy steps --save_steps 20
        --eval_strategy steps --eval_steps 20 --disable_tqdm true --validation_fraction 0.2"""
    return [str(SCRIPT), *options.split(), "--output_dir"]


def run_script(words: list[str], log: str) -> None:
    """Be the process of a command, from its first line on; what it imports, which takes longest, is there already."""
    with open(log, "w", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


# The watcher


@dataclass
class Watcher:
    """A process that loads whatever model it sees in an output folder, and what came of it.

    Attributes:
        connection: To the process.
        seen: How many loads went well, found no model, lost it while they went on, or found half of one.
        weights: The checksum of weights, with the name of their folder.
        wrong: What half-written models lacked.
    """

    connection: Connection
    seen: Counter[str] = field(default_factory=Counter)
    weights: set[tuple[str, str]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def start(cls) -> Iterator["Watcher"]:
        """Start the process; it ends with the block."""
        mine, its = multiprocessing.Pipe()
        multiprocessing.get_context("spawn").Process(target=look_on, args=(its,), daemon=True).start()
        watcher = cls(mine)
        mine.recv()  # it is ready
        yield watcher
        mine.send(None)

    def look_away(self) -> None:
        """Look where nothing is."""
        self.look_at(Path("nowhere") / OUT)

    def look_at(self, output_dir: Path, damaged: Path | None = None) -> None:
        """Look at an output folder from now on, but not at a checkpoint in it that was damaged on purpose."""
        self.connection.send((output_dir, damaged and identity(damaged)))
        seen, weights, wrong = self.connection.recv()
        self.seen += seen
        self.weights |= weights
        self.wrong += wrong


def look_on(connection: Connection) -> None:
    """Be the process of a `Watcher`."""
    set_verbosity_error()
    disable_progress_bar()
    os.nice(5)  # it is to look often, and not to hold up what it looks at
    connection.send("ready")
    asked = connection.recv()
    connection.send((Counter(), set(), []))
    while asked is not None:
        output_dir, damaged = asked
        seen, weights, wrong = Counter[str](), set[tuple[str, str]](), list[str]()
        while not connection.poll():
            for folder in (output_dir, *output_dir.glob("checkpoint-*")):
                if damaged is None or identity(folder) != damaged:
                    look(folder, seen, weights, wrong)
        asked = connection.recv()
        connection.send((seen, weights, wrong))


def look(folder: Path, seen: Counter[str], weights: set[tuple[str, str]], wrong: list[str]) -> None:
    """Load one folder, if there is a model in it, and take down what came of it."""
    before = identity(folder / "config.json")
    if before is None and folder.name == OUT:
        seen["none"] += 1
        time.sleep(0.001)
        return
    try:
        AutoModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if tokenizer.label_names != ["a", "b", "c"]:
            raise ValueError(f"the tokenizer has the labels {tokenizer.label_names}")
        checksum = sha256(folder / "model.safetensors")
    except Exception as error:  # whatever it is
        if folder.is_dir() and before == identity(folder / "config.json"):
            seen["half-written"] += 1
            wrong.append(f"{folder}: {error!r}, with {sorted(path.name for path in folder.iterdir())}")
        else:
            seen["gone meanwhile"] += 1
    else:
        weights.add((folder.name, checksum))
        seen["loads"] += 1


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file or folder from another in its place, or None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


# Runs and their moments


@dataclass
class Whole:
    """What came of the run that was left alone.

    Attributes:
        seconds: When what was there, from when the folder was claimed, and how long saves took.
        checkpoint_bytes: How large its checkpoints are.
        weights: The checksum of those it ended with.
    """

    seconds: dict[str, float]
    checkpoint_bytes: int
    weights: str


@dataclass
class Run:
    """One output folder, and what happens to the runs into it.

    Attributes:
        command: The command line without the output folder.
        output_dir: The folder.
        draw: Where all chance comes from.
        whole: What to hold it against.
        in_save: Whether to strike within a save.
        watcher: The one who looks on.
        logs: What each process has said.
        struck_in_save: Whether a save was going on when a fault struck.
    """

    command: list[str]
    output_dir: Path
    draw: random.Random
    whole: Whole
    in_save: bool
    watcher: Watcher
    logs: list[str] = field(default_factory=list)
    struck_in_save: bool = False

    @contextmanager
    def process(self) -> Iterator[BaseProcess]:
        """Start the command; at the end it must be over, and has said what is in `logs`."""
        with tempfile.NamedTemporaryFile() as log:
            process = FORKS.Process(target=run_script, args=([*self.command, str(self.output_dir)], log.name))
            process.start()
            try:
                yield process
                process.join(600)
            finally:
                process.kill()
                process.join()
                self.logs.append(Path(log.name).read_text(encoding="utf-8"))

    def wait_for_moment(self, process: BaseProcess, after: str | None = None) -> bool:
        """Wait until the fault is to strike; return whether the process is still there to be struck."""
        # What it has done already, or is to do before.
        last = after or (RUN_FILE if self.newest is None else self.newest.name)
        if self.in_save:
            name = self.draw.choice([*CHECKPOINTS[CHECKPOINTS.index(last) + 1 if last in CHECKPOINTS else 0 :], OUT])
            began, seconds = self.output_dir / UNFINISHED / name, self.whole.seconds[f"saving {name}"]
        else:
            began = self.output_dir / (after or RUN_FILE)
            seconds = self.whole.seconds["end"] - self.whole.seconds[last]
        of_before = identity(began)
        while identity(began) in (None, of_before) and process.is_alive():
            time.sleep(0.001)
        time.sleep(self.draw.uniform(0, seconds))
        self.struck_in_save = self.struck_in_save or (self.output_dir / UNFINISHED).exists()
        return process.is_alive()

    def strike(self, number: signal.Signals, after: str | None = None) -> bool:
        """Run until a moment, which may be after a checkpoint, and send a signal; return if it came before the end."""
        with self.process() as process:
            is_there = self.wait_for_moment(process, after)
            if is_there:
                os.kill(process.pid or 0, number)
        return is_there and process.exitcode == -number and not self.is_finished

    def finish(self) -> None:
        """Run to the end."""
        with self.process() as process:
            pass
        check(process.exitcode == 0, f"exit code {process.exitcode}", self.logs)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing more to do."""
        return bool(json.loads((self.output_dir / RUN_FILE).read_text(encoding="utf-8"))["finished"])

    @property
    def newest(self) -> Path | None:
        """The newest checkpoint."""
        found = [self.output_dir / name for name in CHECKPOINTS if (self.output_dir / name).is_dir()]
        return found[-1] if found else None


def check(holds: bool, what: str, logs: list[str]) -> None:
    """Stop everything if a promise is broken."""
    if not holds:
        raise SystemExit("\n".join([*logs, what]))


# Faults: each returns whether it struck before the end of the run


def kill(run: Run) -> bool:
    """SIGKILL."""
    return run.strike(signal.SIGKILL)


def kill_twice(run: Run) -> bool:
    """SIGKILL, and another one after the restart, which may come after the end."""
    is_struck = run.strike(signal.SIGKILL)
    if is_struck:
        run.strike(signal.SIGKILL)
    return is_struck


def terminate(run: Run) -> bool:
    """SIGTERM."""
    return run.strike(signal.SIGTERM)


def fill_disk(run: Run) -> bool:
    """Take all room but for a part of what a save needs."""
    filler = run.output_dir.parent / "filler"
    with run.process() as process:
        is_there = run.wait_for_moment(process)
        rest = run.draw.randrange(run.whole.checkpoint_bytes)
        with suppress(OSError):  # the run may write as well
            filler.write_bytes(bytes(max(0, shutil.disk_usage(filler.parent).free - rest)))
    filler.unlink()
    if not is_there or process.exitcode == 0:
        return False
    log = run.logs[-1]
    check("could not be written" in log and "MB are free" in log, "the disk is not named", run.logs)
    check("Traceback" not in log and process.exitcode == 1, f"exit code {process.exitcode}", run.logs)
    return True


def damage(run: Run, change: Callable[[Path], None], names: list[str]) -> bool:
    """SIGKILL, and then damage to a file of the newest checkpoint, which must be named and skipped."""
    if not run.strike(signal.SIGKILL, after=CHECKPOINTS[0]):
        return False
    damaged = run.newest
    assert damaged is not None
    run.watcher.look_at(run.output_dir, damaged)
    path = damaged / run.draw.choice(names)
    change(path)
    before = [name for name in CHECKPOINTS if (run.output_dir / name).is_dir()][:-1]
    run.finish()
    log = run.logs[-1]
    check(f"{damaged} is damaged (" in log and path.name in log, f"{path} is not named", run.logs)
    check(not before or f"resuming from {run.output_dir / before[-1]}\n" in log, "not from the one before", run.logs)
    return True


def cut(run: Run) -> bool:
    """A file of a checkpoint cut short, anywhere."""

    def change(path: Path) -> None:
        os.truncate(path, run.draw.randrange(path.stat().st_size))

    names = [
        "model.safetensors",
        "optimizer.pt",
        "trainer_state.json",
        "scheduler.pt",
        "rng_state.pth",
        CHECKSUMS_FILE,
    ]
    return damage(run, change, names)


def flip(run: Run, name: str) -> bool:
    """One byte of a file of a checkpoint changed, anywhere."""

    def change(path: Path) -> None:
        with path.open("r+b") as file:
            place = run.draw.randrange(path.stat().st_size)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ run.draw.randrange(1, 256)]))

    return damage(run, change, [name])


def remove_data(run: Run) -> bool:
    """SIGKILL, and a restart without the training file, which must be named."""
    if not run.strike(signal.SIGKILL):
        return False
    path = Path(run.command[run.command.index("--train_file") + 1])
    elsewhere = path.rename(path.with_suffix(".elsewhere"))
    with run.process() as process:
        pass
    elsewhere.rename(path)
    log = run.logs[-1]
    check(process.exitcode == 1 and str(path) in log and "Traceback" not in log, f"{path} is not named", run.logs)
    return True


FAULTS: dict[str, Callable[[Run], bool]] = {
    "SIGKILL": kill,
    "SIGKILL twice": kill_twice,
    "SIGTERM": terminate,
    "full disk": fill_disk,
    "checkpoint cut short": cut,
    "byte changed in model.safetensors": lambda run: flip(run, "model.safetensors"),
    "byte changed in optimizer.pt": lambda run: flip(run, "optimizer.pt"),
    "training file removed": remove_data,
}


def leave_alone(command: list[str], output_dir: Path, watcher: Watcher) -> Whole:
    """Run without a fault."""
    places = {name: output_dir / name for name in (RUN_FILE, *CHECKPOINTS)}
    places |= {f"saving {name}": output_dir / UNFINISHED / name for name in (*CHECKPOINTS, OUT)}
    came, went = dict[str, float](), dict[str, float]()
    run = Run(command, output_dir, random.Random(), Whole({}, 0, ""), False, watcher)
    output_dir.parent.mkdir()
    watcher.look_at(output_dir)
    with run.process() as process:
        while process.is_alive():
            for name, path in places.items():
                if path.exists():
                    came.setdefault(name, time.monotonic())
                elif name in came:
                    went.setdefault(name, time.monotonic())
            time.sleep(0.001)
        came["end"] = time.monotonic()
    check(process.exitcode == 0, f"exit code {process.exitcode}", run.logs)
    seconds = {
        name: went[name] - moment if name.startswith("saving") else moment - came[RUN_FILE]
        for name, moment in came.items()
    }
    checkpoint_bytes = sum(path.stat().st_size for path in (output_dir / CHECKPOINTS[-1]).iterdir())
    return Whole(seconds, checkpoint_bytes, sha256(output_dir / "model.safetensors"))


def strike_often(
    fault: str, times: int, seed: int, command: list[str], folder: Path, whole: Whole, watcher: Watcher
) -> str:
    """Let a fault strike, and return its row of the table."""
    seen = Counter(watcher.seen)
    in_save = restarts = 0
    for number in range(times):
        run = strike_once(fault, number, seed, command, folder, whole, watcher)
        if not run.is_finished:
            run.finish()
        check(sha256(run.output_dir / "model.safetensors") == whole.weights, "other weights", run.logs)
        check(not (run.output_dir / UNFINISHED).exists(), f"{UNFINISHED} is left", run.logs)
        watcher.look_away()
        check(not watcher.wrong, "\n".join(watcher.wrong[:9]), run.logs)
        shutil.rmtree(run.output_dir)
        in_save += run.struck_in_save
        restarts += len(run.logs) - 1
        print(f"{fault} {number}: {'in a save, ' if run.struck_in_save else ''}{len(run.logs)} starts", flush=True)
    seen = watcher.seen - seen
    row = [fault, times, in_save, restarts, f"{times} of {times}"]
    row += [seen[what] for what in ("loads", "none", "gone meanwhile", "half-written")]
    return f"| {' | '.join(map(str, row))} |"


def strike_once(
    fault: str, number: int, seed: int, command: list[str], folder: Path, whole: Whole, watcher: Watcher
) -> Run:
    """Start runs until one is struck before its end, and return it."""
    for attempt in count():
        output_dir = folder / OUT
        draw = random.Random(f"{seed} {fault} {number} {attempt}")
        run = Run(command, output_dir, draw, whole, number % 2 == 1, watcher)
        watcher.look_at(output_dir)
        if FAULTS[fault](run):
            return run
        print(f"{fault} {number}: over before the moment came, once more", flush=True)
        watcher.look_away()
        shutil.rmtree(output_dir)
    raise AssertionError("unreachable")


@contextmanager
def disk_of(megabytes: int, folder: Path) -> Iterator[Path]:
    """Mount a file system of limited size."""
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def main() -> None:
    """Strike, compare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="of each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--folder", type=Path, help="where the runs go; by default a temporary one")
    arguments = parser.parse_args()
    disable_progress_bar()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"  # those that are killed leave the locks of their bars
    FORKS.set_forkserver_preload(["bert_multilabel.training"])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, Watcher.start() as watcher:
        folder = Path(name)
        command = make_command(folder)
        whole = leave_alone(command, folder / "alone" / OUT, watcher)
        seconds = {name: round(seconds, 2) for name, seconds in whole.seconds.items()}
        print(f"left alone: {seconds} seconds, checkpoints of {whole.checkpoint_bytes / 1e6:.1f} MB", flush=True)
        heads = ["fault", "times", "within a save", "restarts", "ended with the same weights"]
        heads += ["models loaded", "none there", "gone while loading", "half-written"]
        table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for fault in arguments.faults:
            # Room for three checkpoints at once, and the model.
            small = disk_of(5 * whole.checkpoint_bytes // 1_000_000, folder / "disk")
            with small if fault == "full disk" else nullcontext(folder) as disk:
                row = strike_often(fault, arguments.times, arguments.seed, command, disk, whole, watcher)
            table.append(row)
        names = [name for name, _ in watcher.weights]
        check(len(names) == len(set(names)), f"different weights under one name: {watcher.weights}", [])
        print("\n".join(table))


if __name__ == "__main__":
    main()
