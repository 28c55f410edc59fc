"""How much memory a run takes with more and more training rows, which are stored on disk or streamed.

`python benchmarks/memory.py --backbone DIR --train_file FILE.jsonl --label_names_file FILE [--rows 10000 1000000]`

Real rows are repeated until there are enough of them; all are read, checked and (if stored) tokenized, then a few
steps are trained, and evaluated on the first thousand. Inputs are cut at 96 tokens, so that no batch needs more than
others because of one long text. Each run is a fresh process that finds nothing stored. Its own
memory is what it has written; mapped in are also pages of files, which the system takes back when it needs the room.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "run_multilabel.py"
MODES = {"stored": [], "streamed": ["--streaming"]}
MEBIBYTE = 1024


def memory_of(process: subprocess.Popen) -> dict[str, int]:
    """Follow a process to its end.

    Returns:
        The most that it had, in KiB: of memory of its own, and with the files that are mapped.
    """
    most = {"RssAnon": 0, "VmHWM": 0}
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in most:
                most[name] = max(most[name], int(value.split()[0]))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"a run failed: {process.args}")
    return most


def main() -> None:
    """Run the script in all sizes and modes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--train_file", required=True, help="jsonl")
    parser.add_argument("--label_names_file", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--max_steps", type=int, default=30)
    arguments = parser.parse_args()
    lines = Path(arguments.train_file).read_text(encoding="utf-8").splitlines()
    print(
        "| rows | file | rows are | own memory | against the first | with mapped files | against the first | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|")
    first: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        train, validation = Path(folder, "train.jsonl"), Path(folder, "validation.jsonl")
        validation.write_text("\n".join(lines[:1000]), encoding="utf-8")
        for rows in arguments.rows:
            with train.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in islice(cycle(lines), rows))
            for mode, words in MODES.items():
                output_dir = Path(folder, f"{mode}-{rows}")
                command = [sys.executable, str(SCRIPT), "--model_name_or_path", arguments.backbone, "--do_train"]
                command += ["--do_eval", "--train_file", str(train), "--validation_file", str(validation)]
                command += ["--label_names_file", arguments.label_names_file, "--max_steps", str(arguments.max_steps)]
                command += ["--use_cpu", "--disable_tqdm", "true", "--eval_strategy", "steps", "--save_strategy"]
                command += ["steps", "--max_seq_length", "96", "--output_dir", str(output_dir), *words]
                environment = {**os.environ, "HF_DATASETS_CACHE": str(Path(folder, f"cache-{mode}-{rows}"))}
                started = time.perf_counter()
                most = memory_of(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
                seconds = time.perf_counter() - started
                base = first.setdefault(mode, most)
                cells = [
                    cell
                    for name in most
                    for cell in (f"{most[name] / MEBIBYTE:,.0f} MiB", f"{most[name] / base[name]:.2f}")
                ]
                size = f"{train.stat().st_size / 2**20:,.0f} MiB"
                print("|", " | ".join([f"{rows:,}", size, mode, *cells, f"{seconds:.0f}"]), "|", flush=True)


main()
