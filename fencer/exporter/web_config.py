"""--web.config.file: TLS and basic auth, in the format that Prometheus' exporters share (exporter-toolkit).

Read again when it, or a certificate, has changed: a renewed certificate needs no restart. A file that has become wrong
refuses everybody until it is right again; it never opens what was closed.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import ssl
import time
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from fencer.errors import UsageError
from fencer.regular_file import read_regular_file

OPTION: Final = "--web.config.file"
_BYTES_MOST: Final = 1 << 20
_KNOWN_MOST: Final = 64
_AGAIN_S: Final = 1.0
_HASH: Final = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COST_MOST: Final = 16
_PASSWORD_BYTES: Final = 72
"""bcrypt looks at no more."""

_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENTS: Final = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_HEADERS: Final = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)


class TlsSettings(NamedTuple):
    """Paths are absolute."""

    cert: str
    key: str
    client_ca: str
    client: ssl.VerifyMode
    least: ssl.TLSVersion
    most: ssl.TLSVersion | None


class WebSettings(NamedTuple):
    """users: name to bcrypt hash; empty: everybody may."""

    tls: TlsSettings | None = None
    users: Mapping[str, bytes] = {}
    headers: tuple[tuple[str, str], ...] = ()


class WebConfig:
    """The settings as the file has them now. Raises UsageError when it is made of a file that is wrong.

    said: takes a sentence when the file becomes wrong or right."""

    def __init__(self, path: Path | None, said: Callable[[str], None]) -> None:
        self._path = path
        self._said = said
        self._marks: tuple[object, ...] = ()
        self._settings = WebSettings()
        self._context: ssl.SSLContext | None = None
        self._problem: UsageError | None = None
        self._again_at = 0.0
        self._known: set[bytes] = set()
        self._secret = secrets.token_bytes(32)
        self._nobody = b""
        self._checking = asyncio.Semaphore(1)
        self._load()

    def settings(self) -> WebSettings:
        """Raises UsageError while the file is wrong."""
        again = self._problem is not None and time.monotonic() >= self._again_at  # a file it names may have come
        if self._path is not None and (again or self._marks != self._marks_now()):
            self._again_at = time.monotonic() + _AGAIN_S
            try:
                self._load()
            except UsageError as error:
                if str(error) != str(self._problem):
                    self._said(f"{error} (until then everybody is refused)")
                self._problem = error
            else:
                self._said(f"{OPTION}: {self._path}: read again")
                self._problem = None
        if self._problem is not None:
            raise self._problem
        return self._settings

    def context(self) -> ssl.SSLContext | None:
        """For the next connection. Raises OSError while the file is wrong."""
        try:
            self.settings()
        except UsageError as error:
            raise OSError(str(error)) from error
        return self._context

    async def admits(self, authorization: str) -> bool:
        """Whether this Authorization header opens the door. Raises UsageError while the file is wrong."""
        users = self.settings().users
        if not users:
            return True
        try:
            scheme, _, encoded = authorization.partition(" ")
            if scheme.lower() != "basic":
                return False
            name, _, password = a2b_base64(encoded.encode("ascii"), strict_mode=True).partition(b":")
        except (Base64Error, UnicodeEncodeError):
            return False
        user = name.decode("utf-8", "replace")
        hashed = users.get(user, self._nobody)
        proof = hmac.digest(self._secret, hashed + b"\0" + name + b"\0" + password, hashlib.sha256)
        if proof in self._known:
            return True
        async with self._checking:  # one at a time: guessing shall not cost the node its processors
            right = await asyncio.to_thread(_matches, password, hashed)
        if not right or user not in users:
            return False
        if len(self._known) >= _KNOWN_MOST:
            self._known.clear()
        self._known.add(proof)
        return True

    def _load(self) -> None:
        if self._path is None:
            return
        self._marks = self._marks_now()
        settings = parse(read_document(self._path), self._path)
        self._context = None if settings.tls is None else make_context(settings.tls, self._path)
        self._settings = settings
        self._known.clear()
        if settings.users:
            import bcrypt  # only for those who ask for passwords

            cost = int(next(iter(settings.users.values()))[4:6])
            self._nobody = bcrypt.hashpw(secrets.token_hex(16).encode(), bcrypt.gensalt(cost))
        self._marks = self._marks_now()

    def _marks_now(self) -> tuple[object, ...]:
        tls = self._settings.tls
        files = [str(self._path), *((tls.cert, tls.key, tls.client_ca) if tls is not None else ())]
        return tuple(_mark(file) for file in files if file)


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:_PASSWORD_BYTES], hashed)
    except ValueError:  # a NUL in it, for some versions
        return False


def read_document(path: Path) -> Mapping[str, Any]:
    """The file's top level. Raises UsageError."""
    import yaml  # only for those who have such a file

    try:
        content = read_regular_file(str(path), _BYTES_MOST, link=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{OPTION}: {path}: {reason}: give a file that can be read") from error
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise UsageError(f"{OPTION}: {path}: {where}not YAML: correct it") from error
    if document is None:
        return {}
    return _section(document, "the file", path)


def parse(document: Mapping[str, Any], path: Path) -> WebSettings:
    """Raises UsageError for whatever is not understood: a setting that protects must not be passed over."""
    _only(document, ("tls_server_config", "http_server_config", "basic_auth_users"), "", path)
    tls = document.get("tls_server_config")
    http = _section(document.get("http_server_config") or {}, "http_server_config", path)
    # http2: Prometheus falls back to the HTTP/1.1 that we speak whatever it says.
    _only(http, ("http2", "headers"), "http_server_config.", path)
    added = _section(http.get("headers") or {}, "http_server_config.headers", path)
    _only(added, _HEADERS, "http_server_config.headers.", path)
    users = _section(document.get("basic_auth_users") or {}, "basic_auth_users", path)
    return WebSettings(
        tls=None if not tls else _tls(_section(tls, "tls_server_config", path), path),
        users={name: _hashed(name, value, path) for name, value in users.items()},
        headers=tuple(
            (name, _one_line(value, f"http_server_config.headers.{name}", path)) for name, value in added.items()
        ),
    )


def make_context(settings: TlsSettings, path: Path) -> ssl.SSLContext:
    """Raises UsageError when a certificate or key cannot be used."""
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
    """Raises UsageError for the one file that is not there, or not for this service to read."""
    try:
        with Path(file).open("rb") as opened:
            opened.read(1)
    except OSError as error:
        match error:
            case FileNotFoundError():
                remedy = "correct the path, or put the file there"
            case PermissionError():
                remedy = "let the service read it: LoadCredential= in the unit, as docs/exporter.md shows"
            case _:
                remedy = "give a file that can be read"
        raise UsageError(f"{OPTION}: {path}: tls_server_config.{name}: {file}: {error.strerror}: {remedy}") from error


_TLS_REMEDIES = {
    "KEY_VALUES_MISMATCH": "give the key that belongs to the certificate",
    "EE_KEY_TOO_SMALL": "make a certificate with a longer key, RSA of 2048 bits or more",
    "CA_KEY_TOO_SMALL": "have it signed by an authority with a longer key",
    "CA_MD_TOO_WEAK": "have it signed with SHA-256 or better",
}
"""By OpenSSL's reason."""


def _unusable(name: str, files: str, error: Exception, path: Path) -> UsageError:
    reason = (error.reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)) or str(error)
    remedy = _TLS_REMEDIES.get(reason, "give PEM files, the key without a passphrase")
    return UsageError(f"{OPTION}: {path}: tls_server_config.{name}: {files}: {reason}: {remedy}")


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _tls(section: Mapping[str, Any], path: Path) -> TlsSettings:
    known = ("cert_file", "key_file", "client_ca_file", "client_auth_type", "client_auth", "min_version", "max_version",
             "prefer_server_cipher_suites")  # fmt: skip
    _only(section, known, "tls_server_config.", path)
    files = {}
    for name in ("cert_file", "key_file", "client_ca_file"):
        text = _one_line(section.get(name) or "", f"tls_server_config.{name}", path)
        files[name] = str(path.parent.absolute() / text) if text else ""
    for name in ("cert_file", "key_file"):
        if not files[name]:
            raise UsageError(f"{OPTION}: {path}: tls_server_config.{name}: missing: give the path of a PEM file")
    client = str(section.get("client_auth_type") or section.get("client_auth") or "")
    if client not in _CLIENTS:
        choices = ", ".join(name for name in _CLIENTS if name)
        raise UsageError(f"{OPTION}: {path}: tls_server_config.client_auth_type: {client}: give one of {choices}")
    if _CLIENTS[client] is not ssl.CERT_NONE and not files["client_ca_file"]:
        raise UsageError(f"{OPTION}: {path}: tls_server_config.client_ca_file: missing: {client} needs it")
    return TlsSettings(
        files["cert_file"],
        files["key_file"],
        files["client_ca_file"],
        _CLIENTS[client],
        _version(section, "min_version", path) or ssl.TLSVersion.TLSv1_2,
        _version(section, "max_version", path),
    )


