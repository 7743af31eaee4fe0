# SPDX-License-Identifier: Apache-2.0
"""/runbook: the whole of docs/runbook.md, readable, each of its pages where the findings link to."""

import re
from pathlib import Path

from fencer.exporter import sources
from fencer.exporter.page import runbook
from fencer.exporter.page.runbook import render
from tests.exporter.page.test_page import RUNBOOK, Reader
from tests.exporter.rig import Exporter

TEXT = RUNBOOK.read_text()
PAGE = render(TEXT)


def test_every_page_can_be_linked_to():
    for heading in re.findall(r"^## (Halvm\w+)$", TEXT, flags=re.MULTILINE):
        assert f'<h3 id="{heading.lower()}">{heading}</h3>' in PAGE


def test_nothing_of_the_text_is_lost():
    """Word by word, but for the marks of Markdown and the files that links name."""
    read = Reader(PAGE).text
    plain = re.sub(r"\]\(\S+\)|^#+ |^\|[-| ]+\|$|^\d+\. ", " ", TEXT, flags=re.MULTILINE)
    for word in re.sub(r"[`*\[|]", " ", plain).split():
        assert re.sub(r"[`*|]", " ", word).split()[0] in read.replace("*", " ").replace("|", " "), word


def test_code_keeps_its_lines_and_is_escaped():
    page = render("# A\n\n    one <two>\n\n    three  # `x`\n\nText `a <b>` **strong** *em* [x](#a) [y](../b/c.md)\n")
    assert "<pre><code>one &lt;two&gt;\n\nthree  # `x`\n</code></pre>" in page
    assert "<code>a &lt;b&gt;</code>" in page
    assert '<a href="#a">x</a>' in page
    assert "y (c.md)" in page
    assert '<h2 id="a">A</h2>' in page


def test_lists_stay_lists():
    page = render("- one\n  goes on\n- two\n\n1. first\n2. second\n\n-5 is no item\n")
    assert "<ul><li>one goes on</li><li>two</li></ul><ol><li>first</li><li>second</li></ol>" in page
    assert "<p>-5 is no item</p>" in page


def test_only_markup_of_ours_comes_out():
    for text in ("<script>alert(1)</script>", "    <b>", "| <b> | x |\n| --- | --- |\n| <i> | y |", "1. <b>", "## <b>"):
        assert "<b>" not in render(text)
        assert "<script" not in render(text)
        assert "<i>" not in render(text)


def test_the_exporter_shows_it(tmp_path: Path):
    with Exporter(tmp_path) as exporter:
        status, headers, body = exporter.get("/runbook")
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert b'id="halvmlastpath"' in body


def test_an_installation_without_the_file_says_so(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "fencer/exporter/sources.py"))
    assert sources.runbook() == ""
    assert "no runbook" in runbook.missing()
