"""README.md says what is true: the option table is the table, and its commands are targets that exist."""

import re
from pathlib import Path

from fencer.manual import options_table
from fencer.options import Effect, Origin

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_table_of_our_options_is_current():
    """Regenerate: python -c "from fencer.manual import *; ..." as below, and paste."""
    assert options_table(Effect.USED, Origin.OURS).strip() in README


def test_its_make_targets_exist():
    rules = "".join(path.read_text() for path in (ROOT / "Makefile", *ROOT.glob("*.mk")))
    for target in re.findall(r"\bmake (demo|test|bench)\b", README):
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
