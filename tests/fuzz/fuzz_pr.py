# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of every decoder that reads what a target sends.

    python -m tests.fuzz.fuzz_pr keys -max_total_time=60 [libFuzzer options] [corpus directory]

The first argument names a decoder (see DECODERS) or is ``all``. Anything but a value or MalformedAnswer is a finding.
Needs atheris (``pip install fence-halvm[fuzz]``); can be imported without it. The longest answers of the protocol are
seeds, below the temporary directory where no corpus is given: from short ones libFuzzer never gets there.
"""

import importlib
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fencer.errors import MalformedAnswer
from fencer.storage import inquiry, pr


def keys(data: bytes) -> None:
    """No key is ever lost: as many as the additional length says, and the same bytes."""
    found = pr.decode_keys(data)
    length = int.from_bytes(data[4:8])
    assert struct.pack(f">{len(found.keys)}Q", *(key.value for key in found.keys)) == data[8 : 8 + length]


def reservation(data: bytes) -> None:
    """A holder is only missing where there is none, or where everybody is one."""
    found = pr.decode_reservation(data)
    assert (found.holder is None) == (found.type is None or found.type in pr.ALL_REGISTRANTS_TYPES)


def capabilities(data: bytes) -> None:
    pr.decode_capabilities(data)


def full_status(data: bytes) -> None:
    """The descriptors fill the answer."""
    found = pr.decode_full_status(data)
    assert sum(24 + len(r.transport_id) for r in found.registrations) == int.from_bytes(data[4:8])


def sense(data: bytes) -> None:
    found = pr.decode_sense(data)
    if found is not None:
        assert pr.describe_sense(found)


def wwid(data: bytes) -> None:
    found = inquiry.decode_wwid(data)
    assert found is None or isinstance(found, str)


def standard_inquiry(data: bytes) -> None:
    assert inquiry.decode_standard_inquiry(data).vendor.isascii()


def supported(data: bytes) -> None:
    assert inquiry.decode_supported(data) in (True, False, None)


DECODERS: dict[str, Callable[[bytes], None]] = {
    decoder.__name__: decoder
    for decoder in (keys, reservation, capabilities, full_status, sense, wwid, standard_inquiry, supported)
}

LONGEST_BYTES = 0xFFFF
"""As many as the allocation length of PERSISTENT RESERVE IN and of INQUIRY can ask for."""


def _answer(body: bytes) -> bytes:
    return struct.pack(">II", 7, len(body)) + body


def _descriptor(transport_id: bytes, key: int = 1) -> bytes:
    """Of READ FULL STATUS (SPC-4 table 206): a holder, for one port."""
    return struct.pack(">Q4xBB4xHI", key, 1, 5, 1, len(transport_id)) + transport_id


_BODY_BYTES = LONGEST_BYTES - 8
_NAME_BYTES = _BODY_BYTES - 24 - 4

LONGEST: dict[str, tuple[bytes, ...]] = {
    "keys": (_answer(struct.pack(">8190Q", *range(1, 8191))),),
    "full_status": (
        _answer(b"".join(_descriptor(b"", key) for key in range(1, _BODY_BYTES // 24 + 1))),
        _answer(_descriptor(b"\5\0" + _NAME_BYTES.to_bytes(2) + b"\x1b" * _NAME_BYTES)),
    ),
    "wwid": (
        struct.pack(">BBH", 0, 0x83, LONGEST_BYTES - 4) + 253 * (b"\2\1\0\xff" + b"\x1b" * 255) + b"\2\1\0\0",
        struct.pack(">BBH", 0, 0x83, LONGEST_BYTES - 7) + b"\1\3\0\0" * 16382,
    ),
}
"""For a decoder the longest answers that it takes."""


def run(decoder: Callable[[bytes], None], data: bytes) -> None:
    """One input; MalformedAnswer is an answer."""
    try:
        decoder(data)
    except MalformedAnswer:
        return


def run_all(data: bytes) -> None:
    """The first byte chooses the decoder."""
    decoders = list(DECODERS.values())
    if data:
        run(decoders[data[0] % len(decoders)], data[1:])


def _seeds(name: str) -> str:
    """A corpus with the longest answers for a decoder, or for all."""
    corpus = Path(tempfile.gettempdir(), f"fence-halvm-fuzz-{name}")
    corpus.mkdir(exist_ok=True)
    for position, decoder in enumerate(DECODERS):
        for number, seed in enumerate(LONGEST.get(decoder, ()) if name in (decoder, "all") else ()):
            chosen = bytes((position,)) if name == "all" else b""  # see run_all
            (corpus / f"longest-{decoder}-{number}").write_bytes(chosen + seed)
    return str(corpus)


def main(argv: list[str]) -> None:
    if len(argv) < 2 or argv[1] not in (*DECODERS, "all"):
        raise SystemExit(f"usage: fuzz_pr {{{','.join([*DECODERS, 'all'])}}} [libFuzzer options]")
    atheris: Any = importlib.import_module("atheris")  # not at the top: the harness is imported by the tests, too
    with atheris.instrument_imports(include=["fencer.storage"]):
        importlib.reload(pr)
        importlib.reload(inquiry)
    target = run_all if argv[1] == "all" else lambda data: run(DECODERS[argv[1]], data)
    options = [word for word in argv[2:] if word.startswith("-")]
    corpora = [word for word in argv[2:] if not word.startswith("-")] or [_seeds(argv[1])]
    atheris.Setup([argv[0], f"-max_len={LONGEST_BYTES + 1}", *options, *corpora], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
