# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of everything that reads a file of another program.

    python -m tests.fuzz.fuzz_files cluster_conf -max_total_time=60 [libFuzzer options] [corpus directory]

The first argument names a reader (see READERS). Anything but its own error is a finding, and so is a file that is taken
and misread: each result is compared with that of another, simple reader. Needs atheris; can be imported without it, and
pytest runs the seeds.
"""

import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.dom import expatbuilder

from fencer.cluster.cluster_conf import parse_cluster
from fencer.cluster.corosync_conf import parse_corosync
from fencer.errors import UsageError
from fencer.exporter import web_settings
from fencer.journal import pending
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.journal.file import Journal, JournalError
from fencer.model import ReservationKey
from fencer.state import json_records, snapshot
from fencer.storage.marker import MARKER_NAME, EarlierBootMarker, Marker, UnreadableMarker, read_marker

LONGEST_MESSAGE_CHARS = 16384


def _directory() -> Path:
    """A directory in memory, one a process: files are written there for readers that take a path."""
    global _made
    if _made is None:
        _made = tempfile.TemporaryDirectory(dir="/dev/shm")
    return Path(_made.name)


_made: "tempfile.TemporaryDirectory[str] | None" = None


def _refused(error: Exception) -> None:
    """An error of ours is one bounded sentence."""
    assert str(error).replace("\n", "").isprintable()
    assert len(str(error)) < LONGEST_MESSAGE_CHARS


# --- cluster.conf and corosync.conf -----------------------------------------------------------------------------------


def cluster_conf(data: bytes) -> None:
    """Nodes, numbers, devices and volume groups are those that a DOM has."""
    try:
        found = parse_cluster(data)
    except UsageError as error:
        assert len(str(error)) < LONGEST_MESSAGE_CHARS
        return
    root = expatbuilder.parseString(data, namespaces=False).documentElement  # cman's reader knows none either
    assert root is not None
    assert found.name == root.getAttribute("name")
    nodes = [node for each in _children(root, "clusternodes") for node in _children(each, "clusternode")]
    assert [node.name for node in found.nodes] == [node.getAttribute("name") for node in nodes]
    assert [node.node_id for node in found.nodes] == [int(node.getAttribute("nodeid") or "0") for node in nodes]
    for node, element in zip(found.nodes, nodes, strict=True):
        methods = [method for fence in _children(element, "fence")[:1] for method in _children(fence, "method")]
        if len(_children(element, "fence")) == 1:
            assert [
                [(device.name, dict(device.attributes)) for device in method.devices] for method in node.fence_methods
            ] == [[_named(device) for device in _children(method, "device")] for method in methods]
    devices = [device for each in _children(root, "fencedevices") for device in _children(each, "fencedevice")]
    assert [(device.name, dict(device.attributes)) for device in found.fence_devices] == [*map(_named, devices)]
    groups = [lvm.getAttribute("vg_name") for rm in _children(root, "rm") for lvm in rm.getElementsByTagName("lvm")]
    assert list(found.volume_groups) == list(dict.fromkeys(filter(None, groups)))


def _children(element: Any, tag: str) -> list[Any]:
    return [each for each in element.childNodes if each.nodeType == each.ELEMENT_NODE and each.tagName == tag]


def _named(element: Any) -> tuple[str, dict[str, str]]:
    attributes = dict(element.attributes.items())
    return attributes.pop("name", ""), attributes


def corosync_conf(data: bytes) -> None:
    """The nodes are those that a reader sees who only looks for braces."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = parse_corosync(text)
    except UsageError as error:
        assert len(str(error)) < LONGEST_MESSAGE_CHARS
        return
    path: list[str] = []
    nodes: list[dict[str, str]] = []
    names = [""]
    open_totems: list[str | None] = []
    for line in map(str.strip, text.split("\n")):
        if line.startswith("#"):
            continue
        if line == "}":
            if path == ["totem"] and (last := open_totems.pop()) is not None:
                names.append(last)
            path.pop()
        elif "{" in line:
            path.append(line.partition("{")[0].rstrip(": \t"))
            if path == ["nodelist", "node"]:
                nodes.append({})
            elif path == ["totem"]:
                open_totems.append(None)
        elif line:
            key, _, value = line.partition(":")
            if path == ["nodelist", "node"]:
                nodes[-1][key.strip()] = value.strip()
            elif path == ["totem"] and key.strip() == "cluster_name":
                open_totems[-1] = value.strip()
    assert found.name == names[-1]
    assert [(each.name, each.node_id, each.position) for each in found.nodes] == [
        (node.get("name") or node.get("ring0_addr", ""), int(node.get("nodeid", "0")), position)
        for position, node in enumerate(nodes)
    ]


# --- web configuration ------------------------------------------------------------------------------------------------

_HASH = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


