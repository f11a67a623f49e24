"""What protects the demo page: from foreign names and pages, large or slow requests, endless
uploads, and URLs that it would fetch."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

LARGEST_BODY = 9 * 2**20
"""Bytes of a request: the largest file, and a form around it."""

MOST_KEPT = 2**30
"""Bytes of uploads and results that are kept at a time. A request leaves about 25 pictures."""

LEAVING_NOTHING = ("/cancel", "/reset", "/component_server")
"""Ends of the paths of requests that leave no files. All other ones that send something may."""

CLOSED = ("/process_recording",)
"""Ends of the paths of what the page does not need. Gradio gives a recording to ffmpeg."""

SLOWEST = 20.0
"""Seconds to wait for the next part of a request's body."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refusal(Exception):
    """The answer to a refused request: a status and a line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


class Guard:
    """An ASGI application around another one.

    A page elsewhere can make a browser believe that its own name is this machine's address, and so
    read what only this machine may. Then the request's Host is that name. So Host must be an
    address, which cannot be forged in this way, or one of this machine's own names.

    A page elsewhere can also send a request to the true address. Then the browser names that page
    as the Origin, which must be this page itself: the Host, or the one that a proxy was asked for.
    """

    def __init__(self, app: App, host: str, folder: Path) -> None:
        """Guards `app`, which listens at `host` and has uploads and results in `folder`."""
        self._app, self._folder = app, folder
        self._names = {"localhost", host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        is_answered = False

        async def forward(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, _limit(receive) if scope.get("method") == "POST" else receive, forward)
        except Refusal as error:
            await _answer(scope, error, is_answered, send)
        except Exception as error:  # its text may repeat what was sent, so the log has none of it
            log.warning("a request to %r failed (%s)", scope["path"][:100], type(error).__name__)
            await _answer(scope, Refusal(500, "this request cannot be answered"), is_answered, send)

    def _check(self, scope: Message, headers: dict[bytes, str]) -> None:
        host = headers.get(b"host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name.lower() not in self._names and not _is_address(name.strip("[]")):
            raise Refusal(421, "this page is not reached by that name; use its address")
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2] not in (host, headers.get(b"x-forwarded-host")):
            raise Refusal(403, "another page cannot use this page")
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > LARGEST_BODY:
            raise Refusal(413, f"this request has more than {LARGEST_BODY >> 20} MiB")
        if scope.get("method") != "POST":
            return
        path = scope["path"].rstrip("/")
        if path.endswith(CLOSED):
            raise Refusal(404, "this page does not take this")
        if not path.endswith(LEAVING_NOTHING) and _size(self._folder) > MOST_KEPT:
            raise Refusal(507, "too many pictures are kept; they are removed after an hour")


def stay_offline() -> None:
    """Has Gradio refuse URLs. It would fetch any that a request names, of any size."""
    import safehttpx

    async def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("this page fetches nothing; upload the file")

    # A file that an input names passes the first of these, a file to show the second.
    for door in ("get", "async_validate_url"):
        setattr(safehttpx, door, refuse)


def _size(folder: Path) -> int:
    """Adds up the bytes of files in a folder, some of which may be removed meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _limit(receive: Receive) -> Receive:
    """Limits a receiver, which then raises Refusal if a body is too large or does not go on."""
    size, complete = 0, False

    async def receive_part() -> Message:
        nonlocal size, complete
        try:
            message = await asyncio.wait_for(receive(), None if complete else SLOWEST)
        except TimeoutError:
            raise Refusal(408, "this request does not go on") from None
        complete = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > LARGEST_BODY:
            raise Refusal(413, f"this request has more than {LARGEST_BODY >> 20} MiB")
        return message

    return receive_part


async def _answer(scope: Message, error: Refusal, is_answered: bool, send: Send) -> None:
    if is_answered:
        return
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{error.line}\n".encode()})
