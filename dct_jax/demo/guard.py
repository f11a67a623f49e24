"""What stands between the demo page and those who reach it: foreign names, large or slow requests, uploads without end."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

LARGEST_BODY = 9 * 2**20
"""Bytes of a request: a file of the largest size, and what a form has around it."""

MOST_KEPT = 2**28
"""Bytes of uploads and results that are kept at a time."""

SLOWEST = 20.0
"""Seconds to wait for the next part of a request's body."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refused(Exception):
    """A request that is answered by a status and a line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


class Guard:
    """An ASGI application around another one.

    A page elsewhere can make a browser believe that its own name is this machine's address, and so read what only this machine
    may; then the request's Host is that name. Addresses cannot be forged in this way, and some names are this machine's own.
    """

    def __init__(self, app: App, host: str, kept: Path) -> None:
        """Args: what is guarded, the name that the page listens at, and the folder of its uploads and results."""
        self._app, self._kept = app, kept
        self._names = {"localhost", host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, _limited(receive) if scope.get("method") == "POST" else receive, sent)
        except Refused as error:
            await _answer(scope, error, begun, send)
        except Exception as error:  # its text may repeat what was sent, so the log has none of it
            log.warning("a request to %r failed (%s)", scope["path"][:100], type(error).__name__)
            await _answer(scope, Refused(500, "this request cannot be answered"), begun, send)

    def _check(self, scope: Message, headers: dict[bytes, str]) -> None:
        host = headers.get(b"host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name.lower() not in self._names and not _is_address(name.strip("[]")):
            raise Refused(421, "this page is not reached by that name; use its address")
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > LARGEST_BODY:
            raise Refused(413, f"this request has more than {LARGEST_BODY >> 20} MiB")
        if scope.get("method") == "POST" and scope["path"].endswith("/upload"):
            kept = sum(path.stat().st_size for path in self._kept.rglob("*") if path.is_file())
            if kept > MOST_KEPT:
                raise Refused(507, "too many uploads are kept; they are removed after an hour")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _limited(receive: Receive) -> Receive:
    """Raises Refused when a body is too large or does not go on."""
    size, complete = 0, False

    async def limited() -> Message:
        nonlocal size, complete
        try:
            message = await asyncio.wait_for(receive(), None if complete else SLOWEST)
        except TimeoutError:
            raise Refused(408, "this request does not go on") from None
        complete = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > LARGEST_BODY:
            raise Refused(413, f"this request has more than {LARGEST_BODY >> 20} MiB")
        return message

    return limited


async def _answer(scope: Message, error: Refused, begun: bool, send: Send) -> None:
    if begun:
        return
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{error.line}\n".encode()})
