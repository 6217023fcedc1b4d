"""/openapi.json: the service accepts exactly the requests that it permits, with the rows that it describes."""

import json
import os
from typing import Any

import httpx
import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.access.admin import create_token
from service.app import ROUTES
from service.http.openapi import GETS, QUEUE, openapi_document
from service.http.row_types import ROWS
from service.http.schemas import schema_name
from service.model import Action, Dimension, Scope
from service.settings import PREFIX
from service.wire.parsing.parameters import ACCEPTED
from tests.api.operator import Operator
from tests.api.wire import STATS, serve_process
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

# Requests for each operation. `make fuzz` sends more.
CASES = int(os.environ.get("FUZZ_CASES", "100"))
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]


@pytest.fixture
async def token(database: TestDatabase, owner: Any) -> str:
    await insert(owner, [Message(account_id=306, campaign_id=4591, isp="Gmail"), Message(status="hold")])
    return await create_token(database.owner_url, "everything", list(Scope))


def test_every_endpoint_is_described() -> None:
    described = {path.rstrip("/") for path in json.loads(openapi_document())["paths"]}
    served = {getattr(route, "path", "") for route in ROUTES}
    served = {path for path in served if path.startswith((QUEUE, "/conditions", "/metrics", "/healthz", "/readyz"))}
    assert described == served


def test_a_request_with_effects_has_no_default_and_no_other_parameter() -> None:
    schemas = json.loads(openapi_document())["components"]["schemas"]
    for action in Action:
        name = schema_name(action, "Request")
        assert schemas[name]["additionalProperties"] is False
        assert set(schemas[name]["properties"]) == set(ACCEPTED[action])
        assert [each for each, schema in schemas[name]["properties"].items() if "default" in schema] == []


def test_every_endpoint_is_described_with_the_parameters_that_it_takes() -> None:
    described = json.loads(openapi_document())
    for name, accepted in ACCEPTED.items():
        operation = described["paths"][f"{QUEUE}/{name}/"]
        if "post" in operation:
            schema = operation["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert set(described["components"]["schemas"][schema.rpartition("/")[2]]["properties"]) == set(accepted)
        else:
            names = {each["name"] for each in operation["get"]["parameters"] if each["in"] == "query"}
            # The token of a GET is in the header. A stream has only one format.
            assert names | {"token", "format"} == set(accepted)


def test_everything_is_described_in_sentences() -> None:
    document = json.loads(openapi_document())
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    responses = [response for operation in operations for response in operation["responses"].values()]
    schemas = document["components"]["schemas"].values()
    described = [
        *(document["info"], *document["tags"], *operations, *schemas),
        *(parameter for operation in operations for parameter in operation.get("parameters", [])),
        *(response for response in responses if "$ref" not in response),
        *(each for kind in ("responses", "headers") for each in document["components"][kind].values()),
        *(member for schema in schemas for member in schema.get("properties", {}).values()),
    ]
    assert [each for each in described if not each.get("description", "").rstrip().endswith(".")] == []


def test_optional_members_have_no_default() -> None:
    """Generated clients send defaults, and TypeScript makes them required."""
    for name, schema in json.loads(openapi_document())["components"]["schemas"].items():
        if name.endswith("Request"):
            assert schema["required"] == ([] if name == "ReportRequest" else ["id"])
            assert "default" not in json.dumps(schema)


async def test_rows_have_the_members_that_are_described(
    client: httpx.AsyncClient, token: str, operator: Operator
) -> None:
    await operator.done("hold", isp="Gmail")
    await operator.done("purge", account_id=306)
    headers, given = {"Authorization": f"Bearer {token}"}, {"id": 119, "names": 1}
    asked: dict[str, list[dict[str, Any]]] = {
        "stats": [given, {"id": 119, "ids": "string"}, {"id": 119, "with": ["oldest", "rates"]}],
        "top": [{"order": "oldest"}, *(given | {"by": by} for by in Dimension)],
        "history": [{"id": 119}],
        "holds": [given],
        "jobs": [given],
        "audit": [given],
        "report": [*({"by": [by], "names": 1, "senders": [119]} for by in Dimension), {"order": "oldest"}],
    }
    for name, requests_ in asked.items():
        found = set[str]()
        for members in requests_:
            how: dict[str, Any] = {"params": members} if name in GETS else {"json": members}
            method = "GET" if name in GETS else "POST"
            response = await client.request(method, f"{QUEUE}/{name}/", headers=headers, **how)
            rows = response.json()["data"]
            assert msgspec.convert(rows, list[ROWS[name]])  # type: ignore[valid-type]
            found |= {member for row in rows for member in row}
        assert found == {field.encode_name for field in msgspec.structs.fields(ROWS[name])}, name


async def test_an_operation_needs_its_documented_scope(client: httpx.AsyncClient, database: TestDatabase) -> None:
    one = {scope: await create_token(database.owner_url, f"only {scope}", [scope]) for scope in Scope}
    others = {
        scope: await create_token(database.owner_url, f"not {scope}", [each for each in Scope if each is not scope])
        for scope in Scope
    }
    for path, operations in json.loads(openapi_document())["paths"].items():
        ((method, operation),) = operations.items()
        content = None
        if method == "post":
            content = json.dumps(operation["requestBody"]["content"]["application/json"]["example"])
        for scope in (each["token"][0] for each in operation["security"]):
            for secrets, status in ((others, 403), (one, 200)):
                if status == 200 and path.endswith("/stream/"):
                    continue  # a stream does not end
                headers = {"Authorization": f"Bearer {secrets[Scope(scope)]}"}
                response = await client.request(method, path, headers=headers, content=content)
                assert response.status_code == status, path


async def test_headers_that_are_described_are_sent(client: httpx.AsyncClient, token: str) -> None:
    document = json.loads(openapi_document())
    stats = document["paths"][STATS]["post"]["responses"]
    known = {"Authorization": f"Bearer {token}"}
    right = await client.post(STATS, json={"id": 119, "unknown": 1}, headers=known)
    unchanged = await client.post(STATS, json={"id": 119}, headers=known | {"If-None-Match": right.headers["ETag"]})
    wrong = await client.post(STATS, json={"id": 119})
    for response, described in (
        (right, stats["200"]),
        (unchanged, stats["304"]),
        (wrong, document["components"]["responses"]["Unauthorized"]),
    ):
        assert [name for name in described["headers"] if name not in response.headers] == []
    assert [each.status_code for each in (right, unchanged, wrong)] == [200, 304, 401]
    # Errors that a client can't cause here. tests/api/wire.py checks their headers.
    for name in ("TooManyRequests", "Unavailable"):
        assert "Retry-After" in document["components"]["responses"][name]["headers"]


async def test_it_is_served_unchanged(client: httpx.AsyncClient) -> None:
    response = await client.get("/openapi.json")
    assert response.content == openapi_document()
    page = await client.get("/docs")
    assert page.status_code == 200
    assert (await client.get("/swagger/swagger-ui-bundle.js")).status_code == 200


@pytest.mark.slow
def test_permitted_requests_get_the_described_responses(database: TestDatabase, token: str) -> None:
    description = schemathesis.openapi.from_dict(json.loads(openapi_document())).exclude(path_regex="stream")
    with serve_process({f"{PREFIX}DATABASE_URL": database.service_url}) as served, requests.Session() as session:
        session.trust_env = False
        operations: list[Any] = list(description.get_all_operations())
        for operation in (each.ok() for each in operations):

            @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                headers = {"Authorization": f"Bearer {token}"}
                case.call_and_validate(base_url=served.url, session=session, headers=headers, checks=CHECKS)

            ask()
