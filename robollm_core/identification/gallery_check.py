# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is in a gallery file, and whether it is still true of the images and the network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robollm_core.identification.embedder import Network
from robollm_core.identification.gallery_file import FLOAT, GalleryFile
from robollm_core.identification.references import Reference, ReferenceRoot
from robollm_core.types import ManifestItem

KINDS = {
    "damaged": "pages of the file that are damaged",
    "network": "network other than the one in use",
    "foreign": "embeddings of another network",
    "wrong": "embeddings that are no vector of the network",
    "missing embedding": "reference images without an embedding",
    "missing image": "reference images that cannot be read",
    "stale": "reference images that have changed since they were embedded",
}
"""Kind of finding to what it counts."""
_COUNTS = {
    "items": "SELECT COUNT(*) FROM items",
    "references": "SELECT COUNT(*) FROM reference_images",
    "embeddings": "SELECT COUNT(*) FROM embeddings WHERE network = :key",
    "foreign": "SELECT COUNT(*) FROM embeddings WHERE network != :key",
    "unused": "SELECT COUNT(*) FROM embeddings WHERE network = :key AND sha256 NOT IN "
    "(SELECT sha256 FROM reference_images)",
    "bare_items": "SELECT COUNT(*) FROM items WHERE item_id NOT IN "
    "(SELECT item_id FROM reference_images)",
}


@dataclass(slots=True)
class Findings:
    """What is wrong with a gallery file.

    Attributes:
        found: (kind, place, what is wrong).
        references: reference images that were looked at.
    """

    found: list[tuple[str, str, str]] = field(default_factory=list)
    references: int = 0

    def counts(self) -> dict[str, int]:
        """How often each of `KINDS` was found."""
        return {kind: sum(each[0] == kind for each in self.found) for kind in KINDS}


def facts(file: GalleryFile) -> dict[str, Any]:
    """What a file says of itself.

    Returns:
        "path", "bytes", "model", "dim", "root", "sha256" of its content, "items",
        "bare_items" without an image, "references", "embeddings" of its network, "unused" of
        them (of no item), and "foreign" ones, of other networks.

    Raises:
        GalleryError: If it cannot be read.
    """
    key = {"key": file.network.key}
    with file.reading() as db:
        counts = {name: db.execute(text, key).fetchone()[0] for name, text in _COUNTS.items()}
    return {
        "path": str(file.path),
        "bytes": file.path.stat().st_size,
        "model": file.network.model,
        "dim": file.network.dim,
        "root": file.meta.get("root", ""),
        "sha256": file.content[1],
        **counts,
    }


def verify(
    file: GalleryFile,
    root: ReferenceRoot,
    network: Network | None = None,
    tell: Callable[[int], object] = lambda done: None,
) -> Findings:
    """Hold a file against its images, which are read anew.

    Args:
        file: opened for any network.
        root: where its paths start.
        network: the one in use; None when nobody knows.
        tell: gets how many more reference images are done.

    Raises:
        GalleryError: If it cannot be read at all.
    """
    findings = Findings()
    if network is not None and network.key != file.network.key:
        text = f"the file is of {file.network.model[:12]}, in use is {network.model[:12]}"
        findings.found.append(("network", str(file.path), text))
    _check_pages(file, findings)
    _check_embeddings(file, findings)
    _check_images(file, root, findings, tell)
    return findings


def _check_pages(file: GalleryFile, findings: Findings) -> None:
    with file.reading() as db:
        for (line,) in db.execute("PRAGMA integrity_check(20)"):
            if line != "ok":
                findings.found.append(("damaged", str(file.path), line))


def _check_embeddings(file: GalleryFile, findings: Findings) -> None:
    with file.reading() as db:
        for digest, network, blob in db.execute("SELECT * FROM embeddings"):
            if network != file.network.key:
                findings.found.append(("foreign", digest, f"of the network {network[:12]}"))
                continue
            size = len(blob) / FLOAT.itemsize
            if size != int(size) or size == 0 or file.network.dim not in (0, size):
                findings.found.append(("wrong", digest, f"{len(blob)} bytes"))
            elif not np.isfinite(np.frombuffer(blob, FLOAT)).all():
                findings.found.append(("wrong", digest, "NaN or infinity"))


def _check_images(
    file: GalleryFile, root: ReferenceRoot, findings: Findings, tell: Callable[[int], object]
) -> None:
    root.forget()
    root.begin()
    with file.reading() as db:
        rows = db.execute(
            "SELECT r.item_id, r.path, r.sha256, e.sha256 IS NOT NULL FROM reference_images r "
            "LEFT JOIN embeddings e ON e.sha256 = r.sha256 AND e.network = ? ORDER BY r.position",
            (file.network.key,),
        ).fetchall()
    for item_id, path, digest, embedded in rows:
        place = f"{item_id}: {path}"
        if not embedded:
            findings.found.append(("missing embedding", place, "not embedded"))
        (found,) = list(root.of(ManifestItem(item_id, reference_images=(path,))))[:1]
        if not isinstance(found, Reference):
            findings.found.append(("missing image", place, str(found)))
        elif found.sha256 != digest:
            text = f"it was {digest[:12]}, it is {found.sha256[:12]}"
            findings.found.append(("stale", place, text))
        findings.references += 1
        tell(1)
