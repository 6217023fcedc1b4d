"""No input causes a 500, and every response has the documented members."""

import json
import string
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzzing
from hypothesis import strategies as st

from service.model import Format
from tests.api.wire import BEGINS, MEDIA_TYPES, STATS, read_error
from tests.unit.test_render import read_json_report, read_xml_report

TOKEN = "{token}"
NAMES = ["token", "format", "id", "account_id", "campaign_id", "isp", "group", "other"]
FUZZ = fuzzing(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(codec=None), max_size=30)
likely = st.sampled_from([TOKEN, "json", "xml", "total", "isp", "account", "1", "0", "-1", "9" * 19, "Gmail", ""])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | likely
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
objects = st.dictionaries(st.sampled_from(NAMES), values).map(lambda members: json.dumps(members).encode())
right = st.fixed_dictionaries(
    {"token": st.just(TOKEN), "id": st.integers(1, 2**63 - 1)},
    optional={name: likely | texts | st.integers(0, 2**64) for name in NAMES if name not in ("token", "id")},
).map(lambda members: json.dumps(members).encode())
xml_text = (
    st.text(st.characters(codec="utf-8"), max_size=30) | likely | st.sampled_from(["<a/>", "&amp;", "<!---->", "]]>"])
)
elements = st.tuples(st.sampled_from(NAMES), xml_text).map(lambda each: f"<{each[0]}>{each[1]}</{each[0]}>")
documents = st.lists(elements, max_size=8).map(lambda parts: f"<xml>{''.join(parts)}</xml>".encode())


@st.composite
def mutated(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body with some bytes removed, doubled or replaced."""
    body = draw(bodies)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body


bodies = st.one_of(
    st.binary(max_size=200), right, objects, documents, mutated(right), mutated(objects), mutated(documents)
)
queries = st.lists(st.tuples(st.sampled_from(["token", "format", "x", ""]), likely | texts.map(ascii)))
header_text = st.text(string.printable.strip() + "\x80\xff", max_size=20)
headers = st.dictionaries(
    st.sampled_from(
        ["Authorization", "Content-Type", "Accept", "Accept-Encoding", "Cookie", "Range", "X-Forwarded-For"]
    ),
    header_text | st.sampled_from(["Bearer", "Bearer x", "application/xml", "text/xml; charset=utf-16"]),
)


@pytest.fixture
async def knowing_client(client: httpx.AsyncClient, owner: Any) -> httpx.AsyncClient:
    """A client of a service in which the token of these bodies is valid and the queue is not empty."""
    await owner.execute("INSERT INTO queuestats.tokens VALUES ('fuzz', sha256($1))", TOKEN.encode())
    await owner.execute("INSERT INTO messages (sender_id, isp, recipient) VALUES (1, e'\\x01<', 'x@example.com')")
    return client


def check(response: httpx.Response, *codes: int) -> None:
    [format] = [format for format, media_type in MEDIA_TYPES.items() if media_type == response.headers["content-type"]]
    assert response.status_code in codes
    if response.status_code == 200:
        (read_json_report if format is Format.JSON else read_xml_report)(response.content)
    else:
        code, text = read_error(response.content, format)
        assert code == response.status_code
        assert text.startswith(BEGINS[code])
        assert TOKEN not in text


@FUZZ
@given(body=bodies)
async def test_every_body_gets_a_report_or_a_refusal(knowing_client: httpx.AsyncClient, body: bytes) -> None:
    check(await knowing_client.post(STATS, content=body), 200, 400, 401)


@FUZZ
@given(body=right, query=queries, given_headers=headers)
async def test_no_query_string_and_no_header_causes_an_internal_error(
    knowing_client: httpx.AsyncClient, body: bytes, query: list[tuple[str, str]], given_headers: dict[str, str]
) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in given_headers.items()]
    check(await knowing_client.post(STATS, params=urlencode(query), content=body, headers=encoded), 200, 400, 401)


@FUZZ
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]), path=st.text(string.printable, max_size=40), body=bodies
)
async def test_no_path_causes_an_internal_error(
    knowing_client: httpx.AsyncClient, method: str, path: str, body: bytes
) -> None:
    check(await knowing_client.request(method, "/x" + quote(path), content=body), 404)
