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
    "image": "Camera images; compressed ones come on `image/compressed`. With `camera_names` each "
    "camera has a topic of its own, `<name>/image` by default.",
    "container/manifest": "What the container holds, as JSON: "
    "[schema](../config/schema/container_manifest.schema.json).",
    "pick/event": "What the robot is about to pick, or holds, as JSON: "
    "[schema](../config/schema/pick_event.schema.json).",
    "pick/identity": "Which item was picked, one answer an event: `[0]` fused over the views (`id` "
    "is the pick), then one a view. `header.frame_id` is the event's id.",
    "pick/defects": "The same with the verdict of the defect stage.",
    "pick/status": "A receipt of each event and how it ended, as JSON: done, timeout, cancelled, "
    "rejected or error, missing views, milliseconds.",
    "~/detections": "Where each instance is and which item it is; "
    "sent for every answered frame, also when empty.",
    "~/defects": "The same boxes and ids, with the verdict of the defect stage.",
    "~/label_info": "Classes of the segmentation and its threshold.",
    "~/vision_info": "Which networks answer; `database_version` grows when item ids change.",
    "~/timing": "One line of JSON an answered frame: milliseconds by stage, "
    "counts of received, processed and dropped frames of its camera.",
    "~/masks": "Label image of the camera's size: 0 is background, i+1 the i-th detection. "
    "Computed only while somebody listens.",
    "~/overlay": "The camera image with everything drawn in, at most `output.overlay_hz` a second. "
    "Computed only while somebody listens.",
    "/diagnostics": "How the node is doing, every `health.period_s`: "
    "[diagnostics.md](diagnostics.md).",
    "/clock": "Simulated time, with `use_sim_time`.",
}
_OF_ROS = {"/rosout", "/parameter_events", "~/transition_event"}
_PARAMETERS_OF_ROS = {"use_sim_time", "start_type_description_service"}
_SERVICES_OF_ROS = ("lifecycle_msgs/", "rcl_interfaces/", "type_description_interfaces/")


def parameters() -> str:
    """The settings, one table a branch."""
    lines = ["# Settings", "", NOTE, "", _PARAMETERS_INTRODUCTION, ""]
    for branch in dict.fromkeys(leaf.name.partition(".")[0] for leaf in leaves()):
        lines += [f"## {branch}", "", "| name | default | allowed | live | what it does |"]
        lines += ["|---|---|---|---|---|"]
        lines += [_row(leaf) for leaf in leaves() if leaf.name.startswith(f"{branch}.")]
        lines.append("")
    return "\n".join([*lines, *_cameras()])


def _cameras() -> list[str]:
    from robollm_ros.cameras import CAMERA_NAMES, CAMERA_NAMES_DOC, camera_leaves

    rows = [_row(leaf) for leaf in camera_leaves(("<name>",))]
    names = f"| `{CAMERA_NAMES}` | `[camera]` | list of names |  | {_cell(CAMERA_NAMES_DOC)} |"
    head = ["| name | default | allowed | live | what it does |", "|---|---|---|---|---|"]
    return ["## cameras", "", _CAMERAS_INTRODUCTION, "", *head, names, *rows, ""]


_CAMERAS_INTRODUCTION = "Parameters of the ROS node alone; `<name>` is one of `camera_names`."


_PARAMETERS_INTRODUCTION = (
    "One tree with three views: a YAML file (`robollm config` prints it with every default), "
    "`--set name=value` on the command line, and the parameters of the ROS node, all with the "
    "same dotted names. *Live* settings may change while the node is active; the others take "
    "effect when it configures. Unknown names and values out of range are refused."
)


def _row(leaf: Leaf) -> str:
    default = f"`{str(leaf.default).lower() if isinstance(leaf.default, bool) else leaf.default}`"
    live = "yes" if leaf.live else ""
    return f"| `{leaf.name}` | {default} | {_allowed(leaf)} | {live} | {_cell(leaf.doc)} |"


