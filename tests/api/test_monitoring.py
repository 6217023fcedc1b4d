"""The alert rules and the dashboard, with a real Prometheus."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.routing import Route

from service.access.admin import create_token
from service.app import ROUTES
from service.http.openapi import QUEUE
from service.model import Format, Scope
from service.settings import Settings
from service.telemetry.metrics import GAUGES
from tests.api.wire import STATS, body_of, serving
from tests.clusters import free_port
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "monitoring"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
PANELS = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


RULES = {rule["alert"]: rule for rule in load("alerts.yml")["groups"][0]["rules"]}


async def test_the_dashboard_and_the_rules_name_only_metrics_that_are_exposed(
    client: httpx.AsyncClient, database: TestDatabase
) -> None:
    token = await create_token(database.owner_url, "prometheus", [Scope.METRICS])
    exposition = (await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})).text
    # A gauge of the database has no sample until it has a value. tests/api/test_metrics.py checks all of them.
    known = {*re.findall("^# TYPE (queuestats_[a-z_]+)", exposition, re.MULTILINE)}
    known |= {f"queuestats_{name}" for name in GAUGES} | {
        f"{name}_{end}" for name in known for end in ("bucket", "sum", "count")
    }
    used = re.findall("queuestats_[a-z_]+", " ".join([*QUERIES, *(rule["expr"] for rule in RULES.values())]))
    assert set(used) - known == set()


def test_every_alert_names_the_section_with_its_actions() -> None:
    document = "docs/operations.md"
    paragraphs = dict(re.findall(r"^### (Queuestats\w+)\n\n(\S.*)$", (ROOT / document).read_text(), re.MULTILINE))
    assert list(paragraphs) == list(RULES)
    assert {alert: rule["annotations"]["runbook"] for alert, rule in RULES.items()} == {
        alert: f"{document}#{alert.lower()}" for alert in paragraphs
    }


def test_the_error_ratio_covers_exactly_the_endpoints_of_the_api() -> None:
    paths = [route.path for route in ROUTES if isinstance(route, Route)]
    of_api = {path.removeprefix(f"{QUEUE}/") for path in paths if path.startswith(QUEUE)}
    selected = re.findall('endpoint=~"([^"]+)"', RULES["QueuestatsErrors"]["expr"])
    assert [set(each.split("|")) for each in selected] == [of_api, of_api]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [case for test in load("alerts_test.yml")["tests"] for case in test["alert_rule_test"]]
    fires, is_silent = (
        {case["alertname"] for case in cases if bool(case.get("exp_alerts")) is it} for it in (True, False)
    )
    assert fires == RULES.keys()
    assert is_silent >= RULES.keys()


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool on this machine")
@pytest.mark.parametrize("command", [("check", "alerts.yml"), ("test", "alerts_test.yml")])
def test_the_rules_pass_their_tests_in_promtool(command: tuple[str, str]) -> None:
    what, name = command
    checked = subprocess.run([str(PROMTOOL), what, "rules", FOLDER / name], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@contextmanager
def prometheus(target: str, token: str, folder: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes the target with the documented configuration."""
    configured = (FOLDER / "prometheus.yml").read_text().replace("service:8080", target)
    configured = configured.replace("/etc/prometheus/token", "token").replace("15s", "1s")
    (folder / "prometheus.yml").write_text(configured)
    (folder / "token").write_text(token)
    shutil.copy(FOLDER / "alerts.yml", folder)
    port = free_port()
    options = [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        command = [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", *options]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="there is no Prometheus on this machine")
async def test_every_query_of_the_dashboard_has_a_result(
    settings: Settings, database: TestDatabase, owner: Any, tmp_path: Path
) -> None:
    await insert(owner, [Message(status="retry")])
    await owner.execute(
        "INSERT INTO queuestats.audit_log (action, sender_id, token_name, request_id, messages)"
        " VALUES ('verify', 0, '', '', 0)"
    )
    token = await create_token(database.owner_url, "everything", list(Scope))
    async with serving(settings) as url, httpx.AsyncClient(trust_env=False, timeout=30) as client:
        with prometheus(url.removeprefix("http://"), token, tmp_path) as prometheus_url:
            await ask_until_answered(client, url, token, prometheus_url)


async def ask_until_answered(client: httpx.AsyncClient, url: str, token: str, prometheus_url: str) -> None:
    unanswered = list(QUERIES)
    while unanswered:
        for call in ("stats", "hold", "release"):
            content = body_of(Format.JSON, token=token, id=119)
            await client.post(url + STATS.replace("stats", call), content=content)
        # The service refuses this request because it is too large.
        await client.post(url + STATS, content=b" " * 70_000)
        unanswered = [query for query in unanswered if not await has_answer(client, prometheus_url, query)]
        await asyncio.sleep(0.3)


async def has_answer(client: httpx.AsyncClient, url: str, query: str) -> bool:
    try:
        response = await client.get(f"{url}/api/v1/query", params={"query": query})
    except httpx.ConnectError:
        return False
    return bool(response.status_code == 200 and response.json()["data"]["result"])
