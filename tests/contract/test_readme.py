# SPDX-License-Identifier: Apache-2.0
"""README.md says what is true: the options it names are ours, and its commands are targets that exist."""

import re
from pathlib import Path

from fencer.agent.options import OPTIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_options_that_it_explains_exist():
    table = README.split("| option | what it decides |")[1].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert {"vg", "proof"} <= named <= {option.name for option in OPTIONS}


def test_its_make_targets_exist():
    rules = "".join(path.read_text() for path in (ROOT / "Makefile", *ROOT.glob("*.mk")))
    for target in re.findall(r"\bmake (demo|test|bench)\b", README):
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
