# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of the machine."""

import json
import os
import stat

import numpy as np

from robollm_core.bench import machine


def test_the_machine_is_described_in_plain_values():
    told = machine.facts(threads=0)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["affinity"] == sorted(os.sched_getaffinity(0))
    assert told["threads"] == len(told["affinity"]) and machine.facts(3)["threads"] == 3
    assert told["versions"]["numpy"] == np.__version__
    assert set(told["flags"]) <= set(machine.MATRIX_FLAGS) and len(told["load"]) == 3
    assert machine.has_amx({"flags": ["amx_bf16"]}) and not machine.has_amx({"flags": ["avx2"]})


def test_what_the_environment_tells_the_libraries_is_noted(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    told = machine.facts(0)["environment"]
    assert told["OMP_NUM_THREADS"] == "7" and "GLIBC_TUNABLES" not in told


def test_cards_are_told_as_nvidia_smi_tells_them(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'Some Card, 570.1, 80000 MiB, 1980 MHz, 1980 MHz, 2619 MHz, 700 W, 41'\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (card,) = machine.gpus()
    assert card["name"] == "Some Card" and card["clocks.sm"] == "1980 MHz"


def test_without_a_driver_there_is_no_card(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert machine.gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert machine.gpus() == []
