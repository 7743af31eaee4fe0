# SPDX-License-Identifier: Apache-2.0
"""XML with the line of each element, for cluster.conf and the CIB. Pure; untrusted text is safe to parse."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from fencer._typing import NamedTuple
from fencer.errors import UsageError


class LinedXml(NamedTuple):
    """A document. lines: of each element, the number of the line where it begins."""

    root: Element
    lines: Mapping[Element, int]


def parse_xml(content: str | bytes, subject: str, source: str) -> LinedXml:
    """Parses a document. subject and source begin the messages: the option that named the file, and its path.

    A document type is refused: no file of a cluster needs one, and entities are for attacks. Raises UsageError that
    names the line.
    """
    builder = TreeBuilder()
    lines: dict[Element, int] = {}
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse_doctype(*_declaration: object) -> None:
        line = parser.CurrentLineNumber
        raise UsageError(
            f"{subject}: {source} line {line}: a document type declaration is not accepted: remove <!DOCTYPE>"
        )

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
        return LinedXml(builder.close(), lines)
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, "not well-formed")
        raise UsageError(f"{subject}: {source} line {error.lineno}: {reason}: correct the XML there") from error
    except (LookupError, ValueError) as error:
        # An encoding that Python does not know, or text that cannot be encoded.
        raise UsageError(f"{subject}: {source} line 1: {error}: save the file as UTF-8") from error
