# SPDX-License-Identifier: Apache-2.0
"""Reads and writes JSON text as ``json`` does by default, by the C halves of that package.

Its Python halves bring regular expressions along, which take as long to load as an empty Python takes to start
(docs/decisions/0004). tests/test_json_text.py holds both functions to what ``json`` does.
"""

from _json import encode_basestring_ascii, make_encoder, make_scanner

from fencer._typing import Any

_SPACES = " \t\n\r"


class _Rules:
    """What the scanner is to do; it reads these attributes."""

    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, float

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict


def loads(text: str | bytes, *, strict: bool = True) -> Any:
    """The value of a JSON text; bytes are UTF-8. strict: a control character in a string is an error.

    Raises ValueError, and RecursionError where it is nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogatepass")
    scan = make_scanner(_Rules(strict=strict))  # type: ignore[arg-type]  # it wants these attributes only
    try:
        value, end = scan(text, len(text) - len(text.lstrip(_SPACES)))
    except StopIteration as error:
        raise ValueError(f"not JSON: no value at character {error.value}") from None
    except SystemError:  # until Python 3.12 it takes its error from json.decoder, and has none where that is not loaded
        raise ValueError("not JSON") from None
    if text[end:].strip(_SPACES):
        raise ValueError(f"not JSON: more text at character {end}")
    return value


def dumps(value: object) -> str:
    """JSON text in ASCII. Raises TypeError for what JSON cannot hold."""
    encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")
