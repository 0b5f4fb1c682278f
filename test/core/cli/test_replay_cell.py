# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm replay` of a whole cell: cameras, pick events, drops, provenance, and the same bytes."""

import json

import pytest
from cell_recording import (
    ALL,
    CAMERAS,
    EVENTS,
    MANIFESTS,
    MS,
    START,
    event,
    text,
    view,
    write_cell_bag,
)
from colour_cell import BOXES, draw_tote, image_message, manifest_text, write_bag, write_references

from robollm_core.cli.main import main
from robollm_core.data import rostypes
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.provenance import note_path
from robollm_core.data.recorded import read_answers

IDENTITY, STATUS = "/pick/identity", "/pick/status"


@pytest.fixture
def words(cell_settings):
    return [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]


TWO = [
    (100, "tote_top", ALL),
    (100, "on_arm_low", ALL),
    (200, "tote_top", ALL),
]


def read(path, topic, kind):
    return [(log, message) for _, log, message in read_topics(path, {topic: kind})]


def statuses(path):
    return [json.loads(message.data) for _, message in read(path, STATUS, rostypes.STRING)]


def test_all_cameras_of_a_bag_are_answered(tmp_path, words):
    bag, out = write_cell_bag(tmp_path / "a.mcap", TWO), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    got = [(a.result.camera, a.result.stamp_ns) for a in read_answers(out)]
    assert sorted(got) == sorted((name, START + ms * MS) for ms, name, _ in TWO)
    only = ["--image-topic", CAMERAS["on_arm_low"].name]
    assert main(["replay", str(bag), "--out", str(out), *only, *words]) == 0
    assert [a.result.camera for a in read_answers(out)] == ["on_arm_low"]


def test_what_the_cell_says_of_itself_is_latched(tmp_path, words):
    mcap = pytest.importorskip("mcap.reader")
    bag, out = write_cell_bag(tmp_path / "a.mcap", TWO), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    said = read(out, "/perception/label_info", rostypes.LABEL_INFO)
    labels = said[-1][1]
    assert said[0][0] == START
    assert [(c.class_id, c.class_name) for c in labels.class_map] == [(0, "object")]
    visions = [v for _, v in read(out, "/perception/vision_info", rostypes.VISION_INFO)]
    assert visions[0].method.startswith("robollm/networks@")
    # another manifest is another edition of what the ids mean
    assert [vision.database_version for vision in visions] == [0, 1]
    with out.open("rb") as file:
        channels = mcap.make_reader(file).get_summary().channels.values()
    qos = {channel.topic: channel.metadata["offered_qos_profiles"] for channel in channels}
    latched = {topic for topic, profile in qos.items() if "transient_local" in profile}
    assert latched == {"/perception/label_info", "/perception/vision_info"}


def test_a_pick_event_is_answered_once_at_the_time_of_the_recording(tmp_path, words):
    roi = dict(zip("xywh", (50, 10, 45, 60), strict=True))
    asked = event("e-1", view("tote_top", START + 100 * MS, role="pick"), roi=roi)
    messages = [*TWO, (150, "event", asked)]
    bag = write_cell_bag(tmp_path / "a.mcap", sorted(messages, key=lambda m: m[0]))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    ((log, identity),) = read(out, IDENTITY, rostypes.DETECTIONS)
    assert log == START + 150 * MS
    assert (identity.header.frame_id, identity.detections[0].id) == ("e-1", "P-1")
    assert identity.detections[0].results[0].hypothesis.class_id == "lime"
    box = identity.detections[1].bbox
    x0, y0, x1, y1 = BOXES["lime"]
    assert (box.center.position.x, box.size_y) == ((x0 + x1) / 2, y1 - y0)
    assert [(s["state"], s["final"]) for s in statuses(out)] == [
        ("accepted", False), ("done", True),
    ]  # fmt: skip


def test_picks_can_be_left_out(tmp_path, words):
    asked = event("e-1", view("tote_top", START + 100 * MS, role="pick"))
    bag, out = write_cell_bag(tmp_path / "a.mcap", [*TWO, (300, "event", asked)]), tmp_path / "o"
    only = ["--image-topic", CAMERAS["tote_top"].name]
    for number, flags in enumerate((["--no-picks"], only)):
        target = out.with_suffix(f".{number}.mcap")
        assert main(["replay", str(bag), "--out", str(target), *flags, *words]) == 0
        assert statuses(target) == []
        assert read_answers(target)


