# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The live view in a real browser: a perception node answers, the page shows it."""

import array
import json
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("aiohttp", reason="the view needs aiohttp: pip install '.[view]'")
pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import colour_cell
import rclpy
from browser import open_browser
from builtin_interfaces.msg import Time
from contrast import contrast, parse
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from small_sim import write_cell_states
from std_msgs.msg import Header, String
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from robollm_ros.inputs import LATCHED

pytestmark = [pytest.mark.ros, pytest.mark.slow]

CAMERAS = ["tote_top", "tote_wall", "on_arm_low", "far_tray"]
WAIT_S = 40.0
HOSTILE = "<img src=x onerror=\"document.title='broken in'\">"
PIXELS = """
const canvas = document.querySelector(`[data-camera="${arguments[0]}"] canvas`);
const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
let bright = 0;
for (let i = 0; i < pixels.length; i += 4) bright += Math.max(...pixels.slice(i, i + 3)) > 120;
return bright;
"""


TEXTS = """
const seen = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const place = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !place.checkVisibility()) continue;
  let behind = "rgba(0, 0, 0, 0)";
  for (let one = place; one && behind === "rgba(0, 0, 0, 0)"; one = one.parentElement)
    behind = getComputedStyle(one).backgroundColor;
  const colour = getComputedStyle(place).color;
  if (behind.startsWith("rgb(")) seen.push([place.textContent, colour, behind]);
}
return seen;
"""


