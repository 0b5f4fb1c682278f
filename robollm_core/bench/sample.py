# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Frames and manifests of a recorded cell, for benches that need real ones."""

from pathlib import Path

from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent
from robollm_core.errors import BagError
from robollm_core.manifests import parse_manifest
from robollm_core.types import Frame, Manifest


def recorded(bag: Path, limit: int) -> list[tuple[Frame, Manifest]]:
    """The first frames of a recording, each with the manifest in force.

    Args:
        bag: with frames and manifests.
        limit: at most so many frames.

    Raises:
        BagError: If it has no frame that a manifest came before.
    """
    found: list[tuple[Frame, Manifest]] = []
    manifest: Manifest | None = None
    with BagReader(bag) as reader:
        for event in reader.events():
            if isinstance(event, ManifestEvent):
                manifest = parse_manifest(event.text, str(bag))
            elif isinstance(event, ImageEvent) and manifest is not None:
                found.append((event.decode(), manifest))
            if len(found) == limit:
                break
    if not found:
        raise BagError(f"{bag} has no frame after a manifest; a bench needs one.")
    return found
