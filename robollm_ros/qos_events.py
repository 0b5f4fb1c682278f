# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Who cannot hear whom for want of fitting QoS: one line in the log, and what health reports.

The middleware tells when endpoints that do not fit meet, and not when they part; therefore
what stands is asked of the graph anew each time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from robollm_ros.status import Mismatch

Look = Callable[[Node, str], list[str]]
UNKNOWN = "_NODE_NAME_UNKNOWN_"


class QosEvents:
    """Event callbacks for the endpoints of a node, and the mismatches that stand."""

    def __init__(self, node: Node) -> None:
        """Start with no mismatch.

        Args:
            node: whose endpoints, graph and log.
        """
        self._node = node
        self._met: set[tuple[str, Look]] = set()
        self._told: set[str] = set()

    def of_subscription(self, topic: str) -> SubscriptionEventCallbacks:
        """Callbacks for `create_subscription(event_callbacks=...)` on a topic."""
        name = self._node.resolve_topic_name(topic)
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: self._meet(name, _unheard))

    def of_publisher(self, topic: str) -> PublisherEventCallbacks:
        """Callbacks for `create_publisher(event_callbacks=...)` on a topic."""
        name = self._node.resolve_topic_name(topic)
        return PublisherEventCallbacks(incompatible_qos=lambda event: self._meet(name, _deaf))

    def standing(self) -> dict[str, Mismatch]:
        """The mismatches there are now, by resolved topic; new ones are logged, each once."""
        found: dict[str, list[str]] = {}
        # only where one was ever met: asking the graph costs
        for topic, look in sorted(self._met, key=lambda pair: pair[0]):
            found.setdefault(topic, []).extend(look(self._node, topic))
        texts = {text for each in found.values() for text in each}
        for text in sorted(texts - self._told):
            self._node.get_logger().warning(text)
        self._told = texts
        return {topic: Mismatch(len(each), each[0]) for topic, each in found.items() if each}

    def _meet(self, topic: str, look: Look) -> None:
        self._met.add((topic, look))
        self.standing()


def _unheard(node: Node, topic: str) -> list[str]:
    """A sentence for each publisher that this node's subscription of a topic cannot hear."""
    mine = [i for i in node.get_subscriptions_info_by_topic(topic) if _own(node, i)]
    others = node.get_publishers_info_by_topic(topic)
    return [
        unheard_sentence(topic, name_of(other), other.qos_profile, me.qos_profile)
        for me in mine
        for other in others
        if not fits(other.qos_profile, me.qos_profile)
    ]


def _deaf(node: Node, topic: str) -> list[str]:
    """A sentence for each subscription that cannot hear this node's publisher of a topic."""
    mine = [i for i in node.get_publishers_info_by_topic(topic) if _own(node, i)]
    others = node.get_subscriptions_info_by_topic(topic)
    return [
        deaf_sentence(topic, name_of(other), me.qos_profile, other.qos_profile)
        for me in mine
        for other in others
        if not fits(me.qos_profile, other.qos_profile)
    ]


def _own(node: Node, info: Any) -> bool:
    return (info.node_name, info.node_namespace) == (node.get_name(), node.get_namespace())


def name_of(info: Any) -> str:
    """Full name of the node of an endpoint."""
    if info.node_name == UNKNOWN:
        return "a node that has not told its name"
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def fits(offered: QoSProfile, requested: QoSProfile) -> bool:
    """Whether a publisher with the one can be heard by a subscription with the other."""
    return bool(qos_check_compatible(offered, requested)[0] != QoSCompatibility.ERROR)


def unheard_sentence(topic: str, other: str, offered: QoSProfile, requested: QoSProfile) -> str:
    """Why this node cannot hear a publisher, and what mends it.

    Args:
        topic: resolved.
        other: full name of the publisher's node.
        offered: by the publisher.
        requested: by this node.
    """
    policies = {
        "reliability": (
            f"set qos_overrides.{topic}.subscription.reliability to best_effort, or let it "
            "publish reliably"
        ),
        "durability": "let it publish with durability transient_local (latched)",
    }
    lead = f"QoS mismatch on {topic}: nothing of {other} arrives"
    return _sentence(lead, offered, requested, policies)


def deaf_sentence(topic: str, other: str, offered: QoSProfile, requested: QoSProfile) -> str:
    """Why a subscriber cannot hear this node, and what mends it.

    Args:
        topic: resolved.
        other: full name of the subscriber's node.
        offered: by this node.
        requested: by the subscriber.
    """
    policies = {
        "reliability": "let it subscribe with reliability best_effort",
        "durability": "let it subscribe with durability volatile",
    }
    lead = f"QoS mismatch on {topic}: {other} hears nothing"
    return _sentence(lead, offered, requested, policies)


def _sentence(
    lead: str, offered: QoSProfile, requested: QoSProfile, mends: Mapping[str, str]
) -> str:
    for policy, differs in _JUDGES:
        if differs(offered, requested):
            given, wanted = (getattr(each, policy).name.lower() for each in (offered, requested))
            return f"{lead}: {policy} {given} is offered, {wanted} is asked for; {mends[policy]}"
    _, reason = qos_check_compatible(offered, requested)
    return f"{lead}: {reason.rstrip(';')}; make both sides the same"


def _unreliable(offered: QoSProfile, requested: QoSProfile) -> bool:
    best = ReliabilityPolicy.BEST_EFFORT
    return bool(offered.reliability == best != requested.reliability)


def _forgetful(offered: QoSProfile, requested: QoSProfile) -> bool:
    kept = DurabilityPolicy.TRANSIENT_LOCAL
    return bool(requested.durability == kept != offered.durability)


_JUDGES: Sequence[tuple[str, Callable[[QoSProfile, QoSProfile], bool]]] = (
    ("reliability", _unreliable),
    ("durability", _forgetful),
)
