# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The released index files, made as the authors' notebook made them, and hostile ones."""

import json

import pytest
import small_sets

from robollm_core.data.armbench_identification import is_validation, read_identification
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.check import check_dataset, describe
from robollm_core.data.released_index import (
    count_index,
    iterate_indexed,
    lay_over,
    read_indexed,
)
from robollm_core.errors import DatasetError

WINDOWS = "C:\\Users\\someone\\datasets\\armbench-object-id\\Reference_Images\\"


def listdir(folder):
    """Names in a folder that may not be there."""
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def entry_of(root, pick_id, item_id, join):
    """What the notebook writes of one pick; `join` is the path separator of its machine."""
    folder = root / "Picks" / pick_id
    every = [name for name in listdir(folder) if name.endswith(".jpg")]
    three = [name for name in every if "FarTrayRGB" not in name]
    paths, ids = [], []
    for name in json.loads((folder / "container.json").read_text()):
        for file in listdir(root / "Reference_Images" / name):
            paths.append(join(name, file))
            ids.append(name)
    entry = {
        "pickimg_paths": every,
        "ref_id": item_id,
        "refimg_path": listdir(root / "Reference_Images" / item_id),
        "ref_gallary_paths": paths,
        "ref_gallary_ids": ids,
    }
    return (entry, False) if len(three) < 3 else (entry | {"pickimg_3t1_paths": three}, True)


def write_index(root, folder, split, join=lambda name, file: f"{name}\\{file}"):
    one, three, labels, references = {}, {}, {}, {}
    for pick in read_identification(root, split).picks:
        labels[pick.pick_id] = pick.item_id
        entry, whole = entry_of(root, pick.pick_id, pick.item_id, join)
        if not entry["refimg_path"]:
            continue  # the notebook leaves picks of items without references out
        references[pick.item_id] = entry["refimg_path"]
        (three if whole else one)[pick.pick_id] = entry
    folder.mkdir(exist_ok=True)
    for name, tree in (
        (f"all_{split}_data.json", one),
        (f"{split}_data_3t1.json", three),
        ("all_labels.json", labels),
        (f"all_{split}_ref_img_paths.json", references),
    ):
        (folder / name).write_text(json.dumps(tree))
    return folder


@pytest.fixture
def picks(tmp_path):
    root = small_sets.write_picks(tmp_path / "picks")
    for name in ("test-12-0", "test-13-1", "test-14-0"):
        (root / "Picks" / name / "ToteWallRGB.jpg").unlink()
    far = root / "Picks" / "test-12-1" / "PickRGB.jpg"
    (far.parent / "FarTrayRGB.jpg").write_bytes(far.read_bytes())
    return root


def change(path, edit):
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree))


def test_the_index_and_the_layout_it_was_made_of_read_the_same(picks):
    write_index(picks, picks, "test")
    indexed, whole = read_indexed(picks, "test"), read_identification(picks, "test")
    known = {p.pick_id: p for p in whole.picks if p.item_id in whole.references}
    assert {p.pick_id for p in indexed.picks} == set(known)
    for pick in indexed.picks:
        own = known[pick.pick_id]
        assert pick.item_id == own.item_id
        assert pick.manifest == tuple(i for i in own.manifest if i in whole.references)
        assert list(pick.views) == list(own.views)
        assert all(pick.views[view].path == own.views[view].path for view in own.views)
    assert indexed.references == whole.references


def test_the_two_files_are_counted_and_found_disjoint_or_not(picks):
    write_index(picks, picks, "test")
    counted = count_index(picks, "test")
    assert counted.to_json() == {"one_view": 3, "three_views": 7, "both": 0, "disjoint": True}
    first = [p.file for p in iterate_indexed(picks, "test")]
    assert first == ["all_test_data.json"] * 3 + ["test_data_3t1.json"] * 7
    three = json.loads((picks / "test_data_3t1.json").read_text())
    change(picks / "all_test_data.json", lambda tree: tree.update(list(three.items())[:2]))
    counted = count_index(picks, "test")
    assert (counted.one_view, counted.both, counted.disjoint) == (5, 2, False)
    assert len(list(iterate_indexed(picks, "test"))) == 10  # each once


def test_the_gallery_keeps_an_id_an_image_in_the_order_of_the_file(picks):
    write_index(picks, picks, "test")
    tree = json.loads((picks / "test_data_3t1.json").read_text())
    for indexed in iterate_indexed(picks, "test"):
        if indexed.file == "test_data_3t1.json":
            entry = tree[indexed.pick.pick_id]
            assert list(indexed.gallery_ids) == entry["ref_gallary_ids"]
            assert len(indexed.gallery_ids) == 8  # four items with two pictures each
            names = [f"{p.path.parent.name}\\{p.path.name}" for p in indexed.gallery]
            assert names == entry["ref_gallary_paths"]


