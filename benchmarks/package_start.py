# SPDX-License-Identifier: Apache-2.0
"""What the agent costs as the .deb installs it, beside the agent in a virtual environment: whole processes, in turns.

Processor time, since it says the same on a busy machine.

python -m benchmarks.package_start [RUNS]     (as root; needs packaging/debian/host-packages.txt and openipmi)

The package is built from the working tree and unpacked below a temporary directory, its bytecode compiled as an
installation does. It runs on this distribution's Python and libraries. Each virtual environment has a plain
installation of the same tree by pip, not an editable one, on the same Python: one on the distribution's libraries, one
as the README makes it, on PyPI's newest.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measure import Ended, become_subreaper, run
from benchmarks.paired import Spread, in_turns
from tests.rig.bmc import Bmc

PROJECT = Path(__file__).resolve().parents[1]
PRIVATE = "/usr/share/fence-halvm"
PYTHON = "/usr/bin/python3"
RUNS = 31


def packaged(scratch: Path) -> str:
    """The path of the unpacked package's agent."""
    built, root = scratch / "deb", scratch / "root"
    subprocess.run([PROJECT / "packaging/build_deb.sh", "--working-tree", built], check=True, capture_output=True)
    subprocess.run(["dpkg-deb", "-x", *built.glob("fence-halvm_*.deb"), root], check=True)
    subprocess.run([PYTHON, "-m", "compileall", "-q", root / PRIVATE[1:]], check=True)
    agent = root / "usr/sbin/fence_halvm"
    agent.write_text(agent.read_text().replace(f'"{PRIVATE}"', f'"{root}{PRIVATE}"'))
    return str(agent)


def in_a_venv(venv: Path, *, distribution: bool) -> str:
    """The path of the agent that pip has installed. distribution: on the distribution's libraries."""
    subprocess.run([PYTHON, "-m", "venv", *(["--system-site-packages"] if distribution else []), venv], check=True)
    with_what = ["--no-deps"] if distribution else []
    subprocess.run([venv / "bin/pip", "install", "-q", *with_what, PROJECT], check=True, stderr=subprocess.DEVNULL)
    return str(venv / "bin/fence_halvm")


def main() -> None:
    """Prints a table of processor time, user and system, of the whole tree."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    become_subreaper()
    with tempfile.TemporaryDirectory() as directory, Bmc("127.0.6.2") as bmc:
        scratch = Path(directory)
        ours = packaged(scratch)
        venvs = [in_a_venv(scratch / f"venv{each}", distribution=each) for each in (True, False)]
        login = ("-a", bmc.address, "-u", str(bmc.port), "-l", "ADMIN", "-p", "ADMIN", "--journal=none")
        print(f"| action ({runs} pairs) | package, ms | venv, same libraries | times as cheap | venv, PyPI's |", end="")
        print(" times as cheap |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        for words in (("-o", "metadata"), (*login, "-o", "status"), (*login, "-o", "off")):

            def once(agent: str, words: tuple[str, ...] = words) -> Ended:
                bmc.power = "on"
                ended = run([agent, *words])
                if ended.status:
                    raise RuntimeError(f"{agent} {words[-1]}: exit status {ended.status}: {ended.stderr[-300:]}")
                return ended

            for agent in (ours, *venvs):  # warms caches up
                once(agent)
            compared = [in_turns(partial(once, ours), partial(once, venv), runs) for venv in venvs]
            cells = [cell for pairs in compared for cell in (_ms(pairs.their_cpu), _ratio(pairs.cpu_times))]
            print(f"| {words[-1]} | {_ms(compared[0].our_cpu)} | {' | '.join(cells)} |", flush=True)


def _ms(spread: Spread) -> str:
    return f"{spread.median * 1000:.0f} ({spread.least * 1000:.0f}-{spread.most * 1000:.0f})"


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f}-{spread.most:.2f})"


if __name__ == "__main__":
    main()
