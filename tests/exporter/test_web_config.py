"""--web.config.file: TLS and basic auth as the exporters have them; what is wrong with it shuts the door."""

import base64
import http.client
import os
import ssl
import subprocess
import time

import bcrypt
import pytest

from fencer.errors import UsageError
from fencer.exporter.web_config import WebConfig, parse
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


def test_a_file_that_becomes_wrong_shuts_the_door_until_it_is_right(healthy, config):
    right = f"basic_auth_users: {{prometheus: '{hashed('x')}'}}\n"
    config.write_text(right)
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert exporter.get("/metrics", basic("prometheus", "x"))[0] == 200
        config.write_text("basic_auth_users: nonsense\n")

        def status():
            try:
                return exporter.get("/metrics", basic("prometheus", "x"))[0]
            except (OSError, http.client.HTTPException):
                return 0

        assert status() in (0, 503)
        assert status() in (0, 503)
        until(lambda: exporter.log().count("not a mapping") == 1)
        config.write_text(right)
        until(lambda: status() == 200)
        assert exporter.get("/metrics")[0] == 401


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1\n", "the file: not a mapping"),
        ("a: [\n", "line 2: not YAML"),
        ("no_such: 1\n", "no_such: not supported: leave it out (known: tls_server_config"),
        ("basic_auth_users: {a: plaintext}\n", "a: not a user with a bcrypt hash: give what htpasswd"),
        ("basic_auth_users: {a: $2b$31$" + "x" * 53 + "}\n", "cost 31 is not 4 to 16"),
        ("tls_server_config: {cert_file: a.crt}\n", "tls_server_config.key_file: missing"),
        ("tls_server_config: {cert_file: web.yml, key_file: b}\n", "/b: No such file or directory: correct the path"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml}\n", "give PEM files, the key without"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: SSL3}\n", "SSL3: give one of TLS10"),
        ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: Maybe}\n", "Maybe: give one of"),
        ("tls_server_config: {cert_file: a, key_file: b, client_auth: RequireAndVerifyClientCert}\n", "client_ca_file"),
        ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [X]}\n", "cipher_suites: not supported"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\r\\nb"}}\n', "not a line of text"),
        ("&a [*a]\n", "the file: not a mapping"),
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


def test_headers_and_an_empty_file(healthy, config):
    config.write_text("")
    with Exporter(healthy.path, f"--web.config.file={config}") as exporter:
        assert exporter.get("/metrics")[0] == 200
        config.write_text("http_server_config: {http2: true, headers: {Strict-Transport-Security: max-age=1}}\n")
        until(lambda: exporter.get("/metrics")[1]["Strict-Transport-Security"] == "max-age=1")


def test_parse_names_the_key(tmp_path):
    with pytest.raises(UsageError, match="tls_server_config: not a mapping"):
        parse({"tls_server_config": 5}, tmp_path / "web.yml")
