# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Picks whose recorded images are the views of ARMBench as they are, several cameras a pick.

A pick event says so with `view`, as `robollm dataset to-bag` writes it. Nothing is
cut out of such an image: its file is kept byte for byte.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.data import rostypes
from robollm_core.data.armbench_identification import ALL_VIEWS
from robollm_core.data.bag import read_topics
from robollm_core.data.samples import parse_region
from robollm_core.data.site_labels import Moment, stamp_of
from robollm_core.errors import DatasetError

_PENDING = 16
"""Picks that wait for a view at most; a recording has the views of one pick together."""


@dataclass(frozen=True, slots=True)
class View:
    """One image of a pick.

    Attributes:
        topic: where it was recorded.
        moment: which one of that topic.
        outline: where the item is in it, as annotation.json says it; empty for all of it.
    """

    topic: str
    moment: Moment
    outline: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ViewedPick:
    """A pick with its views.

    Attributes:
        pick_id: its name.
        item_id: what was picked.
        views: name of ARMBench to image; PickRGB comes first.
        unreferenced: items of the container that its manifest does not list.
        references: of the item where it is not in the container; paths as in a manifest.
    """

    pick_id: str
    item_id: str
    views: Mapping[str, View]
    unreferenced: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()


def viewed_picks(
    events: Sequence[str], cancelled: Collection[str]
) -> tuple[dict[Moment, ViewedPick], list[str]]:
    """Put the events of each pick together.

    Args:
        events: JSON texts of pick events, in the order they were recorded.
        cancelled: pick ids that do not count.

    Returns:
        Moment of PickRGB to its pick; and what is wrong with events that say
        `view` and are of no known form, which are left out.
    """
    views: dict[str, dict[str, View]] = {}
    about: dict[str, Mapping[str, Any]] = {}
    wrong: list[str] = []
    for text in events:
        try:
            tree = json.loads(text)
            own = _views(tree)
            if not own or str(tree["pick_id"]) in cancelled:
                continue
            views.setdefault(str(tree["pick_id"]), {}).update(own)
            if ALL_VIEWS[0] in own:
                _check_products(tree.get("unreferenced", {}))
                about[str(tree["pick_id"])] = {**tree, "item_id": str(tree["item_id"])}
        except (KeyError, TypeError, ValueError, AttributeError, DatasetError) as error:
            wrong.append(f"{str(text)[:80]} ({error!r})")
    picks = {}
    for name, tree in about.items():
        ordered = {view: views[name][view] for view in ALL_VIEWS if view in views[name]}
        picks[ordered[ALL_VIEWS[0]].moment] = ViewedPick(
            name,
            tree["item_id"],
            ordered,
            tree.get("unreferenced", {}),
            tuple(map(str, tree.get("references", ()))),
        )
    return picks, wrong


def _views(tree: Mapping[str, Any]) -> dict[str, View]:
    found = {}
    for each in tree.get("views", ()):
        if each.get("view") in ALL_VIEWS:
            outline = each.get("outline", {})
            parse_region(outline, "a pick event")
            moment = Moment(str(each["camera"]), stamp_of(each["stamp"]))
            found[str(each["view"])] = View(str(each["topic"]), moment, outline)
    return found


def _check_products(tree: Any) -> None:
    if not isinstance(tree, Mapping) or not all(isinstance(p, Mapping) for p in tree.values()):
        raise TypeError("unreferenced must be a mapping of products")


def read_views(
    bag: Path, picks: Sequence[ViewedPick]
) -> Iterator[tuple[ViewedPick, dict[str, bytes]]]:
    """The images of picks, a pick at a time.

    Args:
        bag: the recording.
        picks: whose images are wanted.

    Yields:
        Each pick that has at least its PickRGB, with the image files by view; a view
        that is not in the bag is missing.

    Raises:
        BagError: If the bag cannot be read, or a topic is of another type.
    """
    wanted = {
        (view.topic, view.moment): (number, name)
        for number, pick in enumerate(picks)
        for name, view in pick.views.items()
    }
    pending: dict[int, dict[str, bytes]] = {}
    for topic, _, message in read_topics(bag, {key[0]: rostypes.COMPRESSED for key in wanted}):
        moment = Moment(str(message.header.frame_id), rostypes.stamp_ns(message))
        number, name = wanted.pop((topic, moment), (-1, ""))
        if number < 0:
            continue
        pending.setdefault(number, {})[name] = np.asarray(message.data).tobytes()
        ready = [n for n, own in pending.items() if len(own) == len(picks[n].views)]
        for done in (*ready, *list(pending)[: max(0, len(pending) - len(ready) - _PENDING)]):
            yield picks[done], pending.pop(done)
    for number, own in pending.items():
        if ALL_VIEWS[0] in own:
            yield picks[number], own
