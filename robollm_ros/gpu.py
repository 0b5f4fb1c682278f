# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The first GPU of the machine as NVIDIA's management library sees it; absent where there is none.

The package nvidia-ml-py is optional: a cell without a GPU needs none of it.
"""

import importlib
from functools import cache
from typing import Any

from robollm_ros.status import ERROR, OK, WARN, Status

_MIB = 1 << 20


def read_gpu() -> Status | None:
    """The status `gpu`, or None where no GPU, no driver or no library is."""
    nvml = _library()
    if nvml is None:
        return None
    try:
        return _status(nvml, nvml.nvmlDeviceGetHandleByIndex(0))
    except nvml.NVMLError as error:
        return Status("gpu", ERROR, f"the driver does not answer: {error}; look at nvidia-smi")


@cache
def _library() -> Any:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return nvml if nvml.nvmlDeviceGetCount() else None
    except nvml.NVMLError:
        return None


def _status(nvml: Any, device: Any) -> Status:
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    celsius = nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU)
    values = {
        "name": nvml.nvmlDeviceGetName(device),
        "uuid": nvml.nvmlDeviceGetUUID(device),
        "temperature_c": celsius,
        "utilization_percent": nvml.nvmlDeviceGetUtilizationRates(device).gpu,
        "memory_used_mib": memory.used // _MIB,
        "memory_total_mib": memory.total // _MIB,
        "throttled": _throttled(nvml, device),
    }
    if values["throttled"]:
        text = f"slowed down by {values['throttled']} at {celsius} C; look at its cooling and power"
        return Status("gpu", WARN, text, values)
    return Status("gpu", OK, f"{celsius} C, {values['memory_used_mib']} MiB in use", values)


def _throttled(nvml: Any, device: Any) -> str:
    """Why it runs slower than it should; "" while it does not."""
    bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)
    # its power limit is no reason: a busy GPU is always at it
    reasons = {
        "heat": nvml.nvmlClocksThrottleReasonSwThermalSlowdown
        | nvml.nvmlClocksThrottleReasonHwThermalSlowdown,
        "the power brake": nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }
    return " and ".join(name for name, mask in reasons.items() if bits & mask)
