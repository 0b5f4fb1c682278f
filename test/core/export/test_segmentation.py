# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The real detector through the real command, at a small image size."""

import numpy as np
import pytest
import torch

from robollm_core.cli.main import main
from robollm_core.config import RuntimeConfig
from robollm_core.export.stages import trial_pictures
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine

RECIPE = {
    "encoder": "tiny",
    "input_height": 128,
    "input_width": 160,
    "channels": 32,
    "finest_stride": 8,
    "rpn_pre": 100,
    "proposals": 40,
    "head_width": 64,
    "mask_width": 32,
    "mask_convs": 1,
    "mask_all_stages": False,
    "detections": 20,
}


@pytest.mark.slow
def test_segmentation_exports_and_both_runtimes_find_the_same(tmp_path):
    pytest.importorskip("mmdet", reason="mmdetection builds the detector")
    from robollm_core.segmentation.design import design_from
    from robollm_core.segmentation.detector import build_detector

    torch.manual_seed(0)
    model = build_detector(design_from(RECIPE)).state_dict()
    checkpoint = tmp_path / "best.pt"
    content = {"format": 1, "stage": "segmentation", "recipe": RECIPE, "model": model}
    torch.save(content, checkpoint)
    out = tmp_path / "segmentation.onnx"
    words = ["export", "segmentation", "--checkpoint", str(checkpoint), "--keep-checkpoint"]
    assert main([*words, "--out", str(out)]) == 0
    _, sidecar = load_artifact(out)
    assert sidecar.meta == {"input_hw": [128, 160], "labels": ["object"]}
    image = trial_pictures(1, (128, 160), seed=9)
    found = [
        load_engine(out, RuntimeConfig(name=name)).run({"images": image})
        for name in ("onnx", "torch")
    ]
    for answer in found:
        assert answer["boxes"].shape == (1, 20, 4) and answer["masks"].shape == (1, 20, 28, 28)
        assert (np.diff(answer["scores"][0]) <= 0).all() and answer["scores"][0, 0] > 0
    np.testing.assert_allclose(found[0]["scores"], found[1]["scores"], atol=0.02)
