# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Every setting, declared once: default, sentence, limits, and whether it may change live.

A leaf is a bool, int, float or str, never None and never a list, because ROS
parameters can hold neither.
"""

from dataclasses import dataclass, field
from typing import Any

Scalar = bool | int | float | str


def _leaf(
    default: Scalar,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:  # the dataclass field descriptor; typed by its annotation
    meta = {"doc": doc, "low": low, "high": high, "choices": choices, "live": live}
    return field(default=default, metadata=meta)


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Which runtime runs the networks, and on what."""

    name: str = _leaf(
        "auto",
        "Runtime of all three stages; auto takes for each the fastest installed one for a CPU, by "
        "a short measurement.",
        choices=("auto", "onnx", "openvino", "tensorrt", "tensorrt_rtx", "torch"),
    )
    device: str = _leaf(
        "cpu", "Device; asking for one that is absent is an error.", choices=("cpu", "cuda")
    )
    provider: str = _leaf(
        "cuda",
        "Execution provider of ONNX Runtime on the device cuda.",
        choices=("cuda", "tensorrt", "tensorrt_rtx"),
    )
    precision: str = _leaf(
        "auto",
        "Arithmetic of an fp32 artifact on OpenVINO; auto is bf16 where the CPU has instructions "
        "for it. Every other runtime computes as the artifact says.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    threads: int = _leaf(0, "CPU threads a stage may use; 0 means all cores.", low=0, high=256)
    bundle: str = _leaf(
        "",
        "Model bundle (a folder or a tar) that brings networks and thresholds; a relative path "
        "starts from the working folder. What else is set wins over it. Empty means none.",
    )
    cache: str = _leaf(
        "",
        "Folder for built engines and measurements; empty means $ROBOLLM_CACHE, else "
        "$XDG_CACHE_HOME/robollm, else ~/.cache/robollm.",
    )


@dataclass(frozen=True, slots=True)
class SegmentationConfig:
    """Where things are."""

    artifact: str = _leaf("models/tiny/segmentation.onnx", "Exported segmentation network.")
    score_threshold: float = _leaf(
        0.35, "Instances below this score are dropped.", low=0.0, high=1.0, live=True
    )
    mask_threshold: float = _leaf(
        0.5, "A pixel belongs to the mask from this probability.", low=0.05, high=0.95, live=True
    )
    max_instances: int = _leaf(
        60, "At most this many instances a frame, best first.", low=1, high=254, live=True
    )


@dataclass(frozen=True, slots=True)
class IdentificationConfig:
    """Which item of the manifest a thing is."""

    artifact: str = _leaf("models/tiny/identification.onnx", "Exported encoder.")
    reference_root: str = _leaf(
        ".", "Folder that relative reference image paths of a manifest start from."
    )
    min_similarity: float = _leaf(
        0.0, "Below this cosine the answer is none of these.", low=-1.0, high=1.0, live=True
    )
    min_margin: float = _leaf(
        0.0, "Below this lead over the runner-up the answer is none.", low=0.0, high=2.0, live=True
    )
    top_k: int = _leaf(5, "Candidates reported an instance.", low=1, high=50, live=True)
    gallery: str = _leaf(
        "",
        "Gallery file that keeps embeddings between starts (`robollm gallery build` makes one); "
        "empty means they live in memory alone.",
    )
    fallback: str = _leaf(
        "unknown",
        "What is named when the manifest lists nothing that is left, or says it is incomplete: "
        "none of these, or the best of the whole gallery file.",
        choices=("unknown", "gallery"),
        live=True,
    )


@dataclass(frozen=True, slots=True)
class DefectsConfig:
    """Whether something is wrong."""

    artifact: str = _leaf("models/tiny/defects.onnx", "Exported defect classifier.")
    threshold: float = _leaf(
        0.8, "From this defect probability an instance is flagged.", low=0.0, high=1.0, live=True
    )


@dataclass(frozen=True, slots=True)
class InputConfig:
    """What the node listens to."""

    transport: str = _leaf("raw", "Message type of the image topic.", choices=("raw", "compressed"))
    stale_after_s: float = _leaf(
        2.0, "Without a frame for this long the input is reported stale.", low=0.1, high=3600.0
    )
    max_age_ms: float = _leaf(
        0.0,
        "A frame whose stamp is older when its turn comes is dropped and counted; 0 means never.",
        low=0.0,
        high=600000.0,
        live=True,
    )
    max_rate_hz: float = _leaf(
        0.0,
        "Frames answered a second and camera, at most; the rest is dropped and counted; 0 means "
        "no limit.",
        low=0.0,
        high=1000.0,
        live=True,
    )
    enabled: bool = _leaf(
        True, "Answer the stream of frames; pick events are answered anyway.", live=True
    )


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """What the node publishes."""

    masks: bool = _leaf(True, "Publish the label image when somebody subscribes.")
    overlay: bool = _leaf(True, "Publish the drawn overlay when somebody subscribes.")
    overlay_hz: float = _leaf(
        5.0, "Overlays drawn a second, at most.", low=0.1, high=1000.0, live=True
    )


@dataclass(frozen=True, slots=True)
class PicksConfig:
    """How pick events are answered."""

    deadline_ms: float = _leaf(
        2000.0,
        "An event that names no deadline is answered within this time with the views that came.",
        low=10.0,
        high=600000.0,
        live=True,
    )
    min_views: int = _leaf(
        1,
        "With fewer views an event that names no number is answered unknown.",
        low=1,
        high=16,
        live=True,
    )
    history_frames: int = _leaf(
        4, "Newest frames kept a camera, for events that name an earlier stamp.", low=1, high=256
    )
    history_mb: int = _leaf(
        512, "Megabytes that the kept frames of all cameras may take.", low=1, high=65536
    )
    manifests: int = _leaf(
        4, "Newest manifests kept, for events that name an earlier version.", low=1, high=64
    )


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """When the node calls itself well."""

    warmup_iterations: int = _leaf(2, "Frames run before the node is ready.", low=0, high=100)
    budget_ms: float = _leaf(
        2000.0, "A frame that takes longer is over budget.", low=1.0, high=60000.0, live=True
    )
    period_s: float = _leaf(1.0, "Seconds between two diagnostics.", low=0.1, high=60.0)
    error_after: int = _leaf(
        5,
        "So many frames over budget in a row, or failures of a network in a row, are an error.",
        low=1,
        high=1000,
        live=True,
    )
    hang_s: float = _leaf(
        10.0,
        "A network that has not answered for so long hangs.",
        low=0.5,
        high=3600.0,
        live=True,
    )
    on_fatal: str = _leaf(
        "deactivate",
        "What a node does whose networks fail or hang: stop answering, end the process (for a "
        "launch file that starts it again), or go on.",
        choices=("deactivate", "exit", "continue"),
        live=True,
    )