def web_config(data: bytes) -> None:
    """What PyYAML reads in it as protection is in force: each user with his hash, TLS, and client certificates."""
    import yaml

    try:
        found = web_settings.parse(data, Path("/web.yml"))
    except UsageError as error:
        _refused(error)
        return
    told = yaml.load(data.decode("utf-8-sig"), Loader=yaml.BaseLoader)
    assert isinstance(told, dict)
    users = told.get("basic_auth_users", {})
    assert {name: hashed.decode() for name, hashed in found.users.items()} == users
    assert all(_HASH.fullmatch(hashed) for hashed in users.values())
    tls = told.get("tls_server_config")
    assert (found.tls is not None) == (tls is not None)
    asked = isinstance(tls, dict) and tls.get("client_auth_type") == "RequireAndVerifyClientCert"
    assert not asked or found.closed
    assert not users or found.closed


# --- what the sidecar and the agent write -----------------------------------------------------------------------------


def snapshot_file(data: bytes) -> None:
    """Each field is the one of the file; written again and read again it is the same."""
    try:
        found = json_records.from_json(snapshot.Snapshot, data, snapshot.SCHEMA)
    except ValueError:
        return
    _agrees(json_records.plain(found), json.loads(data))
    again = json_records.from_json(snapshot.Snapshot, json_records.to_json(found, snapshot.SCHEMA), snapshot.SCHEMA)
    assert repr(again) == repr(found)  # nan is not equal to itself


def _agrees(found: Any, told: Any) -> None:
    """Whether told holds what was found, or leaves it to its default."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in told:
                _agrees(value, told[name])
    elif isinstance(found, list):
        assert len(found) == len(told)
        for one, other in zip(found, told, strict=True):
            _agrees(one, other)
    else:
        assert repr(found) == repr(float(told) if isinstance(found, float) else told)


def marker(data: bytes) -> None:
    """A marker of this boot has this boot's id, the key as written, and the LUNs in their order."""
    directory = _directory()
    (directory / MARKER_NAME).write_bytes(data)
    (directory / "boot_id").write_text(BOOT_ID + "\n")
    match read_marker(str(directory), boot_id_path=directory / "boot_id"):
        case Marker(key, luns) | EarlierBootMarker(_, key, luns) as found:
            told = json.loads(data)
            assert (told["boot_id"] == BOOT_ID) == isinstance(found, Marker)
            assert key == ReservationKey(int(told["key"].strip().lower().removeprefix("0x"), 16))
            assert [tuple(lun) for lun in luns] == [
                (row["wwid"], row["generation"], row["registered"]) for row in told["luns"]
            ]
        case UnreadableMarker(reason):
            assert len(reason) < LONGEST_MESSAGE_CHARS
        case None:
            raise AssertionError("there is a marker")


def kept_event(data: bytes) -> None:
    """An event that is taken from a file is the same when it is kept again."""
    directory = _directory() / "kept"
    directory.mkdir(exist_ok=True)
    path = directory / "1.json"
    path.write_bytes(data)
    [(_, found)] = pending.waiting(str(directory))
    if found is None:
        return
    told = json.loads(data)
    assert found.kind.value == told["kind"]
    assert found.outcome.value == told["outcome"]
    assert [proof.value for proof in found.proofs] == told["proofs"]
    path.write_text(json.dumps(found._asdict() | {"steps": [[s.at_s, s.text, s.name, s.took_s] for s in found.steps]}))
    [(_, again)] = pending.waiting(str(directory))
    assert repr(again) == repr(found)


def journal(data: bytes) -> None:
    """A database as it is found: one sentence, or events that can be shown."""
    directory = _directory() / "journal"
    directory.mkdir(exist_ok=True)
    for left in directory.iterdir():
        left.unlink()
    path = directory / "journal.db"
    path.write_bytes(data)
    path.chmod(0o640)
    book = Journal(str(path), patience_s=0.0)
    try:
        events = book.ask(lambda told: (told.totals(), told.step_totals(), told.since(None), told.position()))[2]
    except JournalError as error:
        _refused(error)
        return
    for event in events:
        assert isinstance(event.kind, EventKind)
        assert isinstance(event.outcome, FenceOutcome)
        text = "".join((event.program, event.actor, event.target, event.action, event.error))
        assert text.replace("\n", "").isprintable()


# --- seeds ------------------------------------------------------------------------------------------------------------

BOOT_ID = "b4a0e5f2-77d1-4c8e-9a55-0c1d2e3f4a5b"

CLUSTER_CONF = b"""<?xml version="1.0"?>
<cluster name="lvm-cluster" config_version="14"><cman two_node="1" expected_votes="1"/>
<clusternodes><clusternode name="serv-0001" nodeid="1"><fence><method name="1"><device name="ipmi1" lanplus="1"/>
</method></fence><unfence><device name="scsi" action="on"/></unfence></clusternode>
<clusternode name="serv-0002" nodeid="2"><fence><method name="1"><device name="ipmi2"/></method></fence></clusternode>
</clusternodes><fencedevices><fencedevice agent="fence_halvm" name="ipmi1" ipaddr="10.0.0.1" passwd="a&amp;b"/>
<fencedevice agent="fence_halvm" name="ipmi2"/><fencedevice agent="fence_scsi" name="scsi"/></fencedevices>
<rm><failoverdomains><failoverdomain name="d"><failoverdomainnode name="serv-0001" priority="1"/></failoverdomain>
</failoverdomains><resources><lvm name="vg" vg_name="vgdata" lv_name="lv"/><fs name="fs" device="/dev/vgdata/lv"/>
</resources><service name="s"><lvm ref="vg"/></service></rm></cluster>"""

