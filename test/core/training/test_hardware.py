# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which precision a run computes in."""

import pytest
import torch

from robollm_core.errors import ConfigError
from robollm_core.training import hardware
from robollm_core.training.recipe import LoopRecipe


def test_auto_is_bf16_where_the_hardware_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for has, name in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(hardware, "has_bf16", lambda device, answer=has: answer)
        assert hardware.pick_precision(LoopRecipe(precision="auto"), cpu) == name
        assert hardware.pick_precision(LoopRecipe(precision="fp32"), cpu) == "fp32"
    with pytest.raises(ConfigError, match="precision must be one of auto, fp32, bf16"):
        hardware.pick_precision(LoopRecipe(precision="fp16"), cpu)


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (False, False)])
def test_a_cpu_has_bf16_when_torch_says_so(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert hardware.has_bf16(torch.device("cpu")) is (avx512 or amx)
