# SPDX-License-Identifier: Apache-2.0
"""pyghmi without ``cryptography``: the same bytes and errors by libcrypto, and the package where it cannot."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from fencer.power import libcrypto

KEYS = st.binary(min_size=16, max_size=16) | st.binary(min_size=24, max_size=24) | st.binary(min_size=32, max_size=32)
BLOCKS = st.lists(st.binary(min_size=16, max_size=16), max_size=12).map(b"".join)


@given(KEYS, st.binary(min_size=16, max_size=16), BLOCKS, BLOCKS)
def test_libcrypto_gives_the_bytes_that_the_package_gives(key, vector, first, second) -> None:
    ours = libcrypto.Cipher(algorithm=libcrypto.AES(key), mode=libcrypto.CBC(vector), backend=None)
    theirs = Cipher(algorithm=algorithms.AES(key), mode=modes.CBC(vector))
    for one, other in ((ours.encryptor(), theirs.encryptor()), (ours.decryptor(), theirs.decryptor())):
        assert one.update(first) == other.update(first)
        assert one.update(second) + one.finalize() == other.update(second) + other.finalize()


def test_example_of_the_standard() -> None:
    """NIST SP 800-38A, F.2.1."""
    key, vector = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
    cipher = libcrypto.Cipher(libcrypto.AES(key), libcrypto.CBC(vector))
    plain, made = "6bc1bee22e409f96e93d7e117393172a", "7649abac8119b246cee98e9b12e9197d"
    assert cipher.encryptor().update(bytes.fromhex(plain)).hex() == made
    assert cipher.decryptor().update(bytes.fromhex(made)).hex() == plain


@pytest.mark.parametrize(
    ("key", "vector", "data"), [(15, 16, 16), (16, 15, 16), (16, 0, 16), (16, 16, 1), (16, 16, 17)]
)
def test_what_the_package_refuses_is_a_value_error_too(key: int, vector: int, data: int) -> None:
    """ipmi_packets drops a packet on it."""
    with pytest.raises(ValueError):
        decryptor = Cipher(algorithms.AES(bytes(key)), modes.CBC(bytes(vector))).decryptor()
        decryptor.update(bytes(data)) + decryptor.finalize()
    with pytest.raises(ValueError, match="bytes"):
        libcrypto.Cipher(libcrypto.AES(bytes(key)), libcrypto.CBC(bytes(vector))).decryptor().update(bytes(data))


LOADED = """
import sys
sys.path[:] = {path!r}
{before}
import fencer.power.ipmi_session
session = sys.modules["pyghmi.ipmi.private.session"]
print(session.Cipher.__module__.partition(".")[0], any(name.startswith("cryptography") for name in sys.modules))
from cryptography.hazmat.primitives.ciphers import Cipher
print(Cipher.__module__.partition(".")[0])
"""


@pytest.mark.parametrize(
    ("before", "loaded"),
    [
        ("", ["fencer", "False"]),
        ("import cryptography", ["cryptography", "True"]),
        ("import ctypes; del ctypes.PyDLL; ctypes.PyDLL = lambda _name: open('/none')", ["cryptography", "True"]),
        (
            # A pyghmi that imports more of the package than there is a stand-in for.
            "import fencer.power.libcrypto; del fencer.power.libcrypto.Cipher; "
            "fencer.power.libcrypto.__dict__['__getattr__'] = lambda name: (_ for _ in ()).throw(ImportError(name))",
            ["cryptography", "True"],
        ),
        (
            # One that takes more from a module that it has imported.
            "class Wants:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'pyghmi.ipmi.private.session' and 'cryptography' in sys.modules:\n"
            "            sys.modules['cryptography'].more\n"
            "sys.meta_path.insert(0, Wants())",
            ["cryptography", "True"],
        ),
    ],
    ids=["light", "the package is loaded already", "no libcrypto", "pyghmi wants more", "pyghmi uses more"],
)
def test_which_cipher_pyghmi_has(before: str, loaded: list[str]) -> None:
    code = LOADED.format(path=sys.path, before=before)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == [*loaded, "cryptography"], done.stderr


LIGHT = """
import sys
sys.path[:] = {path!r}
import fencer.power.ipmi_session, fencer.power.ipmi, fencer.power.udp
fencer.power.udp.resolve("127.0.0.1", 623)
slow = {{"encodings.idna", "enum", "random", "re", "selectors", "socket", "threading", "typing"}}
print(*sorted(slow & set(sys.modules)))
import random, socket, threading
print(callable(random.randrange), callable(socket.create_connection), callable(threading.Event))
"""


def test_a_session_loads_no_slow_module_and_leaves_none_replaced() -> None:
    code = LIGHT.format(path=sys.path)
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n") == ["", "True True True", ""], done.stderr