COROSYNC_CONF = b"""totem {
    version: 2
    cluster_name: ha
    interface {
    linknumber: 0
    }
}
nodelist: {
    node {
        ring0_addr: 10.0.0.1
        ring1_addr: fd00::1
        name: a
        nodeid: 1
    }
    node {
        ring0_addr: b
        nodeid: 4294967295
    }
}
# a comment
quorum {
    provider: corosync_votequorum
    two_node: 1
}
"""

_BCRYPT = b"$2y$10$" + b"abcdefghijklmnopqrstuv" + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
WEB_CONFIG = (
    b"tls_server_config:\n  cert_file: c.pem\n  key_file: /k.pem\n  client_ca_file: ca.pem\n"
    b"  client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS12\n"
    b"http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n"
    b"basic_auth_users:\n  prometheus: " + _BCRYPT + b"\n  'on': \"" + _BCRYPT + b'"\n'
)

_WATCHDOG = snapshot.WatchdogSnapshot("/dev/watchdog0", "iTCO_wdt", True, None, 5.0, 1.25, 7, 12.5, 1.3, 0)
_PATH = snapshot.PathSnapshot("sdb", "2:0:0:1", True, True, "", 12.25, 0.001)
_LUN = snapshot.LunSnapshot(
    "naa.6001405", "vgdata", "registered", 7, (snapshot.KeySnapshot("0x1", "a", 2),), "0x1", "WERO", 12.0, "", (_PATH,)
)
SNAPSHOT = json_records.to_json(
    snapshot.Snapshot(
        BOOT_ID,
        77,
        "1.0",
        "a",
        "0x1",
        1.7e9,
        12.5,
        1.7e9,
        1.0,
        snapshot.PolicyState.KEEPALIVE,
        (),
        70.0,
        None,
        2.0,
        24.0,
        None,
        _WATCHDOG,
        (snapshot.NodeSnapshot("b", "0x2"),),
        (_LUN,),
        1,
        "",
        0.0,
        0,
    ),
    snapshot.SCHEMA,
)

MARKER = json.dumps(
    {"boot_id": BOOT_ID, "key": "0x5e2f1", "luns": [{"wwid": "naa.6", "generation": 7, "registered": True}]}
).encode()

KEPT_EVENT = json.dumps(
    {
        "at_unix_s": 1.7e9,
        "took_s": 0.5,
        "kind": "fence",
        "program": "fence_halvm",
        "actor": "a",
        "target": "b",
        "action": "off",
        "outcome": "success",
        "proofs": ["power", "storage"],
        "weak": False,
        "error": "",
        "steps": [[0.1, "arbitration won", "arbitrate", 0.05]],
        "failed": [],
    }
).encode()


def _journal_seed() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "state", "journal.db")
        path.parent.mkdir(mode=0o755)
        book = Journal(str(path))
        kept = Path(directory, "kept")
        kept.mkdir()
        (kept / "1.json").write_bytes(KEPT_EVENT)
        [(_, event)] = pending.waiting(str(kept))
        assert isinstance(event, Event)
        book.append(event)
        book.close()
        return path.read_bytes()


class Reader(NamedTuple):
    """read: takes a file's content. seeds: files as programs write them."""

    read: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]


READERS: dict[str, Reader] = {
    "cluster_conf": Reader(cluster_conf, lambda: (CLUSTER_CONF, b"<cluster/>")),
    "corosync_conf": Reader(corosync_conf, lambda: (COROSYNC_CONF, b"")),
    "web_config": Reader(web_config, lambda: (WEB_CONFIG, b"basic_auth_users:\n  a: " + _BCRYPT)),
    "snapshot": Reader(snapshot_file, lambda: (SNAPSHOT,)),
    "marker": Reader(marker, lambda: (MARKER, MARKER.replace(b"b4a0", b"c4a0"))),
    "kept_event": Reader(kept_event, lambda: (KEPT_EVENT,)),
    "journal": Reader(journal, lambda: (_journal_seed(),)),
}


def main(argv: list[str]) -> None:
    if len(argv) < 2 or argv[1] not in READERS:
        raise SystemExit(f"usage: fuzz_files {{{','.join(READERS)}}} [libFuzzer options] [corpus]")
    atheris: Any = importlib.import_module("atheris")  # not at the top: the readers are imported by the tests, too
    for name in [name for name in sys.modules if name.partition(".")[0] == "fencer"]:
        del sys.modules[name]
    with atheris.instrument_imports(include=["fencer"]):
        reader = importlib.import_module("tests.fuzz.fuzz_files").READERS[argv[1]]
    options = [word for word in argv[2:] if word.startswith("-")]
    corpus = Path(next((word for word in argv[2:] if not word.startswith("-")), ""))
    if corpus == Path():
        corpus = Path(tempfile.gettempdir(), f"fence-halvm-fuzz-{argv[1]}")
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(reader.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([argv[0], "-max_len=65536", *options, str(corpus)], reader.read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