def test_views_that_come_later_are_waited_for(tmp_path, words):
    asked = event("e-1", view("tote_top", role="pick"), view("on_arm_low", role="post"))
    messages = [
        (100, "event", asked), (200, "tote_top", ALL), (700, "on_arm_low", ALL),
    ]  # fmt: skip
    bag, out = write_cell_bag(tmp_path / "a.mcap", messages), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    ((log, _),) = read(out, IDENTITY, rostypes.DETECTIONS)
    assert log == START + 700 * MS
    final = statuses(out)[-1]
    assert (final["state"], final["answer_ms"]) == ("done", 600.0)


def test_a_missing_view_ends_at_the_deadline_also_after_the_last_message(tmp_path, words, capsys):
    asked = event("e-1", view("on_arm_low", role="post"), deadline_ms=400, phase="post_pick")
    messages = [(100, "tote_top", ALL), (200, "event", asked)]
    bag, out = write_cell_bag(tmp_path / "a.mcap", messages), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    assert "1 pick events answered (1 timeout)" in capsys.readouterr().out
    ((log, identity),) = read(out, IDENTITY, rostypes.DETECTIONS)
    assert abs(log - (START + 600 * MS)) < 10
    assert identity.detections[0].results[0].hypothesis.class_id == "unknown"
    assert statuses(out)[-1]["state"] == "timeout"


@pytest.mark.parametrize("bad", ["{", "{}", '{"event_id": "e", "pick_id": "p", "phase": "x"}'])
def test_a_malformed_event_is_refused_and_the_rest_goes_on(tmp_path, words, capsys, bad):
    messages = [(100, "tote_top", ALL), (150, "event", bad), (200, "tote_top", ALL)]
    bag, out = write_cell_bag(tmp_path / "a.mcap", messages), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 1
    assert len(read_answers(out)) == 2
    assert statuses(out)[-1]["state"] == "rejected"
    assert "robollm: refused at" in capsys.readouterr().err


def late(*more):
    frames = [(100 * i, "tote_top", ALL) for i in range(1, 11)]
    return sorted([*frames, *more], key=lambda m: m[0])


def test_a_late_cell_drops_what_its_mailbox_loses(tmp_path, words, capsys):
    bag, out = write_cell_bag(tmp_path / "a.mcap", late()), tmp_path / "o.mcap"
    flags = ["--emulate-realtime", "--service-time-ms", "240", "--json", str(tmp_path / "o.json")]
    assert main(["replay", str(bag), "--out", str(out), *flags, *words]) == 0
    # by hand: 100 to 340, then 300 to 580, 500 to 820, 800 to 1060, 1000
    answered = [(a.result.stamp_ns - START) // MS for a in read_answers(out)]
    assert answered == [100, 300, 500, 800, 1000]
    tree = json.loads((tmp_path / "o.json").read_text())
    counts = tree["cameras"]["tote_top"]
    assert (counts["received"], counts["processed"], counts["dropped_mailbox"]) == (10, 5, 5)
    assert "5 frames answered, 5 dropped" in capsys.readouterr().out
    timing = [json.loads(m.data) for _, m in read(out, "/perception/timing", rostypes.STRING)]
    assert [t["ms"]["answer"] for t in timing] == [240.0, 280.0, 320.0, 260.0, 300.0]
    assert timing[-1]["dropped"] == 5


def test_a_pick_goes_before_the_stream(tmp_path, words):
    asked = event("e-1", view("tote_top", START + 100 * MS, role="pick"))
    bag = write_cell_bag(tmp_path / "a.mcap", late((150, "event", asked)))
    out = tmp_path / "o.mcap"
    flags = ["--emulate-realtime", "--service-time-ms", "240"]
    assert main(["replay", str(bag), "--out", str(out), *flags, *words]) == 0
    # the frame of 100 is answered at 340, then the pick is looked at until 580
    ((log, _),) = read(out, IDENTITY, rostypes.DETECTIONS)
    assert log == START + 580 * MS
    answered = [(a.result.stamp_ns - START) // MS for a in read_answers(out)]
    assert answered == [100, 500, 800, 1000]


def test_without_given_times_those_of_the_bag_are_needed(tmp_path, words, capsys):
    bag, out = write_cell_bag(tmp_path / "a.mcap", TWO), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), "--emulate-realtime", *words]) == 2
    assert "no ~/timing topic" in capsys.readouterr().err
    assert not out.exists()