def _cell(text: str) -> str:
    """A sentence as a cell of a table; what stands in angle brackets would vanish."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def _allowed(leaf: Leaf) -> str:
    if leaf.choices:
        return ", ".join(f"`{choice}`" for choice in leaf.choices)
    if isinstance(leaf.default, bool):
        return "`true`, `false`"
    if leaf.low is not None or leaf.high is not None:
        return f"{leaf.low:g} to {leaf.high:g}"
    return "text"


def topics() -> str:
    """Topics, services and further parameters of the perception node, asked of a running one."""
    seen = _ask_node()
    lines = ["# Topics and services of perception_node", "", NOTE, "", _TOPICS_INTRODUCTION, ""]
    for title in ("Listens to", "Publishes"):
        lines += [f"## {title}", "", "| topic | type | QoS | what it is |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | `{kind}` | {qos} | {SENTENCES[name]} |"
            for name, kind, qos in seen[title]
        ]
        lines.append("")
    lines += ["## Services", "", _SERVICES_INTRODUCTION, ""]
    lines += ["| service | type | what it does |", "|---|---|---|"]
    lines += [f"| `{name}` | `{kind}` | {text} |" for name, kind, text in seen["Services"]]
    lines += ["", "## Further parameters", "", _FURTHER_INTRODUCTION, ""]
    lines += ["| name | default | what it does |", "|---|---|---|"]
    lines += [f"| `{name}` | `{value}` | {text} |" for name, value, text in seen["Parameters"]]
    return "\n".join([*lines, ""])


_TOPICS_INTRODUCTION = (
    "Names without a leading slash live in the node's namespace, `~/` stands for the node's own "
    "name. Every answer to a frame carries the header of its image unchanged. The node listens "
    "only while it is active."
)
_SERVICES_INTRODUCTION = (
    "Besides those that every lifecycle node and every node with parameters has."
)
_FURTHER_INTRODUCTION = (
    "Of the node alone, besides [the settings](parameters.md); in a namespace the topics' names "
    "are the resolved ones, such as `/cell/image`."
)


def _ask_node() -> dict[str, list[Any]]:
    import rclpy
    from rclpy.parameter import Parameter

    from robollm_ros.perception_node import PerceptionNode

    # nobody outside shall be seen, nor see this node
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"
    rclpy.init(args=["--ros-args", "--log-level", "error"])
    overrides = [Parameter(name, value=value) for name, value in _QUICK.items()]
    node = PerceptionNode(namespace="cell", parameter_overrides=overrides)
    try:
        node.trigger_configure()
        assert not node.health.trouble, node.health.trouble
        node.trigger_activate()
        me = (node.get_name(), node.get_namespace())
        listens = node.get_subscriber_names_and_types_by_node(*me)
        tells = node.get_publisher_names_and_types_by_node(*me)
        return {
            "Listens to": _rows(node, listens, node.get_subscriptions_info_by_topic),
            "Publishes": _rows(node, tells, node.get_publishers_info_by_topic),
            "Services": _services(node.get_service_names_and_types_by_node(*me)),
            "Parameters": _further(node),
        }
    finally:
        node.trigger_shutdown()
        node.destroy_node()
        rclpy.shutdown()


_QUICK = {"runtime.name": "onnx", "health.warmup_iterations": 0}
"""Settings for a quick start; none of them changes what there is to hear or to ask."""


def _relative(name: str) -> str:
    return name.replace("/cell/perception/", "~/").replace("/cell/", "")


def _services(listed: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[str, str, str]]:
    from robollm_ros.services import SERVICES

    pairs = [(_relative(name), kinds[0]) for name, kinds in sorted(listed)]
    own = [pair for pair in pairs if not pair[1].startswith(_SERVICES_OF_ROS)]
    return [(name, kind, _cell(SERVICES[name.removeprefix("~/")][1])) for name, kind in own]


def _further(node: Any) -> list[tuple[str, str, str]]:
    known = {leaf.name for leaf in leaves()} | _PARAMETERS_OF_ROS
    rows = []
    for name in sorted(node.list_parameters([], 0).names):
        if name in known or name.startswith("cameras."):
            continue
        value = str(node.get_parameter(name).value)
        shown = {"False": "false", "True": "true", "": " "}.get(value, value.replace("'", ""))
        text = _cell(node.describe_parameter(name).description)
        rows.append((name.replace("/cell/", "/"), shown, text.replace("/cell/", "/")))
    return rows


def _rows(
    node: Any, listed: Iterable[tuple[str, Sequence[str]]], ask: Callable[[str], Sequence[Any]]
) -> list[tuple[str, str, str]]:
    rows = []
    own = (node.get_name(), node.get_namespace())
    for topic, kinds in sorted(listed):
        name = _relative(topic)
        if name not in _OF_ROS:
            (info,) = [i for i in ask(topic) if (i.node_name, i.node_namespace) == own]
            rows.append((name, kinds[0], _qos(info.qos_profile)))
    return rows


def _qos(profile: Any) -> str:
    words = [profile.reliability.name.lower().replace("_", " ")]
    if profile.durability.name == "TRANSIENT_LOCAL":
        words.append("latched")
    return ", ".join(words)


def diagnostics() -> str:
    """The statuses on /diagnostics, from what the code says they mean."""
    from robollm_ros.meanings import MEANINGS

    lines = ["# Diagnostics", "", NOTE, "", _DIAGNOSTICS_INTRODUCTION, ""]
    lines += ["| status | WARN | ERROR |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {meaning.warn or 'never'} | {meaning.error or 'never'} |"
        for name, meaning in MEANINGS.items()
    ]
    for name, meaning in MEANINGS.items():
        lines += ["", f"## {name}", "", meaning.about, "", "| value | what it is |", "|---|---|"]
        lines += [f"| `{key}` | {text} |" for key, text in meaning.values.items()]
    return "\n".join([*lines, ""])


_DIAGNOSTICS_INTRODUCTION = (
    "`/diagnostics` is one topic for all cells, therefore each status has the node's full name: "
    "`/cell/perception: model`, or `/perception: model` without a namespace. `hardware_id` is that "
    "name. A report comes every `health.period_s`, on a steady clock: also while simulated time "
    "stands still, and while configure loads networks or builds engines. "
    "`robollm doctor --graph` reads it and says in plain words what is wrong; "
    "[troubleshooting.md](troubleshooting.md) has the rest."
)


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


TABLES = {"parameters": parameters, "topics": topics, "diagnostics": diagnostics}


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
