# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which manifest an event is bound to, whatever comes into force while it is on its way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from robollm_core.picks.event import PickEvent
from robollm_core.types import Manifest

VERSION, NEWEST, PRE_PICK, NONE = "version", "newest", "pre_pick", "none"
"""What binds a manifest to an event."""


class Manifests(Protocol):
    """The manifests that were in force, newest last."""

    @property
    def current(self) -> Manifest | None:
        """The one in force."""

    def at(self, container_id: str, version: int | None = None) -> Manifest | None:
        """That version of a container's manifest, or its newest; None when not known (any more)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The manifest of an event.

    Attributes:
        manifest: None when there is none that may be used.
        by: "version" (the one the event names), "newest" (of its container, when that
            version is not known or none is named), "pre_pick" (that of the same pick
            before the grasp) or "none".
    """

    manifest: Manifest | None = None
    by: str = NONE

    def tree(self) -> dict[str, Any]:
        """As the receipt says it."""
        if self.manifest is None:
            return {"container_id": "", "version": 0, "sha256": "", "by": self.by}
        one = self.manifest
        return {"container_id": one.container_id, "version": one.version,
                "sha256": one.sha256, "by": self.by}  # fmt: skip


class Binder:
    """Binds manifests to events.

    Attributes:
        coming: whether a manifest is on its way into force, which may be the one that
            an event means.
    """

    def __init__(self, manifests: Manifests) -> None:
        """Take what was in force."""
        self.coming: Callable[[], bool] = lambda: False
        self._manifests = manifests

    def bind(self, event: PickEvent, before: Binding | None) -> Binding:
        """The manifest that an event means, as far as it is known.

        Args:
            event: names a container, and perhaps a version.
            before: of the pre_pick of the same pick, for a post_pick.
        """
        named, version = event.container_id, event.manifest_version
        if version is not None:
            exact = self._manifests.at(named, version)
            if exact is not None:
                return Binding(exact, VERSION)
        # what was in the container when the item was taken, and not what is left in it
        earlier = before.manifest if before is not None and version is None else None
        if earlier is not None and named in ("", earlier.container_id):
            return Binding(earlier, PRE_PICK)
        # items of another container must not be taken for those of this one
        newest = self._manifests.at(named) if named else self._manifests.current
        return Binding() if newest is None else Binding(newest, NEWEST)

    def may_improve(self, event: PickEvent, found: Binding) -> bool:
        """Whether it may be worth waiting for the manifest that is on its way."""
        lacking = found.manifest is None or (
            event.manifest_version is not None and found.by != VERSION
        )
        return lacking and self.coming()
