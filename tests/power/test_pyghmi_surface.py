# SPDX-License-Identifier: Apache-2.0
"""What we use of pyghmi exists and has the shape we count on: a new release fails here, not in a fence."""

import _socket
import inspect
import re

import pytest
from pyghmi.ipmi.private.session import Session

METHODS = {
    "__init__": ["bmc", "userid", "password", "port", "kg", "onlogon", "privlevel", "keepalive"],
    "login": [],
    "onlogon": ["parameter"],
    "send_payload": ["payload", "payload_type", "retry", "delay_xmit", "needskeepalive", "timeout"],
    "_assignsocket": ["server", "forbiddensockets"],
    "_got_rakp2": ["data"],
    "_got_rakp4": ["data"],
    "_got_rmcp_response": ["data"],
    "_handle_ipmi2_packet": ["data"],
    "_initsession": [],
    "_open_rmcpplus_request": [],
    "_parse_ipmi_payload": ["payload"],
    "_req_priv_level": [],
    "_send_ipmi_net_payload": [
        "netfn", "command", "data", "code", "bridge_request", "retry", "delay_xmit", "timeout", "rslun"
    ],
    "_xmit_packet": ["retry", "delay_xmit", "timeout"],
}  # fmt: skip

ATTRIBUTES = (
    "attemptedhash", "autopriv", "currhashlen", "currhashlib", "ipmicallback", "ipmiversion", "lastpayload", "localsid",
    "logged", "logontries", "nameonly", "netpacket", "pendingpayloads", "pendingsessionid", "privlevel", "randombytes",
    "remseqnumber", "request_entry", "rmcptag", "seqlun", "sequencenumber", "sessioncontext", "sessionid",
)  # fmt: skip

CONTEXTS = ("OPENSESSION", "EXPECTINGRAKP2", "EXPECTINGRAKP4", "ESTABLISHED")


@pytest.mark.parametrize("name", METHODS)
def test_method(name: str) -> None:
    parameters = list(inspect.signature(getattr(Session, name)).parameters)
    assert [each for each in parameters if each not in ("self", "cls")] == METHODS[name]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attribute_is_set_by_pyghmi(name: str) -> None:
    assert f"self.{name} = " in inspect.getsource(Session)


@pytest.mark.parametrize("name", CONTEXTS)
def test_session_context(name: str) -> None:
    source = inspect.getsource(Session)
    assert f"'{name}'" in source or f'"{name}"' in source


def test_a_socket_is_taken_in_one_place() -> None:
    """We hand in datagrams of our own instead; another place would open a socket that takes packets of any host."""
    assert inspect.getsource(Session).count("socket.socket(") == inspect.getsource(Session._assignsocket).count(
        "socket.socket("
    )


def test_what_a_login_needs_of_the_password() -> None:
    source = inspect.getsource(Session.__init__)
    assert "self.userid = userid" in source
    assert "self.password = password" in source


def test_a_sequence_number_counts_once_it_is_authenticated() -> None:
    source = inspect.getsource(Session._handle_ipmi2_packet)
    assert source.index("expectedauthcode") < source.index("self.remseqnumber = remseqnumber")


def test_of_the_package_cryptography_it_uses_what_libcrypto_stands_in_for() -> None:
    """fencer.power.pyghmi_session gives it nothing else."""
    module = inspect.getsource(inspect.getmodule(Session))
    assert set(re.findall(r"^from cryptography[\w.]* import \w+", module, re.MULTILINE)) == {
        "from cryptography.hazmat.backends import default_backend",
        "from cryptography.hazmat.primitives.ciphers import Cipher",
        "from cryptography.hazmat.primitives.ciphers import algorithms",
        "from cryptography.hazmat.primitives.ciphers import modes",
    }
    assert set(re.findall(r"\b(?:algorithms|modes|crypter|encryptor|decryptor|_crypto_backend)\.\w+", module)) == {
        "algorithms.AES", "modes.CBC", "crypter.encryptor", "crypter.decryptor",
        "encryptor.update", "encryptor.finalize", "decryptor.update", "decryptor.finalize",
    }  # fmt: skip
    assert set(re.findall(r"(\w+)=", "".join(re.findall(r"= Cipher\((.*?)\n +\)", module, re.DOTALL)))) == {
        "algorithm", "mode", "backend"
    }  # fmt: skip


def test_of_modules_that_are_loaded_by_half_it_uses_what_there_is() -> None:
    """fencer.power.pyghmi_session gives it the C halves. Only its thread and its sockets want more."""
    module = inspect.getsource(inspect.getmodule(Session))
    assert set(re.findall(r"\brandom\.(\w+)", module)) == {"random"}
    assert set(re.findall(r"\bthreading\.(\w+)", module)) == {"Event", "Lock", "RLock", "Thread"}
    session, sockets = inspect.getsource(Session), inspect.getsource(Session._assignsocket)
    assert session.count("threading.Event(") == sockets.count("threading.Event(")
    missing = {name for name in re.findall(r"\bsocket\.([A-Za-z_]\w*)", module) if not hasattr(_socket, name)}
    assert missing <= {"getsockname"}  # of its own attribute self.socket
