# SPDX-License-Identifier: Apache-2.0
"""What ``promtool check web-config`` refuses is refused by us, in a table and in files that were spoiled at random."""

import random
import subprocess
from pathlib import Path

import pytest

from fencer.errors import UsageError
from fencer.exporter.strict_yaml import DEPTH_MOST, Section, YamlProblem, read
from fencer.exporter.web_settings import make_context, parse
from tests.exporter.metrics.promtool import promtool
from tests.exporter.test_web_config import certificate

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
USERS = f"basic_auth_users:\n  prometheus: {HASH}\n"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
CLIENTS = TLS + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
HEADERS = "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: '1'\n"
TAKEN = {
    "users": USERS,
    "a hash of another kind": USERS.replace("$2y$", "$2b$"),
    "names that YAML would type": "".join(
        f"basic_auth_users:\n  {name}: {HASH}\n" if name == "1234" else f"  {name}: {HASH}\n"
        for name in ("1234", "on", "yes", "0x1F", "1e3", "2026-11-27", ".5")
    ),
    "TLS": TLS,
    "client certificates": CLIENTS,
    "versions": TLS + "  min_version: TLS12\n  max_version: TLS13\n",
    "one line": f"{{basic_auth_users: {{prometheus: {HASH}}}}}\n",
    "JSON": f'{{"basic_auth_users": {{"prometheus": "{HASH}"}}}}\n',
    "headers": HEADERS,
    "all": HEADERS + TLS + USERS,
    "a comment, a document's start and end": f"# ours\n---\n{USERS}...\n",
    "empty settings": TLS + "  min_version:\n  client_auth_type: ''\n",
    "yes and no": TLS + "  prefer_server_cipher_suites: no\n",
    "a byte order mark": "\ufeff" + USERS,
    "Windows' line ends": USERS.replace("\n", "\r\n"),
}
"""Taken by both."""
REFUSED_BY_BOTH = {
    "no mapping": "- 1\n",
    "a text": "nonsense\n",
    "no YAML": "a: [\n",
    "a tab": "basic_auth_users:\n\tprometheus: x\n",
    "a user twice": USERS + f"  prometheus: {HASH}\n",
    "a section twice": USERS + USERS,
    "a section twice, the second empty": USERS + "basic_auth_users:\n",
    "a setting twice": TLS + "  key_file: server.key\n",
    "an unknown section": "basic_auth_user:\n  a: b\n",
    "an unknown setting": TLS + "  ca_file: ca.crt\n",
    "client_auth": CLIENTS.replace("client_auth_type", "client_auth"),
    "client_ca_file alone": TLS + "  client_ca_file: ca.crt\n",
    "client_ca_file and no certificate asked for": TLS + "  client_ca_file: ca.crt\n  client_auth_type: NoClientCert\n",
    "a client_auth_type that there is not": TLS + "  client_auth_type: Maybe\n",
    "a version that there is not": TLS + "  min_version: SSL3\n",
    "a version that is empty": TLS + '  min_version: ""\n',
    "http2 as text": 'http_server_config:\n  http2: "true"\n',
    "http2 as a number": "http_server_config:\n  http2: 1\n",
    "a header that may not be added": "http_server_config:\n  headers:\n    Server: x\n",
    "a header's value that may not be": "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
    "a list of users": f"basic_auth_users:\n  - prometheus: {HASH}\n",
    "a plain password": "basic_auth_users:\n  prometheus: secret\n",
    "an empty password": "basic_auth_users:\n  prometheus:\n",
    "a hash that is cut": USERS[:-9] + "\n",
    "no key": "tls_server_config:\n  cert_file: server.crt\n",
    "no certificate": "tls_server_config:\n  key_file: server.key\n",
    "a CA alone": "tls_server_config:\n  client_ca_file: ca.crt\n",
    "files that are not there": TLS.replace("server.", "nowhere."),
    "a key of another certificate": TLS.replace("key_file: server.key", "key_file: other.key"),
    "a certificate that is none": TLS.replace("cert_file: server.crt", "cert_file: web.yml"),
    "a CA that is not there": CLIENTS.replace("ca.crt", "nowhere.crt"),
    "a name that ends in a colon": "tls_server_config: {cert_file: server.crt, key_file: server.key, max_version:}\n",
    "another YAML": f"%YAML 1.2\n---\n{USERS}",
    "an alias of nothing": "basic_auth_users: *a\n",
    "a NUL": USERS + "\0",
    "no UTF-8": b"basic_auth_users:\n  a\xff: x\n",
}  # fmt: skip
REFUSED_BY_US = {
    "nothing": "",
    "a comment": "# later\n",
    "null": "~\n",
    "an empty mapping": "{}\n",
    "no user": "basic_auth_users:\n",
    "no user, in one line": "basic_auth_users: {}\n",
    "no TLS": "tls_server_config:\n",
    "a second document": USERS + "---\n" + USERS,
    "an anchor": USERS.replace("basic_auth_users:", "basic_auth_users: &a"),
    "a merge": f"basic_auth_users:\n  <<: {{prometheus: {HASH}}}\n",
    "a tag": USERS.replace("prometheus:", "!!str prometheus:"),
}
"""What others take, and would open the door, or be read by two people in two ways."""


