# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The server of the live view: who may ask, what it answers, what a slow browser costs."""

import asyncio
import http.client
import json
import socket
import threading
import time
import tracemalloc
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("aiohttp", reason="the view needs aiohttp: pip install '.[view]'")

import aiohttp

from robollm_core.errors import ConfigError
from robollm_ros import view_server
from robollm_ros.view_server import MAX_VIEWERS, PAGE, ViewServer


@pytest.fixture
def server():
    made = ViewServer("127.0.0.1", 0)
    made.start()
    yield made
    made.close()


def ask(server, path="/", method="GET", **headers):
    """Status, headers and body; header names with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


@asynccontextmanager
async def looking(server, **headers):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}live", headers=headers, max_msg_size=0) as stream,
    ):
        yield stream


async def hear(stream, count):
    heard = []
    for _ in range(count):
        message = await stream.receive(timeout=10)
        heard.append(message.data)
        await stream.send_str("ok")
    return heard


async def wait_for(done):
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", PAGE)
def test_each_file_of_the_page_is_served_with_its_kind(server, path):
    status, headers, body = ask(server, path)
    assert status == 200
    assert headers["Content-Type"].startswith(PAGE[path][1])
    assert len(body) > 200


def test_the_page_itself_holds_no_script_and_no_style():
    import importlib.resources

    folder = importlib.resources.files("robollm_ros").joinpath("view_page")
    page = folder.joinpath("index.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count('<script type="module" src="/view.js">') == 1
    assert "<style" not in page
    assert "style=" not in page
    assert " on" not in page.replace(" one", "").replace(" once", "")
    for name, _ in PAGE.values():
        text = folder.joinpath(name).read_text(encoding="utf-8")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert not any(
            word in text for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval(")
        )
        assert "document.write" not in text
    assert {one.name for one in folder.iterdir()} == {name for name, _ in PAGE.values()}


@pytest.mark.parametrize("path", ["/", "/live", "/nothing"])
def test_every_answer_forbids_what_the_page_does_not_need(server, path):
    _, headers, _ = ask(server, path)
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/live", "/view.js"])
def test_nothing_can_be_sent(server, method, path):
    assert ask(server, path, method)[0] in (403, 404, 405)


@pytest.mark.parametrize(
    "path",
    ["/../view_node.py", "/%2e%2e/view_node.py", "/view_page/index.html", "/etc/passwd",
     "//view.js", "/..%2f..%2fsetup.py", "/view.js%00.css", "/.", "/view.js/"],
)  # fmt: skip
def test_no_other_file_is_served(server, path):
    assert ask(server, path)[0] in (400, 403, 404)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{}", 200), ("localhost:{}", 200), ("[::1]:{}", 200), ("10.1.2.3:{}", 200),
        ("attacker.example:{}", 403), ("127.0.0.1.attacker.example", 403), ("", 403), ("[", 403),
        ("localhost.attacker.example:{}", 403), ("LOCALHOST:{}", 200), ("a@localhost@b", 403),
    ],
)  # fmt: skip
def test_a_name_that_somebody_else_lets_point_here_is_refused(server, host, status):
    assert ask(server, Host=host.format(server.port))[0] == status


def test_the_name_it_was_told_to_listen_on_is_its_own():
    server = ViewServer("localhost", 0)
    server.start()
    try:
        assert ask(server, Host=f"localhost:{server.port}")[0] == 200
        assert ask(server, Host=f"{socket.gethostname()}:{server.port}")[0] == 200
    finally:
        server.close()


@pytest.mark.parametrize("path", ["/", "/live"])
@pytest.mark.parametrize(
    "origin", ["http://attacker.example", "null", "https://127.0.0.1:{}", "http://127.0.0.1:1", ""]
)
def test_another_sites_page_is_refused(server, path, origin):
    status, _, body = ask(server, path, Origin=origin.format(server.port))
    assert status == 403
    assert b"<html" not in body


def test_another_sites_page_gets_no_socket_and_our_own_does(server):
    async def scene():
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with looking(server, Origin="http://attacker.example"):
                pass
        assert refused.value.status == 403
        async with looking(server, Origin=server.url.rstrip("/")) as stream:
            server.publish("a", "text")
            assert await hear(stream, 1) == ["text"]

    asyncio.run(scene())


def test_a_browser_that_comes_late_is_told_what_stands(server):
    server.publish("a", "old")
    server.publish("a", "new")
    server.publish("frame/x", b"picture")
    server.publish("b", "gone")
    server.forget("b")

    async def scene():
        async with looking(server) as stream:
            assert set(await hear(stream, 2)) == {"new", b"picture"}
            server.publish("a", "new")  # is no news
            server.publish("a", "newer")
            assert await hear(stream, 1) == ["newer"]

    asyncio.run(scene())


def test_a_slow_browser_misses_what_was_overwritten_and_does_not_hold_up_a_fast_one(server):
    rounds = 200

    async def scene():
        async with looking(server) as slow, looking(server) as fast:
            await wait_for(lambda: server.viewers == 2)
            server.publish("frame/x", b"0")
            assert (await slow.receive(timeout=10)).data == b"0"  # and says nothing
            assert await hear(fast, 1) == [b"0"]
            for number in range(1, rounds):
                server.publish("frame/x", str(number).encode())
                assert await hear(fast, 1) == [str(number).encode()]
            await slow.send_str("ok")
            assert await hear(slow, 1) == [str(rounds - 1).encode()]

    asyncio.run(scene())


def knock(server):
    """A browser that opens the socket, and reads nothing from then on."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    plain.sendall(
        f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    return plain


