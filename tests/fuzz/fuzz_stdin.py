# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of everything that a caller's bytes reach: stdin, argv, check, defaults.

``python tests/fuzz/fuzz_stdin.py -max_total_time=300 [CORPUS]`` (libFuzzer's options); needs atheris. The input's first
byte chooses stdin or argv (arguments separated by NUL). Anything but UsageError is a finding, and so is a warning or
a message that is unprintable, or long enough to fill a pipe that nobody reads. pytest runs ``one_input`` on the seeds.
"""

import io
import sys

from fencer.agent.option_input import check, parse_argv, parse_stdin, read_stdin, with_defaults
from fencer.agent.options import OPTIONS
from fencer.errors import UsageError

SEEDS = (
    b"S",
    b'Saction=off\nip=10.0.0.1\nplug=n1\nlogin=ADMIN\npasswd="a=b"\nlanplus=1\nverbose=1\n',
    b"Sagent=fence_halvm\noption=reboot\nnodename=n1\ndevices=/dev/sdb\nkey_value=hash\nrank-slot=0.5\n",
    b"Sverbose_level=-1\npower_timeout=1e9\ndelay=\xff\xfe\n# comment\n\0\n=\n",
    b"A-a\0010.0.0.1\0-vv\0--power-timeout=5\0--meth\0cycle\0-ostatus",
    b"A--\0\xff\0-P\0--pass",
)
NAMES = frozenset(row.name for row in OPTIONS)


def one_input(data: bytes) -> None:
    """Feeds ``data`` as a caller would; raises AssertionError, or whatever escaped, on a finding."""
    way, body = data[:1], data[1:]
    try:
        if way == b"A":
            given = parse_argv([word.decode("utf-8", "surrogateescape") for word in body.split(b"\0")])
        else:
            given = parse_stdin(read_stdin(io.BytesIO(body)))
        said = "\n".join(given.warnings)
        assert said.replace("\n", "").isprintable()
        assert len(said) < 16384
        assert set(given.values) <= NAMES
        assert given.verbosity >= 0
        check(given.values)
        full = with_defaults(given.values, {})
        check(full)
        assert with_defaults(full, {}) == full
    except UsageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 16384


def main() -> None:
    import atheris  # here, so that the seeds run where atheris is not installed

    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
