# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of a recording on their way through a cell, in the time of the recording.

No clock on the wall is read: what was recorded when decides everything, so the same
recording gives the same answers, byte for byte.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from robollm_core.config import Config, InputConfig
from robollm_core.data import pick_answers, rostypes
from robollm_core.data.answers import ANNOUNCED, TOPICS, write_announcement, write_answer
from robollm_core.data.bag import (
    BagReader,
    Event,
    ImageEvent,
    ManifestEvent,
    PickMessage,
)
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.camera_topics import camera_names
from robollm_core.data.recorded import TIMING
from robollm_core.data.replay_picks import RecordedClock, ReplayedPicks
from robollm_core.data.turns import SERVICE, ServiceTimes, Turn, Turns, answer_times
from robollm_core.errors import (
    ConfigError,
    ImageError,
    ManifestError,
    NotFiniteError,
    RobollmError,
    RuntimeFailedError,
)
from robollm_core.manifests import ManifestHistory, check_version, parse_manifest
from robollm_core.picks.answers import REJECTED, PickAnswer, Receipt
from robollm_core.picks.desk import Desk
from robollm_core.pipeline import Stages, perceive
from robollm_core.runtime.announcement import announcement
from robollm_core.types import Frame, PerceptionResult

AT_ONCE = ServiceTimes([{SERVICE: 0.0}])


@dataclass(frozen=True, slots=True)
class Plan:
    """How a recording is replayed.

    Attributes:
        times: how long a frame takes the emulated node; None answers every frame.
        include_inputs: copy what was read to the output.
        models: what each stage runs on, as the answers to pick events say it.
        picks: answer pick events.
    """

    times: ServiceTimes | None = None
    include_inputs: bool = False
    models: Mapping[str, str] = field(default_factory=dict)
    picks: bool = True


