"""The name of the processor of a benchmark, and what it can do that decides on the speed of matrix products."""

import platform
from pathlib import Path

import torch

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def describe(device: str = "cpu") -> str:
    """Return the name of the device, with the flags of a CPU, the threads of torch and its version."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name, flags = platform.processor() or platform.machine(), ""
    if (info := Path("/proc/cpuinfo")).is_file():
        known = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        known = {key.strip(): value.strip() for key, value in known.items()}
        name = known.get("model name", name)
        flags = " ".join(flag for flag in _FLAGS if flag in known.get("flags", "").split())
    return f"{name} ({flags}), {torch.get_num_threads()} threads, torch {torch.__version__}"
