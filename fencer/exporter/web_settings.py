# SPDX-License-Identifier: Apache-2.0
"""Parses a web configuration: the format that Prometheus' exporters share (exporter-toolkit). Pure, except that
make_context reads the files it names.

Everything that ``promtool check web-config`` refuses is refused here. So is an empty section: for exporter-toolkit, an
empty ``basic_auth_users:`` means that no password is needed.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from fencer.errors import UsageError
from fencer.exporter.strict_yaml import Node, Section, Text, YamlProblem, read
from fencer.regular_file import read_regular_file

OPTION: Final = "--web.config.file"
BYTES_MOST: Final = 1 << 20
_HASH: Final = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
COST_LEAST, COST_MOST = 4, 16

_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENTS: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, and the values allowed for each; empty: any line of text."""
_TLS: Final = ("cert_file", "key_file", "client_ca_file", "client_auth_type", "min_version", "max_version",
               "prefer_server_cipher_suites")  # fmt: skip
_HTTP: Final = ("http2", "headers")
_TOP: Final = ("tls_server_config", "http_server_config", "basic_auth_users")
_UNSUPPORTED: Final = frozenset(
    ("cert", "key", "client_ca", "client_auth", "client_allowed_sans", "cipher_suites", "curve_preferences",
     "rate_limit")
)  # fmt: skip
"""Names that an error message may contain: settings of exporter-toolkit, or former ones of ours. Another name may be a
secret that was indented wrongly."""
_YES: Final = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"))
_NO: Final = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"))


class TlsSettings(NamedTuple):
    """Section tls_server_config. Paths are absolute; "" where none is given."""

    cert: str
    key: str
    client_ca: str
    client: ssl.VerifyMode
    least: ssl.TLSVersion
    most: ssl.TLSVersion | None


class WebSettings(NamedTuple):
    """All settings. users: name to bcrypt hash; empty: no password is needed."""

    tls: TlsSettings | None = None
    users: Mapping[str, bytes] = {}
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def closed(self) -> bool:
        """Whether a password or a client certificate is needed."""
        return bool(self.users) or (self.tls is not None and self.tls.client is ssl.CERT_REQUIRED)

    def opens(self, before: "WebSettings") -> str:
        """What before asks for and these settings do not, in words; "" for nothing."""
        lost = [
            name
            for name, was, now in (
                ("passwords", bool(before.users), bool(self.users)),
                ("TLS", before.tls is not None, self.tls is not None),
                ("client certificates", _requires_client(before), _requires_client(self)),
            )
            if was and not now
        ]
        return " and ".join(lost)


def _requires_client(settings: WebSettings) -> bool:
    return settings.tls is not None and settings.tls.client is ssl.CERT_REQUIRED


