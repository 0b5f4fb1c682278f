# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a lifecycle transition returns and logs when its step fails."""

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from robollm_core.errors import RobollmError

Step = Callable[[Any, LifecycleState], None]
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def transition(step: Step) -> Transition:
    """Turn a step that returns nothing into a transition callback.

    rclpy drops what a callback raises without a word. Here a RobollmError is
    one line and FAILURE, which leaves the node as it was for the operator to
    mend; anything else is a bug: a trace and ERROR.
    """
    verb = step.__name__.removeprefix("on_")

    @wraps(step)
    def attempt(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            step(node, state)
        except RobollmError as error:
            node.get_logger().error(f"cannot {verb}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001 - logged here, because nobody else would
            node.get_logger().fatal(f"cannot {verb}: {traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return attempt
