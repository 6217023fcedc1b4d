"""All errors have the same members in both formats, and the order of the checks is that of the contract."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from msgspec import structs
from prometheus_client import REGISTRY

from service.access.admin import revoke_token
from service.db import connect
from service.model import Format
from service.settings import Settings
from service.wire.parsing.parameters import MAX_BODY_BYTES, MAX_DEPTH, MAX_MEMBERS
from tests.api.wire import STATS, body_of, check_error, client_of, serving
from tests.conftest import PATIENCE_SECONDS, TestDatabase

BROKEN = {Format.JSON: b'{"id": 119', Format.XML: b"<xml><id>119</id>"}
UNKNOWN_PATHS = [
    "/api",
    "/api/",
    "/api/v1.1/",
    "/api/v1.1/admin/senders/queue",
    "/api/v1.1/admin/senders/queue/pause/",
    "/api/v1.1/admin/senders/queue/releases",
    "/metrics/more",
    "/api/v1.1/admin/senders/queue/stats/more",
    "/api/v1.1/admin/senders/queue/Stats/",
    "/api/v1.2/admin/senders/queue/stats/",
    "/api/v1.1/admin/senders/queue/stats%00/",
    "/api/v1.1/admin/senders/queue/stats/..%2Fstats",
]


@dataclass
class Draft:
    """The parts of a request, which is valid until a test changes one of them."""

    token: str
    format: Format
    path: str = STATS
    method: str = "POST"
    members: dict[str, Any] = field(default_factory=lambda: {"id": 119})
    is_broken: bool = False
    padding: int = 0

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        body = body_of(self.format, token=self.token, **self.members)
        if self.is_broken:
            body = BROKEN[self.format]
        return await client.request(self.method, self.path, content=body + b" " * self.padding)


# In the order in which the contract checks.
FAULTS: list[tuple[int, Callable[[Draft], Draft]]] = [
    (404, lambda draft: replace(draft, path="/api/v1.1/admin/senders/queue/pause/")),
    (405, lambda draft: replace(draft, method="PUT")),
    (413, lambda draft: replace(draft, padding=MAX_BODY_BYTES)),
    (400, lambda draft: replace(draft, is_broken=True)),
    (401, lambda draft: replace(draft, token="wrong")),
    (400, lambda draft: replace(draft, members={"id": -1, "format": "yaml"})),
]


async def test_the_response_has_the_error_of_the_first_check_that_fails(client: httpx.AsyncClient, token: str) -> None:
    several = [some for count in range(1, 7) for some in itertools.combinations(FAULTS, count)]
    for faults, format in itertools.product(several, Format):
        draft = Draft(token, format)
        for _, put in reversed(faults):
            draft = put(draft)
        text = check_error(await draft.send(client), faults[0][0], format)
        if faults[0] is FAULTS[3]:
            assert "the body must be one" in text


@pytest.mark.parametrize("format", Format)
async def test_an_unknown_path_is_404_with_any_method(client_of_nowhere: httpx.AsyncClient, format: Format) -> None:
    for path in UNKNOWN_PATHS:
        for method in ("POST", "GET", "DELETE"):
            check_error(await client_of_nowhere.request(method, f"{path}?format={format}"), 404, format)


@pytest.mark.parametrize("format", Format)
async def test_another_method_is_405_and_names_the_right_one(
    client_of_nowhere: httpx.AsyncClient, format: Format
) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        for path in (STATS, STATS.rstrip("/")):
            response = await client_of_nowhere.request(method, path, content=body_of(format, id=1))
            check_error(response, 405, format)
            assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(("path", "code"), [(STATS, 405), ("/api/v1.1/unknown/", 404)])
async def test_head_gets_the_headers_of_the_error_and_no_body(
    client_of_nowhere: httpx.AsyncClient, path: str, code: int
) -> None:
    response = await client_of_nowhere.head(path, params={"format": "xml"})
    assert (response.status_code, response.content) == (code, b"")
    assert response.headers["content-type"] == "application/xml; charset=utf-8"
    assert response.headers.get("allow") == ("POST" if code == 405 else None)


async def test_a_body_that_can_not_be_parsed_is_400_before_the_database_is_used(
    client_of_nowhere: httpx.AsyncClient,
) -> None:
    deep = MAX_DEPTH + 1
    bodies = {
        Format.JSON: [
            *(
                b"",
                b" ",
                b"id=1",
                b"[1]",
                b"null",
                b"\xff",
                b"{",
                b'{"id":1}}',
                b'{"id":NaN}',
                b'{"id":"\xff"}',
                b"\0{}",
            ),
            b'{"a":' * deep + b"1" + b"}" * deep,
            b"{" + b",".join(b'"%d":1' % number for number in range(MAX_MEMBERS + 1)) + b"}",
        ],
        Format.XML: [
            *(b"<", b"<xml>", b"<html/>", b"<xml/><xml/>", b"<xml>\xff</xml>", b"<xml>\x01</xml>", b"<xml>&x;</xml>"),
            b'<xml xmlns="x"/>',
            b'<?xml version="1.0" encoding="latin-1"?><xml/>',
            b'<!DOCTYPE xml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><id>&b;</id></xml>',
            b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><isp>&a;</isp></xml>',
            b"<xml>" + b"<a>" * deep + b"</a>" * deep + b"</xml>",
            b"<xml>" + b"<a/>" * (MAX_MEMBERS + 1) + b"</xml>",
        ],
    }
    for format, each in bodies.items():
        for body in each:
            check_error(await client_of_nowhere.post(STATS, content=body), 400, format)


WRONG: dict[str, list[Any]] = {
    "id": [None, "", 0, "0", -1, 1.0, "1.0", "1e2", "+1", "٣", 2**63, 10**400, "x"],
    "account_id": [-1, 1.5, "one", 2**63],
    "campaign_id": [-1, 1.5, "one", 2**63],
    "group": ["Total", "total,isp", "sender", 1],
    "format": ["JSON", "yaml", 1],
}
WRONG_IN_JSON: dict[str, list[Any]] = {
    "id": [True, [], {}, [1]],
    "account_id": [False, [0]],
    "isp": [1, True, ["Gmail"], "a\0b", "\ud800"],
    "group": [True, []],
    "format": [True, {}],
    "token": [1, True, [], "a\0b", "\udfff"],
}


@pytest.mark.parametrize("format", Format)
async def test_a_wrong_parameter_is_400_and_the_error_names_it(
    client: httpx.AsyncClient, token: str, format: Format
) -> None:
    both = [(name, value) for name, values in WRONG.items() for value in values]
    only_json = [(name, value) for name, values in WRONG_IN_JSON.items() for value in values]
    for name, value in both + (only_json if format is Format.JSON else []):
        body = body_of(format, **{"token": token, "id": 119, name: value})
        text = check_error(await client.post(STATS, content=body), 400, format)
        assert text.startswith(f"Incorrect request: {name} must be ")


@pytest.mark.parametrize("format", Format)
async def test_no_token_a_wrong_one_and_a_revoked_one_are_401(
    client: httpx.AsyncClient, token: str, database: TestDatabase, format: Format
) -> None:
    async def ask(given: str | None) -> httpx.Response:
        return await client.post(STATS, content=body_of(format, token=given, id=1))

    assert (await ask(token)).status_code == 200
    for given in (None, "", " ", "wrong", token[:-1], token.lower(), "\N{SNOWMAN}", "tests", token * 100):
        response = await ask(given)
        check_error(response, 401, format)
        assert response.headers["www-authenticate"] == "Bearer"
    await revoke_token(database.owner_url, "tests")
    await asyncio.sleep(1)
    check_error(await ask(token), 401, format)


@pytest.mark.parametrize("format", Format)
async def test_an_internal_error_is_500_without_detail_and_the_log_has_it_with_the_request_id(
    client: httpx.AsyncClient, token: str, owner: Any, format: Format, caplog: pytest.LogCaptureFixture
) -> None:
    await owner.execute("ALTER TABLE queuestats.tokens RENAME TO hidden")
    await owner.execute("CREATE VIEW queuestats.tokens AS SELECT * FROM queuestats.hidden WHERE 1 / length(name) = 0")
    await owner.execute("GRANT SELECT ON queuestats.tokens TO queuestats_service")
    await owner.execute("INSERT INTO queuestats.hidden VALUES ('', 'x')")

    text = check_error(await client.post(STATS, content=body_of(format, token=token, id=119)), 500, format)
    request_id = text.removeprefix("Internal error, request ")
    assert len(request_id) == 32
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert request_id in line
    assert "DivisionByZeroError" in line
    assert token not in line


@pytest.mark.parametrize("format", Format)
async def test_a_database_out_of_reach_is_503_at_once_and_never_401(
    client_of_nowhere: httpx.AsyncClient, format: Format
) -> None:
    for _ in range(5):
        check_error(await client_of_nowhere.post(STATS, content=body_of(format, token="some", id=119)), 503, format)
    check_error(await client_of_nowhere.get(f"/readyz?format={format}"), 503, format)


@pytest.mark.parametrize("format", Format)
async def test_a_database_that_is_not_migrated_is_503(
    settings: Settings, empty_database: TestDatabase, format: Format
) -> None:
    unmigrated = structs.replace(settings, database_url=empty_database.owner_url)
    async with serving(unmigrated) as url, client_of(url) as client:
        check_error(await client.post(STATS, content=body_of(format, token="some", id=119)), 503, format)


@pytest.mark.parametrize("format", Format)
async def test_a_query_beyond_its_time_limit_is_504_and_the_next_one_succeeds(
    settings: Settings, owner: Any, token: str, format: Format
) -> None:
    body = body_of(format, token=token, id=119)
    async with serving(structs.replace(settings, request_time_limit_ms=200)) as url, client_of(url) as client:
        async with owner.transaction():
            await owner.execute("LOCK TABLE queuestats.counters IN ACCESS EXCLUSIVE MODE")
            check_error(await client.post(STATS, content=body), 504, format)
        # On a busy machine, a response may take longer than 200 ms.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await client.post(STATS, content=body)).status_code != 200:
                pass


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
async def test_a_time_limit_of_the_role_is_504(
    settings: Settings, database: TestDatabase, owner: Any, token: str, limit: str
) -> None:
    await owner.execute(f"ALTER ROLE queuestats_service IN DATABASE {database.name} SET {limit} = '100ms'")
    async with serving(settings) as url, client_of(url) as client, owner.transaction():
        await owner.execute("LOCK TABLE queuestats.counters IN ACCESS EXCLUSIVE MODE")
        check_error(await client.post(STATS, content=body_of(Format.JSON, token=token, id=119)), 504, Format.JSON)


async def until_waiting(number: int) -> None:
    """Waits until this number of requests wait for a statement or for its rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while REGISTRY.get_sample_value("queuestats_waiting_requests") != number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_request_beyond_the_limit_of_waiters_is_503_and_later_ones_succeed(
    settings: Settings, owner: Any, token: str
) -> None:
    body = body_of(Format.JSON, token=token, id=119)
    full = structs.replace(settings, pool_size=2, waiting_requests=1)
    async with serving(full) as url, client_of(url) as client:
        async with owner.transaction():
            await owner.execute("LOCK TABLE queuestats.counters IN ACCESS EXCLUSIVE MODE")
            accepted: list[asyncio.Task[httpx.Response]] = []
            for number in (1, 2):
                accepted.append(asyncio.create_task(client.post(STATS, content=body)))
                await until_waiting(number)
            check_error(await client.post(STATS, content=body), 503, Format.JSON)
        assert [each.status_code for each in await asyncio.gather(*accepted)] == [200, 200]
        assert (await client.post(STATS, content=body)).status_code == 200


