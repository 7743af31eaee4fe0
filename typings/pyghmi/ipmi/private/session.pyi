# SPDX-License-Identifier: Apache-2.0
"""What fencer.power.ipmi_packets, _login and _session use of pyghmi 1.6; test_pyghmi_surface.py checks each."""

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import _Hash
from typing import Any, TypeAlias

_Response: TypeAlias = dict[str, Any]

class Session:
    attemptedhash: int
    autopriv: bool
    currhashlib: Callable[..., _Hash]
    currhashlen: int
    forbidsock: Sequence[object]
    ipmicallback: Callable[[_Response], None] | None
    ipmiversion: float
    lastpayload: bytes | bytearray | list[int] | None
    localsid: int
    logged: int
    logontries: int
    nameonly: int
    netpacket: bytearray
    password: bytes
    pendingpayloads: deque[object]
    pendingsessionid: int
    privlevel: int
    randombytes: bytes
    remseqnumber: int
    request_entry: list[tuple[int, int, int]]
    rmcptag: int
    seqlun: int
    sequencenumber: int
    sessioncontext: str | None
    sessionid: int
    userid: bytes

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
    def login(self) -> None: ...
    def onlogon(self, parameter: _Response) -> None: ...
    def send_payload(
        self, payload: Sequence[int] = (), payload_type: int | None = None, retry: bool = True
    ) -> None: ...
    def _assignsocket(self, server: object = None, forbiddensockets: object = ()) -> None: ...
    def _got_rakp2(self, data: bytearray) -> int | None: ...
    def _got_rakp4(self, data: bytearray) -> int | None: ...
    def _got_rmcp_response(self, data: bytearray) -> int | None: ...
    def _handle_ipmi2_packet(self, data: bytearray) -> int | None: ...
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
    def _xmit_packet(
        self, retry: bool = True, delay_xmit: float | None = None, timeout: float | None = None
    ) -> None: ...
