# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Write the tables that come from the code: `make docs`.

`--check NAME` writes nothing and exits with 1 when that table is out of date.
`--demo out/demo` puts the figures of a demo run into README.md and its first picture beside it.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from robollm_core.config import Leaf, leaves

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by `make docs` from the code; do not edit. -->"

# what no type and no name can say; a topic without a sentence here is an error
SENTENCES = {
    "image": "Camera images; with `input.transport: compressed` it is `image/compressed` instead.",
    "container/manifest": "What the container holds, as JSON: "
    "[schema](../config/schema/container_manifest.schema.json).",
    "~/detections": "Where each instance is and which item it is; "
    "sent for every answered frame, also when empty.",
    "~/defects": "The same boxes and ids, with the verdict of the defect stage.",
    "~/timing": "One line of JSON an answered frame: milliseconds by stage, "
    "counts of received, processed and dropped frames.",
    "~/masks": "Label image of the camera's size: 0 is background, i+1 the i-th detection. "
    "Computed only while somebody listens.",
    "~/overlay": "The camera image with everything drawn in. Computed only while somebody listens.",
    "/diagnostics": "Lifecycle, models, input, latency, output, errors and manifest, each with a "
    "level and the full name of the node: `/cell/perception: input`.",
}
_OF_ROS = {"/rosout", "/parameter_events", "~/transition_event"}


def parameters() -> str:
    """The settings, one table a branch."""
    lines = ["# Settings", "", NOTE, "", _PARAMETERS_INTRODUCTION, ""]
    for branch in dict.fromkeys(leaf.name.partition(".")[0] for leaf in leaves()):
        lines += [f"## {branch}", "", "| name | default | allowed | live | what it does |"]
        lines += ["|---|---|---|---|---|"]
        lines += [_row(leaf) for leaf in leaves() if leaf.name.startswith(f"{branch}.")]
        lines.append("")
    return "\n".join(lines)


_PARAMETERS_INTRODUCTION = (
    "One tree with three views: a YAML file (`robollm config` prints it with every default), "
    "`--set name=value` on the command line, and the parameters of the ROS node, all with the "
    "same dotted names. *Live* settings may change while the node is active; the others take "
    "effect when it configures. Unknown names and values out of range are refused."
)


def _row(leaf: Leaf) -> str:
    default = f"`{str(leaf.default).lower() if isinstance(leaf.default, bool) else leaf.default}`"
    live = "yes" if leaf.live else ""
    return f"| `{leaf.name}` | {default} | {_allowed(leaf)} | {live} | {leaf.doc} |"


def _allowed(leaf: Leaf) -> str:
    if leaf.choices:
        return ", ".join(f"`{choice}`" for choice in leaf.choices)
    if isinstance(leaf.default, bool):
        return "`true`, `false`"
    if leaf.low is not None or leaf.high is not None:
        return f"{leaf.low:g} to {leaf.high:g}"
    return "text"


def topics() -> str:
    """The topics of the perception node, asked of a running one."""
    lines = ["# Topics of perception_node", "", NOTE, "", _TOPICS_INTRODUCTION, ""]
    for title, rows in zip(("Listens to", "Publishes"), _endpoints(), strict=True):
        lines += [f"## {title}", "", "| topic | type | QoS | what it is |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | `{kind}` | {qos} | {SENTENCES[name]} |" for name, kind, qos in rows
        ]
        lines.append("")
    return "\n".join(lines)


_TOPICS_INTRODUCTION = (
    "Names without a leading slash live in the node's namespace, `~/` stands for the node's own "
    "name. Every answer carries the header of its image unchanged. The node listens only while "
    "it is active."
)


def _endpoints() -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    import rclpy

    from robollm_ros import perception_node as program

    # the topics do not depend on the networks: start without any
    stand_ins: dict[str, Any] = {
        "build_stages": lambda config: None,
        "warm_up": lambda stages, iterations: None,
        "describe": lambda stages: {},
    }
    for name, stand_in in stand_ins.items():
        setattr(program, name, stand_in)
    # nobody outside shall be seen, nor see this node
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"
    rclpy.init(args=["--ros-args", "--log-level", "error"])
    node = program.PerceptionNode(namespace="cell")
    try:
        assert node.trigger_configure() == node.trigger_activate() == program.SUCCESS
        me = (node.get_name(), node.get_namespace())
        listens = node.get_subscriber_names_and_types_by_node(*me)
        tells = node.get_publisher_names_and_types_by_node(*me)
        return (
            _rows(node, listens, node.get_subscriptions_info_by_topic),
            _rows(node, tells, node.get_publishers_info_by_topic),
        )
    finally:
        node.trigger_shutdown()
        node.destroy_node()
        rclpy.shutdown()


def _rows(
    node: Any, listed: Iterable[tuple[str, Sequence[str]]], ask: Callable[[str], Sequence[Any]]
) -> list[tuple[str, str, str]]:
    rows = []
    own = (node.get_name(), node.get_namespace())
    for topic, kinds in sorted(listed):
        name = topic.replace("/cell/perception/", "~/").replace("/cell/", "")
        if name not in _OF_ROS:
            (info,) = [i for i in ask(topic) if (i.node_name, i.node_namespace) == own]
            rows.append((name, kinds[0], _qos(info.qos_profile)))
    return rows


def _qos(profile: Any) -> str:
    words = [profile.reliability.name.lower().replace("_", " ")]
    if profile.durability.name == "TRANSIENT_LOCAL":
        words.append("latched")
    return ", ".join(words)


def fill_readme(run: Path) -> None:
    """Put what the demo measured into README.md, between its two marks.

    Args:
        run: the folder the demo wrote; `overlays/000.jpg` becomes docs/demo.jpg.
    """
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    latency = summary.pop("latency_ms")
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in summary.items())]
    for stage, values in latency.items():
        figures = " / ".join(f"{value:.1f}" for value in values.values())
        lines.append(f"| {stage}, ms ({' / '.join(values)}) | {figures} |")
    readme = HERE.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- demo:begin")
    note, _, old = rest.partition("-->\n")
    _, end, after = old.partition("<!-- demo:end -->")
    if not mark or not end:
        raise SystemExit(f"{readme} must hold the marks demo:begin and demo:end.")
    table = "\n".join(lines)
    readme.write_text(f"{before}{mark}{note}-->\n{table}\n{end}{after}", encoding="utf-8")
    shutil.copyfile(run / "overlays/000.jpg", HERE / "demo.jpg")
    print(f"wrote {readme} and {HERE / 'demo.jpg'}")


TABLES = {"parameters": parameters, "topics": topics}


def main() -> int:
    """Write the tables, or check one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--demo", type=Path, metavar="DIR", help="folder that the demo wrote")
    args = parser.parse_args()
    if args.demo:
        fill_readme(args.demo)
        return 0
    wanted, stale = args.check, 0
    for name, build in TABLES.items():
        path = HERE / f"{name}.md"
        if wanted is None:
            path.write_text(build(), encoding="utf-8")
            print(f"wrote {path}")
        elif wanted == name and (not path.exists() or path.read_text("utf-8") != build()):
            print(f"{path} is out of date; run: make docs", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
