# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm gallery`: made, changed, shown and held against its images, as a user does it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
from colour_cell import CROP, identification, manifest_text, write_references
from small_gallery import run_sql

from robollm_core.cli.main import main
from robollm_core.identification.gallery_file import GalleryFile

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return identification(tmp_path_factory.mktemp("net") / "identification.onnx")


@pytest.fixture
def words(artifact):
    return ["--set", f"identification.artifact={artifact}", "--set", "runtime.name=onnx",
            "--set", "runtime.threads=1"]  # fmt: skip


@pytest.fixture
def shelf(tmp_path):
    """A folder of two items with three images."""
    folder = tmp_path / "shelf"
    for item, numbers in (("B00A", (1, 10, 2)), ("B00B", (1,))):
        (folder / item).mkdir(parents=True)
        for number in numbers:
            paint(folder / item / f"{number}.png", 10 * number + ord(item[-1]))
    return folder


def paint(path, level):
    cv2.imwrite(str(path), np.full((8, 8, 3), (level, 200, 30), np.uint8))


def ask(*said):
    return main(["gallery", *map(str, said)])


@pytest.fixture
def built(shelf, words, tmp_path, capsys):
    path = tmp_path / "g.sqlite"
    assert ask("build", path, shelf, *words) == 0
    capsys.readouterr()
    return path


def test_a_folder_becomes_a_gallery(shelf, words, tmp_path, capsys):
    path, told = tmp_path / "g.sqlite", tmp_path / "told.json"
    assert ask("build", path, shelf, "--json", told, *words) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: 2 items (0 without an image), 4 reference images, ")
    assert line.endswith("; 2 items put in, 0 images unreadable")
    tree = json.loads(told.read_text())
    assert (tree["items"], tree["references"], tree["embeddings"]) == (2, 4, 4)
    assert (tree["bare"], tree["unreadable"], tree["root"]) == ([], [], str(shelf))
    items = GalleryFile(path).list_items()
    assert [item.item_id for item in items] == ["B00A", "B00B"]
    assert [name for name, _ in items[0].images] == ["B00A/1.png", "B00A/2.png", "B00A/10.png"]


def test_a_manifest_becomes_a_gallery(words, tmp_path, capsys):
    products = write_references(tmp_path)
    products[0] |= {"text": "an apple", "quantity": 1, "picked": 1}
    (tmp_path / "m.json").write_text(manifest_text(products))
    assert ask("build", tmp_path / "g.sqlite", tmp_path / "m.json", *words) == 0
    items = GalleryFile(tmp_path / "g.sqlite").list_items()
    assert [item.item_id for item in items] == ["apple", "lime", "plum"]
    assert items[0].text == "an apple"
    assert items[0].images[0][0] == "references/apple.png"


def test_a_gallery_may_begin_empty(words, tmp_path):
    assert ask("build", tmp_path / "g.sqlite", *words) == 0
    assert GalleryFile(tmp_path / "g.sqlite").list_items() == ()


def test_images_that_cannot_be_read_are_told_and_the_rest_is_kept(shelf, words, tmp_path, capsys):
    (shelf / "B00A/2.png").write_text("no image")
    (shelf / "B00C").mkdir()
    told = tmp_path / "told.json"
    assert ask("build", tmp_path / "g.sqlite", shelf, "--json", told, *words) == 1
    said = capsys.readouterr()
    assert "3 items (1 without an image), 3 reference images" in said.out
    assert "B00A: " in said.err and "neither JPEG nor PNG" in said.err
    assert "B00C: " in said.err and "without a JPEG or PNG" in said.err
    assert json.loads(told.read_text())["bare"] == ["B00C"]


def test_items_are_added_and_replaced(built, shelf, words, tmp_path, capsys):
    (shelf / "B00A/1.png").unlink()
    (shelf / "B00C").mkdir()
    paint(shelf / "B00C/1.png", 99)
    assert ask("add", built, shelf, *words) == 0
    images = {item.item_id: len(item.images) for item in GalleryFile(built).list_items()}
    assert images == {"B00A": 2, "B00B": 1, "B00C": 1}
    shutil.copytree(shelf / "B00B", tmp_path / "other/B00B")
    assert ask("add", built, tmp_path / "other", *words) == 2
    assert "identification.reference_root" in capsys.readouterr().err


