# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the three pick cameras of a running cell see of one pick: its items on the gripper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from robollm_core.synthetic.grips import grip
from robollm_core.synthetic.lens import expose, random_exposure
from robollm_core.synthetic.products import Product
from robollm_core.synthetic.staging import box_of
from robollm_core.synthetic.states import HELD_CAMERAS
from robollm_core.synthetic.studio import Studio
from robollm_core.synthetic.views import HELD_VIEWS

MULTI_PICK_RATE = 0.08
"""Share of the picks that lift a second item with the first."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What the pick cameras see.

    Attributes:
        jpegs: a picture a camera, in the order of `HELD_CAMERAS`.
        regions: where what is held lies, x, y, w, h in pixels; a camera that sees
            nothing of it has none.
    """

    jpegs: Mapping[str, bytes] = field(default_factory=dict)
    regions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def held_views(
    products: Sequence[Product], items: Sequence[int], studio: Studio, rng: np.random.Generator
) -> Held:
    """One picture a pick camera.

    Args:
        products: those of the studio.
        items: numbers of the products that hang on the gripper, the one meant first.
        studio: takes the pictures.
        rng: chooses grip, cameras, light and exposure.
    """
    held = grip([(item, products[item].mesh) for item in items], rng)
    pictures, regions = {}, {}
    for camera, make_shot in zip(HELD_CAMERAS, HELD_VIEWS.values(), strict=True):
        # the far background is no neighbour that the item could darken
        setting = replace(random_exposure(rng), occlusion=0.0)
        pictures[camera], marks = expose(studio.shoot(make_shot(held, rng)), setting)
        if (marks > 0).any():
            x0, y0, x1, y1 = box_of(marks > 0)
            regions[camera] = {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}
    return Held(pictures, regions)
