# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a cell says of itself follows from its networks, its bundle and its gallery alone."""

import hashlib
from pathlib import Path

import pytest
from colour_cell import write_cell
from small_bundle import write_bundle, write_models

from robollm_core.config import Config, update
from robollm_core.errors import ArtifactError
from robollm_core.runtime.announcement import IN_MEMORY, announcement
from robollm_core.runtime.bundle import effective_config


def test_networks_without_a_bundle_are_named_by_their_digests(tmp_path):
    settings = {**write_cell(tmp_path), "runtime.threads": 1}
    stages = ("segmentation", "identification", "defects")
    paths = [Path(settings[f"{stage}.artifact"]) for stage in stages]
    each = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    whole = hashlib.sha256("".join(each).encode()).hexdigest()
    said = announcement(update(Config(), {**settings, "segmentation.mask_threshold": 0.25}), 3)
    assert said.method == f"robollm/networks@{whole[:12]}"
    assert said.classes == ((0, "object"),)
    assert said.threshold == 0.25
    assert (said.database_location, said.database_version) == (IN_MEMORY, 3)


@pytest.mark.parametrize("ending", ["", ".tar"])
def test_a_bundle_is_named_by_its_own_name_and_digest(tmp_path, ending, monkeypatch):
    monkeypatch.setenv("ROBOLLM_CACHE", str(tmp_path / "cache"))
    bundle = write_bundle(tmp_path / f"b{ending}", write_models(tmp_path / "models"))
    said = announcement(effective_config({"runtime.bundle": str(bundle)}))
    assert said.method.startswith("robollm/colours@")
    # beside the unpacked folder lies its lock
    unpacked = (path for path in (tmp_path / "cache/bundles").glob("*") if path.is_dir())
    (folder,) = unpacked if ending else [bundle]
    digest = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
    assert said.method.endswith(digest[:12])


def test_a_gallery_is_the_place_of_the_embeddings(tmp_path):
    settings = {**write_cell(tmp_path), "runtime.threads": 1}
    settings["identification.gallery"] = "/srv/items.gallery"
    assert announcement(update(Config(), settings)).database_location == "/srv/items.gallery"


def test_a_network_that_changed_on_disk_is_refused(tmp_path):
    settings = {**write_cell(tmp_path), "runtime.threads": 1}
    path = Path(settings["defects.artifact"])
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="defects"):
        announcement(update(Config(), settings))
