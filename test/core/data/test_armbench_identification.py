# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The identification reader, and hostile split files."""

import collections
import datetime
import json
import os
import pickle
import subprocess

import pytest
import small_sets

from robollm_core.data.armbench_identification import (
    ALL_VIEWS,
    VIEWS,
    References,
    is_validation,
    iterate_picks,
    read_identification,
    read_split_file,
    split_items,
    wanted_items,
)
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import DatasetError


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.mark.parametrize(("split", "picked"), [("train", 16), ("val", 8), ("test", 12)])
def test_every_split_is_read(picks, split, picked):
    samples = read_identification(picks, split)
    assert len(samples.picks) == picked
    assert all(tuple(pick.views) == VIEWS for pick in samples.picks)
    assert all(pick.pick_id.startswith(split) for pick in samples.picks)


def test_a_pick_knows_item_manifest_and_outline(picks):
    pick = read_identification(picks, "test").picks[0]
    assert (pick.pick_id, pick.item_id) == ("test-12-0", "P12")
    assert pick.manifest == ("P12", "P13", "P14", "P15", "P16")
    tree = json.loads((picks / "Picks" / "test-12-0" / "annotation.json").read_text())
    region = pick.views["PickRGB"].region
    assert region is not None
    assert region.polygons == (tuple(float(v) for v in tree["PickRGB"][0]),)


def test_items_without_references_are_left_out_and_files_are_in_order(picks):
    references = read_identification(picks, "test").references
    assert sorted(references) == ["P12", "P13", "P14", "P15", "P17"]
    assert [picture.path.name for picture in references["P12"]] == ["1.jpg", "2.jpg"]


def test_ten_comes_after_two(tmp_path):
    root = small_sets.write_picks(tmp_path)
    folder = root / "Reference_Images" / "P12"
    (folder / "10.jpg").write_bytes((folder / "1.jpg").read_bytes())
    files = read_identification(root, "test").references["P12"]
    assert [picture.path.name for picture in files] == ["1.jpg", "2.jpg", "10.jpg"]


def rewrite(root, change):
    path = root / "train-test-split.pickle"
    tree = pickle.loads(path.read_bytes())
    change(tree)
    path.write_bytes(pickle.dumps(tree, protocol=2))


@pytest.mark.parametrize("empty", [True, False])
def test_without_a_val_of_its_own_train_gives_one(tmp_path, empty):
    root = small_sets.write_picks(tmp_path)

    def change(tree):
        tree["trainset"] += tree["valset"] + tree["testset"]
        if empty:
            tree["valset"] = []
        else:
            del tree["valset"]

    rewrite(root, change)
    names = [f"P{number:02d}" for number in range(18)]
    held = {name for name in names if is_validation(name)}
    assert held, "the fixture must have an item that the hash sends to val"
    train, val = (read_identification(root, split).picks for split in ("train", "val"))
    assert {pick.item_id for pick in val} == held
    assert {pick.item_id for pick in train} == set(names) - held


@pytest.mark.parametrize("form", ["products", "items", "mapping"])
def test_our_own_manifest_is_a_container_too(tmp_path, form):
    root = small_sets.write_picks(tmp_path)
    tree = {
        "products": {
            "container_id": "T",
            "products": [{"product_id": "P13"}, {"product_id": "P12"}],
        },
        "items": {"items": [{"item_id": "P13"}, {"item_id": "P12"}, {"item_id": "P13"}]},
        "mapping": {"P13": {}, "P12": {}},
    }[form]
    (root / "Picks" / "test-12-0" / "container.json").write_text(json.dumps(tree))
    assert read_identification(root, "test").picks[0].manifest == ("P13", "P12")


def test_nested_annotations_and_file_names_are_read(tmp_path):
    root = small_sets.write_picks(tmp_path)
    path = root / "Picks" / "test-12-0" / "annotation.json"
    tree = json.loads(path.read_text())
    region = tree["PickRGB"]
    path.write_text(json.dumps({"GT_ID": "P12", "annotations": {"PickRGB.jpg": region}}))
    pick = read_identification(root, "test").picks[0]
    assert pick.views["PickRGB"].region is not None
    assert pick.views["OnArmLowRGB"].region is None  # the whole picture


