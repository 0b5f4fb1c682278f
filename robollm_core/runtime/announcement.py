# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a cell says of itself once, for everybody who reads its answers: classes and networks.

The perception node latches it on ~/label_info and ~/vision_info; a replayed bag
holds the same.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from robollm_core.config import Config
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.bundle import read_description
from robollm_core.runtime.bundle_description import parse_description
from robollm_core.runtime.furniture import labels

IN_MEMORY = "manifest"
"""The place of embeddings that come from the manifest's references alone."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """The facts behind class names and item ids.

    Attributes:
        classes: (number, name) of the segmentation network's classes, in its order.
        threshold: probability from which a pixel belongs to a mask.
        method: "robollm/<bundle>@<sha12>"; without a bundle "robollm/networks@<sha12>"
            of the three networks together.
        database_location: the gallery file, or `IN_MEMORY`.
        database_version: grows with every reload of the gallery.
    """

    classes: tuple[tuple[int, str], ...]
    threshold: float
    method: str
    database_location: str
    database_version: int


def announcement(config: Config, database_version: int = 1) -> Announcement:
    """What the cell of a configuration says of itself.

    Args:
        config: the tree, as `bundle.effective_config` gives it.
        database_version: which edition of the gallery is in force.

    Raises:
        ArtifactError: If a network or the bundle is missing or damaged.
    """
    paths = (config.segmentation.artifact, config.identification.artifact, config.defects.artifact)
    sidecars = [load_artifact(path)[1] for path in paths]
    if config.runtime.bundle:
        source = Path(config.runtime.bundle)
        bundle = parse_description(read_description(source), source)
        name, digest = str(bundle.tree["name"]), bundle.sha256
    else:
        joined = "".join(sidecar.sha256 for sidecar in sidecars)
        name, digest = "networks", hashlib.sha256(joined.encode()).hexdigest()
    return Announcement(
        classes=tuple(enumerate(labels(sidecars[0]))),
        threshold=config.segmentation.mask_threshold,
        method=f"robollm/{name}@{digest[:12]}",
        database_location=config.identification.gallery or IN_MEMORY,
        database_version=database_version,
    )
