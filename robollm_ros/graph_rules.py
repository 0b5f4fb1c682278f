# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a running cell, said in plain words, the most serious first."""

from collections.abc import Callable, Iterator

from robollm_ros.graph_inputs import input_findings
from robollm_ros.graph_seen import ERROR, OK, WARN, CellSeen, Finding, Survey
from robollm_ros.qos_events import deaf_sentence, fits, unheard_sentence

Rule = Callable[[Survey, CellSeen], Iterator[Finding]]


def judge(survey: Survey) -> tuple[Finding, ...]:
    """All findings, errors before warnings before notes, then in the order of the complaints."""
    found = [*_names(survey), *_no_cell(survey)]
    for cell in survey.cells.values():
        for rule in _RULES:
            found += rule(survey, cell)
    return tuple(sorted(found, key=lambda finding: (-finding.level, finding.complaint)))


def _no_cell(survey: Survey) -> Iterator[Finding]:
    if survey.nodes and not survey.cells:
        count = len(survey.nodes)
        what = f"no perception node is among the {count} node(s) of this graph"
        mend = (
            "start it: ros2 launch robollm perception.launch.py; or look at ROS_DOMAIN_ID and "
            "--namespace"
        )
        yield Finding(ERROR, 1, "", what, mend)


def _names(survey: Survey) -> Iterator[Finding]:
    for name, count in survey.nodes.items():
        if count > 1:
            what = f"{count} nodes have the same name: parameters and transitions reach only one"
            mend = (
                "end all but one (one of them may have been left by an earlier start), or give "
                "each cell its namespace"
            )
            yield Finding(ERROR if name in survey.cells else WARN, 1, name, what, mend)


def _state(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    lifecycle = cell.statuses.get("lifecycle")
    if lifecycle and lifecycle.message.startswith("configuring"):
        mend = "wait; build engines before the cell starts, then the next start takes seconds"
        yield Finding(WARN, 7, cell.name, lifecycle.message, mend)
        return
    if not cell.state and not cell.statuses:
        mend = "look at its log and at the load of its machine; end it and start it again"
        yield Finding(ERROR, 14, cell.name, "is in the graph and answers nothing", mend)
        return
    state = cell.state or (lifecycle.message if lifecycle else "")
    if state in _STATES:
        why, mend = _STATES[state]
        told = lifecycle.message.partition(": ")[2] if lifecycle and lifecycle.level else ""
        what = f"is {state}: {told}" if told else f"is {state}{why}"
        yield Finding(ERROR, 1, cell.name, what, mend.format(node=cell.name))


_STATES = {
    "unconfigured": (
        ": it has loaded nothing and answers nothing",
        "ros2 lifecycle set {node} configure, then activate (or autostart:=true at the start); if "
        "it is refused, the node's log says why",
    ),
    "inactive": (
        ": its networks are loaded, and it does not listen",
        "ros2 lifecycle set {node} activate",
    ),
    "finalized": (": it has been shut down for good", "end its process and start it again"),
}


def _silent(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    if cell.state and not cell.statuses:
        what = f"nothing of it was heard on /diagnostics for {survey.seconds:.0f} s"
        mend = "listen longer (--seconds) if health.period_s is long; else look at its log"
        yield Finding(ERROR, 14, cell.name, what, mend)


def _qos(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    for topic, seen in survey.topics.items():
        pairs = [(out, into) for out in seen.publishers for into in seen.subscriptions]
        for out, into in pairs:
            if cell.name not in (out.node, into.node) or fits(out.qos, into.qos):
                continue
            if into.node == cell.name:
                told, level = unheard_sentence(topic, out.node, out.qos, into.qos), ERROR
            else:
                told, level = deaf_sentence(topic, into.node, out.qos, into.qos), WARN
            what, _, mend = told.partition("; ")
            yield Finding(level, 1, cell.name, what, mend)


def _manifest(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    status = cell.statuses.get("manifest")
    if status is None or status.level == OK or cell.state != "active":
        return
    if "refused" in status.message:
        mend = "correct the manifest; config/schema/container_manifest.schema.json says how"
        yield Finding(WARN, 10, cell.name, f"manifest {status.message}", mend)
        return
    topics = [name for name in survey.topics if name.endswith("/container/manifest")]
    told = [name for name in topics if survey.topics[name].publishers]
    where = f"; one is published on {', '.join(told)}" if told else "; nobody publishes one"
    what = f"has no manifest: it finds items and cannot name them{where}"
    mend = f"publish it latched on {cell.namespace}/container/manifest, or remap the topic"
    yield Finding(WARN, 10, cell.name, what, mend)


def _latency(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    status = cell.statuses.get("latency")
    if status and status.level and cell.state == "active":
        slowest = max(_STAGES, key=lambda stage: status.number(f"{stage}_p90_ms"))
        mend = (
            "compare runtimes with robollm bench engines, end what else runs on this machine, or "
            "raise health.budget_ms"
        )
        yield Finding(
            status.level, 6, cell.name, f"{status.message}; most of it is {slowest}", mend
        )


_STAGES = ("segment", "identify", "inspect")
"""What the time of the budget is made of."""


def _disabled(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    if cell.state == "active" and cell.parameters.get("input.enabled") is False:
        what = "the stream is switched off: frames arrive and are not answered"
        mend = f"ros2 param set {cell.name} input.enabled true"
        yield Finding(WARN, 13, cell.name, what, mend)


def _clock(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    clock = survey.topics.get("/clock")
    if cell.parameters.get("use_sim_time") is True and not (clock and clock.publishers):
        what = "waits for a simulated clock (use_sim_time), and nobody publishes /clock"
        mend = "start the node without use_sim_time, or play the bag with --clock"
        yield Finding(WARN, 6, cell.name, what, mend)


def _others(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    """What a status says itself, where no rule of its own knows more."""
    if cell.state not in ("active", "inactive"):
        return
    for name, (complaint, mend) in _MENDS.items():
        status = cell.statuses.get(name)
        if status and status.level:
            yield Finding(status.level, complaint, cell.name, f"{name}: {status.message}", mend)


_MENDS = {
    "model": (8, "read the node's log; robollm doctor tries each network by itself"),
    "gallery": (10, "check identification.reference_root and the paths in the manifest"),
    "errors": (14, "the node's log has the whole reason; the sender must be corrected"),
    "pick": (14, "ros2 topic echo pick/status: it has the reason and the missing views"),
    "gpu": (15, "nvidia-smi -q -d PERFORMANCE"),
}


def _overlay(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    drawn = survey.topics.get(f"{cell.name}/overlay")
    if drawn and drawn.subscriptions:
        who = ", ".join(sorted({end.node for end in drawn.subscriptions}))
        what = f"draws its overlay for {who}"
        mend = "costs time only while somebody listens; output.overlay_hz bounds it"
        yield Finding(OK, 15, cell.name, what, mend)


_RULES: tuple[Rule, ...] = (
    _state,
    _silent,
    _qos,
    input_findings,
    _latency,
    _manifest,
    _disabled,
    _clock,
    _others,
    _overlay,
)
