# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One frame as a bag, for a report of a fault: the image, the manifest in force, the settings.

It is in the format of the recorder, so that `robollm replay` and the bag player take it as it is.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from robollm_core import __version__
from robollm_core.config import Config, Leaf, to_yaml
from robollm_core.data import rostypes
from robollm_core.data.bag import MANIFEST_TOPIC
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.manifests import manifest_json
from robollm_core.runtime.cache import cache_folder
from robollm_core.types import Manifest
from robollm_ros.cameras import Camera

FOLDER = Leaf(
    "debug_folder",
    "",
    "Folder of the bags that ~/save_debug_frame writes; empty means debug_frames in the cache.",
    None,
    None,
    (),
    False,
)
"""The ROS parameter."""
_SETTINGS, _VERSIONS = "~/settings", "~/versions"


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What one bag holds.

    Attributes:
        camera: whose frame.
        message: of the camera, serialised or a CompressedImage.
        stamp_ns: of its header.
        manifest: in force then; None without one.
        config: in force then.
        model: network and runtime by stage.
    """

    camera: Camera
    message: Any
    stamp_ns: int
    manifest: Manifest | None
    config: Config
    model: dict[str, str]


def debug_folder(value: str, config: Config) -> Path:
    """Where the bags go, for the value of the parameter."""
    return Path(value).expanduser() if value else cache_folder(config.runtime) / "debug_frames"


def save_scene(folder: Path, scene: Scene, resolve: Callable[[str], str]) -> Path:
    """Write the bag, whole or not at all; the same frame of the same camera is replaced.

    Args:
        folder: made when missing.
        scene: what to write.
        resolve: relative topic to full name.

    Returns:
        The file.

    Raises:
        OutputError: If it cannot be written.
    """
    camera, raw = scene.camera, scene.camera.transport == "raw"
    image = Topic(resolve(camera.heard), rostypes.IMAGE if raw else rostypes.COMPRESSED)
    manifest = Topic(resolve(MANIFEST_TOPIC), rostypes.STRING, latched=True)
    settings, versions = (Topic(resolve(name), rostypes.STRING) for name in (_SETTINGS, _VERSIONS))
    data = scene.message if raw else bytes(serialize_message(scene.message))
    path = folder / f"{camera.name}-{scene.stamp_ns}.mcap"
    with BagWriter(path, [manifest, settings, versions, image]) as bag:
        if scene.manifest is not None:
            bag.write(manifest.name, scene.stamp_ns, _text(manifest_json(scene.manifest)))
        bag.write(settings.name, scene.stamp_ns, _text(to_yaml(scene.config)))
        told = {"robollm": __version__, **scene.model}
        bag.write(versions.name, scene.stamp_ns, _text(json.dumps(told)))
        bag.write(image.name, scene.stamp_ns, data)
    return path


def _text(data: str) -> Any:
    return rostypes.make(rostypes.STRING, data=data)
