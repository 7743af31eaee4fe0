# SPDX-License-Identifier: Apache-2.0
"""Answers the HTTP requests: /metrics, the status page at /, /runbook, /-/healthy and /-/ready."""

import asyncio
import gzip
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from fencer.errors import UsageError
from fencer.exporter.exposition import Encode, Exposition
from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.page.page import CONTENT_SECURITY_POLICY, RUNBOOK_PATH, render
from fencer.exporter.page.runbook import missing as no_runbook
from fencer.exporter.page.runbook import render as render_runbook
from fencer.exporter.server import Answer, HttpRequest
from fencer.exporter.sources import runbook
from fencer.exporter.web_config import WebConfig
from fencer.state.readings import Source

REUSE_S: Final = 0.25
"""How long an answer is reused, so that many clients cost the node at most four answers a second. A scraper comes every
few seconds and always gets a new answer."""
_REUSED_MOST: Final = 8
_PATHS: Final = ("/", "/metrics", RUNBOOK_PATH, "/-/healthy", "/-/ready")
_TEXT: Final = "text/plain; charset=utf-8"
_COMPRESS_FROM_BYTES: Final = 1024
_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


class Answers:
    """Makes the answer to each request.

    collector, others: what /metrics shows. read: reads both files, for the page. said: logs a sentence.
    """

    def __init__(
        self,
        collector: HalvmCollector,
        others: CollectorRegistry,
        read: Source,
        version: str,
        config: WebConfig,
        said: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collector = collector
        self._others = others
        self._read = read
        self._version = version
        self._config = config
        self._said = said
        self._clock = clock
        self._expositions: dict[str, Exposition] = {}
        self._made: dict[tuple[str, str, bool], tuple[float, Answer]] = {}

    async def __call__(self, request: HttpRequest) -> Answer:
        """Never raises."""
        try:
            if not await self._config.admits(request.headers.get("authorization", ""), request.peer):
                await asyncio.sleep(0)
                challenge = ("WWW-Authenticate", 'Basic realm="halvm-exporter", charset="UTF-8"')
                return self._with_headers(_said(HTTPStatus.UNAUTHORIZED, challenge))
            return self._with_headers(self._answer(request))
        except UsageError:  # the web configuration is wrong; WebConfig has logged it
            return _said(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - other requests must still be answered
            self._said(f"{request.path!r}: unexpected {type(error).__name__}: {error}; please report this")
            return _said(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _answer(self, request: HttpRequest) -> Answer:
        if request.path not in _PATHS:
            return _said(HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return _said(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        match request.path:
            case "/metrics":
                encode, content_type = choose_encoder(request.headers.get("accept", ""))
                vary = (("Vary", "Accept, Accept-Encoding"),)
                return self._reused(
                    request,
                    content_type,
                    lambda: Answer(HTTPStatus.OK, content_type, self._metrics(encode, content_type), vary),
                )
            case "/":
                return self._reused(request, "", self._page)
            case path if path == RUNBOOK_PATH:
                return self._reused(request, "", self._runbook)
            case _:
                return _said(HTTPStatus.OK)

    def _metrics(self, encode: Encode, content_type: str) -> bytes:
        exposition = self._expositions.pop(content_type, None) or Exposition(encode)
        if len(self._expositions) >= _REUSED_MOST:
            self._expositions.clear()
        self._expositions[content_type] = exposition
        return exposition.text(self._collector.gather(), self._others.collect())

    def _page(self) -> Answer:
        return _html(render(self._read(), self._version))

    def _runbook(self) -> Answer:
        text = runbook()
        return _html(render_runbook(text) if text else no_runbook())

    def _reused(self, request: HttpRequest, kind: str, make: Callable[[], Answer]) -> Answer:
        gzipped = _takes_gzip(request.headers.get("accept-encoding", ""))
        key = (request.path, kind, gzipped)
        now = self._clock()
        at, answer = self._made.get(key, (-REUSE_S, None))
        if answer is None or now - at >= REUSE_S:
            answer = _compressed(make()) if gzipped else make()
            if len(self._made) >= _REUSED_MOST:
                self._made.clear()
            self._made[key] = (self._clock(), answer)
        return answer

    def _with_headers(self, answer: Answer) -> Answer:
        wanted = {name: (name, value) for name, value in (*_HEADERS, *answer.headers, *self._config.settings().headers)}
        return answer._replace(headers=tuple(wanted.values()))


def _said(status: HTTPStatus, *headers: tuple[str, str]) -> Answer:
    return Answer(status, _TEXT, f"{status.value} {status.phrase}\n".encode(), headers)


def _html(document: str) -> Answer:
    policy = ("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return Answer(HTTPStatus.OK, "text/html; charset=utf-8", document.encode("utf-8", "replace"), (policy,))


def _compressed(answer: Answer) -> Answer:
    if len(answer.body) < _COMPRESS_FROM_BYTES:
        return answer
    body = gzip.compress(answer.body, compresslevel=1, mtime=0)
    return answer._replace(body=body, headers=(*answer.headers, ("Content-Encoding", "gzip")))


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip is named in Accept-Encoding, and not with a weight of 0 (RFC 9110 12.5.3)."""
    for each in accepted.lower().split(","):
        coding, _, weight = each.replace(" ", "").partition(";q=")
        if coding in ("gzip", "x-gzip", "*"):
            return weight.strip("0.") != "" or not weight
    return False