class _File:
    """The file that is parsed: for error messages, and to resolve relative paths."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, line: int, words: str) -> NoReturn:
        """Raises UsageError. words: subject, cause and remedy, without any value of the file."""
        where = f"line {line}: " if line else ""
        raise UsageError(f"{OPTION}: {self.path}: {where}{words}")


def parse(content: bytes, path: Path) -> WebSettings:
    """Parses the file. Raises UsageError for anything unknown: a setting that protects must not be ignored."""
    file = _File(path)
    try:
        root = read(content)
    except YamlProblem as problem:
        file.refuse(problem.line, str(problem))
    if root is None or (isinstance(root, Section) and not root.values):
        file.refuse(0, f"empty: it would admit every client: write a section, or leave {OPTION} out")
    top = _section(root, "the file", file)
    _only(top, _TOP, "", file)
    tls = _optional(top, "tls_server_config", file)
    http = top.values.get("http_server_config")
    users = _optional(top, "basic_auth_users", file)
    return WebSettings(
        tls=None if tls is None else _tls(tls, file),
        users={} if users is None else {name: _hashed(name, node, file) for name, node in users.values.items()},
        headers=() if http is None or _is_empty(http) else _http(_section(http, "http_server_config", file), file),
    )


def _optional(top: Section, name: str, file: _File) -> Section | None:
    """The section; None if it is absent. An empty one is refused: it is hardly written to remove protection."""
    node = top.values.get(name)
    if node is None:
        return None
    if _is_empty(node) or (isinstance(node, Section) and not node.values):
        file.refuse(top.lines[name], f"{name}: empty: fill it in, or leave it out")
    return _section(node, name, file)


def _http(section: Section, file: _File) -> tuple[tuple[str, str], ...]:
    """The headers. http2 is checked and has no effect: Prometheus falls back to HTTP/1.1."""
    _only(section, _HTTP, "http_server_config.", file)
    _truth(section, "http2", "http_server_config.http2", file)
    given = section.values.get("headers")
    if given is None or _is_empty(given):
        return ()
    headers = _section(given, "http_server_config.headers", file)
    _only(headers, tuple(_HEADERS), "http_server_config.headers.", file)
    return tuple((name, _header(name, headers, file)) for name in headers.values)


def _header(name: str, headers: Section, file: _File) -> str:
    setting = f"http_server_config.headers.{name}"
    value = _line_of_text(headers, name, setting, file)
    if _HEADERS[name] and value not in _HEADERS[name]:
        file.refuse(headers.lines[name], f"{setting}: give {' or '.join(_HEADERS[name])}")
    return value


def _tls(section: Section, file: _File) -> TlsSettings:
    _only(section, _TLS, "tls_server_config.", file)
    _truth(section, "prefer_server_cipher_suites", "tls_server_config.prefer_server_cipher_suites", file)
    files = {}
    for name in ("cert_file", "key_file", "client_ca_file"):
        text = _line_of_text(section, name, f"tls_server_config.{name}", file) if _given(section, name) else ""
        files[name] = str(file.path.parent.absolute() / text) if text else ""
    for name in ("cert_file", "key_file"):
        if not files[name]:
            file.refuse(section.line, f"tls_server_config.{name}: missing: give the path of a PEM file")
    client = ssl.CERT_NONE
    at = section.lines.get("client_auth_type", section.line)
    if _given(section, "client_auth_type"):
        word = _line_of_text(section, "client_auth_type", "tls_server_config.client_auth_type", file)
        if word and word not in _CLIENTS:
            file.refuse(at, f"tls_server_config.client_auth_type: not supported: give one of {', '.join(_CLIENTS)}")
        client = _CLIENTS[word or "NoClientCert"]
    if client is not ssl.CERT_NONE and not files["client_ca_file"]:
        file.refuse(at, "tls_server_config.client_ca_file: missing: this client_auth_type needs it")
    if client is ssl.CERT_NONE and files["client_ca_file"]:
        file.refuse(
            section.lines["client_ca_file"],
            "tls_server_config.client_ca_file: no certificate would be asked for: "
            "add client_auth_type: RequireAndVerifyClientCert, or leave client_ca_file out",
        )
    return TlsSettings(
        files["cert_file"],
        files["key_file"],
        files["client_ca_file"],
        client,
        _version(section, "min_version", file) or ssl.TLSVersion.TLSv1_2,
        _version(section, "max_version", file),
    )


def _version(section: Section, name: str, file: _File) -> ssl.TLSVersion | None:
    if not _given(section, name):
        return None
    value = _line_of_text(section, name, f"tls_server_config.{name}", file)
    if value not in _VERSIONS:
        file.refuse(section.lines[name], f"tls_server_config.{name}: give one of {', '.join(_VERSIONS)}")
    return _VERSIONS[value]


def _hashed(name: str, node: Node, file: _File) -> bytes:
    remedy = "give what htpasswd -nBC 10 NAME prints after the colon"
    found = _HASH.fullmatch(node.text.encode("utf-8", "replace")) if isinstance(node, Text) else None
    if not name or ":" in name or found is None:
        file.refuse(node.line, f"basic_auth_users: not a user with a bcrypt hash: {remedy}")
    if not COST_LEAST <= int(found[1]) <= COST_MOST:
        file.refuse(node.line, f"basic_auth_users: cost {int(found[1])} is not {COST_LEAST} to {COST_MOST}: {remedy}")
    return found[0]


def _section(node: Node, name: str, file: _File) -> Section:
    if not isinstance(node, Section):
        file.refuse(node.line, f"{name}: not a mapping: write name: value lines")
    return node


def _only(section: Section, known: tuple[str, ...], prefix: str, file: _File) -> None:
    for name in section.values:
        if name not in known:
            told = f"{prefix}{name}" if name in _UNSUPPORTED else f"{prefix.rstrip('.') or 'the file'}: a name"
            file.refuse(section.lines[name], f"{told}: not supported: leave it out (known: {', '.join(known)})")


def _is_empty(node: Node) -> bool:
    return isinstance(node, Text) and node.empty


def _given(section: Section, name: str) -> bool:
    node = section.values.get(name)
    return node is not None and not _is_empty(node)


def _truth(section: Section, name: str, setting: str, file: _File) -> None:
    """Raises UsageError unless the setting is absent or a YAML boolean."""
    if not _given(section, name):
        return
    node = section.values[name]
    if not isinstance(node, Text) or not node.plain or node.text not in _YES | _NO:
        file.refuse(section.lines[name], f"{setting}: give true or false")


def _line_of_text(section: Section, name: str, setting: str, file: _File) -> str:
    node = section.values[name]
    if not isinstance(node, Text) or node.empty or not (node.text.isprintable() and node.text.isascii()):
        file.refuse(section.lines[name], f"{setting}: not a line of text: correct it")
    return node.text


def make_context(settings: TlsSettings, path: Path) -> ssl.SSLContext:
    """The TLS context. Raises UsageError if a certificate or key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = settings.least
    if settings.most is not None:
        context.maximum_version = settings.most
    context.options |= ssl.OP_NO_RENEGOTIATION
    files = (("cert_file", settings.cert), ("key_file", settings.key), ("client_ca_file", settings.client_ca))
    for name, file in files:
        if file:
            _check_readable(name, file, path)
    try:
        context.load_cert_chain(settings.cert, settings.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _unusable("cert_file and key_file", f"{settings.cert}, {settings.key}", error, path) from error
    if settings.client_ca:
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ValueError) as error:
            raise _unusable("client_ca_file", settings.client_ca, error, path) from error
    context.verify_mode = settings.client
    return context


