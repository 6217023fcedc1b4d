"""Prints the cost of the most expensive request bodies before the check of a token, in ms of one core.

The cost is the lowest of many tries, because other programs can only increase it.

    .venv/bin/python -m tests.load.worst_bodies
"""

import time
from contextlib import suppress

from service.errors import BadRequest
from service.wire.parsing import parse_envelope
from service.wire.parsing.parameters import MAX_BODY_BYTES

ROUNDS = 31


def array_of(piece: bytes) -> bytes:
    count = (MAX_BODY_BYTES - 16) // (len(piece) + 1)
    return b'{"x":[' + b",".join([piece] * count) + b"]}"


def object_of(piece: bytes) -> bytes:
    return b"{" + array_of(piece)[6:-2] + b"}"


def string_of(piece: bytes) -> bytes:
    return b'{"x":"' + piece * ((MAX_BODY_BYTES - 16) // len(piece)) + b'"}'


def element_of(piece: bytes) -> bytes:
    return b"<xml><isp>" + piece * ((MAX_BODY_BYTES - 24) // len(piece)) + b"</isp></xml>"


def numbered(template: bytes, count: int) -> bytes:
    return b"".join(template % number for number in range(count))


BODIES = {
    "JSON: arrays, 30 deep": array_of(b"[" * 30 + b"]" * 30),
    "JSON: arrays, 33 deep": array_of(b"[" * 32 + b"]" * 32),
    "JSON: nothing but opening brackets": b'{"x":' + b"[" * 65_000,
    "JSON: empty arrays": array_of(b"[]"),
    "JSON: pairs of arrays": array_of(b"[[]]"),
    "JSON: objects": array_of(b'{"":0}'),
    "JSON: brackets in strings": array_of(b'["["]'),
    "JSON: escaped quotes and brackets": array_of(rb'["\"["]'),
    "JSON: empty strings": array_of(b'""'),
    "JSON: numbers": array_of(b"0"),
    "JSON: a number": b'{"id":' + b"9" * 65_000 + b"}",
    "JSON: members of one name": object_of(b'"":0'),
    "JSON: members of many names": b"{" + numbered(b'"%d":0,', 7_200) + b'"":0}',
    "JSON: 256 parameters": b"{" + b",".join([b'"isp":"' + b"a" * 240 + b'"'] * 256) + b"}",
    "JSON: escapes": string_of(rb"\n"),
    "JSON: escaped characters": string_of(rb"\u00e9"),
    "JSON: escaped backslashes": string_of(rb"\\"),
    "JSON: pairs of surrogates": string_of(rb"\ud83e\udd8a"),
    "JSON: lone surrogates": string_of(rb"\ud800"),
    "JSON: lone surrogates and letters": string_of(rb"\ud800x"),
    "JSON: lone surrogates and escapes": string_of(rb"\ud800\n"),
    "JSON: strings of a lone surrogate": array_of(rb'"\ud800"'),
    "JSON: letters of two bytes": string_of("é".encode()),
    "JSON: blanks": b'{"x":0' + b" " * 65_000 + b"}",
    "byte-order marks": b"\xef\xbb\xbf" * 21_840 + b"{}",
    "blanks and byte-order marks": b" \xef\xbb\xbf" * 16_380 + b"{}",
    "XML: elements": element_of(b"<a/>"),
    "XML: elements with an end": element_of(b"<a></a>"),
    "XML: elements, 30 deep": element_of(b"<a>" * 30 + b"</a>" * 30),
    "XML: elements of many names": b"<xml><x>" + numbered(b"<a%d/>", 7_300) + b"</x></xml>",
    "XML: 256 members": b"<xml>" + b"<isp>a</isp>" * 256 + b"</xml>",
    "XML: attributes": b"<xml><x " + numbered(b'a%d="" ', 5_900) + b"/></xml>",
    "XML: an attribute of an element": element_of(b'<a b=""/>'),
    "XML: namespaces": element_of(b'<a xmlns:b="u"/>'),
    "XML: entities": element_of(b"&lt;"),
    "XML: character references": element_of(b"&#9;"),
    "XML: lines": element_of(b"\n"),
    "XML: carriage returns": element_of(b"\r"),
    "XML: comments": element_of(b"<!---->"),
    "XML: CDATA": element_of(b"<![CDATA[a]]>"),
    "XML: text and comments": element_of(b"a<!---->"),
    "XML: processing instructions": element_of(b"<?a?>"),
    "XML: a value with entities": b"<xml><isp a='" + b"&lt;" * 16_300 + b"'/></xml>",
    "XML: entities outside of elements": b"<xml>" + b"&lt;" * 16_300 + b"</xml>",
    "XML: a DOCTYPE of entities": b"<!DOCTYPE xml [" + b"<!ENTITY a ''>" * 4_600 + b"]><xml/>",
}


def cost_ms(body: bytes) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with suppress(BadRequest):
            parse_envelope(body)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1000


def main() -> None:
    for name, body in BODIES.items():
        assert len(body) <= MAX_BODY_BYTES, name
        print(f"{cost_ms(body):7.3f} ms  {len(body):6} bytes  {name}")  # noqa: T201


if __name__ == "__main__":
    main()
