# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of everything that a BMC, or who speaks in its name, sends: RMCP+ through the session class.

``python -m tests.fuzz.fuzz_rmcp -max_total_time=300 [CORPUS]`` (libFuzzer's options); needs atheris. The seeds and what
libFuzzer finds worth keeping are in CORPUS, by default a directory below the temporary one. The input says
packet by packet what becomes of a FakeBmc's answers: see ``_Spoiler``. A finding is an exception that is no error of
ours, and an "off" of a chassis that was never off, where the BMC itself did not lie. pytest runs ``one_input``
on seeds and on random input.
"""

import sys
import tempfile
from pathlib import Path

from tests.power.fake_bmc import BoundedClock, FakeBmc
from tests.power.hostile import fence

DEADLINE_S = 6.0
SEEDS = (
    b"",
    b"\0" * 12,
    bytes(range(1, 7)) * 8,
    b"\1\x40" + b"\x06\x00\xff\x07\x06\x11" + bytes(58),
    b"\2\x10\x01" * 20,
    b"\3\x11\3\x12\3\x20\3\x30" * 4,
    b"\0\0\0\0\5\x08\0\0\0\0\0\0\0\0\5\x02" * 3,
    b"\4\x20" + b"\x06\x00\xff\x07\x02" + bytes(27) + b"\0\0",
    b"\0\0\0\0\6\x00\6\x07\6\x08" * 3,
)


class _Spoiler:
    """Reads the input as operations, one for each answer:

    0 passes it on; 1 N replaces it by N bytes; 2 P B flips a byte; 3 N cuts it to N bytes; 4 N sends N bytes ahead of
    it; 5 N and 6 N, which only a BMC can do, seal N bytes, or the message cut to N bytes, in place of the message.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._sealed: bytes | int | None = None
        self.bmc_lied = False

    def packet(self, answer: bytes) -> list[bytes]:
        match self._byte() % 7:
            case 1:
                return [self._bytes()]
            case 2:
                spoiled = bytearray(answer)
                spoiled[self._byte() % len(answer)] ^= self._byte() or 1
                return [bytes(spoiled)]
            case 3:
                return [answer[: self._byte()]]
            case 4:
                return [self._bytes(), answer]
            case 5:
                self._sealed = self._bytes()
            case 6:
                self._sealed = self._byte()
            case _:
                pass
        return [answer]

    def message(self, message: bytes) -> bytes:
        sealed, self._sealed = self._sealed, None
        if sealed is None:
            return message
        self.bmc_lied = True
        return sealed if isinstance(sealed, bytes) else message[:sealed]

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def _bytes(self) -> bytes:
        size = self._byte()
        self._at += size
        return self._data[self._at - size : self._at]


def one_input(data: bytes) -> None:
    """Fences a FakeBmc whose answers are spoiled as ``data`` says; raises AssertionError on a finding."""
    bmc = FakeBmc(BoundedClock(DEADLINE_S))
    spoiler = _Spoiler(data)
    bmc.on_packet, bmc.on_message = spoiler.packet, spoiler.message
    ended = fence(bmc)
    assert not any("unexpectedly" in reason for reason in ended.reasons), ended.reasons
    assert spoiler.bmc_lied or not ended.false_off


def main() -> None:
    import atheris  # here, so that the seeds run where atheris is not installed

    given = [word for word in sys.argv[1:] if not word.startswith("-")]
    corpus = Path(given[0] if given else f"{tempfile.gettempdir()}/fence-halvm-fuzz-rmcp")
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    atheris.instrument_all()
    # Without length control: an input that ends early spoils nothing of a session's later packets.
    atheris.Setup([sys.argv[0], "-len_control=0", "-max_len=1024", *options, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
