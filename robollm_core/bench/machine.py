# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a time depends on besides the code: processor, clocks, threads, versions, load."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from robollm_core.runtime import processor

MATRIX_FLAGS = (
    "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8 "
    "amx_fp16 asimd sve bf16 i8mm"
).split()
"""Instruction sets, as Linux names them, that decide the arithmetic of a network."""
PACKAGES = (
    "numpy onnx onnxruntime onnxruntime-gpu openvino torch tensorrt tensorrt-cu12 tensorrt-cu13 "
    "tensorrt-rtx tensorrt-rtx-cu12 tensorrt-rtx-cu13 cuda-bindings mmdet onedl-mmdetection"
).split()
_VARIABLES = (
    "GLIBC_TUNABLES KMP_AFFINITY LD_PRELOAD MKL_NUM_THREADS OMP_NUM_THREADS OMP_WAIT_POLICY "
    "ONEDNN_MAX_CPU_ISA TORCHINDUCTOR_FREEZING"
).split()
"""Of the environment, that change how fast a library is."""
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_GPU_FACTS = (
    "name driver_version memory.total clocks.sm clocks.max.sm clocks.mem power.limit "
    "temperature.gpu"
).split()


def facts(threads: int) -> dict[str, Any]:
    """Describe the machine as it is now.

    Args:
        threads: asked for; 0 means one for each core of the affinity.

    Returns:
        "cpu", "cores", "affinity" (core numbers), "mhz" (of each core, now), "cpufreq"
        (governor and limits, where the kernel tells), "flags" (those of
        `MATRIX_FLAGS`), "memory_gb", "huge_pages" (the kernel's mode, "" where there is
        none), "environment" (variables that change how fast a library is), "os",
        "python", "versions" (of each package that is there), "threads", "load"
        (averages over 1, 5 and 15 minutes) and "gpus".
    """
    affinity = sorted(os.sched_getaffinity(0))
    known = set(processor.instructions().split())
    return {
        "cpu": processor.model(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "mhz": [float(value) for value in processor.told().get("cpu MHz", [])],
        "cpufreq": _cpufreq(),
        "flags": [flag for flag in MATRIX_FLAGS if flag in known],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "huge_pages": _read(_HUGE_PAGES),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "threads": threads or len(affinity),
        "load": load(),
        "gpus": gpus(),
    }


def load() -> list[float]:
    """Load averages over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def has_amx(machine: dict[str, Any]) -> bool:
    """Whether a machine multiplies bf16 matrices in tiles."""
    return "amx_bf16" in machine["flags"]


def versions() -> dict[str, str]:
    """Package to version, of those of `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpufreq() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    names = ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq")
    return {name: text for name in names if (text := _read(folder / name))}


def _read(path: Path) -> str:
    """What the kernel says there, or nothing."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def gpus() -> list[dict[str, str]]:
    """What nvidia-smi says of each card; none where there is no such program or no card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    words = [program, f"--query-gpu={','.join(_GPU_FACTS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    return [dict(zip(_GPU_FACTS, row, strict=True)) for row in rows if len(row) == len(_GPU_FACTS)]
