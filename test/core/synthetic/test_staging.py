# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import math
import multiprocessing
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from small_disk import run_on_small_disk
from small_sets import write_defects, write_picks

from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.folder import image_files
from robollm_core.errors import OutputError
from robollm_core.synthetic import staging
from robollm_core.synthetic.staging import (
    box_of,
    in_order,
    region,
    staged,
    write_files,
    write_whole,
)


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_files_arrive_when_the_block_ends(tmp_path):
    out = tmp_path / "deep" / "set"
    with staged(out) as root:
        write_files(root, {"a/b.txt": b"1", "c.txt": b"2"})
        assert not out.exists()
    assert tree(out) == {"a/b.txt": b"1", "c.txt": b"2"}
    assert [path.name for path in out.parent.iterdir()] == ["set"]


def test_files_join_those_that_are_there(tmp_path):
    write_files(tmp_path / "set", {"a/old.txt": b"old", "a/same.txt": b"old", "b/x.txt": b"x"})
    with staged(tmp_path / "set") as root:
        write_files(root, {"a/same.txt": b"new", "a/more/y.txt": b"y", "c/z.txt": b"z"})
    assert tree(tmp_path / "set") == {
        "a/old.txt": b"old", "a/same.txt": b"new", "b/x.txt": b"x", "a/more/y.txt": b"y",
        "c/z.txt": b"z",
    }  # fmt: skip


def test_whole_files_come_with_their_folders(tmp_path):
    write_whole(tmp_path / "set", {"a/b.txt": b"1", "c.txt": b"2"})
    assert tree(tmp_path) == {"set/a/b.txt": b"1", "set/c.txt": b"2"}


def test_an_error_leaves_everything_as_it_was(tmp_path):
    write_files(tmp_path / "set", {"a.txt": b"old"})
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "set") as root:
        write_files(root, {"a.txt": b"new"})
        raise ZeroDivisionError
    assert tree(tmp_path) == {"set/a.txt": b"old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_an_output_error_that_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match=r"No space left.*Free space"), staged(tmp_path / "set"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_an_output_error_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "file" / "set", tmp_path / "file", tmp_path / "lost"):
        with pytest.raises(OutputError, match="another --out"), staged(out):
            pytest.fail("the work began")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lost"]


@pytest.mark.parametrize("linked", [False, True])
def test_the_draft_hides_in_a_folder_that_is_there(tmp_path, linked):
    home = tmp_path / "home"
    out = tmp_path / "links" / "set" if linked else home
    out.parent.mkdir(exist_ok=True)
    write_files(home, {"a.txt": b"old"})
    if linked:
        out.symlink_to(home)
    with staged(out) as root:
        assert root.parent.resolve() == home
        assert root.name.startswith(".")
        write_files(root, {"b.txt": b"new"})
        assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert tree(home) == {"a.txt": b"old", "b.txt": b"new"}
    with pytest.raises(ZeroDivisionError), staged(out) as root:
        write_files(root, {"c.txt": b"3"})
        raise ZeroDivisionError
    assert sorted(path.name for path in home.iterdir()) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (write_picks, lambda root: read_identification(root, "train")),
        (write_defects, lambda root: read_defects(root, "train")),
        (
            lambda root: write_files(root, {"a.jpg": b""}) or root,
            lambda root: list(image_files([root])),
        ),
    ],
)
def test_readers_do_not_see_the_draft(tmp_path, write, read):
    out = write(tmp_path / "set")
    before = read(out)
    with staged(out) as root:
        write(root)
        (root / "train.csv").write_text("nothing-such\n")
        assert read(out) == before


def test_a_folder_on_a_disk_of_its_own_is_filled(tmp_path):
    code = f"""
from pathlib import Path
from robollm_core.synthetic.staging import staged, write_files
out = Path({str(tmp_path / "set")!r})
assert out.stat().st_dev != out.parent.stat().st_dev
with staged(out) as root:
    write_files(root, {{"a/b.txt": b"1"}})
print((out / "a" / "b.txt").read_bytes())
"""
    assert run_on_small_disk(tmp_path / "set", 256, code) == ("b'1'\n", "['a']")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


# worker processes cannot import a test, so what they run comes from the standard library
@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs):
    assert list(in_order(math.factorial, range(12), jobs)) == [math.factorial(n) for n in range(12)]


def test_stopping_early_ends_the_workers():
    results = in_order(math.factorial, range(1000), 2)
    assert [next(results) for _ in range(4)] == [1, 1, 2, 6]
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_worker_comes_through(jobs):
    results = in_order(int, ["1", "2", "three"], jobs)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_a_dead_worker_is_an_output_error():
    with pytest.raises(OutputError, match="Use fewer --jobs"):
        list(in_order(os._exit, [1, 1, 1], 2))


def test_a_region_is_its_mask():
    mask = np.zeros((40, 60), bool)
    mask[5:20, 10:50] = True
    mask[8:12, 20:30] = False  # a hole
    mask[30:35, 3:9] = True  # and an island
    at = region(mask)
    code = {"size": at["segmentation"]["size"], "counts": at["segmentation"]["counts"].encode()}
    assert (coco_mask.decode(code).astype(bool) == mask).all()
    assert at["bbox"] == [3, 5, 47, 30]
    assert box_of(mask) == (3, 5, 50, 35)
    filled = np.zeros(mask.shape, np.uint8)
    for polygon in at["polygons"]:
        cv2.fillPoly(filled, [np.array(polygon).reshape(-1, 1, 2)], 1)
    outer = mask.copy()
    outer[8:12, 20:30] = True
    assert (filled.astype(bool) == outer).all()


def test_json_is_compact_and_repeatable():
    assert staging.json_bytes({"b": 1, "a": [1, "ü"]}) == '{"b":1,"a":[1,"ü"]}\n'.encode()


def test_jpeg_keeps_the_colours():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    back = cv2.imdecode(np.frombuffer(staging.jpeg_bytes(image, 95), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(back[..., ::-1].astype(int) - image).max() < 6