class Replay:
    """One recording on its way through one cell.

    Attributes:
        answered: frames answered so far.
        refused: images, manifests and pick events that were refused so far.
        read: frames read so far.
        picks: pick events answered so far, by the state they ended in.
    """

    def __init__(self, bag: BagReader, stages: Stages, config: Config, plan: Plan) -> None:
        """Take an open bag and a cell.

        Args:
            bag: open; of a whole cell.
            stages: made of `config`.
            config: the tree.
            plan: how.
        """
        self._bag, self._stages, self._config, self._plan = bag, stages, config, plan
        self._manifests = ManifestHistory(config.picks.manifests)
        every = config.input if plan.times else _no_limits(config)
        self._turns = Turns(every, plan.times or AT_ONCE, self._serve, self._went_back)
        self._cameras = camera_names(bag.image_topics)
        names, clock = sorted(self._cameras.values()), RecordedClock()
        desk = Desk(names, config, self._manifests, plan.models, clock)
        desk.open()
        self._picks = ReplayedPicks(desk, clock, stages, self._turns, self)
        self._said = announcement(config, database_version=0)
        self._out: BagWriter | None = None
        self.answered = 0
        self.refused = 0
        self.read = 0
        self.picks: dict[str, int] = {}

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What will be written, in order.

        Raises:
            ConfigError: If an input that is to be copied has the name of an answer.
        """
        timing = (TIMING,) if self._plan.times else ()
        picks = pick_answers.TOPICS if self._plan.picks else ()
        answers = (*ANNOUNCED, *TOPICS, *timing, *picks)
        inputs = self._bag.topics if self._plan.include_inputs else ()
        both = {topic.name for topic in answers} & {topic.name for topic in inputs}
        if both:
            raise ConfigError(
                f"{', '.join(sorted(both))} of {self._bag.path} is also an answer of the replay. "
                "Leave out --include-inputs."
            )
        return (*inputs, *answers)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What became of the frames, by camera."""
        return {name: counts.tree() for name, counts in sorted(self._turns.counts.items())}

    def write(self, out: BagWriter, progress: Callable[[], object] = lambda: None) -> None:
        """Answer all of the recording.

        Args:
            out: open, with `topics`.
            progress: called after each frame that was read.

        Raises:
            BagError: If a message cannot be read.
            OutputError: If the answers cannot be written.
        """
        self._out = out
        for number, event in enumerate(self._bag.events()):
            if not number:
                write_announcement(out, self._said, event.log_ns)
            self._advance(event.log_ns)
            if self._plan.include_inputs:
                out.write(event.topic, event.log_ns, event.serialised)
            self._hear(event)
            if isinstance(event, ImageEvent):
                self.read += 1
                progress()
        self._advance(None)

    def told(self, receipt: Receipt, now_ns: int) -> None:
        """Write what is said of a pick event on the way."""
        assert self._out is not None
        pick_answers.write_pick_status(self._out, receipt.status, now_ns)
        if receipt.status["state"] == REJECTED:
            self._refuse(now_ns, str(receipt.status["reason"]))

    def answered_pick(self, answer: PickAnswer, now_ns: int) -> None:
        """Write the answer to a pick event."""
        assert self._out is not None
        pick_answers.write_pick_answer(self._out, answer, now_ns)
        self.picks[answer.state] = self.picks.get(answer.state, 0) + 1
        if answer.state == REJECTED:
            self._refuse(now_ns, str(answer.status["reason"]))

    def _advance(self, until_ns: int | None) -> None:
        """Do all that is due before a moment; None: all that is due at all."""
        while (due := self._picks.next_ns()) is not None:
            if until_ns is not None and due >= until_ns:
                break
            self._turns.advance(due)
            self._picks.step(due)
        self._turns.advance(until_ns)

    def _hear(self, event: Event) -> None:
        if isinstance(event, ManifestEvent):
            self._accept(event)
        elif isinstance(event, PickMessage) and self._plan.picks:
            self._picks.receive(event.text, event.log_ns)
        elif isinstance(event, ImageEvent):
            camera = self._cameras[event.topic]
            self._turns.arrive(camera, event, event.log_ns)
            # picks go before the stream
            self._picks.on_frame(camera, event, event.log_ns)
            if self._plan.times is None:
                self._turns.advance(None)

    def _accept(self, event: ManifestEvent) -> None:
        """As in the node, a manifest that is refused leaves the one before in force."""
        try:
            manifest = parse_manifest(event.text, f"the manifest at {event.log_ns} ns")
            check_version(self._manifests.current, manifest)
            self._stages.identification.prepare(manifest)
            self._manifests.put(manifest)
        except (ManifestError, NotFiniteError, RuntimeFailedError) as error:
            self._refuse(event.log_ns, error)
            return
        # with other items the ids in the answers mean something else
        edition = self._said.database_version + 1
        self._said = replace(self._said, database_version=edition)
        assert self._out is not None
        write_announcement(self._out, self._said, event.log_ns)

    def _went_back(self, camera: str) -> None:
        self._picks.clear(f"the stamps of {camera} went back")

    def _serve(self, turn: Turn) -> bool:
        counts = self._turns.counts[turn.camera]
        try:
            frame = turn.event.decode()
        except ImageError as error:
            counts.decode_errors += 1
            self._refuse(turn.event.log_ns, error)
            return False
        result = self._perceive(frame, turn)
        assert self._out is not None
        write_answer(self._out, result, turn.event.log_ns)
        if self._plan.times is not None:
            text = json.dumps(self._timing(result, turn))
            message = rostypes.make(rostypes.STRING, data=text)
            self._out.write(TIMING.name, turn.event.log_ns, message)
        self.answered += 1
        return True

    def _perceive(self, frame: Frame, turn: Turn) -> PerceptionResult:
        """The answer; as in the node an empty one when a network fails."""
        counts = self._turns.counts[turn.camera]
        manifest = self._manifests.current
        try:
            result = perceive(frame, manifest, self._stages)
        except RobollmError as error:
            counts.failed += 1
            self._refuse(turn.event.log_ns, error)
            named = (manifest.container_id, manifest.version) if manifest else ("", 0)
            height, width = frame.image_rgb.shape[:2]
            return PerceptionResult(frame.stamp_ns, frame.camera, (height, width), (), named)
        counts.processed += 1
        return result

    def _timing(self, result: PerceptionResult, turn: Turn) -> dict[str, Any]:
        return {
            "stamp_ns": result.stamp_ns,
            "camera": result.camera,
            "instances": len(result.items),
            "manifest": list(result.manifest),
            "ms": answer_times(turn),
            "input": turn.camera,
            **self._turns.counts[turn.camera].tree(),
        }

    def _refuse(self, log_ns: int, error: Exception | str) -> None:
        self.refused += 1
        print(f"robollm: refused at {log_ns} ns: {error}", file=sys.stderr)


def _no_limits(config: Config) -> InputConfig:
    return replace(config.input, enabled=True, max_age_ms=0.0, max_rate_hz=0.0)