def test_an_item_of_another_place_is_added_below_the_same_root(built, shelf, words, tmp_path):
    more = shelf / "B00B"
    (more / "inner").mkdir()
    paint(more / "inner/1.png", 77)
    root = f"identification.reference_root={shelf}"
    assert ask("add", built, more, "--set", root, *words) == 0
    names = {item.item_id: item.images[0][0] for item in GalleryFile(built).list_items()}
    assert names["inner"] == "B00B/inner/1.png"


def test_items_are_removed(built, capsys, tmp_path):
    assert ask("remove", built, "B00A", "--json", tmp_path / "t.json") == 0
    assert "1 items (0 without an image), 1 reference images" in capsys.readouterr().out
    assert json.loads((tmp_path / "t.json").read_text())["removed"] == ["B00A"]
    assert ask("remove", built, "B00A") == 2
    assert "no item 'B00A'" in capsys.readouterr().err
    assert ask("remove", built) == 2
    assert run_sql(built, "SELECT COUNT(*) FROM embeddings") == [(1,)]


def test_unused_embeddings_are_dropped(built, capsys):
    run_sql(built, "DELETE FROM reference_images")
    assert ask("remove", built, "--unused") == 0
    assert "4 unused embeddings dropped" in capsys.readouterr().out


def test_what_a_gallery_has_is_shown(built, tmp_path, capsys):
    assert ask("info", built, "--items", "--json", tmp_path / "t.json") == 0
    said = capsys.readouterr().out
    assert "2 items" in said.splitlines()[0]
    assert 'B00A  3 images  ""' in said
    tree = json.loads((tmp_path / "t.json").read_text())
    assert set(tree["images"]["B00A"]) == {"B00A/1.png", "B00A/2.png", "B00A/10.png"}
    assert tree["unused"] == tree["foreign"] == tree["bare_items"] == 0


def verify(built, words, tmp_path):
    told = tmp_path / "verified.json"
    code = ask("verify", built, "--json", told, *words)
    tree = json.loads(told.read_text())
    assert code == (0 if tree["ok"] else 1)
    return {kind: count for kind, count in tree["counts"].items() if count}


def test_a_gallery_that_is_true_is_verified(built, words, tmp_path, capsys):
    assert verify(built, words, tmp_path) == {}
    assert "; all of it is true" in capsys.readouterr().out


SPOIL = {
    "stale": lambda shelf, built: paint(shelf / "B00A/1.png", 250),
    "missing image": lambda shelf, built: (shelf / "B00A/1.png").unlink(),
    "missing embedding": lambda shelf, built: run_sql(
        built, "DELETE FROM embeddings WHERE rowid = 1"
    ),
    "foreign": lambda shelf, built: run_sql(
        built, "INSERT INTO embeddings VALUES ('0', 'another', x'00')"
    ),
    "wrong": lambda shelf, built: run_sql(
        built, "UPDATE embeddings SET embedding = x'0000c07f0000000000000000' WHERE rowid = 1"
    ),
}


@pytest.mark.parametrize("kind", SPOIL)
def test_what_is_not_true_any_more_is_found(built, shelf, words, tmp_path, capsys, kind):
    SPOIL[kind](shelf, built)
    assert verify(built, words, tmp_path) == {kind: 1}
    assert f"  {kind}: " in capsys.readouterr().out


def test_a_gallery_of_another_network_is_found(built, tmp_path, capsys):
    other = identification(tmp_path / "other.onnx", {**CROP, "size_px": 20})
    words = ["--set", f"identification.artifact={other}"]
    assert verify(built, words, tmp_path) == {"network": 1}
    assert ask("verify", built, "--set", "identification.artifact=none.onnx") == 0
    assert "the network is not compared" in capsys.readouterr().err


def test_images_may_lie_elsewhere_by_now(built, shelf, words, tmp_path):
    shelf.rename(tmp_path / "moved")
    assert verify(built, words, tmp_path) == {"missing image": 4}
    assert ask("verify", built, "--root", tmp_path / "moved", *words) == 0


