"""`queuestats bench http` in its smallest size: everybody takes part, wrong answers stop it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from service.auth import create_token
from service.bench import load, wrk
from service.bench.http import HttpPlan, measure_http
from service.bench.questions import check_of, row_of_json, stats_request
from service.bench.rivals import BARE, NAIVE, NAIVE_BIGGEST, SERVICE, SERVICE_BIGGEST, UNBATCHED, XML
from service.bench.rounds import Contestant, Ratio, Rounds, check, ratios, results
from service.bench.sample import Sample, sample_of
from service.cli.bench_output import put_out
from service.errors import CommandError
from service.model import Format
from service.settings import Settings
from tests.api.wire import serve_process
from tests.conftest import TestDatabase

SMALL = HttpPlan(Rounds((4,), rounds=2, seconds=0.2), messages=1000, naive=Path(__file__).with_name("naive_fastapi.py"))
WHILE_WRITING = HttpPlan(Rounds((4,), rounds=1, seconds=0.2), messages=1000, write_rates=(100,))


def settings_of(database: TestDatabase) -> Settings:
    return Settings(database_url=database.service_url, admin_database_url=database.owner_url, data_dir=Path("/nowhere"))


@pytest.mark.slow
async def test_all_take_part_and_the_circumstances_are_told(
    database: TestDatabase, owner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    report = await asyncio.to_thread(measure_http, settings_of(database), SMALL)

    [phase] = report["phases"]
    everybody = {SERVICE, BARE, XML, UNBATCHED, SERVICE_BIGGEST, NAIVE, NAIVE_BIGGEST}
    assert {row["name"] for row in phase["results"]} == everybody
    assert all(row["errors"] == 0 and row["rate"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in phase["results"])
    assert {"commit", "python", "postgresql", "packages", "cpus", "settings"} <= report["circumstances"].keys()
    assert report["circumstances"]["data_set"]["messages"] == 1000
    put_out(report, str(tmp_path / "http.json"), tmp_path)
    assert f"{SERVICE} / {BARE}" in capsys.readouterr().out
    assert f"| {SERVICE} / {BARE} |" in (tmp_path / "http.md").read_text("utf-8")
    assert ElementTree.parse(tmp_path / "http-rates.svg").getroot().tag.endswith("svg")
    assert json.loads((tmp_path / "http.json").read_bytes())["phases"] == json.loads(json.dumps(report["phases"]))


@pytest.mark.slow
async def test_three_quarters_of_each_bar_are_enough_while_messages_are_written(
    database: TestDatabase, owner: Any
) -> None:
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    report = await asyncio.to_thread(measure_http, settings_of(database), WHILE_WRITING)

    [phase] = report["phases"]
    assert phase["written_per_second"] == 100
    bars = {(row["ratio"], row["of"]): row["bar"] for row in phase["ratios"]}
    assert bars[f"{SERVICE} / {BARE}", "rate"] == pytest.approx(0.75 * 0.45)
    # Some were enqueued, some have left.
    assert await owner.fetchval("SELECT max(id) FROM messages") > 1000


async def test_a_database_that_is_not_marked_disposable_is_left_alone(database: TestDatabase, owner: Any) -> None:
    with pytest.raises(CommandError, match="not marked disposable"):
        await asyncio.to_thread(measure_http, settings_of(database), SMALL)
    assert await owner.fetchval("SELECT count(*) FROM messages") == 0


@pytest.mark.skipif(not wrk.is_installed(), reason="wrk is not installed")
async def test_wrk_counts_answers_and_refusals_apart(database: TestDatabase) -> None:
    token = await create_token(database.owner_url, "load")
    with serve_process({"QUEUESTATS_DATABASE_URL": database.service_url}) as served:
        right, wrong = (stats_request(Format.JSON, secret, 119) for secret in (token, "qs_wrong"))
        target = load.Target(int(served.url.rpartition(":")[2]), (right, wrong))
        await asyncio.to_thread(load.drive, target, 2, 30, 10)
        sample = await asyncio.to_thread(wrk.drive, target, 2, 1)
    assert sample.answers > 0
    assert abs(sample.answers - sample.errors) <= 4
    assert 0 < sample.p50_ms <= sample.p99_ms < 1000


async def test_our_generator_counts_answers_and_refusals_apart(database: TestDatabase) -> None:
    token = await create_token(database.owner_url, "load")
    with serve_process({"QUEUESTATS_DATABASE_URL": database.service_url}) as served:
        right, wrong = (stats_request(Format.JSON, secret, 119) for secret in (token, "qs_wrong"))
        target = load.Target(int(served.url.rpartition(":")[2]), (right, wrong))
        sample, answers = await asyncio.to_thread(load.drive, target, 3, 30, 100)
    assert (sample.answers, sample.errors) == (50, 50)
    assert [answer.number for answer in answers] == [0] * 50
    assert all(row_of_json(answer.body)["total"] == 0 for answer in answers)


async def test_nobody_there_is_an_error() -> None:
    with pytest.raises(CommandError, match="no answer"):
        await asyncio.to_thread(load.drive, load.Target(1, (b"",)), 2, 0.2)


def row(**changed: int) -> bytes:
    numbers = {"hold": 4, "new": 1, "proc": 2, "retry": 3, "total": 10} | changed
    return json.dumps({"data": [numbers]}).encode()


def test_an_answer_that_does_not_add_up_or_is_of_another_sender_stops_the_run() -> None:
    target = load.Target(1, (b"", b""))
    still = Contestant("a", target, check_of(row_of_json, [7, 8], {7: 10, 8: 11}))
    moving = replace(still, check=check_of(row_of_json, [7, 8], None))

    check(still, [load.Answer(0, row())])
    check(moving, [load.Answer(1, row())])
    for contestant, answer in [(still, load.Answer(1, row())), (moving, load.Answer(0, row(total=11)))]:
        with pytest.raises(CommandError, match="wrongly"):
            check(contestant, [answer])
    with pytest.raises(CommandError, match="otherwise"):
        check(moving, [load.Answer(0, b'{"error":503,"error_text":"Service unavailable"}')])


def test_percentiles_are_in_milliseconds_of_latencies_in_seconds() -> None:
    sample = sample_of([each / 1000 for each in range(100, 0, -1)], errors=0, seconds=2)
    assert (sample.p50_ms, sample.p95_ms, sample.p99_ms, sample.rate) == (51, 96, 100, 50)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    def sample(answers: int, p99_ms: float) -> Sample:
        return Sample(answers, 0, 1, 1, 1, p99_ms)

    samples = {
        ("a", 32): [sample(10, 2), sample(90, 2), sample(20, 6)],
        ("b", 32): [sample(20, 2), sample(30, 1), sample(20, 2)],
        ("a", 128): [sample(1, 1)] * 3,
    }
    wanted = [Ratio("a", "b", 0.5), Ratio("a", "b", of="tail"), Ratio("a", "nobody")]

    [rate, tail] = ratios(samples, wanted)
    assert (rate["median"], rate["least"], rate["greatest"]) == (1, 0.5, 3)
    assert (tail["median"], tail["least"], tail["greatest"]) == (2, 1, 3)
    assert [each["rate"] for each in results(samples)] == [20, 20, 1]
