"""The comparison of complete requests in its smallest size, which a wrong response stops."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.model import Action
from service.settings import Settings
from tests.api.wire import STATS, serve_process
from tests.load import advice, control, subscribers
from tests.load.charts import draw
from tests.load.competitors import BARE, NAIVE, SERVICE, UNBATCHED, Variant, read_json, read_xml
from tests.load.http import check, measure_http, options_of
from tests.load.processes import ROOT, Checkout

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@needs_wrk
@pytest.mark.slow
async def test_all_variants_are_measured_during_writes(disposable: Settings, tmp_path: Path) -> None:
    # On a busy machine, a second may pass without a response.
    small = ["--messages=1000", "--rounds=1", "--seconds=3", "--connections=4", "--writing=100"]
    report = await asyncio.to_thread(measure_http, disposable, options_of(small))

    names = [each["variant"] for each in report["results"] if each["written_per_second"] == 100]
    assert {SERVICE, BARE, UNBATCHED, NAIVE} <= set(names)
    assert len(names) == len(set(names)) == 7
    assert all(each["answers_per_second"] > 0 and each["errors"] == 0 for each in report["results"])
    assert all(each["cpu_us_per_answer"] > 0 for each in report["results"])
    assert {name for each in report["results"] for name in each["cpu_ratios"]} >= {f"{SERVICE} / {BARE}"}
    ratios = {name for each in report["results"] for name in each["ratios"]}
    assert {f"{SERVICE} / {each}" for each in (BARE, UNBATCHED, NAIVE)} <= ratios
    assert len(draw(report, tmp_path)) == 1


async def test_a_wrong_response_stops_the_run(disposable: Settings, owner: Any) -> None:
    await owner.execute("INSERT INTO messages (sender_id, recipient) VALUES (7, 'someone@example.com')")
    token = Checkout(ROOT, disposable.owner_url or "", disposable.database_url or "").create_token()
    with serve_process({"QUEUESTATS_DATABASE_URL": disposable.database_url or ""}) as served:
        body = f'{{"token": "{token}", "id": 7}}'
        asked = Variant("service", served.url + STATS, [body], [7], read_json, served.process.pid)
        right = {"new": 1, "proc": 0, "retry": 0, "hold": 0}
        check(asked, 1, {7: right})
        check(asked, 1, None)
        with pytest.raises(RuntimeError, match="service answers 200"):
            check(asked, 1, {7: {**right, "new": 2}})
        with pytest.raises(RuntimeError, match="service answers 401"):
            check(replace(asked, bodies=[body.replace("qs_", "qs_x")]), 1, None)


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="does not add up"):
        read_json(b'{"data": [{"new": 1, "proc": 0, "retry": 0, "hold": 0, "total": 2}]}')
    with pytest.raises(ValueError, match="does not add up"):
        read_xml(b"<xml><data><new>1</new><proc>0</proc><retry>0</retry><hold>0</hold><total>2</total></data></xml>")


@needs_wrk
@pytest.mark.slow
async def test_subscribers_are_measured_together_with_stats(disposable: Settings) -> None:
    few = ["--subscribers=10", "--queries=3", "--messages=1000", "--rounds=1", "--seconds=5", "--connections=4"]
    few.append("--writing=10")
    report = await subscribers.measure(disposable, subscribers.options_of(few))
    assert report["subscribers"] == 10
    assert report["ratio"] > 0


@pytest.mark.slow
async def test_ways_to_have_the_counts_of_many_senders_are_measured(disposable: Settings) -> None:
    options = advice.options_of(["--senders=10", "--messages=1000", "--rounds=1", "--seconds=1"])
    report = {each["variant"]: each["counts a second"] for each in await advice.measure(disposable, options)}
    assert len(report) == 6
    assert all(report[name] > 0 for name in ("single requests", "top"))
    assert report["nothing"] == report["these writes alone"] == 0


@pytest.mark.slow
async def test_control_is_measured_together_with_stats(disposable: Settings, tmp_path: Path) -> None:
    small = ["--messages=2000", "--plain=2000", "--writing=20", "--quiet=1"]
    report = await control.measure_control(disposable, control.options_of(small))
    assert [each["action"] for each in report["results"]] == list(Action)
    assert all(each["messages_per_second"] > 0 and each["p99_ms"] > 0 for each in report["results"])
    assert len(draw(report, tmp_path)) == 1
