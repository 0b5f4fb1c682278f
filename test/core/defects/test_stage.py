# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The defect stage around a real graph that weighs red, green and blue."""

import numpy as np
import pytest

pytest.importorskip("onnx")
from colour_cell import defects

from robollm_core.config import DefectsConfig, RuntimeConfig
from robollm_core.defects.stage import Inspector
from robollm_core.errors import ArtifactError
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.types import Frame, Instance


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = defects(tmp_path_factory.mktemp("net") / "defects.onnx")
    return load_engine(path, RuntimeConfig(threads=1)), load_artifact(path)[1]


def inspect(artifact, colours, threshold=0.5):
    """Judge one square patch a colour."""
    image = np.zeros((16, 16 * len(colours), 3), np.uint8)
    found = []
    for index, colour in enumerate(colours):
        image[:, 16 * index : 16 * index + 16] = colour
        found.append(Instance((16 * index, 0, 16 * index + 16, 16), np.ones((16, 16), bool), 0.9))
    return Inspector(*artifact, DefectsConfig(threshold=threshold)).inspect(Frame(image), found)


def softmax(colour):
    logits = 4 * (np.array(colour, np.float64) - 128) / 128
    return np.exp(logits) / np.exp(logits).sum()


def test_probabilities_are_those_of_the_network(artifact):
    colours = [(200, 90, 30), (90, 200, 30), (30, 90, 200), (128, 128, 128)]
    reports = inspect(artifact, colours)
    assert [r.label for r in reports] == ["multi_pick", "nominal", "package_defect", "multi_pick"]
    for colour, report in zip(colours, reports, strict=True):
        assert report.probabilities == pytest.approx(softmax(colour), abs=1e-5)
        assert sum(report.probabilities) == pytest.approx(1.0)
        assert report.score == pytest.approx(1 - softmax(colour)[1], abs=1e-5)


def test_the_threshold_decides_between_nominal_and_the_likelier_defect(artifact):
    colour = (120, 128, 118)  # slightly nominal; red is the likelier defect
    (score,) = (r.score for r in inspect(artifact, [colour]))
    assert inspect(artifact, [colour], score + 1e-4)[0].label == "nominal"
    assert inspect(artifact, [colour], score - 1e-4)[0].label == "multi_pick"
    assert inspect(artifact, [(0, 255, 0)], 0.0)[0].label == "multi_pick"
    assert inspect(artifact, [(255, 0, 0)], 1.0)[0].label == "nominal"


def test_reconfigured_keeps_the_network(artifact):
    stage = Inspector(*artifact, DefectsConfig())
    assert stage.reconfigured(DefectsConfig(threshold=0.9)).config.threshold == 0.9
    assert stage.reconfigured(DefectsConfig()).description == stage.description


def test_nothing_in_nothing_out(artifact):
    assert (
        Inspector(*artifact, DefectsConfig()).inspect(Frame(np.zeros((4, 4, 3), np.uint8)), [])
        == ()
    )


@pytest.mark.parametrize(
    "meta, told",
    [
        ({"labels": ["nominal", "multi_pick", "package_defect"]}, "in this order"),
        ({"labels": []}, "labels"),
        ({}, "labels"),
    ],
)
def test_a_network_with_other_classes_is_refused(artifact, meta, told):
    engine, sidecar = artifact
    fields = {name: getattr(sidecar, name) for name in Sidecar.__slots__}
    with pytest.raises(ArtifactError, match=told):
        Inspector(engine, Sidecar(**{**fields, "meta": {**meta, "crop": sidecar.meta["crop"]}}),
                  DefectsConfig())  # fmt: skip