def test_times_are_drawn_by_the_seed(tmp_path, words):
    bag = write_cell_bag(tmp_path / "a.mcap", late())
    times = tmp_path / "times.json"
    times.write_text("[20, 150, 330]")

    def answered(seed, name):
        flags = ["--emulate-realtime", "--service-times", str(times), "--seed", str(seed)]
        assert main(["replay", str(bag), "--out", str(tmp_path / name), *flags, *words]) == 0
        return (tmp_path / name).read_bytes()

    assert answered(1, "one.mcap") == answered(1, "again.mcap")
    assert len({answered(seed, "x.mcap") for seed in range(4)}) > 1


def test_two_runs_give_the_same_bytes_with_picks_and_inputs(tmp_path, words):
    asked = event("e-1", view("tote_top", START + 100 * MS, role="pick"))
    bag = write_cell_bag(tmp_path / "a.mcap", late((150, "event", asked)))
    made = []
    for name in ("one", "two"):
        out = tmp_path / name / "o.mcap"
        flags = ["--emulate-realtime", "--service-time-ms", "130", "--include-inputs"]
        assert main(["replay", str(bag), "--out", str(out), *flags, *words]) == 0
        made.append(out)
    assert made[0].read_bytes() == made[1].read_bytes()
    notes = [json.loads(note_path(out).read_text()) for out in made]
    assert notes[0]["facts"] == notes[1]["facts"]
    assert notes[0]["facts_sha256"] == notes[1]["facts_sha256"]
    assert notes[0]["run"]["sha256"] == notes[1]["run"]["sha256"]


def test_inputs_are_copied_as_they_are(tmp_path, words):
    asked = event("e-1", view("tote_top", START + 100 * MS, role="pick"))
    bag = write_cell_bag(tmp_path / "a.mcap", [*TWO, (300, "event", asked)])
    out = tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), "--include-inputs", *words]) == 0
    kinds = {t.name: t.msgtype for t in (MANIFESTS, EVENTS, *CAMERAS.values())}

    def raw(path):
        store = rostypes.typestore()
        return [(t, log, bytes(store.serialize_cdr(m, kinds[t])))
                for t, log, m in read_topics(path, kinds)]  # fmt: skip

    assert sorted(raw(bag)) == sorted(raw(out))
    # and the copy can be replayed again, to the same answers
    assert main(["replay", str(out), "--out", str(tmp_path / "again.mcap"), *words]) == 0
    assert main(["replay", "diff", str(out), str(tmp_path / "again.mcap")]) == 0


def test_a_network_that_fails_is_an_empty_answer_and_told(tmp_path, words, capsys, monkeypatch):
    from robollm_core.data import replay
    from robollm_core.errors import RuntimeFailedError

    real, calls = replay.perceive, []

    def perceive(frame, manifest, stages):
        calls.append(frame.stamp_ns)
        if len(calls) == 2:
            raise RuntimeFailedError("out of memory")
        return real(frame, manifest, stages)

    monkeypatch.setattr(replay, "perceive", perceive)
    bag, out = write_bag(tmp_path / "a.mcap", frames=3), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 1
    assert "out of memory" in capsys.readouterr().err
    assert [len(answer.result.items) for answer in read_answers(out)] == [3, 0, 3]
    counts = json.loads(note_path(out).read_text())["run"]["cameras"]["tote_camera"]
    assert (counts["failed"], counts["processed"]) == (1, 2)


