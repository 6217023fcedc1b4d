"""The load test in a small size, and tests that it finds errors."""

import asyncio
import json
from typing import Any

import pytest

from service.access.admin import create_token
from service.model import Grouping
from tests.api.wire import serve_process
from tests.conftest import TestDatabase
from tests.load.answers import WrongAnswer, check_error, check_report
from tests.load.journal import Answer, Entry, NotedLedger, wrong_answers
from tests.load.run import LoadPlan, compare, load
from tests.oracle import Message, insert

ROW = {"account_id": 0, "campaign_id": 0, "hold": 4, "isp": "", "new": 1, "proc": 2, "retry": 3, "total": 10}


def report(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"data": rows, "error": 0, "error_text": "Successful operation"}).encode()


@pytest.mark.slow
def test_the_responses_to_the_mix_are_correct_during_writes(database: TestDatabase) -> None:
    plan = LoadPlan(seconds=3, clients=8, pause=0.01, messages=5000, rate=200)
    outcome = load(database.owner_url, database.service_url, plan)
    assert outcome.wrong == []
    assert outcome.compared > 0


def test_a_response_is_compared_with_writes_before_and_during_its_request() -> None:
    journal: list[Entry] = []
    ledger = NotedLedger(7, journal)
    cell = ledger.cell(306, 0, "", "new")
    for number in range(3):
        ledger.attempt({cell: 1})
        if number < 2:
            ledger.commit({cell: 1})
    # Messages were committed at 1 and 2 s. The third one may be committed at any time from 3 s on.
    times = [0.9, 1, 1.9, 2, 3]
    noted = [entry._replace(at=at) for entry, at in zip(journal, times, strict=True)]

    def wrong(sent_at: float, received_at: float, new: int) -> list[str]:
        row = {**dict.fromkeys(ROW, 0), "isp": "", "new": new, "total": new}
        return list(wrong_answers(noted, [Answer(sent_at, received_at, 7, "total", [row])]))

    assert [wrong(2.1, 2.5, new) == [] for new in (1, 2, 3)] == [False, True, False]
    assert [wrong(1.5, 2.5, new) == [] for new in (0, 1, 2, 3)] == [False, True, True, False]
    assert [wrong(2.1, 3.5, new) == [] for new in (1, 2, 3, 4)] == [False, True, True, False]


async def test_a_response_unlike_the_queue_is_found(database: TestDatabase, owner: Any) -> None:
    messages = [Message(119, 306, 4591, "Gmail", status) for status in ("new", "proc", "hold")]
    await insert(owner, messages)
    token = await create_token(database.owner_url, "load")

    with serve_process({"QUEUESTATS_DATABASE_URL": database.service_url}) as served:
        assert await asyncio.to_thread(compare, served.url, token, {119: messages}) == []
        assert len(await asyncio.to_thread(compare, served.url, token, {119: messages[1:]})) == len(Grouping)


def test_a_correct_report_passes() -> None:
    check_report(report(ROW), "json", "total")
    check_report(report({**ROW, "isp": ""}, {**ROW, "isp": "Gmail"}), "json", "isp")
    check_report(report(), "json", "account")


@pytest.mark.parametrize(
    ("rows", "group"),
    [
        ([], "total"),
        ([ROW, ROW], "total"),
        ([{**ROW, "total": 11}], "total"),
        ([{**ROW, "isp": "Gmail"}], "total"),
        ([{**ROW, "account_id": 2}, {**ROW, "account_id": 1}], "account"),
        ([ROW, ROW], "isp"),
        ([dict.fromkeys(ROW, 0) | {"isp": "Gmail"}], "isp"),
        ([{name: value for name, value in ROW.items() if name != "hold"}], "total"),
    ],
)
def test_a_report_that_breaks_the_contract_is_refused(rows: list[dict[str, Any]], group: str) -> None:
    with pytest.raises(WrongAnswer):
        check_report(report(*rows), "json", group)


def test_another_error_and_other_members_are_refused() -> None:
    check_error(b'{"error":401,"error_text":"API token required"}', "json", 401)
    check_error(b"<xml><error>400</error><error_text>Incorrect request: id</error_text></xml>", "xml", 400)
    for content in (b'{"error":400,"error_text":"API token required"}', b'{"error":401}', report(ROW)):
        with pytest.raises(WrongAnswer):
            check_error(content, "json", 401)
