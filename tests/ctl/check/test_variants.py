# SPDX-License-Identifier: Apache-2.0
"""Good files: nothing is found. Each with one thing broken: just that is found, with its line and its remedy."""

import json
from pathlib import Path

import pytest

from fencer.ctl.main import run
from tests.ctl.check.variant import Variant
from tests.ctl.check.variants import VARIANTS

GOOD = Path(__file__).parents[1] / "good"
ARTICLE = Path(__file__).parents[1] / "article"
OPTIONS = {path.name: f"--{path.stem.replace('_', '-')}-conf" for path in GOOD.glob("*.conf")} | {"cib.xml": "--cib"}


class Output:
    """Standard output of a run in this process."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


def check(directory: Path, *names: str) -> tuple[int, list[dict[str, object]]]:
    """Exit status and findings of the files of a directory."""
    out = Output()
    words = [f"{OPTIONS[name]}={directory / name}" for name in names or OPTIONS]
    status = run(["check", "--json", "--local-node=serv-0001", *words], out)  # type: ignore[arg-type]
    return status, json.loads(out.text)["findings"]


def test_there_is_nothing_wrong_with_the_good_files():
    assert check(GOOD) == (0, [])


@pytest.mark.parametrize("name", OPTIONS)
def test_there_is_nothing_wrong_with_each_good_file_alone(name: str):
    assert check(GOOD, name) == (0, [])


def test_there_is_nothing_wrong_with_what_pcs_writes_for_the_recipe(tmp_path: Path):
    """captured/cib-by-pcs.xml: the pcs commands of the recipe, by pcs 0.11.5."""
    (tmp_path / "cib.xml").write_bytes((GOOD.parent / "captured/cib-by-pcs.xml").read_bytes())
    (tmp_path / "corosync.conf").write_bytes((GOOD / "corosync.conf").read_bytes())
    (tmp_path / "lvm.conf").write_bytes((GOOD / "lvm.conf").read_bytes())
    assert check(tmp_path, "cib.xml", "corosync.conf", "lvm.conf") == (0, [])


def test_the_articles_own_mistakes_are_found():
    status, found = check(ARTICLE, "cluster.conf", "lvm.conf")
    told = {(Path(str(each["source"])).name, each["line"]): str(each["text"]) for each in found}
    assert status == 2
    assert all(each["remedy"] for each in found)
    assert "two nodes without arbitration" in told["cluster.conf", 4]
    assert told["cluster.conf", 6] == "clusternode serv-0001 has no fence method: it can never be fenced"
    assert "192.168.10 is no whole IPv4 address" in told["cluster.conf", 15]
    assert told["cluster.conf", 26] == "fs FS mounts /dev/shared_vg/ha_lv, but lvm lvm activates ha-lv"
    assert "clvmd" in told["lvm.conf", 3]
    assert "nothing keeps two nodes" in told["lvm.conf", 0]
    assert len(found) == 6


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: f"{each.file}: {each.text}")
def test_a_fault_is_named_with_line_and_remedy(variant: Variant, tmp_path: Path, monkeypatch):
    if not variant.agent:  # each asked agent is a process
        monkeypatch.setattr("fencer.ctl.check.given_files.validated", lambda *_, **__: [])
    for name in OPTIONS:
        (tmp_path / name).write_text((GOOD / name).read_text())
    good = (GOOD / variant.file).read_text()
    assert variant.old in good
    text = good.replace(variant.old, variant.new, 1)
    (tmp_path / variant.file).write_text(text)
    _, found = check(tmp_path, *([variant.file] if variant.alone else []))
    told = [each for each in found if variant.text in str(each["text"])]
    assert told, found
    assert told[0]["weight"] == variant.status.lower()
    assert told[0]["source"] == str(tmp_path / variant.file)
    assert variant.remedy in str(told[0]["remedy"])
    assert variant.at in text
    assert told[0]["line"] == (text[: text.index(variant.at)].count("\n") + 1 if variant.at else 0)
    others = [each for each in found if each not in told]
    assert len(told) == 1
    assert len(others) == len(variant.beside), others
    assert all(any(part in str(each["text"]) for each in others) for part in variant.beside)


def test_there_are_enough_of_them():
    assert len(VARIANTS) >= 25