def test_another_network_embeds_everything_anew(built, shelf, words, tmp_path):
    before = GalleryFile(built)
    other = identification(tmp_path / "other.onnx", {**CROP, "size_px": 20})
    assert ask("add", built, shelf, *words, "--set", f"identification.artifact={other}") == 2
    assert ask("build", built, shelf, *words, "--set", f"identification.artifact={other}") == 0
    after = GalleryFile(built)
    assert after.network.key != before.network.key
    assert after.list_items() == before.list_items()
    assert run_sql(built, "SELECT COUNT(DISTINCT network), COUNT(*) FROM embeddings") == [(1, 4)]


@pytest.mark.parametrize("kind", ["info", "verify", "remove", "add"])
@pytest.mark.parametrize("how", ["missing", "junk"])
def test_what_is_no_gallery_is_refused_in_one_line(tmp_path, words, shelf, capsys, kind, how):
    path = tmp_path / "x.sqlite"
    if how == "junk":
        path.write_bytes(b"junk" * 999)
    more = {"add": [shelf, *words], "remove": ["A"]}.get(kind, [])
    assert ask(kind, path, *more) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "embed:" not in line] == [said[0]]
    assert said[0].startswith("robollm: ") and "robollm gallery build" in said[0]


@pytest.mark.parametrize("how", ["missing", "empty", "no manifest", "segmentation"])
def test_a_wrong_source_is_refused_and_no_file_is_made(tmp_path, words, shelf, capsys, how):
    source = tmp_path / "source"
    if how == "empty":
        source.mkdir()
    elif how == "no manifest":
        source.write_text("{")
    elif how == "segmentation":
        source = shelf
        words = ["--set", "identification.artifact=models/tiny/segmentation.onnx"]
    assert ask("build", tmp_path / "g.sqlite", source, *words) == 2
    assert capsys.readouterr().err.startswith("robollm: ")
    assert not (tmp_path / "g.sqlite").exists()


def embedded(path):
    return run_sql(path, "SELECT COUNT(*) FROM embeddings")[0][0]


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_the_list_and_is_gone_on_with(built, shelf, words, tmp_path):
    before = GalleryFile(built).list_items()
    for number in range(400):
        (shelf / f"C{number}").mkdir()
        paint(shelf / f"C{number}/1.png", number % 250)
        with (shelf / f"C{number}/1.png").open("ab") as image:
            image.write(number.to_bytes(4, "big"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "robollm_core.cli.main", "gallery", "build"]
    kept = 4
    for _ in range(3):
        work = subprocess.Popen([*command, str(built), str(shelf), *words], env=env,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        while embedded(built) <= kept and work.poll() is None:
            time.sleep(0.002)
        work.send_signal(signal.SIGKILL)
        assert work.wait() == -signal.SIGKILL
        assert GalleryFile(built).list_items() == before
        kept = embedded(built)
    assert 4 < kept < 404
    assert ask("build", built, shelf, *words) == 0
    assert len(GalleryFile(built).list_items()) == 402
    assert ask("verify", built, *words) == 0


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(tmp_path, monkeypatch, capsys):
    """Line by line, with the shipped networks."""
    page = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    for item in ("B00X", "B00Y", "B00Z"):
        (tmp_path / "photos" / item).mkdir(parents=True)
        paint(tmp_path / "photos" / item / "1.jpg", ord(item[-1]))
    products = [{"product_id": "B00Z", "reference_images": ["photos/B00Z"]}]
    (tmp_path / "manifest.json").write_text(manifest_text(products))
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((96, 128, 3), 90, np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBOLLM_CACHE", str(tmp_path / "cache"))
    lines = [
        shlex.split(line, comments=True)
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) == 8
    for words in lines:
        assert words[0] == "robollm"
        assert main(words[1:]) == 0, (words, capsys.readouterr())
    assert [item.item_id for item in GalleryFile(Path("shelf.sqlite")).list_items()] == ["B00Z"]
    assert json.loads(Path("verified.json").read_text())["ok"]