class Probe:
    """Camera, warehouse and pick desk of a cell, in this process."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", context=self.context)
        make = self.node.create_publisher
        self.images = make(Image, "image", 5)
        self.manifests = make(String, "container/manifest", LATCHED)
        self.statuses = make(String, "pick/status", 20)
        self.identities = make(Detection2DArray, "pick/identity", 20)
        self.defects = make(Detection2DArray, "pick/defects", 20)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.stamp = 0

    def show(self, image):
        self.stamp += 1
        height, width = image.shape[:2]
        data = array.array("B", image.tobytes())
        header = Header(stamp=Time(sec=self.stamp), frame_id="tote_camera")
        self.images.publish(
            Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width,
                  data=data)
        )  # fmt: skip

    def tell(self, products, **how):
        self.manifests.publish(String(data=colour_cell.manifest_text(products, **how)))

    def answer(self, event_id, pick_id, item, verdict, state="done"):
        for publisher, name, score in ((self.identities, item, 0.91), (self.defects, verdict, 0.8)):
            best = ObjectHypothesisWithPose()
            best.hypothesis = ObjectHypothesis(class_id=name, score=score)
            found = Detection2D(id=pick_id, results=[best])
            header = Header(frame_id=event_id)
            publisher.publish(Detection2DArray(header=header, detections=[found]))
        receipt = {"event_id": event_id, "pick_id": pick_id, "phase": "pre_pick", "state": state,
                   "answer_ms": 41.5, "final": True}  # fmt: skip
        self.statuses.publish(String(data=json.dumps(receipt)))

    def close(self):
        self.node.destroy_node()
        self.executor.shutdown()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.set_window_size(1600, 950)
        yield driver


@pytest.fixture
def probe(domain):
    made = Probe(domain)
    yield made
    made.close()


def start_view(programs, *words):
    view = programs.start("-m", "robollm_ros.view_node", "--port", "0", *words)
    view.wait_for("ready: ")
    return view, next(line for line in view.lines if line.startswith("ready: "))[7:]


def visit(driver, url):
    driver.get("about:blank")
    driver.get_log("browser")  # what an earlier page said
    driver.get(url)


def until(done, what, every=None):
    """Wait for a truth of the page, calling `every` a few times a second."""
    end = time.monotonic() + WAIT_S
    while not (value := done()):
        assert time.monotonic() < end, f"waited {WAIT_S} s for {what}"
        if every is not None:
            every()
        time.sleep(0.1)
    return value


def text(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)",
        selector,
    )


def has(driver, selector):
    return bool(driver.find_elements("css selector", selector))


def test_the_page_shows_what_a_live_cell_sees(driver, programs, probe, cell):
    folder, settings = cell
    _, url = start_view(programs)
    visit(driver, url)
    until(lambda: "Waiting for /perception" in "".join(text(driver, "#waiting")), "its patience")
    assert text(driver, "#state") == ["no signal"]

    programs.perception({**settings, "health.period_s": "0.2"})
    products = colour_cell.write_references(folder)
    products[0]["text"] = "a red apple"
    probe.tell(products)
    shown = colour_cell.draw_tote()

    def named():
        return [one.split("multi")[0] for one in text(driver, ".found li")]

    until(
        lambda: len([one for one in named() if one.startswith(("apple", "lime", "plum"))]) == 3,
        "the names of all three items",
        lambda: probe.show(shown),
    )
    # the stand-in calls red multi_pick, green nominal, blue package_defect
    kinds = driver.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.found li')]"
        ".map((one) => [one.firstChild.data, one.className]))"
    )
    assert kinds == {"apple": "flawed", "lime": "good", "plum": "flawed"}
    assert "multi pick" in " ".join(text(driver, ".found li.flawed"))
    assert driver.execute_script(PIXELS, "camera") > 1000
    assert text(driver, "#state") == ["active"]
    assert "good" in driver.find_element("id", "state").get_attribute("class")
    until(lambda: len(text(driver, "#items .id")) == 3, "the manifest")
    assert text(driver, "#items .id") == ["applea red apple", "lime", "plum"]
    until(lambda: text(driver, "#p50") != ["–"], "a latency", lambda: probe.show(shown))
    assert any(name.startswith("input") for name in text(driver, "#statuses .name"))
    assert int(text(driver, "#processed")[0]) >= 1
    assert driver.get_log("browser") == []


def test_picks_are_listed_and_tick_the_manifest_off(driver, programs, probe):
    _, url = start_view(programs)
    visit(driver, url)
    products = [
        {"product_id": "apple", "reference_images": ["a.png"]},
        {"product_id": "lime", "quantity": 3, "picked": 1, "reference_images": ["l.png"]},
    ]
    probe.tell(products)
    until(lambda: text(driver, "#items .id") == ["apple", "lime"], "the manifest")
    assert text(driver, "#items .n") == ["", "2 of 3"]
    assert text(driver, "#left") == ["3"]
    until(probe.statuses.get_subscription_count, "the view to hear of picks")
    until(probe.identities.get_subscription_count, "the view to hear of picks")
    until(probe.defects.get_subscription_count, "the view to hear of picks")

    probe.answer("e-1", "P-1", "apple", "nominal")
    until(lambda: text(driver, "#items .gone .id") == ["apple"], "the tick of the apple")
    until(lambda: has(driver, "[data-event='e-1']"), "the pick")
    assert text(driver, "[data-event='e-1'] .item") == ["apple0.91 · P-1"]
    assert text(driver, "[data-event='e-1'] td:last-child") == ["42"]

    probe.answer("e-2", "P-2", "lime", "package_defect")
    probe.answer("e-3", "P-3", "unknown", "nominal")
    probe.answer("e-4", "P-4", "lime", "nominal", state="timeout")
    until(lambda: has(driver, "[data-event='e-4'].failed"), "the last pick")
    until(lambda: text(driver, "#items .n") == ["", "1 of 3"], "one lime, not two")
    assert text(driver, "#pick-rows .verdict")[-2:] == ["package defect0.80", "nominal"]
    assert text(driver, "[data-event='e-3'] .item") == ["unknownP-3"]
    # the second look at a pick counts nothing twice
    probe.answer("e-5", "P-2", "lime", "package_defect")
    until(lambda: has(driver, "[data-event='e-5']"), "the second look")
    assert text(driver, "#items .n") == ["", "1 of 3"]


def test_words_of_the_cell_are_never_markup(driver, programs, probe):
    _, url = start_view(programs)
    visit(driver, url)
    probe.tell(
        [{"product_id": HOSTILE, "text": HOSTILE, "reference_images": ["x.png"]}],
        container_id=HOSTILE,
    )
    until(lambda: any(HOSTILE in one for one in text(driver, "#items .id")), "the item")
    until(probe.identities.get_subscription_count, "the view to hear of picks")
    until(probe.statuses.get_subscription_count, "the view to hear of picks")
    probe.answer("<b>e</b>", HOSTILE, HOSTILE, HOSTILE)
    until(lambda: HOSTILE[:20] in "".join(text(driver, "#pick-rows .item")), "the pick")
    assert HOSTILE in text(driver, "#container")[0]
    assert not has(driver, "#items img, #picks img, #container img, #picks b")
    assert driver.title != "broken in"
    assert driver.get_log("browser") == []


def test_a_camera_that_falls_silent_shows_red(driver, programs, probe, cell):
    _, settings = cell
    programs.perception({**settings, "health.period_s": "0.2"})
    _, url = start_view(programs, "--stale-after", "1.0")
    visit(driver, url)
    shown = colour_cell.draw_tote()
    until(
        lambda: has(driver, ".tile[data-frames]:not(.stale)"),
        "a picture",
        lambda: probe.show(shown),
    )
    until(lambda: has(driver, ".tile.stale"), "red")
    border = driver.execute_script(
        "return getComputedStyle(document.querySelector('.tile')).borderColor"
    )
    assert border == "rgb(255, 90, 82)"
    assert text(driver, ".cry")[0].startswith("NO FRAME FOR ")
    until(lambda: has(driver, ".tile:not(.stale)"), "recovery", lambda: probe.show(shown))


def test_a_whole_cell_with_four_cameras_and_real_picks(driver, programs, tmp_path):
    write_cell_states(tmp_path)
    _, url = start_view(programs, "--ros-args", "-r", "__ns:=/cell")
    visit(driver, url)
    networks = colour_cell.write_cell(tmp_path)
    settings = {
        **networks, "identification.reference_root": tmp_path, "input.transport": "compressed",
        "health.period_s": 0.2, "camera_names": f"[{', '.join(CAMERAS)}]",
    }  # fmt: skip
    programs.perception(settings, "-r", "__ns:=/cell")
    cell = {"cameras": "all", "states": 0, "cell_folder": tmp_path, "picks_per_s": 1.0,
            "rate_hz": 5.0}  # fmt: skip
    words = [word for name, value in cell.items() for word in ("-p", f"{name}:={value}")]
    programs.start(
        "-m", "robollm_ros.sim_cell_node", "--ros-args", "-r", "__ns:=/cell", *words
    )  # fmt: skip

    until(lambda: len(text(driver, ".tile[data-frames]")) == 4, "pictures of four cameras")
    assert text(driver, "#tabs button") == ["all cameras", *CAMERAS]
    until(lambda: has(driver, "#pick-rows tr[data-event]"), "a pick")
    done = "return [...document.querySelectorAll('#pick-rows tr')].map((row) => "
    done += "row.querySelector('.item')?.firstChild.data)"
    until(lambda: set(driver.execute_script(done)) & set(colour_cell.COLOURS), "a named item")
    until(lambda: has(driver, "#items .gone"), "an item that is picked")
    assert text(driver, "#node")[0].startswith("/cell/perception · ")

    driver.find_element("css selector", "#tabs [data-camera='tote_top']").click()
    shown = [one.get_attribute("data-camera") for one in driver.find_elements("class name", "tile")]
    assert shown == ["tote_top"]
    before = int(driver.find_element("class name", "tile").get_attribute("data-frames"))
    until(
        lambda: (
            int(driver.find_element("class name", "tile").get_attribute("data-frames")) > before
        ),
        "the next picture",
    )
    assert driver.get_log("browser") == []

    texts = driver.execute_script(TEXTS)
    assert len(texts) > 60
    faint = [one for one in texts if contrast(parse(one[1]), parse(one[2])) < 4.5]
    assert faint == []  # WCAG 2.2 AA


@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_the_page_does_not_scroll_sideways(driver, programs, probe, width):
    _, url = start_view(programs)
    visit(driver, url)
    long = "a-name-without-any-space-" * 5
    probe.tell([{"product_id": long, "text": long, "reference_images": ["x.png"]}],
               container_id=long)  # fmt: skip
    until(probe.identities.get_subscription_count, "the view to hear of picks")
    until(probe.statuses.get_subscription_count, "the view to hear of picks")
    probe.answer(long, long, long, long, state=long)
    until(lambda: has(driver, "#pick-rows tr[data-event]") and has(driver, "#items .id"), "all")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_comes_back_after_the_view_was_started_again(driver, programs, domain):
    view, url = start_view(programs)
    visit(driver, url)
    until(lambda: not has(driver, "body.lost"), "the connection")
    assert view.end(signal.SIGINT) == 0
    until(lambda: has(driver, "body.lost"), "the page to say that it is alone")
    shown = driver.find_element("id", "lost")
    assert shown.is_displayed()
    port = url.rstrip("/").rpartition(":")[2]
    again = programs.start("-m", "robollm_ros.view_node", "--port", port)
    again.wait_for("ready: ")
    until(lambda: not has(driver, "body.lost"), "the connection again")


def test_the_page_asks_nobody_else_and_presses_nothing(driver, programs):
    _, url = start_view(programs)
    visit(driver, url)
    until(lambda: not has(driver, "body.lost"), "the connection")
    asked = driver.execute_script(
        "return performance.getEntriesByType('resource').map(r => r.name)"
    )
    assert all(one.startswith(url) for one in asked)
    assert not has(driver, "form, input, textarea, select")
    refused = driver.execute_script(
        "const made = document.createElement('script'); made.textContent = 'window.pwned = 1';"
        "document.head.append(made); return window.pwned === undefined"
    )
    assert refused