@pytest.mark.parametrize(
    "form",
    [
        lambda polygon: {"PickRGB": {"polygons": [polygon]}},  # the simulator
        lambda polygon: {"PickRGB": [polygon]},
        lambda polygon: {"PickRGB.jpg": polygon},
        lambda polygon: {"segments": {"PickRGB.jpg": {"polygon": polygon}}},
        lambda polygon: {"PickRGB": {"points": [polygon[:2], polygon[2:4], polygon[4:]]}},
    ],
)
def test_the_outline_is_found_in_every_form(tmp_path, form):
    root = small_sets.write_picks(tmp_path)
    polygon = [10, 20, 60, 20, 60, 70]
    path = root / "Picks" / "test-12-0" / "annotation.json"
    path.write_text(json.dumps({"GT_ID": "P12", "other": "text", **form(polygon)}))
    region = next(iterate_picks(root, "test")).views["PickRGB"].region
    assert region is not None and region.polygons == (tuple(float(v) for v in polygon),)


def test_a_container_as_the_real_set_writes_it_and_as_the_simulator_does(tmp_path):
    root = small_sets.write_picks(tmp_path)
    path = root / "Picks" / "test-12-0" / "container.json"
    real = {"B00Q70RCW6": {"text": "x", "weight": "0.5", "dimensions": {}}, "P12": {}}
    path.write_text(json.dumps(real))
    # amzn/armbench takes what iterating over the JSON gives
    assert next(iterate_picks(root, "test")).manifest == tuple(name for name in real)


def test_the_fourth_view_is_read_only_when_asked_for(tmp_path):
    root = small_sets.write_picks(tmp_path)
    folder = root / "Picks" / "test-12-0"
    (folder / "FarTrayRGB.jpg").write_bytes((folder / "PickRGB.jpg").read_bytes())
    assert tuple(next(iterate_picks(root, "test")).views) == VIEWS
    first, second = read_identification(root, "test", views=ALL_VIEWS).picks[:2]
    assert tuple(first.views) == ALL_VIEWS and tuple(second.views) == VIEWS


def test_broken_picks_are_left_out_and_noted(tmp_path):
    root = small_sets.write_picks(tmp_path)
    whole = [pick.pick_id for pick in iterate_picks(root, "test")]
    picks = root / "Picks"
    (picks / whole[0] / "annotation.json").write_text("{")
    (picks / whole[2] / "container.json").unlink()
    broken = BrokenFiles()
    samples = read_identification(root, "test", broken)
    assert [pick.pick_id for pick in samples.picks] == [whole[1], *whole[3:]]
    assert [entry.path for entry in broken.entries] == [str(picks / whole[n]) for n in (0, 2)]
    assert "annotation.json" in broken.entries[0].reason
    with pytest.raises(DatasetError, match="annotation.json"):
        read_identification(root, "test")
    for name in whole:
        (picks / name / "annotation.json").write_text("{")
    with pytest.raises(DatasetError, match="empty"):
        read_identification(root, "test", BrokenFiles())


def test_a_pick_listed_twice_comes_once(tmp_path):
    root = small_sets.write_picks(tmp_path)
    rewrite(root, lambda tree: tree["testset"].extend(tree["testset"][:3]))
    assert len(list(iterate_picks(root, "test"))) == 12


def test_the_items_of_a_split_are_those_of_its_list(tmp_path):
    root = small_sets.write_picks(tmp_path)
    assert split_items(root, "test") == ("P12", "P13", "P14", "P15", "P16", "P17")
    rewrite(root, lambda tree: (tree.pop("valset"), tree.pop("testset-objects")))
    assert split_items(root, "test") == ()
    train, val = split_items(root, "train"), split_items(root, "val")
    assert sorted(train + val) == [f"P{n:02d}" for n in range(8)] and not set(train) & set(val)


def test_references_are_listed_when_asked_for(tmp_path):
    root = small_sets.write_picks(tmp_path)
    whole = read_identification(root, "test")
    lazy = References(root / "Reference_Images", wanted_items(whole.picks))
    (root / "Reference_Images" / "P12" / "2.jpg").unlink()
    assert [picture.path.name for picture in lazy["P12"]] == ["1.jpg"]
    assert "P16" not in lazy and lazy.get("P16") is None and "P00" not in lazy
    assert list(lazy) == list(whole.references) and len(lazy) == 5


