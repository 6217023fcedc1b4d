"""An XML body's members.

The parser is Expat and not lxml, because libxml2 keeps every element name in memory for the life of the process.
Expat opens no file and no connection, and a DOCTYPE is refused before any entity is expanded.
"""

from collections.abc import Mapping
from typing import Final, NoReturn
from xml.parsers import expat

from service.errors import BadRequest
from service.wire.parsing.parameters import BLANKS, MAX_DEPTH, MAX_MEMBERS, NOT_TEXT
from service.wire.parsing.refusals import TOO_DEEP, TOO_MANY_MEMBERS

EARLY_BYTES: Final = 2048
# Names of UTF-8 and of its subset US-ASCII.
_ENCODINGS: Final = frozenset(("UTF-8", "UTF8", "US-ASCII", "ASCII"))
_MAX_CHEAP_MARKUP = 640


def is_costly(body: bytes) -> bool:
    """Whether Expat reports so many events for this body that it may take more than 1 ms.

    An element or attribute costs 0.5 to 1 µs, an entity or a line 0.02 to 0.05; 64 KiB of elements cost 15 ms.
    The 256 members of the largest cheap body have 512 tags.
    """
    if len(body) <= _MAX_CHEAP_MARKUP:
        return False
    elements_and_attributes = body.count(b"<") + body.count(b"=")
    entities_and_lines = body.count(b"&") + body.count(b"\n") + body.count(b"\r")
    return elements_and_attributes + entities_and_lines // 25 > _MAX_CHEAP_MARKUP


def read_xml(body: bytes, start: int, *, is_whole: bool = True) -> Mapping[str, object]:
    """The child elements of `<xml>`, whose document begins at `start`; the last of repeated ones.

    A value is the whole text of the element, across comments, CDATA and processing instructions, or `NOT_TEXT`. Names
    are used as written, so a prefixed name is not a parameter.
    """
    return _Reader(body, start, is_whole=is_whole).members


def read_xml_names(body: bytes, start: int) -> list[str]:
    """The names of the child elements in a body that `read_xml` accepts, with repeats.

    The attributes of `<xml>` and of these elements precede them, because some serializers write members as attributes.
    Raises BadRequest for text between the elements, which may be an escaped parameter.
    """
    reader = _Reader(body, start, is_whole=True)
    if reader.has_text_between:
        raise BadRequest("<xml> must contain only elements, and contains text between them")
    return reader.attributes + reader.names


def _broken(good_bytes: int) -> BadRequest:
    return BadRequest(f"the body must be one XML document in UTF-8, and is not after byte {good_bytes}")


class _Reader:
    """Collects the root's children from the events of the parser."""

    def __init__(self, body: bytes, start: int, *, is_whole: bool) -> None:
        # Expat reads "<" and a zero byte as UTF-16 with any given encoding; no XML in UTF-8 has a zero byte.
        if b"\0" in body:
            raise _broken(body.index(b"\0"))
        self.members: dict[str, object] = {}
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.has_text_between = False
        self._depth = 0
        self._is_text = True
        self._texts: list[str] = []
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.XmlDeclHandler = _check_declaration
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(body[start:], is_whole)
        except expat.ExpatError:
            raise _broken(start + max(parser.ErrorByteIndex, 0)) from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 2:
            self.names.append(name)
            if len(self.names) > MAX_MEMBERS:
                raise BadRequest(TOO_MANY_MEMBERS)
            self._texts.clear()
            self._is_text = not attributes.get("xmlns")  # xmlns="" means no default namespace
            self.attributes += [name for name in _unprefixed(attributes) if name != "type"]
        elif self._depth == 1:
            if name != "xml" or attributes.get("xmlns"):
                raise BadRequest("the XML body must have the root <xml>, in no namespace")
            self.attributes += _unprefixed(attributes)
        elif self._depth > MAX_DEPTH:
            raise BadRequest(TOO_DEEP)
        else:
            self._is_text = False

    def _end(self, name: str) -> None:
        if self._depth == 2:
            self.members[name] = "".join(self._texts) if self._is_text else NOT_TEXT
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._depth == 2:
            self._texts.append(text)
        elif self._depth == 1 and text.strip(BLANKS):
            self.has_text_between = True


def _unprefixed(attributes: Mapping[str, str]) -> list[str]:
    return [name for name in attributes if ":" not in name and name != "xmlns"]


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.upper() not in _ENCODINGS:
        raise BadRequest("the XML body must declare UTF-8, US-ASCII, or no encoding")


def _refuse_doctype(*_: object) -> NoReturn:
    raise BadRequest("the XML body must have no DOCTYPE")
