# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The services of the perception node.

What needs the networks runs in the worker between two frames, what needs the disk in a thread of
its own; the executor only waits for the outcome, and serves everything else meanwhile.
"""

import json
import types
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from diagnostic_msgs.srv import SelfTest
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from robollm_core.config import Config
from robollm_core.errors import RobollmError
from robollm_core.pipeline import Stages
from robollm_core.types import PerceptionResult
from robollm_ros.conversions import detection_id, status_message
from robollm_ros.debug_frame import FOLDER, Scene, debug_folder, save_scene
from robollm_ros.intake import Arrival
from robollm_ros.self_test import Golden, file_status, network_status
from robollm_ros.status import OK, Status
from robollm_ros.worker import frame_counts

if TYPE_CHECKING:
    from robollm_ros.configured import Configured

T = TypeVar("T")
SERVICES: Mapping[str, tuple[Any, str]] = {
    "enable": (SetBool, "Answer the stream of frames, or leave it; pick events are answered in any "
               "case. Sets the parameter input.enabled."),
    "trigger": (Trigger, "Answer the newest frame of every camera once more, on the topics and as "
                "JSON in the reply; also while the stream is switched off."),
    "reload_gallery": (Trigger, "Read the gallery file and the reference images anew; frames go on "
                       "under the old ones meanwhile."),
    "save_debug_frame": (Trigger, "Write the newest frame of every camera, the manifest and the "
                         "settings as a bag into debug_folder; the reply names the files."),
    "self_test": (SelfTest, "Compare the files of the networks with their sidecars and their "
                  "answers on a grey image with those at configure."),
}  # fmt: skip
"""Type of each service under the name of the node, and what it does."""
_INACTIVE = "the node is not active; activate it first."
_NO_FRAME = "no camera has sent a frame yet; are the cameras up?"


class Services:
    """Offers the services from configure to cleanup."""

    def __init__(
        self, node: LifecycleNode, cell: "Configured", stages: Stages, stored: Golden
    ) -> None:
        """Create the services; they live until `close`.

        Args:
            node: whose they are.
            cell: what they act on.
            stages: as loaded, under the thresholds of configure.
            stored: what these stages made of the grey image.
        """
        self._node, self._cell, self._test = node, cell, (stages, stored)
        self._pool = ThreadPoolExecutor(1, "service")
        self._waiting: set[Future[Any]] = set()
        # a call that waits for the worker must hold up no other callback of the node
        group = ReentrantCallbackGroup()
        self._services = [
            node.create_service(
                kind, f"~/{name}", getattr(self, f"on_{name}"), callback_group=group
            )
            for name, (kind, _) in SERVICES.items()
        ]

    def cancel(self) -> None:
        """Answer the calls that wait for the worker: it stops."""
        for future in list(self._waiting):
            future.cancel()
            with suppress(InvalidStateError):
                future.set_exception(RobollmError(_INACTIVE))

    def close(self) -> None:
        """Destroy the services."""
        self.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._services:
            self._node.destroy_service(self._services.pop())

    def on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Switch the stream on or off."""
        chosen = Parameter("input.enabled", value=bool(request.data))
        (result,) = self._node.set_parameters([chosen])
        response.success = bool(result.successful)
        response.message = result.reason or f"input.enabled is {str(request.data).lower()}"
        return response

    async def on_trigger(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Answer the newest frame of every camera."""

        async def act() -> dict[str, Any]:
            newest = self._newest()
            frames = [
                await self._in_worker(partial(self._look, name, arrival))
                for name, arrival in newest.items()
            ]
            return {"frames": frames, "missing": self._without(newest)}

        return await _told(response, act)

    async def on_reload_gallery(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Read the gallery anew."""

        async def act() -> dict[str, Any]:
            status = await self._outcome(self._cell.manifests.reload())
            self._cell.reloaded()
            return dict(status)

        return await _told(response, act)

    async def on_save_debug_frame(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Write the newest frame of every camera to disk."""

        async def act() -> dict[str, Any]:
            newest, cell = self._newest(), self._cell
            folder = debug_folder(str(self._node.get_parameter(FOLDER.name).value), cell.config)
            files = []
            for name, arrival in newest.items():
                scene = Scene(
                    cell.intake.cameras[name], arrival.message, arrival.stamp_ns,
                    cell.worker.manifest, cell.config, cell.health.model,
                )  # fmt: skip
                resolve = self._node.resolve_topic_name
                path = await self._in_pool(partial(save_scene, folder, scene, resolve))
                files.append(str(path))
            return {"files": files, "missing": self._without(newest)}

        return await _told(response, act)

    async def on_self_test(
        self, request: SelfTest.Request, response: SelfTest.Response
    ) -> SelfTest.Response:
        """Compare what is with what was."""
        response.id = self._node.get_fully_qualified_name()
        config: Config = self._cell.config
        found = [await self._in_pool(partial(file_status, config))]
        try:
            found += await self._in_worker(partial(network_status, *self._test))
        except (RobollmError, CancelledError) as error:
            found.append(Status("golden image", 1, f"not run: {error or _INACTIVE}"))
        response.passed = bytes([all(status.level == OK for status in found)])
        response.status = [status_message(status, response.id) for status in found]
        return response

    def _newest(self) -> dict[str, Arrival]:
        if not self._cell.active:
            raise RobollmError(_INACTIVE)
        newest = dict(self._cell.intake.newest)
        if not newest:
            raise RobollmError(_NO_FRAME)
        return newest

    def _without(self, newest: Mapping[str, Arrival]) -> list[str]:
        return [name for name in self._cell.intake.cameras if name not in newest]

    def _look(self, name: str, arrival: Arrival) -> dict[str, Any]:
        """Runs in the worker."""
        cell = self._cell
        counts = frame_counts(cell.worker.counts()[name])
        answer = cell.worker.look(name, arrival, counts)
        ms = cell.outputs.publish(answer)
        return result_tree(name, answer.result, ms)

    def _in_worker(self, work: Callable[[], T]) -> "Awaitable[T]":
        future: Future[T] = Future()
        if not self._cell.worker.errand(partial(_run, future, work)):
            future.set_exception(RobollmError(_INACTIVE))
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return self._outcome(future)

    def _in_pool(self, work: Callable[[], T]) -> "Awaitable[T]":
        return self._outcome(self._pool.submit(work))

    def _outcome(self, future: "Future[T]") -> "Awaitable[T]":
        executor = self._node.executor
        if executor is not None:
            # the executor sleeps until something happens: this is something
            future.add_done_callback(lambda _: executor.wake())
        return _finished(future)


@types.coroutine
def _finished(future: "Future[T]") -> Generator[None, None, T]:
    while not future.done():
        yield
    return future.result()


def _run(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        outcome = work()
    except Exception as error:  # noqa: BLE001 - handed to whoever waits
        with suppress(InvalidStateError):  # the call was answered meanwhile
            future.set_exception(error)
    else:
        with suppress(InvalidStateError):
            future.set_result(outcome)


async def _told(
    response: Trigger.Response, act: Callable[[], Awaitable[dict[str, Any]]]
) -> Trigger.Response:
    try:
        response.message = json.dumps(await act(), default=str)
        response.success = True
    except CancelledError:
        response.success, response.message = False, _INACTIVE
    except Exception as error:  # noqa: BLE001 - rclpy would end the process
        response.success, response.message = False, str(error) or repr(error)
    return response


def result_tree(camera: str, result: PerceptionResult, ms: Mapping[str, float]) -> dict[str, Any]:
    """A result as JSON, in the words of the topics."""
    return {
        "input": camera,
        "camera": result.camera,
        "stamp_ns": result.stamp_ns,
        "manifest": list(result.manifest),
        "instances": [
            {
                "id": detection_id(result, index),
                "box_xyxy_px": list(item.instance.box_xyxy_px),
                "score": item.instance.score,
                "item_id": item.identification.item_id,
                "candidates": [list(pair) for pair in item.identification.candidates],
                "defect": item.defect.label,
                "defect_score": item.defect.score,
            }
            for index, item in enumerate(result.items)
        ],
        "ms": {stage: round(value, 3) for stage, value in ms.items()},
    }
