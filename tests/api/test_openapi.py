"""/openapi.json: what it allows the service answers, and nothing else; a client that is made from it works."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
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
from service.http.openapi import QUEUE, openapi_document
from service.model import Scope
from service.settings import PREFIX
from service.wire.parsing.parameters import ACCEPTED
from tests.api.wire import serve_process
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

# Of each of the ten operations: `make fuzz` asks for more.
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
    served = {path for path in served if path.startswith((QUEUE, "/conditions", "/healthz", "/readyz"))}
    assert described == served


def test_a_call_with_effects_has_no_default_and_no_other_parameter() -> None:
    schemas = json.loads(openapi_document())["components"]["schemas"]
    for action, name in {"hold": "HoldRequest", "release": "ReleaseRequest", "purge": "ControlRequest"}.items():
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
            names = {each["name"] for each in operation["get"]["parameters"]}
            # The token of a GET stands in the header; the stream is written in one format.
            assert names | {"token", "format"} == set(accepted)


async def test_it_is_served_as_it_is(client: httpx.AsyncClient) -> None:
    response = await client.get("/openapi.json")
    assert response.content == openapi_document()
    page = await client.get("/docs")
    assert page.status_code == 200
    assert (await client.get("/swagger/swagger-ui-bundle.js")).status_code == 200


@pytest.mark.slow
def test_what_it_allows_is_answered_as_it_says(database: TestDatabase, token: str) -> None:
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


@pytest.mark.slow
def test_a_client_that_is_made_from_it_gets_the_documented_answer(
    database: TestDatabase, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openapi.json").write_bytes(openapi_document())
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    paths = ["--path", str(tmp_path / "openapi.json"), "--output-path", str(tmp_path / "made_client")]
    made = subprocess.run(
        [program, "generate", "--meta", "none", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    stats = importlib.import_module("made_client.api.default.stats")
    models = importlib.import_module("made_client.models")
    client = importlib.import_module("made_client.client")
    hold = importlib.import_module("made_client.api.default.hold")
    with serve_process({f"{PREFIX}DATABASE_URL": database.service_url}) as served:
        request = models.StatsRequest(id=119, group=models.Grouping.ACCOUNT)
        with client.AuthenticatedClient(served.url, token=token) as asking:
            report = stats.sync(client=asking, body=request)
            details = models.HoldRequestDetails(1)
            held = hold.sync(client=asking, body=models.HoldRequest(id=119, isp="Gmail", at_most=1, details=details))
    assert [(row.account_id, row.new, row.hold, row.total) for row in report.data] == [(0, 0, 1, 1), (306, 1, 0, 1)]
    assert (held.error, held.details.messages) == (0, 1)
