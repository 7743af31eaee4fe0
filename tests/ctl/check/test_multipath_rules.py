# SPDX-License-Identifier: Apache-2.0
"""Maps that hold I/O for ever: which of several settings counts."""

import pytest

from fencer.ctl.check.multipath_rules import queueing_findings


def sections(**settings: str) -> str:
    """A multipath.conf: of each section, its lines."""
    return "".join(f"{name} {{\n{text}\n}}\n" for name, text in settings.items())


QUEUE, FEATURE, FIVE = "no_path_retry queue", 'features "1 queue_if_no_path"', "no_path_retry 5"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (sections(defaults='no_path_retry "queue"'), [2]),
        (sections(defaults=f"# {QUEUE}\n! {QUEUE}\n{FIVE} # {QUEUE}"), []),
        (sections(defaults=f"{QUEUE}\n{FIVE}"), []),
        (sections(defaults=f"{FIVE}\n{QUEUE}"), [3]),
        (sections(defaults=f"{FEATURE}\n{FIVE}"), []),
        (sections(defaults=f"{FEATURE}\n{QUEUE}"), [3]),
        (sections(defaults=FEATURE), [2]),
        (sections(defaults='features "0" ! queue_if_no_path'), []),
        (sections(defaults=QUEUE, overrides=FIVE), []),
        (sections(defaults=FIVE, overrides=QUEUE), [5]),
        (sections(overrides=FIVE, multipaths=f"multipath {{\n{QUEUE}\n}}"), [6]),
        (sections(overrides=FIVE, devices=f"device {{\n{QUEUE}\n}}"), []),
        (sections(overrides=FIVE, devices=f"device {{\n{FEATURE}\n}}"), []),
        (sections(defaults=FIVE, devices=f"device {{\n{FEATURE}\n}}"), []),
        (sections(defaults=FIVE, devices=f"device {{\n{QUEUE}\n}}"), [6]),
        (sections(devices=f"device {{\n{FEATURE}\n}}\ndevice {{\n{FIVE}\n}}"), [3]),
        (sections(devices=f"device {{\n{FEATURE}\n{FIVE}\n}}"), []),
        (sections(blacklist='devnode "^sd[a-z]"\nproperty "(SCSI_IDENT_|ID_WWN)"', defaults=QUEUE), [6]),
    ],
)
def test_maps_that_queue_without_end(text: str, lines: list[int]):
    assert [each.line for each in queueing_findings([(text, "F")])] == lines


def test_a_file_of_conf_d_may_override_multipath_conf():
    texts_of_both = [(sections(defaults=QUEUE), "A"), (sections(overrides=FIVE), "B")]
    assert list(queueing_findings(texts_of_both)) == []
    assert [each.source for each in queueing_findings([(texts_of_both[0][0], each) for each in "AC"])] == ["A", "C"]