async def test_errors_below_api_can_have_the_http_status_200(nowhere: Settings) -> None:
    async with serving(structs.replace(nowhere, error_http_status="200")) as url, client_of(url) as client:
        for format in Format:
            for path in ("/api/", "/api", "/api/v1.1//admin/unknown/"):
                check_error(await client.post(f"{path}?format={format}"), 404, format, status=200)
            check_error(await client.get(f"{STATS}?format={format}"), 405, format, status=200)
            too_large = BROKEN[format] + b" " * MAX_BODY_BYTES
            check_error(await client.post(STATS, content=too_large), 413, format, status=200)
            check_error(await client.post(STATS, content=BROKEN[format]), 400, format, status=200)
            check_error(await client.post(STATS, content=body_of(format, id=1)), 401, format, status=200)
            check_error(await client.post(STATS, content=body_of(format, id=1, token="x")), 503, format, status=200)
            check_error(await client.get(f"/elsewhere/?format={format}"), 404, format)
            check_error(await client.get(f"/apiary/?format={format}"), 404, format)


FORMAT_RULE = [
    # body, query string, content type, format of the response
    (b'{"format":"xml"}', "?format=json", "application/json", Format.XML),
    (b"<xml><format>json</format></xml>", "?format=xml", "application/xml", Format.JSON),
    (b'{"format":"yaml"}', "?format=xml", "application/json", Format.XML),
    (b'{"format":1}', "?format=XML", "application/xml", Format.JSON),
    (b'{"format":""}', "?format=%20xml", "application/json", Format.XML),
    (b'{"format":', "?format=xml", "application/json", Format.XML),
    (b'{"format":"xml"', "", "application/xml", Format.JSON),
    (b"\xef\xbb\xbf <xml>", "?format=no", "application/json", Format.XML),
    (b"nothing", "", "application/xml; charset=utf-8", Format.XML),
    (b"nothing", "", "Text/XML", Format.XML),
    (b"nothing", "", "application/problem+xml", Format.XML),
    (b"nothing", "?format=json", "text/xml", Format.JSON),
    (b"nothing", "?format=json&format=xml", "text/plain", Format.XML),
    (b"", "", "application/x-www-form-urlencoded", Format.JSON),
    (b"", "", "", Format.JSON),
]


