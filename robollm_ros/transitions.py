# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a lifecycle transition returns and logs when its step fails, and the life of a process."""

import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robollm_core.errors import RobollmError
from robollm_ros.program import EXIT_REFUSED, announce, spin

Step = Callable[[Any, LifecycleState], None]
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]

BEGINNINGS = ("configure", "activate")
"""Steps that are a new try; the others tidy up, and why they had to stays told."""


def transition(step: Step) -> Transition:
    """Turn a step that returns nothing into a transition callback.

    rclpy drops what a callback raises without a word. Here a RobollmError is
    one line and FAILURE, which leaves the node as it was for the operator to
    mend; anything else is a bug: a trace and ERROR.
    """
    verb = step.__name__.removeprefix("on_")

    @wraps(step)
    def attempt(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        if verb in BEGINNINGS:
            node.health.trouble = ""
        try:
            step(node, state)
        except RobollmError as error:
            node.health.trouble = f"cannot {verb}: {error}"
            node.get_logger().error(node.health.trouble)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001 - logged here, because nobody else would
            node.health.trouble = f"cannot {verb}: {error!r}, a bug; the log has the trace"
            node.get_logger().fatal(f"cannot {verb}: {traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return attempt


def refuse_illegal(node: LifecycleNode) -> None:
    """Let a transition that a state does not know be refused; rclpy lets it end the process."""

    def answer(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return inner(request, response)
        except RuntimeError as error:  # RCLError among them
            asked = request.transition.label or request.transition.id
            node.get_logger().warning(
                f"the transition {asked} is refused: {error}. `ros2 lifecycle list` names those "
                "that the state allows."
            )
            response.success = False
            return response

    (service,) = [each for each in node.services if each.srv_type is ChangeState]
    inner, service.callback = service.callback, answer


def live(node: Any, stop: threading.Event) -> int:
    """Spin a node until `stop`, or until it gives an `exit_code`; then shut it down.

    Args:
        node: a lifecycle node with `parameters.autostart`, which makes it configure and
            activate itself, `exit_code`, and `ending`, which is set here.
        stop: set when the process is asked to end.

    Returns:
        The exit code of the process.
    """
    done = node.ending = lambda: bool(stop.is_set() or node.exit_code)
    success = TransitionCallbackReturn.SUCCESS
    try:
        if node.parameters.autostart:
            if not (node.trigger_configure() == success == node.trigger_activate()):
                return EXIT_REFUSED
            announce("active")
        spin(node, done)
        return int(node.exit_code)
    finally:
        with suppress(RuntimeError):  # somebody else has shut it down already
            node.trigger_shutdown()
        node.destroy_node()