@pytest.mark.parametrize(
    "join",
    [
        lambda name, file: f"{name}/{file}",
        lambda name, file: WINDOWS + f"{name}\\{file}",
        lambda name, file: f"/srv/sets/Reference_Images/{name}//{file}",
        lambda name, file: f"..\\..\\{name}\\.\\{file}",
    ],
)
def test_paths_of_other_machines_lie_over_the_root(picks, tmp_path, join):
    index = write_index(picks, tmp_path / "index", "test", join)
    wanted = read_identification(picks, "test").references
    assert read_indexed(picks, "test", index).references == wanted


@pytest.mark.parametrize(
    "text", ["../../../etc/passwd/..", "P12\\..", "..", "", "/", "P12", "a\\..\\..", "P12/a\0b"]
)
def test_no_path_leaves_the_root(tmp_path, text):
    with pytest.raises(DatasetError, match="path|name"):
        lay_over(tmp_path, text, 2, "index")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda e: e.update(ref_id="P13"), "all_labels.json says 'P12'"),
        (lambda e: e.update(ref_id=5), "no ref_id"),
        (lambda e: e["ref_gallary_ids"].pop(), "7 ref_gallary_ids for 8 paths"),
        (lambda e: e["ref_gallary_ids"].reverse(), "is at"),
        (lambda e: e.update(ref_gallary_paths="all"), "must be a list of text"),
        (lambda e: e.update(ref_gallary_paths=[["a"]]), "must be a list of text"),
        (lambda e: e["pickimg_paths"].append("Picks\\gone.jpg"), "there is no"),
        (lambda e: e["pickimg_paths"].append(".."), "cannot be the name"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_or_left_out(picks, edit, says):
    write_index(picks, picks, "test")
    path = picks / "all_test_data.json"
    change(path, lambda tree: edit(tree["test-12-0"]))
    with pytest.raises(DatasetError, match=says):
        read_indexed(picks, "test")
    broken = BrokenFiles()
    left = read_indexed(picks, "test", broken=broken).picks
    assert len(left) == 9 and "test-12-0" not in [pick.pick_id for pick in left]
    assert [entry.path for entry in broken.entries] == [str(picks / "Picks" / "test-12-0")]


def test_a_missing_ref_id_is_taken_from_the_labels(picks):
    write_index(picks, picks, "test")
    change(picks / "all_test_data.json", lambda tree: tree["test-12-0"].pop("ref_id"))
    assert next(iterate_indexed(picks, "test")).pick.item_id == "P12"


def test_a_missing_reference_is_refused_or_left_out(picks):
    write_index(picks, picks, "test")
    gone = picks / "Reference_Images" / "P12" / "1.jpg"
    gone.unlink()
    with pytest.raises(DatasetError, match=r"P12/1\.jpg"):
        read_indexed(picks, "test")
    broken = BrokenFiles()
    names = [p.path.name for p in read_indexed(picks, "test", broken=broken).references["P12"]]
    assert names == ["2.jpg"] and [entry.path for entry in broken.entries] == [str(gone)]


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', '{"a": [}'])
def test_what_is_no_json_mapping_is_refused(picks, text):
    (picks / "all_test_data.json").write_text(text)
    with pytest.raises(DatasetError, match="all_test_data"):
        read_indexed(picks, "test")
    with pytest.raises(DatasetError, match="all_test_data"):
        count_index(picks, "test")


def test_without_files_of_val_train_gives_one(picks):
    with pytest.raises(DatasetError, match="unpack the index files"):
        read_indexed(picks, "train")
    write_index(picks, picks, "train")
    items = {pick.item_id for pick in read_identification(picks, "train").picks}
    held = {item for item in items if is_validation(item)}
    train = {p.item_id for p in read_indexed(picks, "train").picks}
    assert train == items - held
    if held:
        assert {p.item_id for p in read_indexed(picks, "val").picks} == held
    else:
        with pytest.raises(DatasetError, match="empty"):
            read_indexed(picks, "val")


def test_the_check_finds_the_index_beside_the_layout(picks):
    write_index(picks, picks, "test")
    ledger = check_dataset(picks, "test")
    assert list(ledger.facts["layouts"]) == ["identification", "released index"]
    assert ledger.facts["index"]["test"]["disjoint"] is True
    assert ledger.tallies["index test"].samples == 10 and ledger.usable
    said = "\n".join(describe(ledger))
    assert "index test: 3 picks in the one-view file, 7 in the three-view file, disjoint" in said
    change(picks / "all_test_data.json", lambda tree: tree["test-12-0"].update(ref_id="P13"))
    ledger = check_dataset(picks, "test")
    assert ledger.tallies["index test"].broken == 1
    assert [f.path for f in ledger.findings if f.kind == "broken"] == ["Picks/test-12-0"]