def refusal(path: Path) -> str:
    """What is wrong with it; "" when it is taken."""
    try:
        settings = parse(path.read_bytes(), path)
        if settings.tls is not None:
            make_context(settings.tls, path)
    except UsageError as error:
        return str(error)
    return ""


def taken_by_promtool(files: list[Path]) -> set[Path]:
    done = subprocess.run(
        [promtool(), "check", "web-config", *map(str, files)], capture_output=True, text=True, timeout=100, check=False
    )
    taken = {line.split()[0] for line in (done.stdout + done.stderr).splitlines() if line.endswith(" SUCCESS")}
    return {file for file in files if str(file) in taken}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("web")
    for name in ("server", "other", "ca"):
        certificate(made, name)
    return made


def write(place: Path, files: dict[str, str | bytes]) -> dict[str, Path]:
    paths = {}
    for number, (name, text) in enumerate(files.items()):
        paths[name] = place / f"web{number}.yml"
        paths[name].write_bytes(text if isinstance(text, bytes) else text.encode())
    return paths


@pytest.mark.peer
def test_the_table(place: Path) -> None:
    paths = write(place, TAKEN | REFUSED_BY_BOTH | REFUSED_BY_US)
    taken = taken_by_promtool(list(paths.values()))
    ours = {name: refusal(path) for name, path in paths.items()}
    assert {name for name, why in ours.items() if not why} == set(TAKEN)
    assert {name for name, path in paths.items() if path not in taken} == set(REFUSED_BY_BOTH)


@pytest.mark.peer
def test_no_file_that_was_spoiled_at_random_is_taken_by_us_alone(place: Path) -> None:
    chance = random.Random(20261127)
    paths = list(write(place, {str(n): spoiled(chance) for n in range(1500)}).values())
    taken = taken_by_promtool(paths)
    ours = {path for path in paths if not refusal(path)}
    assert len(ours) > 20
    assert not ours - taken, [path.read_text() for path in ours - taken]


_PIECES = (
    *("\n", " ", "  ", "\t", ":", ": ", "-", "- ", "? ", "!", "!!str ", "&a ", "*a", "<<: ", "{", "}", "[", "]", ","),
    *("#", " #", "'", '"', "|\n", ">-\n", "%YAML 1.1\n---\n", "---\n", "...\n", "~", "null", "true", "0x1", "on"),
    *("\0", "\x07", "\x85", "\u2028", "\ufeff", "é", "\r", "\\", "@", "`", "=", "basic_auth_users:\n", "X"),
)


def spoiled(chance: random.Random) -> str:
    """One of those that are taken with a piece put in, taken out, or given twice."""
    text = chance.choice(list(TAKEN.values()))
    at, how = chance.randrange(len(text) + 1), chance.random()
    if how < 0.6:
        return text[:at] + chance.choice(_PIECES) + text[at:]
    if how < 0.8:
        return text[:at] + text[at + chance.randint(1, 6) :]
    lines = text.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return "".join(lines)


def test_text_stays_text() -> None:
    root = read(b"a: 010\nb: ~\nc: '~'\n? on\n: |\n  two\n  lines\n")
    assert isinstance(root, Section)
    assert {name: (node.text, node.empty) for name, node in root.values.items()} == {
        "a": ("010", False),
        "b": ("~", True),
        "c": ("~", False),
        "on": ("two\nlines\n", False),
    }
    assert root.lines == {"a": 1, "b": 2, "c": 3, "on": 4}


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, "given before, in line 1"),
        (b"a: {b: 1, b: 2}\n", 1, "given before"),
        (b"a:\n  - {b: 1, b: 2}\n", 2, "given before"),
        (b"a: 1\n? [b]\n: 2\n", 2, "no text"),
        (b"[" * 9999, 1, "too many levels"),
        (b"a: \xff\n", 1, "not UTF-8"),
        (b"a: 1\nb: \x07\n", 2, "YAML forbids"),
        (b"a: 1\n  b: 2\n", 2, "not YAML"),
    ],
)
def test_what_is_refused_names_its_line(content: bytes, line: int, words: str) -> None:
    with pytest.raises(YamlProblem, match=words) as refused:
        read(content)
    assert refused.value.line == line


def test_as_many_levels_as_are_allowed_are_read() -> None:
    assert read(b"{a: " * DEPTH_MOST + b"1" + b"}" * DEPTH_MOST)
