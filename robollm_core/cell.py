# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A whole cell from a configuration; shared by verbs, evaluation and the perception node."""

import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import cv2

from robollm_core.config import Config, RuntimeConfig, flatten
from robollm_core.defects.stage import Inspector
from robollm_core.errors import ConfigError
from robollm_core.identification.stage import Identifier
from robollm_core.pipeline import Stages
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.engine import thread_count
from robollm_core.runtime.factory import load_engine
from robollm_core.segmentation.stage import Segmenter
from robollm_core.types import Engine

Load = Callable[[str, RuntimeConfig], Engine]


def build_stages(config: Config, load: Load | None = None) -> Stages:
    """Load the three networks of a configuration.

    Args:
        config: the tree.
        load: puts an artifact on the runtime; None for `factory.load_engine`.

    Raises:
        ArtifactError: If a network is missing, damaged or of another stage.
        ConfigError: If a bundle is named and its networks are not in use.
        RuntimeUnavailableError: If the runtime or the device is not there.
    """
    _check_bundle(config)
    # OpenCV and the runtime take turns, so both may have all the threads
    cv2.setNumThreads(thread_count(config.runtime))
    paths = (config.segmentation.artifact, config.identification.artifact, config.defects.artifact)
    # all sidecars are checked before the first network is loaded, which takes longer
    (_, where), (_, who), (_, what) = (load_artifact(path) for path in paths)
    with ThreadPoolExecutor(1) as beside:
        # half a second, or seconds the first time on a machine, while the networks load
        kernels = beside.submit(importlib.import_module, "robollm_core.kernels")
        engines = [(load or load_engine)(path, config.runtime) for path in paths]
        kernels.result()
    return Stages(
        Segmenter(engines[0], where, config.segmentation),
        Identifier(engines[1], who, config.identification),
        Inspector(engines[2], what, config.defects),
    )


def _check_bundle(config: Config) -> None:
    """Refuse a bundle that nobody has opened, or whose networks a file of defaults overrules."""
    values, defaults = flatten(config), flatten(Config())
    shipped = [name for name in values if name.endswith(".artifact")]
    shipped = [name for name in shipped if values[name] == defaults[name]]
    if config.runtime.bundle and shipped:
        raise ConfigError(
            f"runtime.bundle is {config.runtime.bundle!r}, which brings networks, but shipped ones "
            f"are set: {', '.join(shipped)}. Leave those out of the parameters; in code, take the "
            "configuration from robollm_core.runtime.bundle.effective_config."
        )


def retune(stages: Stages, config: Config) -> Stages:
    """The same networks under other thresholds; embedded references are kept.

    Args:
        stages: made by `build_stages`.
        config: differs in live leaves only.
    """
    segmenter, identifier, inspector = _own(stages)
    return Stages(
        segmenter.reconfigured(config.segmentation),
        identifier.reconfigured(config.identification),
        inspector.reconfigured(config.defects),
    )


def describe(stages: Stages) -> Mapping[str, str]:
    """Stage name to the network and runtime in use, of stages made by `build_stages`."""
    segmenter, identifier, inspector = _own(stages)
    return {
        "segmentation": segmenter.description,
        "identification": identifier.description,
        "defects": inspector.description,
    }


def _own(stages: Stages) -> tuple[Segmenter, Identifier, Inspector]:
    parts = (stages.segmentation, stages.identification, stages.defects)
    where, who, what = parts
    assert isinstance(where, Segmenter)
    assert isinstance(who, Identifier)
    assert isinstance(what, Inspector)
    return where, who, what