def test_a_manifest_whose_embedding_fails_leaves_the_one_before_in_force(
    tmp_path, words, monkeypatch
):
    from robollm_core.errors import NotFiniteError
    from robollm_core.identification.stage import Identifier

    real, calls = Identifier.prepare, []

    def prepare(self, manifest):
        calls.append(manifest.version)
        if len(calls) == 2:
            raise NotFiniteError("embedding holds NaN")
        real(self, manifest)

    monkeypatch.setattr(Identifier, "prepare", prepare)
    products, images = write_references(tmp_path), Topic("/image", rostypes.IMAGE)
    with BagWriter(tmp_path / "a.mcap", [MANIFESTS, images]) as bag:
        bag.write(MANIFESTS.name, 1, text(manifest_text(products, version=1)))
        bag.write(MANIFESTS.name, 2, text(manifest_text(products[:1], version=2)))
        bag.write(images.name, 3, image_message(draw_tote(), 3, raw=True))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 1
    (answer,) = read_answers(out)
    assert {i.identification.item_id for i in answer.result.items} == set(ALL)


def test_a_camera_that_was_recorded_both_ways_counts_once(tmp_path, words):
    raw = Topic("/cam/image", rostypes.IMAGE)
    packed = Topic("/cam/image/compressed", rostypes.COMPRESSED)
    with BagWriter(tmp_path / "a.mcap", [raw, packed]) as bag:
        for stamp in (10**9, 2 * 10**9):
            bag.write(raw.name, stamp, image_message(draw_tote(), stamp, raw=True))
            bag.write(packed.name, stamp, image_message(draw_tote(), stamp))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 0
    assert [a.result.stamp_ns for a in read_answers(out)] == [10**9, 2 * 10**9]


def test_an_item_without_a_readable_reference_is_never_named(tmp_path, words):
    products = [{"product_id": "ghost", "reference_images": ["nowhere.jpg"]}]
    products += write_references(tmp_path, ("lime",))
    images = Topic("/image", rostypes.IMAGE)
    with BagWriter(tmp_path / "a.mcap", [MANIFESTS, images]) as bag:
        bag.write(MANIFESTS.name, 1, text(manifest_text(products)))
        bag.write(images.name, 2, image_message(draw_tote(), 2, raw=True))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 0
    (answer,) = read_answers(out)
    named = {name for i in answer.result.items for name, _ in i.identification.candidates}
    assert named == {"lime"}


BAD_FLAGS = {
    "itself": (["--out", "{bag}"], "is the bag itself"),
    "times without the mode": (["--service-time-ms", "5"], "with --emulate-realtime alone"),
    "negative": (["--emulate-realtime", "--service-time-ms", "-1"], "0 .. 3600000"),
    "not a number": (["--emulate-realtime", "--service-time-ms", "nan"], "0 .. 3600000"),
    "seed": (["--seed", "-1"], "--seed"),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_flags_that_make_no_sense_are_refused(tmp_path, words, capsys, name):
    bag = write_bag(tmp_path / "a.mcap")
    flags, told = BAD_FLAGS[name]
    flags = [flag.format(bag=bag) for flag in flags]
    out = [] if "--out" in flags else ["--out", str(tmp_path / "o.mcap")]
    assert main(["replay", str(bag), *out, *flags, *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "o.mcap").exists()


def test_a_bag_called_diff_is_still_replayed(tmp_path, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = rostypes.typestore()
    with Writer(tmp_path / "diff", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/cam", rostypes.IMAGE, typestore=store)
        image = image_message(draw_tote(), 5, raw=True)
        writer.write(connection, 7, store.serialize_cdr(image, rostypes.IMAGE))
    assert main(["replay", "./diff", "--out", "o.mcap", *words]) == 0
    assert len(read_answers(tmp_path / "o.mcap")) == 1


def test_the_times_of_a_recorded_node_lose_the_same_frames_again(tmp_path, words):
    bag, first = write_cell_bag(tmp_path / "a.mcap", late()), tmp_path / "first.mcap"
    given = ["--emulate-realtime", "--service-time-ms", "240", "--include-inputs"]
    assert main(["replay", str(bag), "--out", str(first), *given, *words]) == 0
    for flags in ([], ["--service-times", str(first)]):
        out = tmp_path / "again.mcap"
        again = ["--emulate-realtime", *flags, "--out", str(out), *words]
        assert main(["replay", str(first), *again]) == 0
        assert main(["replay", "diff", str(first), str(out)]) == 0
