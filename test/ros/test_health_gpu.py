# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU's status comes from NVIDIA's library, and is absent where there is none."""

import sys
from types import SimpleNamespace

import pytest

from robollm_ros import gpu
from robollm_ros.status import ERROR, OK, WARN

HEAT, BRAKE, POWER_CAP = 0x40, 0x80, 0x4


class NVMLError(Exception):
    pass


def refuse(*_):
    raise NVMLError("Unknown Error")


def library(**changes):
    """NVIDIA's library as pynvml offers it, with one card that is well."""
    parts = {
        "NVMLError": NVMLError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlClocksThrottleReasonSwThermalSlowdown": 0x20,
        "nvmlClocksThrottleReasonHwThermalSlowdown": HEAT,
        "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": BRAKE,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: f"card {index}",
        "nvmlDeviceGetName": lambda card: "NVIDIA L4",
        "nvmlDeviceGetUUID": lambda card: "GPU-1",
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(used=3 << 30, total=24 << 30),
        "nvmlDeviceGetTemperature": lambda card, sensor: 61,
        "nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=37),
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda card: POWER_CAP,
    }
    return SimpleNamespace(**{**parts, **changes})


@pytest.fixture
def install(monkeypatch):
    def put(nvml):
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        gpu._library.cache_clear()

    yield put
    gpu._library.cache_clear()


def test_a_card_that_is_well(install):
    install(library())
    status = gpu.read_gpu()
    assert (status.name, status.level) == ("gpu", OK)
    assert status.message == "61 C, 3072 MiB in use"
    assert status.values["memory_total_mib"] == 24576
    assert status.values["utilization_percent"] == 37
    # a busy card is always at its power limit
    assert status.values["throttled"] == ""


@pytest.mark.parametrize(
    ("bits", "said"),
    [(HEAT, "heat"), (BRAKE | POWER_CAP, "the power brake"), (HEAT | BRAKE, "heat and the power")],
)
def test_a_card_that_is_slowed_down_is_a_warning(install, bits, said):
    install(library(nvmlDeviceGetCurrentClocksThrottleReasons=lambda card: bits))
    status = gpu.read_gpu()
    assert status.level == WARN
    assert f"slowed down by {said}" in status.message


def test_a_driver_that_stops_answering_is_an_error(install):
    install(library(nvmlDeviceGetMemoryInfo=refuse))
    status = gpu.read_gpu()
    assert status.level == ERROR
    assert "nvidia-smi" in status.message


@pytest.mark.parametrize(
    "nvml", [None, library(nvmlInit=refuse), library(nvmlDeviceGetCount=lambda: 0)]
)
def test_without_library_driver_or_card_there_is_no_status(install, nvml):
    install(nvml)
    assert gpu.read_gpu() is None