@pytest.mark.parametrize("said", [0, 2000], ids=["silent", "says ok all the time"])
def test_browsers_that_never_read_cost_one_payload_a_key_and_no_more(server, said):
    ok = b"\x81\x82\0\0\0\0ok"  # a masked text frame
    payload = bytes(1_000_000)
    deaf = [knock(server) for _ in range(3)]
    asyncio.run(wait_for(lambda: server.viewers == len(deaf)))
    for plain in deaf:
        plain.sendall(ok * said)
    tracemalloc.start()
    try:
        for number in range(300):
            server.publish(f"frame/{number % 3}", payload + bytes([number % 256]))
            time.sleep(0.002)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for plain in deaf:
            plain.close()
    # 300 MB went by: three keys of 1 MB, and for each browser what is just being written
    assert kept < 12_000_000


def test_a_browser_that_says_anything_but_ok_is_sent_away(server):
    async def scene(words):
        async with looking(server) as stream:
            await (stream.send_bytes if isinstance(words, bytes) else stream.send_str)(words)
            message = await stream.receive(timeout=10)
            return message.type

    for words in ("set threshold 1", b"ok", "x" * 10_000):
        assert asyncio.run(scene(words)) in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


def test_a_browser_that_stalls_is_sent_away(server, monkeypatch):
    monkeypatch.setattr(view_server, "STALL_S", 0.2)

    async def scene():
        async with looking(server) as stream:
            server.publish("a", "1")
            await stream.receive(timeout=10)
            server.publish("a", "2")
            message = await stream.receive(timeout=10)
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            await wait_for(lambda: server.viewers == 0)

    asyncio.run(scene())


def test_so_many_browsers_may_look_and_not_one_more(server):
    async def scene():
        async with aiohttp.ClientSession() as session:
            streams = [await session.ws_connect(f"{server.url}live") for _ in range(MAX_VIEWERS)]
            await wait_for(lambda: server.viewers == MAX_VIEWERS)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{server.url}live")
            assert refused.value.status == 503
            await streams.pop().close()
            await wait_for(lambda: server.viewers == MAX_VIEWERS - 1)

    asyncio.run(scene())


def test_closing_sends_the_browsers_away_and_ends_the_thread(server):
    async def scene():
        async with looking(server) as stream:
            await wait_for(lambda: server.viewers == 1)
            begun = time.monotonic()
            await asyncio.to_thread(server.close)
            assert time.monotonic() - begun < 4
            message = await stream.receive(timeout=10)
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)

    asyncio.run(scene())
    assert "view" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(OSError):
        ask(server)


def test_a_port_in_use_is_refused_with_a_way_out(server):
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{server.port}.*--port"):
        ViewServer("127.0.0.1", server.port).start()


def test_many_threads_may_publish_at_once(server):
    def write(name):
        for number in range(200):
            server.publish(name, json.dumps([name, number]))

    async def scene():
        writers = [threading.Thread(target=write, args=(f"k{i}",)) for i in range(4)]
        async with looking(server) as stream:
            for writer in writers:
                writer.start()
            newest = {}
            while len(newest) < 4 or any(value != 199 for value in newest.values()):
                name, number = json.loads((await hear(stream, 1))[0])
                assert number >= newest.get(name, 0)
                newest[name] = number
        for writer in writers:
            writer.join()

    asyncio.run(scene())
