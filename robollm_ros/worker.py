# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that answers frames, so that the executor stays free for everything else."""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from std_msgs.msg import Header

from robollm_core.errors import RobollmError
from robollm_core.manifests import check_version, parse_manifest
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import Frame, Instance, Manifest
from robollm_ros.health import IMAGE, MANIFEST, Health
from robollm_ros.mailbox import Mailbox
from robollm_ros.outputs import Answer

_KEPT = {IMAGE: "The frame is skipped.", MANIFEST: "The manifest before stays in force."}
Decode = Callable[[Any], tuple[Frame, Header]]


class Worker:
    """Takes the newest frame, decodes it, perceives, hands the answer on; survives bad input.

    Attributes:
        mailbox: where subscriptions leave (message, `time.perf_counter()` of arrival).
        stages: may be replaced at any time; the next frame uses the new ones.
        manifest: in force for the next frame; None until one was accepted.
    """

    def __init__(
        self,
        stages: Stages,
        health: Health,
        *,
        decode: Decode,
        publish: Callable[[Answer], dict[str, float]],
        log: Callable[[str, str], None],
    ) -> None:
        """Make a worker that is not running yet.

        Args:
            stages: the three stages, warmed up.
            health: is told of every answer and every refusal.
            decode: message to frame and header; raises ImageError.
            publish: sends an answer out and returns its complete milliseconds.
            log: gets the topic, one of `health.TOPICS`, and a text, not too often.
        """
        self.stages = stages
        self.manifest: Manifest | None = None
        self.mailbox: Mailbox[tuple[Any, float]] = Mailbox()
        self._health = health
        self._decode = decode
        self._publish = publish
        self._log = log
        self._lock = threading.Lock()
        self._offered: Manifest | None = None
        self._newest_refused = False
        """Whether the newest manifest that came, not the newest offered, was refused."""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer, with an empty mailbox."""
        self.mailbox = Mailbox()
        self.mailbox.nudge()  # a manifest may have been offered just before the last stop
        self._thread = threading.Thread(target=self._serve, name="perceive", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the frame at hand; the manifest stays for the next start."""
        self.mailbox.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def read_manifest(self, text: str) -> None:
        """Check a manifest and put it in force once its references are embedded.

        A manifest that is refused leaves the one before in force.
        """
        with self._refusing(MANIFEST):
            self._newest_refused = True  # until all checks are passed
            manifest = parse_manifest(text, "the manifest")
            with self._lock:
                check_version(self._offered or self.manifest, manifest)
                self._offered, self._newest_refused = manifest, False
            self.mailbox.nudge()

    @contextmanager
    def _refusing(self, topic: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one bad message must not end the service
            if self._health.refused(topic, str(error)):
                expected = isinstance(error, RobollmError)
                trace = "" if expected else "\n" + "".join(traceback.format_exception(error))
                self._log(topic, f"{str(error).rstrip('.')}. {_KEPT[topic]}{trace}")

    def _serve(self) -> None:
        while self.mailbox.wait():
            with self._refusing(MANIFEST):
                self._accept()
            # taken only now: embedding may last, and what is answered is the newest frame
            if (arrival := self.mailbox.take()) is not None:
                with self._refusing(IMAGE):
                    self._answer(*arrival)

    def _accept(self) -> None:
        with self._lock:
            manifest, self._offered = self._offered, None
        if manifest is None:
            return
        # it may have been offered while a newer one was being embedded
        check_version(self.manifest, manifest)
        self.stages.identification.prepare(manifest)
        self.manifest = manifest
        if not self._newest_refused:
            self._health.accepted()

    def _answer(self, message: Any, arrived: float) -> None:
        taken = time.perf_counter()
        frame, header = self._decode(message)
        decoded = time.perf_counter()
        if news := self._health.described(frame):
            self._log(IMAGE, news)
        result = perceive(frame, self.manifest, self.stages)
        secs = {"queue": taken - arrived, "decode": decoded - taken, **result.stage_secs}
        counts = {
            **self.mailbox.counts,
            "processed": self._health.processed + 1,
            "errors": self._health.errors[IMAGE],
        }
        ms = {name: value * 1e3 for name, value in secs.items()}
        answer = Answer(frame, header, result, ms, arrived, counts)
        self._health.answered(self._publish(answer))


def warm_up(stages: Stages, iterations: int) -> None:
    """Run every network on a grey frame, so that the first real one is not the slow one.

    Raises:
        RobollmError: If a stage cannot serve.
    """
    frame = Frame(np.full((480, 640, 3), 128, np.uint8))
    instance = Instance((160, 120, 480, 360), np.ones((240, 320), np.bool_), 1.0)
    for _ in range(iterations):
        try:
            stages.segmentation.segment(frame)
            stages.identification.warm_up()
            stages.defects.inspect(frame, (instance,))
        except RobollmError:
            raise
        except Exception as error:
            raise RobollmError(f"the networks fail on a grey frame: {error}") from error