def _check_readable(name: str, file: str, path: Path) -> None:
    """Raises UsageError if the file is missing or may not be read. OpenSSL's own error does not name the file."""
    try:
        read_regular_file(file, BYTES_MOST, link=True)
    except (OSError, ValueError) as error:
        match error:
            case FileNotFoundError():
                remedy = "correct the path, or put the file there"
            case PermissionError():
                remedy = "let the service read it: LoadCredential= in the unit, as docs/exporter.md shows"
            case _:
                remedy = "give a file that can be read"
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{OPTION}: {path}: tls_server_config.{name}: {file}: {reason}: {remedy}") from error


_TLS_REMEDIES = {
    "KEY_VALUES_MISMATCH": "give the key that belongs to the certificate",
    "EE_KEY_TOO_SMALL": "make a certificate with a longer key, RSA of 2048 bits or more",
    "CA_KEY_TOO_SMALL": "have it signed by an authority with a longer key",
    "CA_MD_TOO_WEAK": "have it signed with SHA-256 or better",
}
"""Remedies by OpenSSL's reason."""


def _unusable(name: str, files: str, error: Exception, path: Path) -> UsageError:
    reason = (error.reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)) or str(error)
    remedy = _TLS_REMEDIES.get(reason, "give PEM files, the key without a passphrase")
    return UsageError(f"{OPTION}: {path}: tls_server_config.{name}: {files}: {reason}: {remedy}")


def _no_password() -> str:
    raise ValueError("the key is encrypted")
