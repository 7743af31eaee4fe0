# SPDX-License-Identifier: Apache-2.0
"""What the agent costs as the .deb installs it, beside the agent in a virtual environment: whole processes, in turns.

Processor time, since it says the same on a busy machine.

python -m benchmarks.package_start [RUNS]           (as root; needs packaging/debian/host-packages.txt and openipmi)
python -m benchmarks.package_start instructions     of `-o metadata`, which no load changes (needs valgrind)

The package is built from the working tree and unpacked below a temporary directory, its bytecode compiled as an
installation does. It runs on this distribution's Python and libraries. Each virtual environment has a plain
installation of the same tree by pip, not an editable one, on the same Python: one on the distribution's libraries, one
as the README makes it, on PyPI's newest.
"""

import argparse
import re
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measure import Ended, become_subreaper, run
from benchmarks.paired import MS, in_turns
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


def millions_of_instructions(agent: str, *words: str) -> float:
    """In user mode, of the call and all its child processes, by callgrind."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={directory}/%p", agent, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr[-300:]}")
        found = (re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M) for file in Path(directory).iterdir())
        return sum(int(total[1]) for total in found if total) / 1e6


def count_instructions() -> None:
    """Prints the instructions of ``-o metadata``: of the package's agent, and of those in the virtual environments."""
    with tempfile.TemporaryDirectory() as directory:
        scratch, words = Path(directory), ("-o", "metadata")
        agents = [packaged(scratch), *(in_a_venv(scratch / f"venv{each}", distribution=each) for each in (True, False))]
        for agent in agents:
            subprocess.run([agent, *words], capture_output=True, check=True)  # its bytecode is there then
        counts = " | ".join(f"{millions_of_instructions(agent, *words):.0f}" for agent in agents)
        print("| action, millions of instructions | package | venv, same libraries | venv, PyPI's |")
        print(f"| --- | ---: | ---: | ---: |\n| {words[-1]} | {counts} |")


def main() -> None:
    """Prints a table of processor time, user and system, of the whole tree."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.package_start", description="What the agent costs as a package. As root."
    )
    parser.add_argument("runs", nargs="?", default=str(RUNS), help="how many, or: instructions")
    given = parser.parse_args().runs
    if given == "instructions":
        count_instructions()
        return
    if not given.isdecimal():
        parser.error(f"{given}: give a number of runs, or: instructions")
    runs = int(given)
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
            cells = [cell for pairs in compared for cell in (pairs.their_cpu.text(0, MS), pairs.cpu_times.text(2))]
            print(f"| {words[-1]} | {compared[0].our_cpu.text(0, MS)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
