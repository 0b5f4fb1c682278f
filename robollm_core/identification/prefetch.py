# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Manifests on their way into force, off the path of the frames.

One thread reads what is offered, which takes seconds for 100 000 items, another embeds
the newest of what was read. Frames are answered meanwhile, under the manifest before.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from robollm_core.errors import ManifestError
from robollm_core.identification.quiet import without_collection
from robollm_core.identification.stage import Identifier
from robollm_core.manifests import check_version, parse_manifest
from robollm_core.types import IdentifyStage, Manifest

MAX_WAITING = 64
"""Messages that wait to be read: beyond, the oldest is refused."""

Offered = str | bytes | Manifest


class Prefetcher:
    """Reads and embeds manifests in threads of its own; the newest one wins.

    Whatever is offered is read, so each refusal is told; of those that wait to be
    embedded only the newest is. One that is being embedded is finished: the work is of use
    for the next, and a stream of versions cannot keep all of them out of force.
    """

    def __init__(
        self,
        identifier: Callable[[], IdentifyStage],
        on_ready: Callable[[Manifest], None],
        on_refused: Callable[[Exception], None],
        source: str = "the manifest",
    ) -> None:
        """Make one that is not running yet; what is offered before `start` waits for it.

        Args:
            identifier: gives the stage in use, which may be replaced at any time.
            on_ready: puts a manifest in force; its references are embedded.
            on_refused: is told why a message does not come into force. Both are called from
                the threads and must not raise.
            source: names what is offered in error messages, such as a topic.
        """
        self._identifier, self._source = identifier, source
        self._on_ready, self._on_refused = on_ready, on_refused
        self._changed = threading.Condition()
        self._messages: deque[Offered] = deque()
        self._reading = False
        self._read: Manifest | None = None
        self._pending: Manifest | None = None
        self._newest: Manifest | None = None
        self._ready: Manifest | None = None
        self._reloads: list[Future[Mapping[str, Any]]] = []
        self._shift: object | None = None
        """Of the threads at work; those of an earlier one end when they see another."""
        self._threads: list[threading.Thread] = []

    @property
    def pending(self) -> Manifest | None:
        """The manifest that is being embedded."""
        return self._pending

    @property
    def busy(self) -> bool:
        """Whether something is on its way into force."""
        with self._changed:
            waits = self._messages or self._read or self._pending or self._reloads
            return bool(waits or self._reading)

    def start(self) -> None:
        """Begin to work, with what has waited since it was offered."""
        shift = object()
        with self._changed:
            self._shift = shift
        self._threads = [
            threading.Thread(target=work, args=(shift,), name=f"manifest {what}", daemon=True)
            for what, work in (("reader", self._serve_reading), ("embedder", self._serve_embedding))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End; manifests wait for the next start, reloads are cancelled.

        Args:
            timeout_s: to wait for each of the threads, which end after the message and the
                manifest at hand; neither comes into force before the next start.
        """
        with self._changed:
            self._shift = None
            for future in self._reloads:
                future.cancel()
            self._reloads.clear()
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        self._threads = []

    def offer(self, message: Offered) -> None:
        """Take a manifest, or the JSON text of one; returns at once."""
        dropped = False
        with self._changed:
            self._messages.append(message)
            if len(self._messages) > MAX_WAITING:
                self._messages.popleft()
                dropped = True
            self._changed.notify_all()
        if dropped:
            self._on_refused(
                ManifestError(
                    f"{self._source}: more than {MAX_WAITING} messages wait to be read, the "
                    "oldest is dropped. Send a manifest when it changes, not all the time."
                )
            )

    def reload(self) -> "Future[Mapping[str, Any]]":
        """Have `Identifier.reload` done between two manifests.

        Returns:
            What it returns or raises; cancelled when this is stopped before.
        """
        future: Future[Mapping[str, Any]] = Future()
        with self._changed:
            if self._shift is None:
                future.cancel()
            else:
                self._reloads.append(future)
            self._changed.notify_all()
        return future

    def _serve_reading(self, shift: object) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._shift is not shift or self._messages)
                if self._shift is not shift:
                    return
                message, self._reading = self._messages.popleft(), True
            try:
                self._take(message)
            except Exception as error:  # noqa: BLE001 - one bad message must not end the service
                self._on_refused(error)
            finally:
                self._reading = False

    def _take(self, message: Offered) -> None:
        manifest = message
        if not isinstance(manifest, Manifest):
            with without_collection():
                manifest = parse_manifest(manifest, self._source)
        with self._changed:
            check_version(self._newest, manifest)
            self._newest = self._read = manifest
            self._changed.notify_all()

    def _serve_embedding(self, shift: object) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._shift is not shift or self._read or self._reloads
                )
                if self._shift is not shift:
                    return
                manifest, self._pending, self._read = self._read, self._read, None
                reloads, self._reloads = self._reloads, []
            if reloads:
                self._reload(reloads)
            if manifest is not None:
                self._embed(manifest, shift)

    def _embed(self, manifest: Manifest, shift: object) -> None:
        failure: Exception | None = None
        try:
            self._identifier().prepare(manifest)
        except Exception as error:  # noqa: BLE001 - the manifest before stays in force
            failure = error
        with self._changed:
            self._pending = None
            if failure is not None and self._newest is manifest:
                self._newest = self._ready  # so that it may be sent again
            if failure is None and self._shift is not shift:
                self._read = self._read or manifest
                self._changed.notify_all()  # it may have been started again
                return
        if failure is not None:
            self._on_refused(failure)
            return
        self._ready = manifest
        self._on_ready(manifest)

    def _reload(self, futures: list["Future[Mapping[str, Any]]"]) -> None:
        stage = self._identifier()
        try:
            told = stage.reload() if isinstance(stage, Identifier) else {}
        except Exception as error:  # noqa: BLE001 - who asked for it is told
            for future in futures:
                with suppress(Exception):
                    future.set_exception(error)
            return
        for future in futures:
            with suppress(Exception):  # cancelled meanwhile
                future.set_result(told)
