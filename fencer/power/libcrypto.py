# SPDX-License-Identifier: Apache-2.0
"""AES-CBC by OpenSSL's libcrypto, in the shape in which pyghmi uses the package ``cryptography``.

pyghmi needs nothing else of that package, whose import takes longer than that of all the rest of a fence
(docs/decisions/0013). libcrypto is loaded already: ``hmac`` computes with it.

Source: EVP_EncryptInit(3) of OpenSSL 3.0.
"""

import ctypes

from fencer._typing import Any, Final

_SONAME = "libcrypto.so.3"
_BLOCK_BYTES = 16
_CIPHERS = {16: "EVP_aes_128_cbc", 24: "EVP_aes_192_cbc", 32: "EVP_aes_256_cbc"}  # by the length of the key


class AES:
    """A key of 16, 24 or 32 bytes. ValueError: of another length."""

    def __init__(self, key: bytes | bytearray) -> None:
        if len(key) not in _CIPHERS:
            raise ValueError(f"an AES key of {len(key)} bytes")
        self.key: Final = bytes(key)


class CBC:
    """An initialization vector of 16 bytes. ValueError: of another length."""

    def __init__(self, initialization_vector: bytes | bytearray) -> None:
        if len(initialization_vector) != _BLOCK_BYTES:
            raise ValueError(f"an initialization vector of {len(initialization_vector)} bytes")
        self.initialization_vector: Final = bytes(initialization_vector)


class Context:
    """One message, in one piece or in several, each of whole blocks: what uses it pads by itself."""

    def __init__(self, key: bytes, initialization_vector: bytes, *, encrypt: bool) -> None:
        self._key, self._vector, self._encrypt = key, initialization_vector, encrypt

    def update(self, data: bytes | bytearray) -> bytes:
        """The blocks en- or decrypted. ValueError: not whole blocks."""
        if len(data) % _BLOCK_BYTES:
            raise ValueError(f"{len(data)} bytes are not whole blocks")
        if not data:
            return b""
        given, made, length = bytes(data), ctypes.create_string_buffer(len(data) + _BLOCK_BYTES), ctypes.c_int()
        context = LIBRARY.EVP_CIPHER_CTX_new()
        try:
            cipher = getattr(LIBRARY, _CIPHERS[len(self._key)])()
            LIBRARY.EVP_CipherInit_ex(context, cipher, None, self._key, self._vector, int(self._encrypt))
            LIBRARY.EVP_CIPHER_CTX_set_padding(context, 0)
            LIBRARY.EVP_CipherUpdate(context, made, ctypes.byref(length), given, len(given))
        finally:
            LIBRARY.EVP_CIPHER_CTX_free(context)
        if length.value != len(given):
            raise ValueError(f"libcrypto: {length.value} of {len(given)} bytes")
        self._vector = (made.raw if self._encrypt else given)[len(given) - _BLOCK_BYTES : len(given)]
        return made.raw[: len(given)]

    def finalize(self) -> bytes:
        """The end of the message. Nothing is left, since each piece has whole blocks."""
        return b""


class Cipher:
    """AES in CBC mode."""

    def __init__(self, algorithm: AES, mode: CBC, backend: object = None) -> None:  # noqa: ARG002 - cryptography's
        self._algorithm, self._mode = algorithm, mode

    def encryptor(self) -> Context:
        return Context(self._algorithm.key, self._mode.initialization_vector, encrypt=True)

    def decryptor(self) -> Context:
        return Context(self._algorithm.key, self._mode.initialization_vector, encrypt=False)


# --- the C side --------------------------------------------------------------------------------------------------


def _require_one(result: int, function: Any, _arguments: tuple[Any, ...]) -> int:
    if result != 1:
        raise ValueError(f"libcrypto: {function.__name__}: {result}")
    return result


def _require_object(result: int | None, function: Any, _arguments: tuple[Any, ...]) -> int:
    if result is None:
        raise ValueError(f"libcrypto: {function.__name__}: no memory, or not provided")
    return result


_INT, _POINTER, _BYTES = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "EVP_CIPHER_CTX_new": (_POINTER, (), _require_object),
    "EVP_CIPHER_CTX_free": (None, (_POINTER,), None),
    "EVP_CIPHER_CTX_set_padding": (_INT, (_POINTER, _INT), _require_one),
    "EVP_CipherInit_ex": (_INT, (_POINTER, _POINTER, _POINTER, _BYTES, _BYTES, _INT), _require_one),
    "EVP_CipherUpdate": (_INT, (_POINTER, _BYTES, _POINTER, _BYTES, _INT), _require_one),
    **dict.fromkeys(_CIPHERS.values(), (_POINTER, (), _require_object)),
}


def _load() -> Any:
    """Raises ImportError where this system has no such library, or one without these functions."""
    try:
        library = ctypes.PyDLL(_SONAME)  # a few blocks: the GIL is kept
        for name, (result, arguments, check) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            if check is not None:
                function.errcheck = check
    except (OSError, AttributeError) as error:
        raise ImportError(f"{_SONAME}: {error}") from error
    return library


LIBRARY = _load()
