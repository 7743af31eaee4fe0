# SPDX-License-Identifier: Apache-2.0
"""``fence_halvm -o history``: at a glance by people, line by line by programs."""

import json
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from fencer.agent.manual import EVENT_FIELDS
from fencer.agent.metadata import metadata_xml
from fencer.journal.event import FenceOutcome
from fencer.journal.file import Journal
from tests.agent.halvm import AGENT, ENVIRONMENT, Call
from tests.agent.halvm import Outcome as Ended
from tests.journal.events import FAILED, FENCE, MONITOR


def history(path: str, *argv: str, zone: str = "Asia/Tokyo") -> Ended:
    return Call("-o", "history", f"--journal={path}", *argv, environ={"TZ": zone}).end()


def test_who_whom_outcome_proof_and_error_newest_first(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.append(FAILED._replace(at_unix_s=FENCE.at_unix_s + 60))
    outcome = history(path)
    assert (outcome.status, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["when", "who", "whom", "action", "outcome", "proved", "by", "took", "error"]
    assert lines[1] == (
        "2025-11-22 17:27:40 JST  serv-0002  serv-0001  reboot   failure  -                              30.00 s  "
        "192.168.1.50: Timed out"
    )
    assert lines[2] == (
        "2025-11-22 17:26:40 JST  serv-0002  serv-0001  reboot   success  power+storage (plain PREEMPT)  4.50 s"
    )
    assert len(lines) == 3


def test_long_names_have_their_columns(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE._replace(target="serv-0001.cluster.example.com"))
    journal.append(FENCE._replace(action="off"))
    head, *rows = history(path).stdout.splitlines()
    assert [row[head.index("action") :].split()[0] for row in rows] == ["off", "reboot"]
    assert all(row[head.index("outcome") :].startswith("success ") for row in rows)


def test_a_history_that_is_longer_than_the_sample_is_whole(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE._replace(action="off"))
    for _ in range(60):
        journal.append(FENCE)
    rows = history(path, "--limit=0").stdout.splitlines()[1:]
    assert len(rows) == 61
    assert " off " in rows[-1]


def test_verbose_shows_the_steps(path: str) -> None:
    Journal(path).append(FENCE)
    lines = history(path, "-v").stdout.splitlines()
    assert lines[2:] == [
        "       0.125 s  (+0.125)  BMC 192.168.1.50: session open",
        "       0.750 s  (+0.500)  /dev/sdb: isolated (plain PREEMPT), read back",
    ]


def test_monitors_that_found_nothing_wrong_are_for_those_who_ask(path: str) -> None:
    journal = Journal(path)
    journal.append(MONITOR)
    journal.append(MONITOR._replace(outcome=FenceOutcome.FAILURE, error="no session"))
    assert len(history(path).stdout.splitlines()) == 2
    assert len(history(path, "-v").stdout.splitlines()) == 3
    assert len(history(path, "--json").stdout.splitlines()) == 2


def test_json_has_the_documented_fields_and_no_other(path: str) -> None:
    Journal(path).append(FENCE)
    (line,) = history(path, "--json").stdout.splitlines()
    assert set(json.loads(line)) == {name for name, _ in EVENT_FIELDS}


def test_json_has_all_of_it_a_line_each(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.append(FAILED)
    latest, first = (json.loads(line) for line in history(path, "--json").stdout.splitlines())
    assert latest["error"] == FAILED.error
    assert first.pop("at") == "2025-11-22T08:26:40.250+00:00"
    steps = [step._asdict() for step in FENCE.steps]
    assert first == FENCE._asdict() | {"proofs": ["power", "storage"], "steps": steps, "failed": []}


def test_one_node(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.append(FENCE._replace(actor="serv-0003", target="serv-0004"))
    for node in ("serv-0001", "serv-0002"):
        (line,) = history(path, "--json", "-n", node).stdout.splitlines()
        assert json.loads(line)["target"] == "serv-0001"
    assert history(path, "-n", "serv-0005").stdout == "The journal holds nothing of that.\n"


@pytest.mark.parametrize(("argv", "lines"), [((), 50), (("--limit=3",), 3), (("--limit=0",), 120)])
def test_so_many_and_no_more(path: str, argv: tuple[str, ...], lines: int) -> None:
    journal = Journal(path)
    for _ in range(120):
        journal.append(FENCE)
    assert len(history(path, "--json", *argv).stdout.splitlines()) == lines


def test_on_stdin_too(path: str) -> None:
    Journal(path).append(FENCE)
    outcome = Call(stdin=f"action=history\njournal={path}\njson=1\n").end()
    assert json.loads(outcome.stdout)["target"] == "serv-0001"


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000])
def test_a_journal_that_cannot_be_read_is_one_sentence(path: str, content: bytes | None) -> None:
    if content is not None:
        Path(path).write_bytes(content)
    outcome = history(path)
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert outcome.lines[0].startswith(f"ERROR: journal: {path}: ")


def test_a_torn_journal_is_one_sentence(path: str) -> None:
    journal = Journal(path)
    for _ in range(100):
        journal.append(FENCE)
    journal.close()
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    outcome = history(path)
    assert (outcome.status, len(outcome.lines)) == (1, 1)
    assert "Traceback" not in outcome.stderr


def test_no_journal_no_history() -> None:
    outcome = history("none")
    assert (outcome.status, outcome.lines) == (
        1,
        ["ERROR: journal: none: there is no history without a journal: give the path of one"],
    )


def test_not_for_cluster_managers() -> None:
    assert '<action name="history"' not in metadata_xml()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """100,000 events."""
    path = str(tmp_path_factory.mktemp("full") / "journal.db")
    journal = Journal(path)
    journal.append(FENCE)
    journal.close()
    db = sqlite3.connect(path)
    columns = ", ".join(row[1] for row in db.execute("PRAGMA table_info(events)") if row[1] != "id")
    with db:
        while db.execute("SELECT count(*) FROM events").fetchone()[0] < 100_000:
            db.execute(f"INSERT INTO events ({columns}) SELECT {columns} FROM events LIMIT 50000")
    db.close()
    return path


def test_a_reader_that_has_seen_enough(full: str) -> None:
    """head: no traceback, and it ends long before it has read everything."""
    for more in ("", "--json"):
        command = f"{AGENT} -o history --journal={full} --limit=0 {more} | head -n 2"
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
        assert len(done.stdout.splitlines()) == 2
        assert done.stderr == ""


LIMIT_S = 3600.0  # against a hang only: it needs 4 s of a processor, of which a busy machine may give it 1 %


@pytest.mark.timeout(LIMIT_S + 20)
def test_a_hundred_thousand_events(full: str) -> None:
    assert len(history(full).stdout.splitlines()) == 51
    whole = Call("-o", "history", f"--journal={full}", "--limit=0", "--json").end(LIMIT_S)
    assert len(whole.stdout.splitlines()) >= 100_000


def test_an_output_that_is_full_is_one_sentence(full: str) -> None:
    command = f"{AGENT} -o history --journal={full} > /dev/full"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "fence_halvm: ERROR: standard output: No space left on device: give one that can be written\n"


# --- a file that somebody else has made -----------------------------------------------------------------------------

HARMLESS = "corrupt|not a journal|takes longer"
UPDATES = {
    "deep JSON": f"UPDATE events SET steps = '{'[' * 100_000}'",
    "deep JSON that ends": f"UPDATE events SET steps = '{'[' * 100_000}{']' * 100_000}'",
    "steps that are none": "UPDATE events SET steps = '{}'",
    "steps of other types": """UPDATE events SET steps = '[["a", 1, "session", null]]'""",
    "steps that are a blob": "UPDATE events SET steps = x'00ff'",
    "text that is a blob": "UPDATE events SET error = x'1b5b324a'",
    "a time that is text": "UPDATE events SET at_unix_s = 'now'",
    "a time that is no number": "UPDATE events SET at_unix_s = 9e999",
    "a time of the year 300000": "UPDATE events SET at_unix_s = 1e13",
    "a time before all times": "UPDATE events SET at_unix_s = -1e18",
    "a duration without end": "UPDATE events SET took_s = 9e999",
    "an unknown kind": "UPDATE events SET kind = 'party'",
    "an unknown outcome": "UPDATE events SET outcome = 'maybe'",
    "an unknown proof": "UPDATE events SET proofs = 'word of honour'",
    "a text of 8 MB": "UPDATE events SET error = printf('%.*c', 8000000, 'x')",
    "a view that computes for ever": (
        "ALTER TABLE events RENAME TO e; CREATE VIEW events AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 "
        "FROM n) SELECT x AS id, e.* FROM n, e"
    ),
    "a view": "ALTER TABLE events RENAME TO e; CREATE VIEW events AS SELECT * FROM e",
    "no table": "DROP TABLE events",
    "a column that computes": (
        "DROP TABLE totals; CREATE TABLE totals (kind TEXT, x TEXT GENERATED ALWAYS AS (hex(zeroblob(1000))) VIRTUAL)"
    ),
}


@pytest.mark.parametrize("what", UPDATES)
def test_a_forged_journal_ends_in_one_sentence(path: str, what: str) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.close()
    db = sqlite3.connect(path)
    db.executescript(f"PRAGMA legacy_alter_table = ON; {UPDATES[what]};")
    db.close()
    for argv in ((), ("--json",), ("-v",)):
        outcome = history(path, *argv)
        assert outcome.status == 1, outcome
        assert outcome.took_s < 60
        (line,) = outcome.lines
        assert line.startswith(f"ERROR: journal: {path}: ")
        assert re.search(HARMLESS, line), line
        assert line.isprintable()


def test_what_is_in_it_is_shown_cleaned(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.close()
    db = sqlite3.connect(path)
    evil = "\x1b[2J\u202eevil\n" + "x" * 5000
    for column in ("actor", "target", "action", "program", "error"):
        db.execute(f"UPDATE events SET {column} = ?", (evil,))
    db.execute("UPDATE events SET steps = ?", (json.dumps([[0.5, evil, "session", 0.5]] * 150),))
    db.commit()
    db.close()
    for argv in ((), ("--json",), ("-v",)):
        outcome = history(path, *argv)
        assert (outcome.status, outcome.stderr) == (0, "")
        assert all(line.isprintable() for line in outcome.stdout.splitlines())
        assert len(outcome.stdout) < 401 * 700
