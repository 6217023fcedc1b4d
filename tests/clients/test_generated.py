"""Clients that are generated from /openapi.json without a warning get the documented responses."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.http.openapi import openapi_document
from tests.clients.conftest import MODULES, NODE, TYPESCRIPT, Asked

PROGRAM = Path(__file__).with_name("generated.mts")


def run(folder: Path, *command: str, **variables: str) -> str:
    """The output, including standard error."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": path, **variables},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A folder with openapi.json."""
    (tmp_path / "openapi.json").write_bytes(openapi_document())
    return tmp_path


@pytest.fixture
def made(described: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports a module of the generated package."""
    command = "openapi-python-client generate --meta none --path openapi.json --output-path made_client"
    assert run(described, *command.split()).strip() == "Generating made_client"
    monkeypatch.syspath_prepend(str(described))
    return lambda name: importlib.import_module(f"made_client.{name}")


@pytest.mark.slow
def test_a_python_client_reads_and_acts(made: Any, asked: Asked) -> None:
    models, read, control = made("models"), "api.read", "api.control"
    with made("client").AuthenticatedClient(asked.url, token=asked.token) as client:

        def call(module: str, **given: Any) -> Any:
            return made(module).sync_detailed(client=client, **given)

        by_isp = models.StatsRequest(id=119, group=models.Grouping.ISP)
        report = call(f"{read}.stats", body=by_isp)
        assert [(row.isp, row.total) for row in report.parsed.data] == [("Gmail", 240), ("Yahoo", 100)]
        assert call(f"{read}.stats", body=by_isp, if_none_match=report.headers["ETag"]).status_code == 304
        assert [row.sender_id for row in call(f"{read}.top", limit=5).parsed.data] == [119]
        assert call(f"{read}.history", body=models.HistoryRequest(id=119)).parsed.data[-1].total == 340

        asked_for = models.HoldRequest(id=119, isp="Gmail", reason="a test", details=models.Flag.YES)
        assert call(f"{control}.hold", body=asked_for).parsed.details.messages == 60
        found = call(f"{control}.holds", body=models.HoldsRequest(id=119)).parsed.data
        (hold,) = [each for each in found if each.isp == "Gmail"]
        assert (hold.isp, hold.reason, hold.expires_at, hold.messages) == ("Gmail", "a test", None, 60)
        found = call(f"{control}.jobs", body=models.JobsRequest(id=119)).parsed.data
        (job,) = [each for each in found if each.isp == "Gmail"]
        assert (job.action, job.changed) == (models.Action.HOLD, 60)

        refused = call(f"{read}.stats", body=models.StatsRequest(id=0))
        assert (refused.status_code, refused.parsed.error) == (400, 400)
        assert "queuestats_" in call("api.operate.metrics").parsed


@pytest.mark.slow
@pytest.mark.skipif(NODE is not None, reason=str(NODE))
def test_a_typescript_client_is_strict_about_members_and_gets_its_responses(described: Path, asked: Asked) -> None:
    generator = MODULES / "openapi-typescript" / "bin" / "cli.js"
    run(described, "node", str(generator), "openapi.json", "-o", "openapi.d.ts")
    (described / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
    run(described, *TYPESCRIPT, PROGRAM.name)
    output = run(described, "node", "generated.mjs", QUEUE_URL=asked.url, QUEUE_TOKEN=asked.token)
    assert json.loads(output) == [340, 2, 90, 90, "hold", True, 400]
