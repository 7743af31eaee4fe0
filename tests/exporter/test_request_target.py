# SPDX-License-Identifier: Apache-2.0
"""The request target: origin form, and the absolute form that a server must take (RFC 9112 3.2.2)."""

import pytest

from fencer.exporter.server import HttpRequest
from tests.exporter.rig import Exporter


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/metrics", "/metrics"),
        ("/metrics?collect[]=x", "/metrics"),
        ("http://serv-0001:10623/metrics", "/metrics"),
        ("HTTP://serv-0001/metrics?x=/", "/metrics"),
        ("https://[::1]:10623/-/healthy", "/-/healthy"),
        ("http://serv-0001", "/"),
        ("http://serv-0001?x=/metrics", "/"),
        ("http:///metrics", "http:///metrics"),
        ("ftp://serv-0001/metrics", "ftp://serv-0001/metrics"),
        ("/http://serv-0001/metrics", "/http://serv-0001/metrics"),
        ("*", "*"),
    ],
)
def test_path(target: str, path: str) -> None:
    assert HttpRequest("GET", target, {}, "").path == path


def test_the_absolute_form_is_answered_as_the_path_is(healthy) -> None:
    with Exporter(healthy.path) as exporter:
        for path in ("/metrics", "/", "/-/ready", "/nowhere"):
            said = exporter.raw(f"GET http://other:1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert said.split(b"\r\n")[0] == (b"HTTP/1.1 404 Not Found" if path == "/nowhere" else b"HTTP/1.1 200 OK")