def _version(section: Mapping[str, Any], name: str, path: Path) -> ssl.TLSVersion | None:
    value = section.get(name)
    if value in (None, ""):
        return None
    if value not in _VERSIONS:
        raise UsageError(f"{OPTION}: {path}: tls_server_config.{name}: {value}: give one of {', '.join(_VERSIONS)}")
    return _VERSIONS[value]


def _hashed(name: object, value: object, path: Path) -> bytes:
    remedy = "give what htpasswd -nBC 10 NAME prints after the colon"
    found = _HASH.fullmatch(value.encode("utf-8", "replace")) if isinstance(value, str) else None
    if not isinstance(name, str) or not name or ":" in name or found is None:
        raise UsageError(f"{OPTION}: {path}: basic_auth_users: {name}: not a user with a bcrypt hash: {remedy}")
    if not 4 <= int(found[1]) <= _COST_MOST:
        raise UsageError(
            f"{OPTION}: {path}: basic_auth_users: {name}: cost {int(found[1])} is not 4 to {_COST_MOST}: {remedy}"
        )
    return found[0]


def _section(value: object, name: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{OPTION}: {path}: {name}: not a mapping: write name: value lines")
    return value


def _only(section: Mapping[str, Any], known: tuple[str, ...], prefix: str, path: Path) -> None:
    for name in section:
        if name not in known:
            raise UsageError(
                f"{OPTION}: {path}: {prefix}{name}: not supported: leave it out (known: {', '.join(known)})"
            )


def _one_line(value: object, name: str, path: Path) -> str:
    if not isinstance(value, str) or not (value.isprintable() and value.isascii()):
        raise UsageError(f"{OPTION}: {path}: {name}: not a line of text: correct it")
    return value
