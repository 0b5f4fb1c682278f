# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Sets to calibrate and to measure on: what is taken, and what is refused."""

import shutil

import numpy as np
import pytest
import small_networks
import small_sets
import small_totes

from robollm_core.config import RuntimeConfig
from robollm_core.errors import DatasetError, DependencyError
from robollm_core.export import calibration, sets
from robollm_core.export.calibration import calibration_samples
from robollm_core.export.samples import crops, frames
from robollm_core.export.sets import CALIBRATION, GATE, set_of
from robollm_core.images import CropSpec
from robollm_core.runtime.artifact import Sidecar
from robollm_core.types import EngineSpec, TensorSpec

CROP = small_networks.CROP


def sidecar(stage, shape=(-1, 16, 16, 3), name="images"):
    spec = EngineSpec((TensorSpec(name, shape, "uint8"),), ())
    return Sidecar(stage, spec, meta={"crop": CROP})


class Embedder:
    """Says of each crop how bright it is, four times."""

    def run(self, inputs):
        bright = inputs["images"].mean(axis=(1, 2, 3), dtype=np.float64)
        return {"feature": np.repeat(bright[:, None], 4, axis=1).astype(np.float32)}


def count(samples):
    return sum(len(next(iter(one.values()))) for one in samples)


def test_defects_take_the_crops_of_train_in_batches(tmp_path):
    root = small_sets.write_defects(tmp_path, {"train": 11, "test": 3})
    found = calibration_samples(sidecar("defects"), root)
    assert [len(one["images"]) for one in found] == [8, 3]
    assert found[0]["images"].shape == (8, 16, 16, 3) and found[0]["images"].dtype == np.uint8


def test_test_is_never_calibrated_with(tmp_path):
    root = small_sets.write_defects(tmp_path, {"test": 3})
    with pytest.raises(DatasetError, match="expected the split train or val"):
        calibration_samples(sidecar("defects"), root)


def test_identification_takes_picks_and_references(tmp_path):
    root = small_sets.write_picks(tmp_path)
    found = calibration_samples(sidecar("identification"), root)
    # 16 picks of train without those that are val by hash, and one reference of each item
    assert count(found) > 16


def test_fusion_takes_the_features_of_three_views(tmp_path):
    root = small_sets.write_picks(tmp_path)
    whole = sidecar("identification"), sidecar("identification_fusion", (-1, 3, 4), "features")
    found = calibration_samples(whole[1], root, (Embedder(), whole[0]))
    assert found[0]["features"].shape[1:] == (3, 4) and found[0]["features"].dtype == np.float32


def test_segmentation_takes_whole_pictures(tmp_path):
    folder = tmp_path / "mix-object-tote"
    small_totes.write_set(folder, "val", [1, 2, 3], [small_totes.truth(1, 1, (5, 5, 20, 20))])
    found = calibration_samples(sidecar("segmentation", (1, 48, 64, 3)), tmp_path)
    assert [one["images"].shape for one in found] == [(1, 48, 64, 3)] * 3


@pytest.mark.parametrize("stage", ["segmentation", "identification", "defects"])
def test_a_folder_of_another_layout_is_refused_with_what_was_expected(tmp_path, stage):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match=rf"{tmp_path} holds nothing to calibrate with.*{stage}"):
        calibration_samples(sidecar(stage, (1, 48, 64, 3)), tmp_path)


def test_a_set_of_which_too_much_is_broken_is_refused(tmp_path):
    root = small_sets.write_defects(tmp_path, {"train": 24})
    pictures = sorted(root.glob("data/*/*.jpg"))
    for path in pictures[:6]:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=pictures[0].name):
        calibration_samples(sidecar("defects"), root)
    for path in pictures:
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="no picture of the calibration set can be read"):
        calibration_samples(sidecar("defects"), root)


def test_at_most_so_many_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "COUNTS", {**calibration.COUNTS, "defects": 5})
    root = small_sets.write_defects(tmp_path, {"train": 24})
    assert count(calibration_samples(sidecar("defects"), root)) == 5


def test_a_named_folder_holds_one_set_or_one_a_stage(tmp_path):
    config = RuntimeConfig(cache=str(tmp_path / "cache"))
    assert set_of(GATE, "defects", tmp_path, config) == tmp_path
    (tmp_path / "defects").mkdir()
    assert set_of(GATE, "defects", tmp_path, config) == tmp_path / "defects"
    assert set_of(GATE, "segmentation", tmp_path, config) == tmp_path
    with pytest.raises(DatasetError, match="--calibration .* is no folder"):
        set_of(CALIBRATION, "defects", tmp_path / "missing", config)


def test_a_simulated_set_is_made_once_and_kept(tmp_path, monkeypatch):
    made = []

    def write(folder, purpose):
        made.append((folder, purpose.name))
        folder.mkdir(parents=True)

    monkeypatch.setattr(sets, "_writer", lambda stage: write)
    config = RuntimeConfig(cache=str(tmp_path))
    first = set_of(GATE, "defects", None, config)
    assert set_of(GATE, "defects", None, config) == first and first.is_dir()
    assert set_of(CALIBRATION, "defects", None, config) != first
    assert [name for _, name in made] == ["gate", "calibration"]


def test_a_simulated_set_that_was_not_finished_is_made_again(tmp_path, monkeypatch):
    made = []

    def write(folder, purpose):
        made.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if len(made) == 1:
            raise OSError("no space")

    monkeypatch.setattr(sets, "_writer", lambda stage: write)
    config = RuntimeConfig(cache=str(tmp_path))
    with pytest.raises(OSError, match="no space"):
        set_of(GATE, "defects", None, config)
    assert set_of(GATE, "defects", None, config) == made[0] == made[1]


def test_a_simulated_set_that_was_thrown_away_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sets, "_writer", lambda stage: lambda folder, purpose: folder.mkdir(parents=True)
    )
    config = RuntimeConfig(cache=str(tmp_path))
    folder = set_of(GATE, "defects", None, config)
    shutil.rmtree(folder)
    assert set_of(GATE, "defects", None, config).is_dir()


def test_without_the_simulator_the_way_out_is_named(tmp_path, monkeypatch):
    def write(folder, purpose):
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

    monkeypatch.setattr(sets, "_writer", lambda stage: write)
    with pytest.raises(DependencyError, match=r"\[sim\].*--data DIR"):
        set_of(GATE, "defects", None, RuntimeConfig(cache=str(tmp_path)))


def test_gate_and_calibration_share_no_product_and_neither_is_a_test_set_of_ours():
    assert GATE.split != CALIBRATION.split
    assert len({GATE.seed, CALIBRATION.seed, 200}) == 3


def test_crops_come_from_every_picture_in_turn():
    pictures = small_networks.pictures(12)
    spec = CropSpec.from_json(CROP)
    found = crops(spec, pictures, 8)
    assert found.shape == (8, 16, 16, 3)
    # the first crops are the first thing of each of the four pictures
    np.testing.assert_array_equal(found[:4], crops(spec, pictures, 4))
    assert len({one.tobytes() for one in found}) == 8


def test_frames_fill_the_input_of_the_network():
    found = frames(sidecar("segmentation", (1, 32, 48, 3), "pixels"), small_networks.pictures(6))
    assert [one["pixels"].shape for one in found] == [(1, 32, 48, 3)] * 2