def test_an_absent_view_is_absent(tmp_path):
    root = small_sets.write_picks(tmp_path)
    (root / "Picks" / "test-12-0" / "ToteWallRGB.jpg").unlink()
    assert tuple(read_identification(root, "test").picks[0].views) == VIEWS[:2]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("annotation.json", "{"),
        ("annotation.json", "[]"),
        ("annotation.json", "{}"),
        ("annotation.json", '{"GT_ID": null}'),
        ("annotation.json", '{"GT_ID": "../P12"}'),
        ("container.json", "not json"),
        ("container.json", "[]"),
        ("container.json", '{"products": [{"text": "no id"}]}'),
        ("container.json", '{"../../etc": {}}'),
    ],
)
def test_malformed_files_are_refused_by_name(tmp_path, file, text):
    root = small_sets.write_picks(tmp_path)
    (root / "Picks" / "test-12-0" / file).write_text(text)
    with pytest.raises(DatasetError, match="test-12-0"):
        read_identification(root, "test")


def test_a_missing_pick_and_a_missing_split_are_refused(tmp_path):
    root = small_sets.write_picks(tmp_path)
    rewrite(root, lambda tree: tree["testset"].append("gone"))
    with pytest.raises(DatasetError, match="gone"):
        read_identification(root, "test")
    rewrite(root, lambda tree: tree.pop("testset"))
    with pytest.raises(DatasetError, match="testset"):
        read_identification(root, "test")
    with pytest.raises(DatasetError, match="cannot read"):
        read_identification(tmp_path / "nowhere", "test")


class Reduced:
    """Pickles to a call of whatever it is given."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "hostile",
    [
        Reduced(os.system, ("touch HERE",)),
        Reduced(subprocess.check_output, (["touch", "HERE"],)),
        Reduced(eval, ("open('HERE', 'w')",)),
        Reduced(getattr, ({}, "keys")),
        Reduced(open, ("HERE", "w")),
        collections.OrderedDict(trainset=["a"]),
        {"trainset": [datetime.date(2026, 1, 1)]},
        {"trainset": [Reduced(os.getcwd, ())]},
    ],
    ids=["system", "subprocess", "eval", "getattr", "open", "ordered-dict", "date", "nested"],
)
def test_a_pickle_that_names_code_is_refused_and_runs_nothing(tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train-test-split.pickle"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(hostile, protocol=protocol))
        with pytest.raises(DatasetError, match="plain pickle"):
            read_split_file(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04",
        b"no pickle at all",
        pickle.dumps({"trainset": ["a"]})[:-4],
        b"cos\nsystem\n(S'touch HERE'\ntR.",
        b"\x80\x02P1\n.",  # a persistent id
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame of 2**63 bytes
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a text of 2**63 bytes
        b"\x80\x02jAAAA.",  # a memo entry that is not there
        b"\x80\x02\x82\x01.",  # the extension registry
    ],
)
def test_a_damaged_pickle_is_refused(tmp_path, data):
    path = tmp_path / "train-test-split.pickle"
    path.write_bytes(data)
    with pytest.raises(DatasetError):
        read_split_file(path)


@pytest.mark.parametrize(
    "tree",
    [
        ["trainset"],
        "text",
        None,
        {"trainset": "abc"},
        {"trainset": [1.5]},
        {"trainset": [["a"]]},
        {"trainset": ["../../etc/passwd"]},
        {"trainset": [""]},
        {"trainset": ["a\0b"]},
    ],
)
def test_a_split_file_of_another_form_is_refused(tmp_path, tree):
    path = tmp_path / "train-test-split.pickle"
    path.write_bytes(pickle.dumps(tree))
    with pytest.raises(DatasetError):
        read_split_file(path)


def test_sets_tuples_and_numbers_are_plain(tmp_path):
    path = tmp_path / "train-test-split.pickle"
    tree = {"trainset": {"b", "a"}, "testset": ("c", 4), "more": frozenset({"d"})}
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(tree, protocol=protocol))
        lists = read_split_file(path)
        assert lists == {"trainset": ["a", "b"], "testset": ["c", "4"], "more": ["d"]}
