# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A recording as the data set of one stage."""

import json
from pathlib import Path

import colour_cell
import pytest
import small_sets

from robollm_core.data.armbench_bag import PickBagOrder, write_pick_bag
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.armbench_segmentation import read_split
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import BagError, DatasetError
from robollm_core.evaluation.bag_dataset import SPLIT, as_dataset

SAMPLE = Path(__file__).parents[3] / "models" / "sample"


@pytest.fixture
def bag(tmp_path):
    """Three frames of one container, with truth; too few to divide, enough to measure."""
    return colour_cell.write_bag(tmp_path / "cell.mcap")


def test_every_stage_gets_everything_in_test(tmp_path, bag):
    work = tmp_path / "work"
    picks = read_identification(as_dataset(bag, "identification", work), SPLIT)
    assert len(picks.picks) == 9
    assert set(picks.references) == {"apple", "lime", "plum"}
    assert len(read_split(as_dataset(bag, "segmentation", work), SPLIT)) == 3
    assert len(read_defects(as_dataset(bag, "defects", work), SPLIT)) == 9
    assert len(list(work.iterdir())) == 1  # made once
    with pytest.raises(DatasetError):
        read_identification(as_dataset(bag, "identification", work), "train")


def test_another_bag_of_the_same_name_is_made_anew(tmp_path, bag):
    work = tmp_path / "work"
    before = as_dataset(bag, "segmentation", work)
    colour_cell.write_bag(bag, frames=5)
    after = as_dataset(bag, "segmentation", work)
    assert after != before
    assert len(read_split(after, SPLIT)) == 5


def test_corrected_labels_are_believed(tmp_path, bag):
    stamp = {"sec": 2, "nanosec": 0}
    frame = {"camera": "tote_camera", "stamp": stamp, "complete": False,
             "instances": [{"item_id": "plum", "bbox": [8, 8, 32, 32]}]}  # fmt: skip
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"schema": "robollm.site_labels/1", "frames": [frame]}))
    root = as_dataset(bag, "identification", tmp_path / "work", labels=path)
    assert len(read_identification(root, SPLIT).picks) == 7


def test_a_bag_without_a_sample_for_the_stage_is_refused(tmp_path):
    source = small_sets.write_picks(tmp_path / "armbench")
    bag = tmp_path / "picks.mcap"
    write_pick_bag(PickBagOrder(source), bag, BrokenFiles())
    root = as_dataset(bag, "identification", tmp_path / "work", references=source)
    assert len(read_identification(root, SPLIT).picks) == 12
    # one outlined item in a picture of several things is no segmentation truth
    with pytest.raises(DatasetError, match="holds no sample for segmentation; .*ground truth"):
        as_dataset(bag, "segmentation", tmp_path / "work", references=source)


def test_a_bag_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"no bag")
    with pytest.raises(BagError, match="a.mcap"):
        as_dataset(tmp_path / "a.mcap", "defects", tmp_path / "work")
    with pytest.raises(BagError, match="cannot read"):
        as_dataset(tmp_path / "b.mcap", "defects", tmp_path / "work")
    assert not list((tmp_path / "work").glob("*"))


@pytest.mark.slow
def test_the_sample_recording_is_a_data_set_of_every_stage(tmp_path):
    bag = SAMPLE / "cell.mcap"
    facts = json.loads((SAMPLE / "cell.json").read_text())
    root = as_dataset(bag, "segmentation", tmp_path)
    images = read_split(root, SPLIT)
    assert len(images) == facts["frames"]
    assert sum(len(image.truths) for image in images) == facts["instances"]
    samples = read_identification(as_dataset(bag, "identification", tmp_path), SPLIT)
    assert len(samples.picks) > 200
    listed = [pick.item_id in pick.manifest for pick in samples.picks]
    assert sum(listed) > 0.9 * len(listed)
    assert all(pick.item_id in samples.references for pick in samples.picks)
    defects = read_defects(as_dataset(bag, "defects", tmp_path), SPLIT)
    assert {sample.label for sample in defects} == {"nominal", "package_defect"}
