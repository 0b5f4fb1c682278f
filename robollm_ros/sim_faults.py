# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of a simulated cell: what breaks in real ones, injected into a script by seed and rate.

Each fault is a function from steps to steps. Whatever it does to a message
stands in the marks of its step, so that nothing is lost without an account.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from robollm_core.errors import ConfigError
from robollm_core.images import decode_image, encode_jpeg
from robollm_core.synthetic.states import HELD_CAMERAS
from robollm_ros.sim_script import Manifest, Mark, Note, PickEvent, Picture, Step

RANDOM = "random"
A_MINUTE = 2.0
"""Faults a minute of one that is named without a rate."""
MOST_A_MINUTE = 600.0
STALE_S = 5.0
"""How much too old the stamps of a stale camera are."""
Steps = Iterator[Step]


class Dice:
    """When a fault happens next, and all else that is left to chance in it."""

    def __init__(self, name: str, a_minute: float, seed: int) -> None:
        """Begin at time 0.

        Args:
            name: of the fault.
            a_minute: how often on average; times between two are exponential.
            seed: fixes everything.
        """
        self.name, self.number = name, 0
        self.rng = np.random.default_rng([seed, 0xFA17, *name.encode()])
        self._mean_s = 60.0 / a_minute
        self._next_s = self.rng.exponential(self._mean_s)

    def due(self, at_s: float) -> bool:
        """Whether the next one is due; then it is counted and the one after is drawn."""
        if at_s < self._next_s:
            return False
        self.number += 1
        self._next_s = at_s + self.rng.exponential(self._mean_s)
        return True

    def pick(self, choices: Sequence[str]) -> str:
        """One of them."""
        return choices[int(self.rng.integers(len(choices)))]

    def mark(self, did: str) -> Mark:
        """What the present one did."""
        return Mark(self.name, self.number, did)


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault that can be chosen.

    Attributes:
        doc: one sentence.
        play: from steps to steps, given the dice and the names of the cameras.
    """

    doc: str
    play: Callable[[Steps, Dice, tuple[str, ...]], Steps]


def inject(steps: Steps, rates: Mapping[str, float], seed: int, cameras: tuple[str, ...]) -> Steps:
    """The script with faults.

    Args:
        steps: without.
        rates: faults a minute by name.
        seed: the same seed gives the same faults at the same times.
        cameras: of the cell, the tote's first.
    """
    for name, a_minute in rates.items():
        steps = KINDS[name].play(steps, Dice(name, a_minute, seed), cameras)
    return steps


def parse_faults(text: str) -> dict[str, float]:
    """Faults a minute by name.

    Args:
        text: "" for none, or "name=rate,name,random=rate": a name alone comes
            twice a minute; random shares its rate among all.

    Raises:
        ConfigError: If a name is unknown or a rate is no positive number.
    """
    rates: dict[str, float] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, said = word.partition("=")
        rate = _rate(name, said)
        if name == RANDOM:
            rates |= {kind: rates.get(kind, 0.0) + rate / len(KINDS) for kind in KINDS}
        elif name in KINDS:
            rates[name] = rates.get(name, 0.0) + rate
        else:
            raise ConfigError(
                f"faults: there is no fault {name!r}. There are {', '.join(KINDS)} and {RANDOM}."
            )
    return {name: rates[name] for name in KINDS if name in rates}


def _rate(name: str, said: str) -> float:
    try:
        rate = float(said) if said else A_MINUTE
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MOST_A_MINUTE:
        raise ConfigError(
            f"faults: {name} must happen more than 0 and at most {MOST_A_MINUTE:.0f} times a "
            f"minute, got {said!r}. Write for instance {name}=2."
        )
    return rate


@dataclass(frozen=True, slots=True)
class Window:
    """A fault that lasts: for some seconds every frame of one camera, or of all, is changed.

    Attributes:
        did: word for what happens to each frame.
        seconds: least and most.
        change: makes the frame that is shown instead.
        all_cameras: whether all are hit.
    """

    did: str
    seconds: tuple[float, float]
    change: Callable[[Picture, Dice], Picture]
    all_cameras: bool = False

    def play(self, steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
        """From steps to steps; a note says when it begins and ends."""
        camera, end_s = "", -1.0
        for step in steps:
            if end_s >= 0 and step.at_s >= end_s:
                end_s = -1.0
                yield Note(step.at_s, dice.mark("ended"), {"camera": camera})
            elif end_s < 0 and dice.due(step.at_s):
                camera = "" if self.all_cameras else dice.pick(cameras)
                lasts = round(float(dice.rng.uniform(*self.seconds)), 3)
                end_s = step.at_s + lasts
                told = {"camera": camera, "seconds": lasts}
                yield Note(step.at_s, dice.mark("began"), told)
            if end_s >= 0 and isinstance(step, Picture) and camera in ("", step.camera):
                changed = self.change(step, dice)
                yield replace(changed, marks=(*step.marks, dice.mark(self.did)))
            else:
                yield step


def _silent(picture: Picture, dice: Dice) -> Picture:
    return replace(picture, withheld=True)


def _blurred(picture: Picture, dice: Dice) -> Picture:
    image = decode_image(picture.jpeg, "the rendered frame")
    soft = cv2.GaussianBlur(image, (0, 0), 6.0)
    return replace(picture, jpeg=encode_jpeg(np.asarray(soft, np.uint8), 88))


def _stale(picture: Picture, dice: Dice) -> Picture:
    return replace(picture, shift_s=picture.shift_s - STALE_S)


def _jumped(picture: Picture, dice: Dice) -> Picture:
    # the same jump for all frames of this fault: half a minute to two
    return replace(picture, shift_s=picture.shift_s - 30.0 * (1 + dice.number % 4))


def _corrupt_image(steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
    """The next frame of a camera cannot be decoded."""
    camera = ""
    for step in steps:
        if not camera and dice.due(step.at_s):
            camera = dice.pick(cameras)
        if isinstance(step, Picture) and step.camera == camera:
            camera = ""
            step = replace(step, broken=True, marks=(*step.marks, dice.mark("altered")))
        yield step


def _missing_view(steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
    """One view of the next pick is never sent, though the event names it."""
    camera = ""
    for step in steps:
        if not camera and dice.due(step.at_s):
            camera = dice.pick([name for name in cameras if name in HELD_CAMERAS] or cameras[:1])
        if isinstance(step, Picture) and step.camera == camera:
            camera = ""
            step = replace(step, withheld=True, marks=(*step.marks, dice.mark("withheld")))
        yield step


def _wrong_manifest(steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
    """A manifest that is cut off or old comes after the right one, or one lists unknown items."""
    for step in steps:
        if not (isinstance(step, Manifest) and dice.due(step.at_s)):
            yield step
            continue
        how = dice.pick(("malformed", "older", "unknown_items"))
        tree = json.loads(step.text)
        if how == "unknown_items":
            tree["products"] = [*tree["products"], *_strangers(dice)]
            mark = dice.mark("unknown_items")
            yield replace(step, text=json.dumps(tree), marks=(*step.marks, mark))
            continue
        yield step
        old = json.dumps({**tree, "version": max(0, tree["version"] - 1)})
        text = step.text[: len(step.text) // 2] if how == "malformed" else old
        yield Manifest(step.at_s, text, (dice.mark(how),))


def _strangers(dice: Dice) -> list[dict[str, Any]]:
    """Products whose references nobody has."""
    names = [f"STRANGER-{dice.number:04d}-{k}" for k in range(int(dice.rng.integers(1, 4)))]
    return [
        {"product_id": name, "quantity": 1, "reference_images": [f"references/{name}/1.jpg"]}
        for name in names
    ]


def _malformed_event(steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
    """An event that is cut off comes before the right one."""
    for step in steps:
        if isinstance(step, PickEvent) and step.text is None and dice.due(step.at_s):
            whole = json.dumps(dict(step.event))
            cut = int(dice.rng.integers(1, len(whole) - 1))
            mark = dice.mark("added")
            yield PickEvent(step.at_s, {}, (), {}, text=whole[:cut], marks=(mark,))
        yield step


def _repeated_event(steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
    """An event comes twice, as from a sender who missed the answer."""
    for step in steps:
        yield step
        if isinstance(step, PickEvent) and step.text is None and dice.due(step.at_s):
            yield replace(step, marks=(*step.marks, dice.mark("repeated")))


def _cancelled_pick(steps: Steps, dice: Dice, cameras: tuple[str, ...]) -> Steps:
    """The gripper loses the item: no views, and a cancel event instead of the post-pick one."""
    pick, cancelled = "", False
    for step in steps:
        phase = step.event.get("phase") if isinstance(step, PickEvent) else None
        if isinstance(step, PickEvent) and phase == "pre_pick" and step.event["pick_id"] != pick:
            pick, cancelled = str(step.event["pick_id"]), dice.due(step.at_s)
        if cancelled and isinstance(step, Picture) and step.camera in HELD_CAMERAS:
            yield replace(step, withheld=True, marks=(*step.marks, dice.mark("withheld")))
        elif cancelled and isinstance(step, PickEvent) and phase == "post_pick":
            yield _cancel(step, dice)
        else:
            yield step


def _cancel(step: PickEvent, dice: Dice) -> PickEvent:
    event = {name: step.event[name] for name in ("schema", "event_id", "pick_id")}
    told = (*step.marks, dice.mark("cancelled"))
    event["phase"] = "cancel"
    return replace(step, event=event, cameras=(), regions={}, marks=told)


KINDS: Mapping[str, Kind] = {
    "blackout": Kind(
        "A camera is silent for 1 to 4 s.",
        Window("withheld", (1.0, 4.0), _silent).play,
    ),
    "blur": Kind(
        "A camera is out of focus for 1 to 3 s.",
        Window("altered", (1.0, 3.0), _blurred).play,
    ),
    "stale_stamps": Kind(
        f"Stamps of a camera are {STALE_S:.0f} s old for 1 to 3 s.",
        Window("altered", (1.0, 3.0), _stale).play,
    ),
    "clock_jump": Kind(
        "Stamps of all cameras go back by half a minute to two, and return after 2 to 4 s.",
        Window("altered", (2.0, 4.0), _jumped, all_cameras=True).play,
    ),
    "corrupt_image": Kind(
        "A frame cannot be decoded: half a JPEG, or a wrong step of a raw image.", _corrupt_image
    ),
    "missing_view": Kind("A view of a pick never comes.", _missing_view),
    "wrong_manifest": Kind(
        "A manifest is cut off, older than the one before or lists unknown items.", _wrong_manifest
    ),
    "malformed_event": Kind("A pick event is cut off.", _malformed_event),
    "repeated_event": Kind("A pick event comes twice.", _repeated_event),
    "cancelled_pick": Kind("A pick is called off before its views are there.", _cancelled_pick),
}
"""What can be chosen, in the order in which it is applied."""
