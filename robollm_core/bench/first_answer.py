# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The process whose start is measured: it answers one image and says when it was where.

It imports nothing of ours before it looks at the clock.
"""

import importlib
import itertools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PHASES = ("interpreter", "imports", "artifacts", "engines", "references", "answer")
"""In their order: Python itself; our modules and those they need; sidecars and digests;
networks on their runtimes; the manifest and its references; image file to result."""


def answer(settings: Mapping[str, Any], task: Path, begun: float, main: float) -> dict[str, Any]:
    """What the process does: that of `robollm perceive` for one image.

    Args:
        settings: dotted names and values.
        task: see `write_task`.
        begun: `time.monotonic()` of the parent when it started the process.
        main: that of this process when it began to run our code.
    """
    marks = {"interpreter": main}
    for name in ("cli.main", "cli.perceive"):  # by name: this room lies below the verbs
        importlib.import_module(f"robollm_core.{name}")
    from robollm_core.cell import build_stages
    from robollm_core.config import Config, RuntimeConfig, update
    from robollm_core.data.folder import read_frame
    from robollm_core.manifests import read_manifest
    from robollm_core.pipeline import perceive
    from robollm_core.runtime.factory import load_engine
    from robollm_core.types import Engine

    config = update(Config(), settings)
    marks["imports"] = time.monotonic()

    def load(path: str, runtime: RuntimeConfig) -> Engine:
        marks.setdefault("artifacts", time.monotonic())
        return load_engine(path, runtime)

    stages = build_stages(config, load)
    marks["engines"] = time.monotonic()
    manifest = read_manifest(task / "manifest.json")
    stages.identification.prepare(manifest)
    marks["references"] = time.monotonic()
    result = perceive(read_frame(task / "frame.jpg"), manifest, stages)
    marks["answer"] = time.monotonic()
    times = [begun, *(marks[name] for name in PHASES)]
    steps = [b - a for a, b in itertools.pairwise(times)]
    secs = dict(zip(PHASES, steps, strict=True))
    return {
        **secs,
        "total": times[-1] - begun,
        "cpu": time.process_time(),
        "instances": len(result.items),
        "modules": len(sys.modules),
    }


if __name__ == "__main__":
    main_ = time.monotonic()
    settings_, task_, begun_ = json.loads(sys.argv[1])
    print(json.dumps(answer(settings_, Path(task_), begun_, main_)), flush=True)
