# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The one road keeps order, verbatim headers and honest times."""

import numpy as np
import pytest
from colour_cell import COLOURS, draw_tote, manifest_text, write_references

from robollm_core.cell import build_stages
from robollm_core.config import load
from robollm_core.manifests import parse_manifest
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import Frame


@pytest.fixture
def cell(cell_settings, tmp_path):
    settings = {**cell_settings, "identification.reference_root": str(tmp_path)}
    stages = build_stages(load(None, [f"{k}={v}" for k, v in settings.items()]))
    text = manifest_text(write_references(tmp_path), version=4)
    return stages, parse_manifest(text, "x")


def test_a_frame_and_a_manifest_become_a_result(cell):
    stages, manifest = cell
    result = perceive(Frame(draw_tote(), 77, "tote"), manifest, stages)
    assert (result.stamp_ns, result.camera, result.image_size_px) == (77, "tote", (96, 128))
    assert result.manifest == ("T-1", 4)
    assert [item.identification.item_id for item in result.items] == list(COLOURS)
    verdicts = [item.defect.label for item in result.items]
    assert verdicts == ["multi_pick", "nominal", "package_defect"]
    scores = [item.instance.score for item in result.items]
    assert scores == sorted(scores, reverse=True)
    parts = [result.stage_secs[name] for name in ("segment", "identify", "inspect")]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(result.stage_secs["total"])


def test_without_a_manifest_nothing_is_named(cell):
    result = perceive(Frame(draw_tote()), None, cell[0])
    assert result.manifest == ("", 0)
    assert all(item.identification.candidates == () for item in result.items)


def test_the_same_frame_twice_is_the_same_answer(cell):
    stages, manifest = cell
    first, second = (perceive(Frame(draw_tote()), manifest, stages) for _ in range(2))
    for a, b in zip(first.items, second.items, strict=True):
        assert a.instance.box_xyxy_px == b.instance.box_xyxy_px
        assert (a.identification, a.defect) == (b.identification, b.defect)
        np.testing.assert_array_equal(a.instance.mask_in_box, b.instance.mask_in_box)


def test_a_stage_that_loses_an_instance_is_caught(cell):
    stages, manifest = cell

    class Forgetful:
        def inspect(self, frame, instances, crops):
            return stages.defects.inspect(frame, instances, crops)[:-1]

    with pytest.raises(ValueError, match="shorter"):
        broken = Stages(stages.segmentation, stages.identification, Forgetful())
        perceive(Frame(draw_tote()), manifest, broken)
