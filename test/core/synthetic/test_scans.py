# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import numpy as np
import pytest

from robollm_core.errors import DatasetError
from robollm_core.synthetic.meshes import signed_volume
from robollm_core.synthetic.scans import Scan, load_scan, load_scans, scan_files

CUBE = """# a brick
mtllib brick.mtl
v 0 0 0
v 0.2 0 0
v 0.2 0.1 0
v 0 0.1 0
v 0 0 0.05
v 0.2 0 0.05
v 0.2 0.1 0.05
v 0 0.1 0.05
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl print
f 5/1 6/2 7/3 8/4
f 4/1 3/2 2/3 1/4
usemtl bare
f 1/1 2/2 6/3 5/4
f -6/1 -5/2 -1/3 -2/4
f 2 3 7 6
f 4 1 5 8
"""
MTL = "newmtl print\nKd 1 1 1\nmap_Kd print.png\nnewmtl bare\n"


@pytest.fixture
def brick(tmp_path):
    folder = tmp_path / "brick" / "mesh"
    folder.mkdir(parents=True)
    (folder / "brick.obj").write_text(CUBE)
    (folder / "brick.mtl").write_text(MTL)
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:10] = (0, 0, 255)  # BGR: the upper half is red
    picture[10:] = (255, 0, 0)
    cv2.imwrite(str(folder / "print.png"), picture)
    (tmp_path / "brick" / "info.json").write_text(json.dumps({"name": "brick", "weight": 0.7}))
    return Scan(folder / "brick.obj", "brick")


def test_a_scan_becomes_a_product(brick):
    product = load_scan(brick)
    assert product.item_id == "SCAN-brick"
    assert product.weight_kg == 0.7
    assert product.dims_m == pytest.approx((0.2, 0.1, 0.05))
    assert signed_volume(product.mesh) == pytest.approx(0.001, rel=1e-4)


def test_texture_rows_count_from_the_bottom_in_obj(brick):
    product = load_scan(brick)
    front = np.flatnonzero((product.mesh.normals[:, 2] > 0.9) & (product.mesh.vertices[:, 1] > 0))
    high, wide = product.texture.shape[:2]
    for index in front:
        u, v = product.mesh.uv[index]
        x, y = min(int(u * wide), wide - 1), min(int(v * high), high - 1)
        assert product.texture[y, x].tolist() == [255, 0, 0]


def test_millimetres_are_recognised(brick):
    scaled = [
        " ".join(["v", *(str(float(w) * 1000) for w in line.split()[1:])])
        if line.startswith("v ")
        else line
        for line in CUBE.splitlines()
    ]
    brick.path.write_text("\n".join(scaled))
    load_scan.cache_clear()
    assert load_scan(brick).dims_m == pytest.approx((0.2, 0.1, 0.05))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("v 0 0\nf 1 2 3\n", "line 1"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "line 4"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "line 4"),
        ("v 0 0 zero\n", "line 1"),
        ("v 0 0 0\n", "no usable face"),
        ("", "no usable face"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no usable face"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "long"),
        ("mtllib absent.mtl\nv 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nf 1 2 3\n", "absent.mtl"),
    ],
)
def test_a_broken_mesh_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "bad.obj"
    path.write_text(text)
    with pytest.raises(DatasetError, match=named) as caught:
        load_scan(Scan(path, "bad"))
    assert "bad.obj" in str(caught.value)


def test_binary_rubbish_is_refused(tmp_path):
    path = tmp_path / "bad.obj"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DatasetError, match="OBJ"):
        load_scan(Scan(path, "bad"))


def test_a_broken_texture_is_refused_by_name(brick):
    (brick.path.parent / "print.png").write_bytes(b"not a picture")
    load_scan.cache_clear()
    with pytest.raises(DatasetError, match="print.png"):
        load_scan(brick)


def test_splits_share_no_scan(tmp_path):
    for number in range(25):
        (tmp_path / f"{number:02d}.obj").write_text("")
    parts = [scan_files(tmp_path, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [21, 2, 2]
    assert len(set().union(*map(set, parts))) == 25


def lay(folder, place, info=None):
    """Put a brick at a place in the folder, and an info.json two folders above the file."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CUBE.replace("mtllib brick.mtl\n", ""))
    if info is not None:
        (path.parent.parent / "info.json").write_text(json.dumps(info))
    return path


def names(folder):
    return [scan.name for scan in scan_files(folder, "train")]


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        (("tea.obj", "mug.obj"), ["mug", "tea"]),
        (("tea/mesh.obj", "mug/mesh.obj"), ["mug-mesh", "tea-mesh"]),
        (("cans/tea.obj", "cans/mug.obj"), ["cans-mug", "cans-tea"]),
        (("tea/mesh/x.obj", "mug/mesh/x.obj"), ["mug", "tea"]),
        (("items/tea/mesh/x.obj", "items/mug/mesh/x.obj"), ["mug", "tea"]),
        (("tea.v1.obj", "tea.v2.obj"), ["tea.v1", "tea.v2"]),
    ],
)
def test_scans_are_named_by_where_they_lie(tmp_path, places, wanted):
    for place in places:
        lay(tmp_path / "set", place)
    assert names(tmp_path / "set") == wanted
    products = load_scans(tmp_path / "set", "train", np.random.default_rng(0))
    assert [product.item_id for product in products] == [f"SCAN-{name}" for name in wanted]


def test_the_name_of_info_json_comes_first(tmp_path):
    lay(tmp_path, "a/mesh/x.obj", {"name": "tea"})
    lay(tmp_path, "b/mesh/x.obj", {"name": 7})
    lay(tmp_path, "c/mesh/x.obj", {"weight": 0.1})
    assert names(tmp_path) == ["tea", "7", "c"]


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "..", ".", "a\0b", "a\nb", "a\ud800", "x" * 300]
)
def test_a_name_that_no_folder_can_have_is_refused(tmp_path, name):
    path = lay(tmp_path, "a/mesh/x.obj", {"name": name})
    with pytest.raises(DatasetError, match="cannot be the name of a folder") as caught:
        names(tmp_path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("first", "second", "info"),
    [
        ("a/mesh/x.obj", "b/mesh/x.obj", {"name": "tea"}),
        ("a/mesh/x.obj", "a/mesh/y.obj", None),
        ("a-b/c.obj", "a/b-c.obj", None),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_two_scans_of_one_name_are_refused_with_both(tmp_path, first, second, info, split):
    places = (first, second)
    paths = [str(lay(tmp_path, place, info)) for place in places]
    with pytest.raises(DatasetError, match="are both named") as caught:
        scan_files(tmp_path, split)  # the two need not be of the split asked for
    assert all(path in str(caught.value) for path in paths)


def test_a_folder_without_meshes_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="found none"):
        load_scans(tmp_path, "train", np.random.default_rng(0))
