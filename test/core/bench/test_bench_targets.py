# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Targets: judged by the rows that they are about, binding where they should."""

import pytest

from robollm_core.bench.targets import all_kept, judge, sentence

AMX = {"flags": ["avx2", "amx_bf16"]}
PLAIN = {"flags": ["avx2"]}


def row(runtime="openvino", **values):
    base = {"size": "base", "stage": "embedder", "precision": "bf16", "batch": 1}
    return {**base, "runtime": runtime, "ratio_to_torch": None, "peak_fraction": None, **values}


def test_the_best_cpu_runtime_is_judged_and_torch_is_none():
    rows = [
        row("onnx", precision="fp32", ratio_to_torch=1.2),
        row(ratio_to_torch=4.3),
        row("torch", ratio_to_torch=9.0),
        row(size="tiny", ratio_to_torch=8.0),
        row(batch=8, peak_fraction=0.49),
        row(batch=8, precision="int8", peak_fraction=0.9),
    ]
    speed, share = judge(rows, AMX, "cpu")
    assert speed["kept"] is True and speed["value"] == 4.3 and speed["by"] == "openvino bf16"
    assert share["kept"] is False and share["value"] == 0.49
    assert not all_kept([speed, share]) and all_kept([speed])


def test_a_miss_binds_on_a_cpu_with_amx_alone():
    rows = [row(ratio_to_torch=1.0)]
    assert not all_kept(judge(rows, AMX, "cpu"))
    told = judge(rows, PLAIN, "cpu")
    assert told[0]["kept"] is False and all_kept(told)
    assert "not kept (does not bind on this machine)" in sentence(told[0])


def test_what_was_not_measured_is_said_and_not_missed():
    told = judge([{**row(), "error": "no kernel"}], AMX, "cpu")
    assert [target["kept"] for target in told] == [None, None] and all_kept(told)
    assert sentence(told[0]).endswith("not measured")


@pytest.mark.parametrize(("ms", "kept"), [(14.9, True), (15.1, False)])
def test_a_gpu_is_judged_by_its_own_targets(ms, kept):
    rows = [row("tensorrt", stage="segmenter", image_hw=[1024, 1024], ms=ms)]
    crop, one, frame = judge(rows, PLAIN, "cuda")
    assert frame["kept"] is kept and crop["kept"] is one["kept"] is None
