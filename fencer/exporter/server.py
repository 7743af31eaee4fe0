# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/1.1 server: one thread, a bounded number of connections, a deadline for each action of a client.

h11 parses HTTP; this module moves bytes. At CONNECTIONS_MOST connections, a new one closes the connection whose last
complete request is longest ago. So clients that hold connections open, or never read, cannot keep a scraper out.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import h11

CONNECTIONS_MOST: Final = 128
HEADER_BYTES_MOST: Final = 16 << 10
BODY_BYTES_MOST: Final = 64 << 10
REQUEST_S: Final = 10.0
"""Deadline for a TLS handshake, and for a request from its first byte to its last."""
IDLE_S: Final = 75.0
"""Longest time between two requests on a connection. Longer than a usual scrape interval, which is up to a minute."""
ANSWER_S: Final = 10.0
"""Deadline for the client to read the whole answer."""
LINGER_S: Final = 5.0
STOP_S: Final = 3.0
_CHUNK_BYTES: Final = 64 << 10
_ACCEPT_PAUSE_S: Final = 0.1
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]+", re.IGNORECASE)


class HttpRequest(NamedTuple):
    """One request.

    target: as sent. headers: names in lower case; of several with one name, the last one. peer: the client's address.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    peer: str

    @property
    def path(self) -> str:
        """The path of the target. Query, scheme and authority (absolute form, RFC 9112 3.2.2) are left out."""
        absolute = _ABSOLUTE.match(self.target)
        path = self.target[absolute.end() if absolute else 0 :].partition("?")[0]
        return path or "/" if absolute else path


class Answer(NamedTuple):
    """One answer."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[HttpRequest], Awaitable[Answer]]
Tls = Callable[[], ssl.SSLContext | None]
"""Gives the TLS context for the next connection; None: plain HTTP. OSError, ValueError: the connection is refused."""


class Server:
    """Serves until stop(). respond never raises."""

    def __init__(self, respond: Respond, tls: Tls) -> None:
        self._respond = respond
        self._tls = tls
        self._connections: dict[asyncio.Task[None], bool] = {}
        """Each connection, and whether a request of it is being answered. Longest idle first."""
        self._stopping = asyncio.Event()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Accepts until stop(). Returns when the requests under way are answered, STOP_S after stop() at the latest."""
        accepting = [asyncio.create_task(self._accept(each)) for each in sockets]
        await self._stopping.wait()
        for task in accepting:
            task.cancel()
        await asyncio.gather(*accepting, return_exceptions=True)
        for each in sockets:
            each.close()
        for task, busy in list(self._connections.items()):
            if not busy:
                task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=STOP_S)
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def stop(self) -> None:
        """Ends serve(). May be called from a signal handler of the event loop."""
        self._stopping.set()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError:  # no descriptors left, or the client has closed already
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            if len(self._connections) >= CONNECTIONS_MOST:
                giving_way = next(iter(self._connections))
                del self._connections[giving_way]
                giving_way.cancel()
                await asyncio.wait((giving_way,), timeout=_ACCEPT_PAUSE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = str(address[0]) if isinstance(address, tuple) else ""
            task = asyncio.create_task(self._converse(connection, peer))
            self._connections[task] = False
            task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _converse(self, connection: socket.socket, peer: str) -> None:
        """Serves one connection until it ends. Errors of the client end this connection only."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(REQUEST_S):
                reader, writer = await self._streams(connection)
            await self._requests(reader, writer, peer)
        except (OSError, ValueError, EOFError, TimeoutError, h11.ProtocolError):
            pass
        finally:
            if writer is not None:
                writer.transport.abort()  # the answer has been drained
            else:
                connection.close()

    async def _streams(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEADER_BYTES_MOST, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        context = self._tls()
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
        transport.set_write_buffer_limits(high=_CHUNK_BYTES)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MOST)
        wait_s = REQUEST_S
        while True:
            try:
                request = await _next_request(parser, reader, peer, wait_s)
            except h11.RemoteProtocolError as error:
                status = HTTPStatus(error.error_status_hint) if error.error_status_hint else HTTPStatus.BAD_REQUEST
                await self._send(parser, writer, _plain(status), head=False)
                return
            if request is None:
                return
            self._mark(busy=True)
            answer = await self._respond(request)
            await self._send(parser, writer, answer, head=request.method == "HEAD")
            self._mark(busy=False)
            if self._stopping.is_set() or parser.our_state is not h11.DONE or parser.their_state is not h11.DONE:
                await _linger(reader, writer)
                return
            parser.start_next_cycle()
            await asyncio.sleep(0)  # let other clients in between two requests of one connection
            wait_s = IDLE_S

    def _mark(self, *, busy: bool) -> None:
        """Notes a complete request, or its answer. This connection is now the last to be closed for a new one."""
        task = asyncio.current_task()
        if task is not None and self._connections.pop(task, None) is not None:
            self._connections[task] = busy

    async def _send(self, parser: h11.Connection, writer: asyncio.StreamWriter, answer: Answer, *, head: bool) -> None:
        if parser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            *answer.headers,
            *((("Connection", "close"),) if self._stopping.is_set() else ()),
        ]
        async with asyncio.timeout(ANSWER_S):
            writer.write(
                parser.send(h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase))
                or b""
            )
            body = memoryview(b"" if head else answer.body)
            for at in range(0, len(body), _CHUNK_BYTES):
                writer.write(parser.send(h11.Data(data=bytes(body[at : at + _CHUNK_BYTES]))) or b"")
                await writer.drain()
            writer.write(parser.send(h11.EndOfMessage()) or b"")
            await _drained(writer)


async def _next_request(
    parser: h11.Connection, reader: asyncio.StreamReader, peer: str, wait_s: float
) -> HttpRequest | None:
    """Reads the next request. None: the client has closed. wait_s: for the first byte; REQUEST_S: for the rest."""
    head: h11.Request | None = None
    body_bytes = 0
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(wait_s) as limit:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(HEADER_BYTES_MOST)
                limit.reschedule(min(limit.when() or loop.time(), loop.time() + REQUEST_S))
                parser.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body_bytes += len(event.data)
                if body_bytes > BODY_BYTES_MOST:
                    raise h11.RemoteProtocolError("body", error_status_hint=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                return HttpRequest(head.method.decode("latin-1"), head.target.decode("latin-1"), headers, peer)
            else:  # closed, or a switch to another protocol, which is not supported
                return None


async def _drained(writer: asyncio.StreamWriter) -> None:
    """Waits until the kernel has all written bytes."""
    transport = writer.transport
    transport.set_write_buffer_limits(high=0)
    await writer.drain()
    transport.set_write_buffer_limits(high=_CHUNK_BYTES)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends FIN and waits for the client to close. A close with unread bytes sends RST, which can lose the answer."""
    with contextlib.suppress(OSError, TimeoutError, NotImplementedError):
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            while await reader.read(_CHUNK_BYTES):
                pass


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode())