@pytest.mark.parametrize("path", [STATS, "/api/v1.1/unknown"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_errors_format_is_the_first_valid_one_of_body_url_first_byte_content_type_and_json(
    client_of_nowhere: httpx.AsyncClient, path: str, method: str
) -> None:
    for body, query, content_type, format in FORMAT_RULE:
        response = await client_of_nowhere.request(
            method, path + query, content=body, headers={"Content-Type": content_type, "Accept": "application/xml"}
        )
        check_error(response, response.status_code, format)
        assert response.status_code in {400, 401} if (path, method) == (STATS, "POST") else {404, 405}


async def test_closed_database_connections_are_replaced_without_an_error(
    client: httpx.AsyncClient, database: TestDatabase, token: str
) -> None:
    async def ask_eight() -> set[int]:
        body = body_of(Format.JSON, token=token, id=119)
        return {
            each.status_code for each in await asyncio.gather(*(client.post(STATS, content=body) for _ in range(8)))
        }

    # A role may end its own sessions.
    async with connect(database.service_url) as same_role:
        for _ in range(5):
            assert await ask_eight() == {200}
            await same_role.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
                database.name,
            )
            assert await ask_eight() == {200}


async def test_a_table_altered_under_prepared_statements_shows_no_error(
    client: httpx.AsyncClient, owner: Any, token: str
) -> None:
    body = body_of(Format.JSON, token=token, id=119, group="isp")
    assert (await client.post(STATS, content=body)).status_code == 200
    await owner.execute("ALTER TABLE queuestats.counters ALTER COLUMN isp TYPE varchar")
    await owner.execute("ALTER TABLE queuestats.counters ALTER COLUMN isp TYPE text")
    assert (await client.post(STATS, content=body)).status_code == 200


async def test_a_role_that_lost_its_rights_is_503(client: httpx.AsyncClient, owner: Any, token: str) -> None:
    await owner.execute("REVOKE SELECT ON queuestats.counters FROM queuestats_service")
    check_error(await client.post(STATS, content=body_of(Format.JSON, token=token, id=1)), 503, Format.JSON)


async def test_no_path_redirects(client: httpx.AsyncClient) -> None:
    for path in ("/page", "/page/", "/swagger/", "/docs/"):
        response = await client.get(path, headers={"Host": "elsewhere.example"})
        assert "location" not in response.headers
        assert response.status_code in (200, 404)
