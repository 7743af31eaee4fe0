# SPDX-License-Identifier: Apache-2.0
"""--web.config.file: TLS and basic auth as the exporters have them; what is wrong with it opens nothing."""

import asyncio
import base64
import http.client
import os
import ssl
import subprocess
import threading
import time

import bcrypt
import pytest

from fencer.errors import UsageError
from fencer.exporter import web_config
from fencer.exporter.web_config import WebConfig
from tests.exporter.rig import Exporter, run, until


def certificate(directory, name="server", *, days=1, issuer=None):
    """A key pair for 127.0.0.1, self-signed or signed by issuer."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    if issuer is not None:
        command += ["-CA", str(issuer / "ca.crt"), "-CAkey", str(issuer / "ca.key")]
    files = ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")]
    subprocess.run([*command, *files], check=True, capture_output=True, timeout=60)


def trusting(directory, name="server") -> ssl.SSLContext:
    return ssl.create_default_context(cafile=directory / f"{name}.crt")


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def config(tmp_path):
    return tmp_path / "web.yml"


def test_basic_auth(healthy, config):
    config.write_text(
        f"basic_auth_users:\n  prometheus: {hashed('a:b ü')}\n  other: {hashed('second').replace('$2b$', '$2y$')}\n"
    )
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        for path in ("/metrics", "/", "/-/healthy", "/nowhere"):
            status, headers, body = exporter.get(path)
            assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
            assert b"halvm_" not in body
        for _ in range(2):
            assert exporter.get("/metrics", basic("prometheus", "a:b ü"))[0] == 200
            assert exporter.get("/metrics", basic("other", "second"))[0] == 200
            assert exporter.get("/metrics", basic("prometheus", "second"))[0] == 401
            assert exporter.get("/metrics", basic("nobody", ""))[0] == 401
        for odd in (
            "Basic",
            "Basic !!!",
            "Bearer x",
            "Basic " + "A" * 9000,
            "Basic Og==",
            "Basic " + base64.b64encode(b"a:\0").decode(),
        ):
            assert exporter.get("/metrics", {"Authorization": odd})[0] == 401
        assert "ü" not in exporter.log()


def test_tls(healthy, config, tmp_path):
    certificate(tmp_path)
    config.write_text("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS13\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert "with TLS" in exporter.said
        status, _, body = exporter.get("/metrics", tls=trusting(tmp_path))
        assert (status, b"halvm_watchdog_armed 1.0" in body) == (200, True)
        old = trusting(tmp_path)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            exporter.get("/metrics", tls=old)
        assert b"halvm" not in exporter.raw(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert exporter.get("/-/healthy", tls=trusting(tmp_path))[0] == 200


def test_a_client_certificate_is_asked_for(healthy, config, tmp_path):
    certificate(tmp_path)
    certificate(tmp_path, "client")
    config.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: client.crt, "
        "client_auth_type: RequireAndVerifyClientCert}\n"
    )
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        with pytest.raises((OSError, http.client.HTTPException)):
            exporter.get("/metrics", tls=trusting(tmp_path))
        known = trusting(tmp_path)
        known.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
        assert exporter.get("/metrics", tls=known)[0] == 200


def test_a_renewed_certificate_is_taken_without_a_restart(healthy, config, tmp_path):
    certificate(tmp_path)
    config.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        old = trusting(tmp_path)
        assert exporter.get("/-/healthy", tls=old)[0] == 200
        time.sleep(0.05)
        certificate(tmp_path)

        def renewed():
            try:
                return exporter.get("/-/healthy", tls=trusting(tmp_path))[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        until(renewed)
        with pytest.raises(ssl.SSLError):
            exporter.get("/-/healthy", tls=old)


WRONG = "basic_auth_users: nonsense\n"


def status(exporter, headers=None) -> int:
    try:
        return exporter.get("/metrics", headers)[0]
    except (OSError, http.client.HTTPException):
        return 0


def test_a_file_that_becomes_wrong_leaves_the_one_before_in_force(healthy, config):
    right = f"basic_auth_users: {{prometheus: '{hashed('x')}'}}\n"
    config.write_text(right)
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert exporter.metrics_of(basic("prometheus", "x"))["halvm_exporter_web_config_current"] == 1
        config.write_text(WRONG)
        until(lambda: exporter.metrics_of(basic("prometheus", "x"))["halvm_exporter_web_config_current"] == 0)
        assert status(exporter) == 401
        assert exporter.log().count("not a mapping: write name: value lines (until then the one before holds)") == 1
        config.write_text(f"basic_auth_users: {{prometheus: '{hashed('y')}'}}\n")
        until(lambda: status(exporter, basic("prometheus", "y")) == 200)
        assert status(exporter, basic("prometheus", "x")) == 401
        assert exporter.log().count("read again") == 1


def test_where_nothing_was_closed_a_wrong_file_refuses_every_client(healthy, config):
    """Whoever wrote it meant to close something."""
    config.write_text("http_server_config: {http2: true}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert status(exporter) == 200
        config.write_text(WRONG)
        until(lambda: status(exporter) in (0, 503))
        assert "(until then every request is refused)" in exporter.log()
        config.write_text(f"basic_auth_users: {{prometheus: '{hashed('x')}'}}\n")
        until(lambda: status(exporter, basic("prometheus", "x")) == 200)
        assert status(exporter) == 401


@pytest.mark.parametrize("cut", ["", "# empty\n", "http_server_config: {http2: true}\n", "basic_auth_users:\n"])
def test_a_file_that_is_half_written_opens_nothing(healthy, config, cut):
    """Nor one whose passwords were taken out: that takes a restart."""
    config.write_text(f"http_server_config: {{http2: true}}\nbasic_auth_users: {{prometheus: '{hashed('x')}'}}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        config.write_text(cut)
        until(lambda: exporter.metrics_of(basic("prometheus", "x"))["halvm_exporter_web_config_current"] == 0)
        assert status(exporter) == 401
        config.unlink()
        assert status(exporter) == 401
        assert status(exporter, basic("prometheus", "x")) == 200
        said = "asks no longer for passwords: restart halvm-exporter if that is meant"
        assert (said in exporter.log()) == cut.startswith("http")


def test_client_certificates_are_asked_for_until_the_restart(healthy, config, tmp_path):
    certificate(tmp_path)
    tls = "tls_server_config: {cert_file: server.crt, key_file: server.key"
    config.write_text(f"{tls}, client_ca_file: server.crt, client_auth_type: RequireAndVerifyClientCert}}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        known = trusting(tmp_path)
        known.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
        for weaker in (f"{tls}}}\n", "http_server_config: {http2: true}\n"):
            config.write_text(weaker)
            assert exporter.get("/metrics", tls=known)[0] == 200
            with pytest.raises((OSError, http.client.HTTPException)):
                exporter.get("/metrics", tls=trusting(tmp_path))


def test_a_certificate_that_does_not_fit_its_key_yet_interrupts_no_client(healthy, config, tmp_path):
    """Both files cannot be replaced at once."""
    certificate(tmp_path)
    config.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        old = trusting(tmp_path)
        certificate(tmp_path, "next")
        (tmp_path / "next.crt").rename(tmp_path / "server.crt")
        assert exporter.get("/-/healthy", tls=old)[0] == 200
        (tmp_path / "next.key").rename(tmp_path / "server.key")

        def renewed():
            try:
                return exporter.get("/-/healthy", tls=trusting(tmp_path))[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        until(renewed)


def test_guessing_does_not_keep_a_known_scraper_out(healthy, config):
    """bcrypt is slow on purpose: who was let in before does not wait for those who guess."""
    slow = bcrypt.hashpw(b"x", bcrypt.gensalt(10)).decode()
    config.write_text(f"basic_auth_users: {{prometheus: '{slow}'}}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert exporter.get("/metrics", basic("prometheus", "x"))[0] == 200
        clients = [exporter.connect() for _ in range(30)]
        try:
            for number, client in enumerate(clients):
                guess = basic("prometheus", f"guess{number}")["Authorization"]
                client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {guess}\r\n\r\n".encode())
            assert exporter.get("/-/healthy", basic("prometheus", "x"))[0] == 200
            assert any(_silent(client) for client in clients), "all guesses were answered before the scraper was"
        finally:
            for client in clients:
                client.close()


def _silent(client) -> bool:
    client.setblocking(False)
    try:
        return not client.recv(1)
    except BlockingIOError:
        return True


class Checks:
    """In the place of bcrypt: each check waits until it is let go, and says yes to ``right``."""

    def __init__(self, monkeypatch, right: bytes) -> None:
        self.asked: list[bytes] = []
        self.guesses_may_end = threading.Event()
        self._right = right
        monkeypatch.setattr(web_config, "_matches", self._match)

    def _match(self, password: bytes, _hash: bytes) -> bool:
        self.asked.append(password)
        if password.startswith(b"guess"):
            assert self.guesses_may_end.wait(30)
        return password == self._right


def header(user: str, password: str) -> str:
    return basic(user, password)["Authorization"]


def test_a_reload_with_new_hashes_makes_no_known_scraper_wait_for_guessers(config, monkeypatch):
    """By its password where that is the same as before the reload, by its address where that was changed, too."""

    async def story():
        checks = Checks(monkeypatch, b"x")
        config.write_text(f"basic_auth_users: {{prometheus: '{hashed('x')}'}}\n")
        served = WebConfig(config, lambda _: None)
        assert await served.admits(header("prometheus", "x"), "10.0.0.9")
        guesses = [
            asyncio.create_task(served.admits(header("prometheus", f"guess{n}"), "10.0.0.66")) for n in range(20)
        ]
        while len(checks.asked) < 2:  # the first guess is being checked, the others wait for it
            await asyncio.sleep(0.01)
        for right, peer in (("x", "10.0.0.10"), ("y", "10.0.0.9")):
            config.write_text(f"basic_auth_users: {{prometheus: '{hashed(right)}'}}\n")
            checks._right = right.encode()
            async with asyncio.timeout(20):
                assert await served.admits(header("prometheus", right), peer)
        assert not any(guess.done() for guess in guesses)
        assert sum(password.startswith(b"guess") for password in checks.asked) <= 1, "one guess is checked at a time"
        checks.guesses_may_end.set()
        assert not any(await asyncio.gather(*guesses))

    asyncio.run(story())


def test_a_reload_checks_no_client_again_whose_hash_is_unchanged(config, monkeypatch):
    async def story():
        checks = Checks(monkeypatch, b"x")
        mine = f"prometheus: '{hashed('x')}'"
        config.write_text(f"basic_auth_users: {{{mine}}}\n")
        served = WebConfig(config, lambda _: None)
        for other in ("", f", other: '{hashed('z')}'", ""):
            config.write_text(f"basic_auth_users: {{{mine}{other}}}\n")
            assert await served.admits(header("prometheus", "x"), "10.0.0.9")
        assert len(checks.asked) == 1
        assert not await served.admits(header("other", "x"), "10.0.0.9"), "who was taken out is out"

    asyncio.run(story())


def test_a_reload_computes_no_hash(config, monkeypatch):
    """It would stand still for seconds where the cost is high."""
    monkeypatch.setattr(bcrypt, "hashpw", lambda *_: pytest.fail("a hash was computed"))
    config.write_text("basic_auth_users: {prometheus: $2b$16$" + "x" * 53 + "}\n")
    WebConfig(config, lambda _: None)


def test_a_password_whose_hash_is_changed_while_it_is_checked_opens_nothing(config, monkeypatch):
    async def story():
        checks = Checks(monkeypatch, b"guess right")
        config.write_text(f"basic_auth_users: {{prometheus: '{hashed('guess right')}'}}\n")
        served = WebConfig(config, lambda _: None)
        asked = asyncio.create_task(served.admits(header("prometheus", "guess right"), "10.0.0.9"))
        while not checks.asked:
            await asyncio.sleep(0.01)
        config.write_text(f"basic_auth_users: {{prometheus: '{hashed('another')}'}}\n")
        checks.guesses_may_end.set()
        assert not await asked

    asyncio.run(story())


PAIR = "tls_server_config: {cert_file: a, key_file: b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1\n", "the file: not a mapping"),
        ("a: [\n", "not YAML"),
        ("no_such: 1\n", "line 1: the file: a name: not supported: leave it out (known: tls_server_config"),
        ("basic_auth_users: {a: plaintext}\n", "line 1: basic_auth_users: not a user with a bcrypt hash: give"),
        ("basic_auth_users: {a: $2b$31$" + "x" * 53 + "}\n", "cost 31 is not 4 to 16"),
        ("tls_server_config: {cert_file: a.crt}\n", "tls_server_config.key_file: missing"),
        ("tls_server_config: {cert_file: web.yml, key_file: b}\n", "/b: No such file or directory: correct the path"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml}\n", "give PEM files, the key without"),
        (PAIR + ", min_version: SSL3}\n", "tls_server_config.min_version: give one of TLS10"),
        (PAIR + ", client_auth_type: Maybe}\n", "client_auth_type: not supported: give one of NoClientCert"),
        (PAIR + ", client_auth: RequireAndVerifyClientCert}\n", "client_auth: not supported"),
        (PAIR + ", client_auth_type: RequireAndVerifyClientCert}\n", "client_ca_file: missing"),
        (PAIR + ", client_ca_file: c}\n", "add client_auth_type: RequireAndVerifyClientCert"),
        ("basic_auth_users:\n  a: x\n  a: y\n", "line 3: given before, in line 2"),
        ("", "empty: it would admit every client"),
        ("basic_auth_users:\n", "line 1: basic_auth_users: empty: fill it in, or leave it out"),
        (PAIR + ", cipher_suites: [X]}\n", "cipher_suites: not supported"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\r\\nb"}}\n', "not a line of text"),
        ("&a [*a]\n", "line 1: an anchor"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_it_does_not_start(config, text, words):
    config.write_text(text)
    status, said = run("--web.listen-address=127.0.0.1:0", f"--web.config.file={config}")
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith(f"halvm-exporter: ERROR: --web.config.file: {config}: ")
    assert words in said


def test_a_key_of_another_certificate_is_told_as_that(config, tmp_path):
    certificate(tmp_path)
    certificate(tmp_path, "other")
    config.write_text("tls_server_config: {cert_file: server.crt, key_file: other.key}\n")
    said = run("--web.listen-address=127.0.0.1:0", f"--web.config.file={config}")[1]
    assert "give the key that belongs to the certificate" in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run it as somebody else")
def test_a_key_that_the_service_may_not_read_is_told_alone(config, tmp_path):
    certificate(tmp_path)
    config.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    (tmp_path / "server.crt").chmod(0o644)
    config.chmod(0o644)
    (tmp_path / "server.key").chmod(0o600)
    with pytest.raises(UsageError, match=r"key_file: .*/server.key: Permission denied: .* LoadCredential="):
        as_nobody(lambda: WebConfig(config, lambda _sentence: None))


def as_nobody(what):
    """Calls it with the effective user nobody."""
    os.seteuid(65534)
    try:
        return what()
    finally:
        os.seteuid(0)


def test_no_complaint_repeats_what_may_be_a_secret(config):
    secret = "hunter2"
    for text in (
        f"basic_auth_users: {{prometheus: {secret}}}\n",
        f"basic_auth_users: {{{secret}: prometheus}}\n",
        f"basic_auth_users: {secret}\n",
        f"{secret}: 1\n",
        f"tls_server_config: {{{secret}: a}}\n",
        f"tls_server_config: {{cert_file: a, key_file: b, min_version: {secret}}}\n",
        f"tls_server_config: {{cert_file: a, key_file: b, client_auth_type: {secret}}}\n",
        f"http_server_config: {{http2: {secret}}}\n",
        f"http_server_config: {{headers: {{X-Frame-Options: {secret}}}}}\n",
        f"a: [{secret}\n",
        f"basic_auth_users: *{secret}\n",
    ):
        config.write_text(text)
        with pytest.raises(UsageError) as refused:
            WebConfig(config, lambda _: None)
        assert secret not in str(refused.value)


def test_a_directory_a_fifo_and_an_endless_file_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long.yml").write_bytes(b"#" * (web_config.BYTES_MOST + 1))
    for name, words in ((".", "not a regular file"), ("fifo", "not a regular file"), ("long.yml", "longer than")):
        with pytest.raises(UsageError, match=words):
            WebConfig(tmp_path / name, lambda _: None)
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: fifo, key_file: fifo}\n")
    with pytest.raises(UsageError, match="not a regular file"):
        WebConfig(tmp_path / "web.yml", lambda _: None)


def test_headers(healthy, config):
    config.write_text("http_server_config: {http2: false}\n")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert exporter.get("/metrics")[0] == 200
        config.write_text("http_server_config: {http2: true, headers: {Strict-Transport-Security: max-age=1}}\n")
        until(lambda: exporter.get("/metrics")[1]["Strict-Transport-Security"] == "max-age=1")
