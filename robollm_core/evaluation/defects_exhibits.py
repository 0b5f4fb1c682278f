# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the verdicts that went wrong most."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from robollm_core.data.armbench_defects import DefectSample
from robollm_core.data.samples import Picture, cut
from robollm_core.evaluation.defects_judged import NOMINAL, index_of, verdicts
from robollm_core.evaluation.outcome import Exhibit
from robollm_core.evaluation.worst import Worst, draw_lines, picture
from robollm_core.images import CropSpec, read_image
from robollm_core.types import DEFECT_LABELS, Float32Array, UInt8Array

MISSED, ALARM, CONFUSED = "missed defect", "false alarm", "wrong defect class"
GROUPS = (MISSED, ALARM, CONFUSED)

_OUTLINE = (255, 0, 200)


def show(
    worst: Worst,
    sample: DefectSample,
    name: str,
    row: Float32Array,
    spec: CropSpec,
    threshold: float,
) -> None:
    """Offer an image to the pictures of the report when its verdict is wrong.

    Args:
        worst: with the groups `GROUPS`.
        sample: the image and its label.
        name: its id.
        row: (3,) probabilities of the network.
        spec: how the network sees it.
        threshold: score from which an image is flagged.
    """
    said = int(verdicts(row[None], threshold)[0])
    truth = index_of(sample.label)
    if said == truth:
        return
    score = 1.0 - float(row[NOMINAL])
    if truth == NOMINAL:
        group, badness = ALARM, score
    elif said == NOMINAL:
        group, badness = MISSED, -score
    else:
        group, badness = CONFUSED, float(row[said])
    worst.offer(group, badness, lambda: _exhibit(group, sample, name, row, spec))


def _exhibit(
    group: str, sample: DefectSample, name: str, row: Float32Array, spec: CropSpec
) -> Exhibit:
    shares = ", ".join(f"{c} {p:.3f}" for c, p in zip(DEFECT_LABELS, row.tolist(), strict=True))
    return Exhibit(
        group,
        name,
        (
            ("what the network sees", picture(cut(sample.picture, spec))),
            ("the image, region outlined", picture(outlined(sample.picture))),
        ),
        f"is {sample.label}; score {1.0 - float(row[NOMINAL]):.3f} ({shares})",
    )


def outlined(source: Picture) -> UInt8Array:
    """The image of a picture with its region outlined, (H, W, 3) uint8.

    Raises:
        ImageError: If the file is not a whole image.
    """
    image = read_image(source.path).copy()
    if source.region is None:
        return image
    mask = source.region.mask((image.shape[0], image.shape[1]), str(source.path))
    if mask is None:
        x0, y0, x1, y1 = (round(edge) for edge in source.region.box_xyxy_px)
        corners = [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]
        lines: Sequence[Any] = [np.array(corners, np.int32)]
    else:
        lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    draw_lines(image, lines, _OUTLINE)
    return image
