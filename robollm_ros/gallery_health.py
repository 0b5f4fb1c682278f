# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which products of the manifest can be matched, and which cannot."""

from collections.abc import Mapping
from typing import Any

from robollm_ros.status import ERROR, OK, WARN, Status

SHORT = 12
"""Digits of a sha256 that are shown."""


def gallery_status(gallery: Mapping[str, Any] | None) -> Status:
    """Sum up.

    Args:
        gallery: as `Identifier.gallery_status` returns it; nothing while nothing is loaded.
    """
    if not gallery:
        return Status("gallery", OK, "not loaded")
    missing = {item["item_id"]: item["reason"] for item in gallery["missing"]}
    values = {
        **gallery,
        "missing": ", ".join(missing),
        "sha256": gallery["sha256"][:SHORT],
        "model": gallery["model"][:SHORT],
    }
    level, text = _judge(gallery, missing)
    return Status("gallery", level, text, values)


def _judge(gallery: Mapping[str, Any], missing: Mapping[str, str]) -> tuple[int, str]:
    products, embedded = gallery["products"], gallery["embedded"]
    if missing:
        item, reason = next(iter(missing.items()))
        text = (
            f"{gallery['missing_count']} of {products} products cannot be matched, for want of a "
            f"reference: {item}: {reason}"
        )
        return (WARN if embedded else ERROR), text
    if gallery["note"]:
        return WARN, gallery["note"]
    if gallery["unreadable"]:
        return WARN, f"{gallery['unreadable']} reference images cannot be read; others stand in"
    return OK, f"{embedded} products embedded" if products else "nothing to embed yet"
