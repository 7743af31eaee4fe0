"""What we use of pyghmi exists and has the shape we count on: a new release fails here, not in a fence."""

import inspect

import pytest
from pyghmi.ipmi.private import session
from pyghmi.ipmi.private.session import Session

MODULE_NAMES = ("_io_wait", "_io_graball", "_io_sendto", "_monotonic_time", "iothread", "iothreadready", "iosockets")

METHODS = {
    "__init__": ["bmc", "userid", "password", "port", "kg", "onlogon", "privlevel", "keepalive"],
    "wait_for_rsp": ["timeout", "callout"],
    "logout": ["sessionok"],
    "onlogon": ["parameter"],
    "send_payload": ["payload", "payload_type", "retry", "delay_xmit", "needskeepalive", "timeout"],
    "_get_channel_auth_cap": [],
    "_got_channel_auth_cap": ["response"],
    "_got_rakp2": ["data"],
    "_got_rakp4": ["data"],
    "_got_rmcp_response": ["data"],
    "_handle_ipmi_packet": ["data", "sockaddr", "qent"],
    "_initsession": [],
    "_open_rmcpplus_request": [],
    "_parse_ipmi_payload": ["payload"],
    "_req_priv_level": [],
    "_send_ipmi_net_payload": [
        "netfn", "command", "data", "code", "bridge_request", "retry", "delay_xmit", "timeout", "rslun"
    ],
    "_timedout": [],
    "_xmit_packet": ["retry", "delay_xmit", "timeout"],
}  # fmt: skip

ATTRIBUTES = (
    "attemptedhash", "authtype", "autopriv", "broken", "ipmicallback", "ipmiversion", "lastpayload", "localsid",
    "logged", "logging", "pendingpayloads", "privlevel", "request_entry", "rmcptag", "seqlun", "sessioncontext",
    "sessionid", "sockaddr", "socket",
)  # fmt: skip

CONTEXTS = ("OPENSESSION", "EXPECTINGRAKP2", "EXPECTINGRAKP4", "ESTABLISHED", "FAILED")


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_module_name(name: str) -> None:
    assert hasattr(session, name)


@pytest.mark.parametrize("name", METHODS)
def test_method(name: str) -> None:
    parameters = list(inspect.signature(getattr(Session, name)).parameters)
    assert [each for each in parameters if each not in ("self", "cls")] == METHODS[name]


@pytest.mark.parametrize("name", ["bmc_handlers", "initting_sessions", "waiting_sessions"])
def test_registry(name: str) -> None:
    assert isinstance(getattr(Session, name), dict)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attribute_is_set_by_pyghmi(name: str) -> None:
    assert f"self.{name} = " in inspect.getsource(Session)


@pytest.mark.parametrize("name", CONTEXTS)
def test_session_context(name: str) -> None:
    source = inspect.getsource(Session)
    assert f"'{name}'" in source or f'"{name}"' in source


def test_the_wait_is_called_with_seconds_first() -> None:
    assert next(iter(inspect.signature(session._io_wait).parameters)) == "timeout"
