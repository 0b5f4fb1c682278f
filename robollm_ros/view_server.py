# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The web server of the live view: a page to look at, and nothing to press.

It serves the files of the page and one WebSocket, on which it says what is
new. There is one payload a key, shared by all browsers: a slow browser misses
what was overwritten meanwhile, and costs no memory. A browser says "ok" after
each message, and gets the next one only then.
"""

import asyncio
import importlib.resources
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from robollm_core.errors import ConfigError

PAGE = {
    "/": ("index.html", "text/html"),
    "/view.css": ("view.css", "text/css"),
    "/view.js": ("view.js", "text/javascript"),
    "/picture.js": ("picture.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
SOCKET = "/live"
HEADERS = {
    # scripts, styles and the socket of this server alone; a page may not be framed or post anywhere
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MAX_VIEWERS = 16
STALL_S = 30.0
"""A browser that has not said "ok" for so long is let go."""
_STRANGER = "robollm view: open it by its machine's name, or by its address in numbers.\n"
_ALIVE_S = 15.0
_GOODBYE_S = 0.5
"""For the last words between server and browser."""
_START_S = 10.0
_END_S = 5.0
_MESSAGE_BYTES = 64
"""A browser has nothing longer to say than "ok"."""

Payload = str | bytes
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Viewer:
    """One open browser: which keys are new to it."""

    def __init__(self, keys: set[str]) -> None:
        self.new = dict.fromkeys(sorted(keys))
        """Ordered: what waits longest goes first."""
        self.changed = asyncio.Event()
        self.ready = asyncio.Event()
        self.changed.set()
        self.ready.set()

    def tell(self, keys: set[str]) -> None:
        for key in keys:
            self.new.setdefault(key)
        self.changed.set()


class ViewServer:
    """Serves the page and what is published to it, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        """Remember where to listen; `start` does.

        Args:
            host: address or name to listen on.
            port: TCP port; 0 takes a free one.
        """
        self.host, self.port = host, port
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._latest: dict[str, Payload] = {}
        self._new: set[str] = set()
        self._lock = threading.Lock()
        self._viewers: set[_Viewer] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._fault: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    @property
    def viewers(self) -> int:
        """Open browsers."""
        return len(self._viewers)

    @property
    def keys(self) -> frozenset[str]:
        """Of what the browsers know."""
        with self._lock:
            return frozenset(self._latest)

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: If the address cannot be listened on.
        """
        self._thread.start()
        self._started.wait(_START_S)
        if self._fault is not None:
            raise ConfigError(
                f"cannot serve the view on {self.host}:{self.port}: {self._fault}. "
                "Choose another --port or --host."
            ) from self._fault

    def close(self) -> None:
        """Send the browsers away and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_END_S)

    def publish(self, key: str, payload: Payload) -> None:
        """Replace what the browsers know of something; any thread may.

        Args:
            key: of what.
            payload: text, or bytes, as the page expects them.
        """
        with self._lock:
            if self._latest.get(key) == payload:
                return
            self._latest[key] = payload
            self._announce(key)

    def forget(self, key: str) -> None:
        """Drop a payload, so that later browsers are not shown it."""
        with self._lock:
            self._latest.pop(key, None)

    def _announce(self, key: str) -> None:
        # one call waits in the loop at a time, however late it runs
        due = not self._new
        self._new.add(key)
        if due and self._started.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread)

    def _spread(self) -> None:
        with self._lock:
            keys, self._new = self._new, set()
        for viewer in self._viewers:
            viewer.tell(keys)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
            # whoever still waits for a browser
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._guard])
        for path in PAGE:
            app.router.add_get(path, _page)
        app.router.add_get(SOCKET, self._socket)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GOODBYE_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
            self.port = int(runner.addresses[0][1])
            self._started.set()
            self._spread()
            await self._stop.wait()
        except OSError as error:
            self._fault = error
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what another site's page asks for; put the headers on every answer."""
        try:
            if not self._known(request):
                raise web.HTTPForbidden(text=_STRANGER)
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _known(self, request: web.Request) -> bool:
        """Whether a request comes from our own page, or from no page at all.

        A name that an attacker lets point here (DNS rebinding) is none of ours;
        an address in numbers is nobody's to let point elsewhere.
        """
        said = request.headers.get("Host", "")
        name = _host_name(said)
        if name not in self._names and not _is_address(name):
            return False
        origin = request.headers.get("Origin")
        return origin is None or origin == f"http://{said}"

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if len(self._viewers) >= MAX_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} browsers look already.\n")
        stream = web.WebSocketResponse(
            timeout=_GOODBYE_S, heartbeat=_ALIVE_S, max_msg_size=_MESSAGE_BYTES, compress=False
        )
        await stream.prepare(request)
        viewer = _Viewer(set(self.keys))
        self._viewers.add(viewer)
        sender = asyncio.ensure_future(self._send(stream, viewer))
        end = asyncio.ensure_future(self._stop.wait())
        listener = asyncio.ensure_future(_listen(stream, viewer))
        tasks = (sender, end, listener)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers.discard(viewer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stream.close()
        return stream

    async def _send(self, stream: web.WebSocketResponse, viewer: _Viewer) -> None:
        while True:
            await viewer.changed.wait()
            await asyncio.wait_for(viewer.ready.wait(), STALL_S)
            if not viewer.new:
                viewer.changed.clear()
                continue
            key = next(iter(viewer.new))
            del viewer.new[key]
            with self._lock:
                payload = self._latest.get(key)
            if payload is not None:
                viewer.ready.clear()
                await _write(stream, payload)


async def _write(stream: web.WebSocketResponse, payload: Payload) -> None:
    if isinstance(payload, str):
        await asyncio.wait_for(stream.send_str(payload), STALL_S)
    else:
        await asyncio.wait_for(stream.send_bytes(payload), STALL_S)


async def _listen(stream: web.WebSocketResponse, viewer: _Viewer) -> None:
    async for message in stream:
        if message.type is not WSMsgType.TEXT or message.data != "ok":
            return
        viewer.ready.set()


async def _page(request: web.Request) -> web.Response:
    name, kind = PAGE[request.path]
    data = (
        importlib.resources.files("robollm_ros").joinpath("view_page").joinpath(name).read_bytes()
    )
    return web.Response(body=data, content_type=kind, charset="utf-8")


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
