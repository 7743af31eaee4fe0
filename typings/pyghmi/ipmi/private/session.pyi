"""What fencer.power.ipmi_session uses of pyghmi 1.6; tests/power/test_pyghmi_surface.py checks each."""

from collections import deque
from collections.abc import Callable, Sequence
from socket import socket
from typing import Any, ClassVar, Self, TypeAlias

iothread: object | None
iothreadready: bool
iosockets: list[socket]
_io_wait: Callable[..., None]
_monotonic_time: Callable[[], float]

def _io_graball(mysockets: list[socket], iowaiters: dict[object, object]) -> list[object]: ...
def _io_sendto(mysocket: socket, packet: bytes | bytearray, sockaddr: tuple[Any, ...]) -> None: ...

_Response: TypeAlias = dict[str, Any]

class Session:
    bmc_handlers: ClassVar[dict[tuple[Any, ...], dict[int, Session]]]
    initting_sessions: ClassVar[dict[tuple[object, ...], Session]]
    waiting_sessions: ClassVar[dict[Session, dict[str, Any]]]

    attemptedhash: int
    autopriv: bool
    broken: bool
    integrityalgo: int
    confalgo: int | str
    ipmicallback: Callable[[_Response], None] | None
    ipmiversion: float
    lastpayload: bytes | bytearray | list[int] | None
    localsid: int
    logged: int
    logging: bool
    pendingpayloads: deque[object]
    pendingsessionid: int
    privlevel: int
    request_entry: list[tuple[int, int, int]]
    rmcptag: int
    seqlun: int
    sequencenumber: int
    sessioncontext: str | None
    sessionid: int
    sockaddr: tuple[Any, ...] | None
    socket: socket

    def __new__(
        cls,
        bmc: str,
        userid: bytes,
        password: bytes,
        port: int = 623,
        kg: bytes | None = None,
        onlogon: Callable[[_Response], None] | None = None,
        privlevel: int | None = None,
        keepalive: bool = True,
    ) -> Self: ...
    def __init__(
        self,
        bmc: str,
        userid: bytes,
        password: bytes,
        port: int = 623,
        kg: bytes | None = None,
        onlogon: Callable[[_Response], None] | None = None,
        privlevel: int | None = None,
        keepalive: bool = True,
    ) -> None: ...
    @classmethod
    def wait_for_rsp(cls, timeout: float | None = None, callout: bool = True) -> int: ...
    def logout(self, sessionok: bool = True) -> dict[str, bool]: ...
    def onlogon(self, parameter: _Response) -> None: ...
    def send_payload(
        self, payload: Sequence[int] = (), payload_type: int | None = None, retry: bool = True
    ) -> None: ...
    def _get_channel_auth_cap(self) -> None: ...
    def _got_channel_auth_cap(self, response: _Response) -> None: ...
    def _got_rakp2(self, data: bytearray) -> int | None: ...
    def _got_rakp4(self, data: bytearray) -> int | None: ...
    def _got_rmcp_response(self, data: bytearray) -> int | None: ...
    def _handle_ipmi_packet(
        self, data: bytearray, sockaddr: tuple[Any, ...] | None = None, qent: Sequence[Any] | None = None
    ) -> int | None: ...
    def _initsession(self) -> None: ...
    def _open_rmcpplus_request(self) -> None: ...
    def _parse_ipmi_payload(self, payload: bytearray) -> int | None: ...
    def _req_priv_level(self) -> None: ...
    def _send_ipmi_net_payload(
        self,
        netfn: int | None = None,
        command: int | None = None,
        data: Sequence[int] = (),
        code: int = 0,
        bridge_request: dict[str, int] | None = None,
        retry: bool | None = None,
    ) -> None: ...
    def _timedout(self) -> None: ...
    def _xmit_packet(
        self, retry: bool = True, delay_xmit: float | None = None, timeout: float | None = None
    ) -> None: ...
