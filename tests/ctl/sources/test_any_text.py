# SPDX-License-Identifier: Apache-2.0
"""Whatever a program prints or a file holds: a value, or an error that becomes one sentence. Never a traceback."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.ctl.check.corosync_rules import corosync_findings
from fencer.ctl.check.dlm_rules import dlm_findings
from fencer.ctl.check.service_rules import service_findings
from fencer.ctl.check.stonith_rules import stonith_findings
from fencer.ctl.sources.cib import parse_cib
from fencer.ctl.sources.crm_mon import parse_crm_mon
from fencer.ctl.sources.dlm_conf import parse_dlm_conf
from fencer.ctl.sources.lvm_conf import parse_lvm_conf
from fencer.ctl.sources.lvm_report import parse_lvs, parse_vgs
from fencer.ctl.sources.mounts import parse_mounts
from fencer.ctl.sources.quorum import parse_quorum
from fencer.errors import UsageError

CAPTURED = Path(__file__).parents[1] / "captured"
GOOD = Path(__file__).parents[1] / "good"


def check_cib(text: str) -> None:
    cib = parse_cib(text, "F")
    stonith_findings(cib, "F")
    service_findings(cib, "F")


def check_dlm(text: str) -> None:
    dlm_findings(parse_dlm_conf(text, "F"), "F", {"1": "a", "2": "b"})


PARSERS: dict[str, tuple[Path, Callable[[str], object]]] = {
    "quorum": (CAPTURED / "corosync-quorumtool.txt", parse_quorum),
    "crm_mon": (CAPTURED / "crm_mon-up.xml", parse_crm_mon),
    "vgs": (CAPTURED / "vgs.json", parse_vgs),
    "lvs": (CAPTURED / "lvs.json", parse_lvs),
    "mounts": (CAPTURED / "mountinfo", parse_mounts),
    "cib": (GOOD / "cib.xml", check_cib),
    "lvm.conf": (GOOD / "lvm.conf", lambda text: parse_lvm_conf(text, "F")),
    "dlm.conf": (GOOD / "dlm.conf", check_dlm),
    "corosync.conf": (GOOD / "corosync.conf", lambda text: corosync_findings(text, "F", ("a",))),
}


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_an_edited_file_is_parsed_or_refused(name: str, data: st.DataObject):
    path, parse = PARSERS[name]
    text = path.read_text()
    at = data.draw(st.integers(0, len(text) - 1))
    edited = text[:at] + data.draw(st.text(max_size=12)) + text[at + data.draw(st.integers(0, 40)) :]
    with contextlib.suppress(ValueError, UsageError):
        parse(edited)


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.text())
def test_any_text_is_parsed_or_refused(name: str, text: str):
    with contextlib.suppress(ValueError, UsageError):
        PARSERS[name][1](text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["report", "vg", "lv", "vg_name"]), inner),
    )
)
def test_any_json_is_a_report_or_refused(document: object):
    for parse in (parse_vgs, parse_lvs):
        with contextlib.suppress(ValueError):
            parse(json.dumps(document))
