"""hold, release, purge and holds over HTTP."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from msgspec.structs import replace

from service.access.admin import create_token
from service.model import Format, Scope
from service.settings import Settings
from tests.api.operator import Operator
from tests.api.wire import STATS, body_of, check_error, client_of, serving
from tests.conftest import TestDatabase, open_pool
from tests.oracle import Message, insert

SUCCESS = {"error": 0, "error_text": "Successful operation"}


async def test_the_documented_body_and_nothing_else(operator: Operator) -> None:
    for call in ("hold", "release", "purge"):
        assert (await operator.post(call)).json() == SUCCESS
        response = await operator.post(call, format=Format.XML)
        assert response.text == "<xml><error>0</error><error_text>Successful operation</error_text></xml>"


async def test_a_hold_stops_new_and_retry_and_a_release_restores_them(operator: Operator) -> None:
    assert await operator.counts() == (2, 1, 1, 1)
    held = await operator.done("hold", account_id=306)
    assert held["messages"] == 2
    assert held.keys() == {"hold_id", "job_id", "messages"}
    assert await operator.counts() == (1, 1, 0, 3)
    assert (await operator.done("release", account_id=306))["messages"] == 2
    assert await operator.counts() == (2, 1, 1, 1)
    # A second release of the same messages is not an error.
    assert (await operator.done("release", account_id=306))["messages"] == 0


async def test_a_message_with_status_hold_but_without_a_hold_is_new_after_a_release(operator: Operator) -> None:
    assert (await operator.done("release", account_id=307))["messages"] == 1
    assert await operator.counts() == (3, 1, 1, 0)


async def test_a_message_that_arrives_or_returns_from_proc_is_held_if_a_hold_matches(
    operator: Operator, owner: Any
) -> None:
    await operator.done("hold", isp="Gmail")
    await insert(owner, [Message(isp="Gmail"), Message(isp="Yahoo")])
    await owner.execute("UPDATE messages SET status = 'retry' WHERE status = 'proc'")
    assert await operator.counts() == (1, 0, 1, 5)
    assert (await operator.done("release"))["messages"] == 5
    assert await operator.counts() == (5, 0, 2, 0)


async def test_a_message_is_released_when_no_active_hold_matches_it(operator: Operator) -> None:
    await operator.done("hold", account_id=306)
    await operator.done("hold", isp="Gmail")
    assert (await operator.done("release", account_id=306))["messages"] == 1
    assert await operator.counts(account_id=306) == (0, 1, 1, 1)
    # A release ends the holds of its own filter and of narrower ones.
    await operator.done("release", account_id=306, isp="Gmail")
    assert len((await operator.post("holds")).json()["data"]) == 1
    await operator.done("release")
    assert (await operator.post("holds")).json()["data"] == []
    assert await operator.counts(account_id=306) == (1, 1, 1, 0)


async def test_a_purge_removes_every_status(operator: Operator, owner: Any) -> None:
    assert (await operator.done("purge", account_id=306))["messages"] == 3
    assert await operator.counts() == (1, 0, 0, 1)
    assert (await operator.done("purge"))["messages"] == 2
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1


async def test_a_dry_run_counts_and_changes_nothing(operator: Operator, owner: Any) -> None:
    hits = {
        "hold": {"new": 2, "retry": 1},
        "release": {"hold": 1},
        "purge": {"hold": 1, "new": 2, "proc": 1, "retry": 1},
    }
    for call, expected in hits.items():
        assert (await operator.post(call, dry_run=1)).json() == {"details": expected, **SUCCESS}
    xml = (await operator.post("purge", format=Format.XML, dry_run=1)).text
    assert xml.startswith("<xml><details><hold>1</hold><new>2</new><proc>1</proc><retry>1</retry></details><error>0")
    assert await owner.fetchval("SELECT count(*) FROM queuestats.jobs") == 0
    assert await operator.counts() == (2, 1, 1, 1)


async def test_active_holds_are_listed_with_the_number_of_their_messages(operator: Operator) -> None:
    await operator.done("hold", account_id=306, reason="complaints", expires_in=3600)
    (hold,) = (await operator.post("holds")).json()["data"]
    assert list(hold) == sorted(hold)
    assert (hold["account_id"], hold["campaign_id"], hold["isp"]) == (306, None, None)
    assert (hold["reason"], hold["messages"]) == ("complaints", 2)
    assert (hold["created_by_kind"], hold["created_by"]) == ("token", "operator")
    (job,) = (await operator.post("jobs")).json()["data"]
    assert (job["requested_by_kind"], job["requested_by"]) == ("token", "operator")
    assert hold["created_at"] < hold["expires_at"]
    assert "<reason>complaints</reason>" in (await operator.post("holds", format=Format.XML)).text


async def test_an_expired_hold_releases_alone_exactly_once(operator: Operator, owner: Any) -> None:
    await operator.done("hold", account_id=306, expires_in=1)
    await operator.done("hold", account_id=307)
    while await operator.counts(account_id=306) != (1, 1, 1, 0):  # noqa: ASYNC110 - the database sends no event
        await asyncio.sleep(0.1)
    assert await operator.counts(account_id=307) == (0, 0, 0, 2)
    assert await owner.fetchval("SELECT count(*) FROM queuestats.audit_log WHERE action = 'expire'") == 1


async def test_every_request_is_in_the_audit_log_which_the_service_cannot_change(
    operator: Operator, owner: Any, database: TestDatabase
) -> None:
    await operator.done("hold", account_id=306, reason="complaints")
    await operator.done("purge", isp="Gmail")
    rows = await owner.fetch("SELECT * FROM queuestats.audit_log WHERE action IN ('hold', 'purge') ORDER BY id")
    assert {row["actor_kind"] for row in rows} == {"token"}
    assert [(row["action"], row["account_id"], row["isp"], row["actor_name"], row["reason"]) for row in rows] == [
        ("hold", 306, None, "operator", "complaints"),
        ("purge", None, "Gmail", "operator", ""),
    ]
    assert all(row["request_id"] for row in rows)
    async with open_pool(database.service_url) as pool, pool.connection() as connection:
        for change in ("UPDATE queuestats.audit_log SET reason = ''", "DELETE FROM queuestats.audit_log"):
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(change)


async def test_a_request_with_more_messages_than_the_setting_responds_at_once_with_its_job(
    settings: Settings, control_token: str, queue: None, owner: Any
) -> None:
    async with serving(replace(settings, control_messages=2)) as url, client_of(url) as client:
        operator = Operator(client, control_token)
        # No process can continue the job.
        async with owner.transaction():
            await owner.execute("LOCK TABLE queuestats.job_chunks IN SHARE MODE")
            details = await operator.done("purge")
            assert details["messages"] == 0
        while await operator.counts() != (0, 0, 0, 0):  # noqa: ASYNC110 - the database sends no event
            await asyncio.sleep(0.05)


async def test_a_job_changes_the_other_messages_while_it_waits_for_locked_ones(
    operator: Operator, owner: Any, database: TestDatabase
) -> None:
    async with owner.transaction():
        await owner.execute("SELECT FROM messages WHERE isp = 'Yahoo' FOR UPDATE")
        purge = asyncio.create_task(operator.done("purge"))
        while await operator.counts() != (0, 0, 1, 0):  # noqa: ASYNC110 - the database sends no event
            await asyncio.sleep(0.05)
        assert not purge.done()
    assert (await purge)["messages"] == 5


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"id": 0}, "id must be a whole number from 1 to 9223372036854775807"),
        ({"expires_in": 31_536_001}, "expires_in must be a whole number from 0 to 31536000"),
        ({"reason": "x" * 201}, "reason must be a string of at most 200 characters without NUL and lone surrogates"),
        ({"dry_run": 2}, "dry_run must be 0 or 1"),
        ({"details": "yes"}, "details must be 0 or 1"),
    ],
)
async def test_a_wrong_parameter_changes_nothing(
    client: httpx.AsyncClient, control_token: str, owner: Any, members: dict[str, Any], text: str
) -> None:
    content = body_of(Format.JSON, **({"token": control_token, "id": 119} | members))
    response = await client.post(STATS.replace("stats", "hold"), content=content)
    assert check_error(response, 400, Format.JSON) == f"Incorrect request: {text}"
    assert await owner.fetchval("SELECT count(*) FROM queuestats.holds") == 0


async def test_a_token_acts_only_within_its_limits(
    client: httpx.AsyncClient, database: TestDatabase, token: str, queue: None
) -> None:
    refused = await Operator(client, token).post("hold")
    assert check_error(refused, 403, Format.JSON) == "No access: this token lacks the scope control"
    limited = await create_token(database.owner_url, "limited", list(Scope), sender_ids=[119], account_ids=[306])
    operator = Operator(client, limited)
    for account_id in (None, 307):
        refused = await operator.post("purge", account_id=account_id)
        assert check_error(refused, 403, Format.JSON).startswith("No access: this token is limited to")
    assert (await operator.done("hold", account_id=306))["messages"] == 2
    assert len((await operator.post("holds")).json()["data"]) == 1
    everything = Operator(client, await create_token(database.owner_url, "other", list(Scope)))
    await everything.done("hold")
    assert len((await operator.post("holds")).json()["data"]) == 1


async def test_concurrent_holds_and_releases_leave_exact_counts(operator: Operator, owner: Any) -> None:
    await asyncio.gather(*(operator.post(call) for call in ("hold", "release", "hold", "release") * 5))
    await operator.done("release")
    assert await operator.counts() == (3, 1, 1, 0)
    assert await owner.fetchval("SELECT count(*) FROM queuestats.held_messages") == 0
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []


async def test_the_job_of_a_hold_that_was_released_holds_no_more_messages(owner: Any, queue: None) -> None:
    start = "SELECT job_id FROM queuestats.start_job($1, 119, NULL, NULL, NULL, 'x', '', '', NULL)"
    step = "SELECT state FROM queuestats.step_job($1)"
    hold = await owner.fetchval(start, "hold")
    assert await owner.fetchval(step, hold) == "working"
    for job in (await owner.fetchval(start, "release"), hold):
        while await owner.fetchval(step, job) not in ("done", None):
            pass
    counts = "SELECT count(*) FILTER (WHERE status = 'hold'), count(*) FROM messages WHERE sender_id = 119"
    assert tuple(await owner.fetchrow(counts)) == (0, 5)
    assert await owner.fetch("SELECT FROM queuestats.held_messages") == []


# Requests that could act on too many messages: the body, the URL, and a text of the refusal.
MISTAKES: list[tuple[str, Any, str, str]] = [
    ("purge", {"dryrun": 1}, "", "did you mean dry_run?"),
    ("purge", {}, "dry_run=1", "did you mean dry_run in the body?"),
    ("purge", {}, "campaign_id=4591", "did you mean campaign_id in the body?"),
    ("purge", {"acount_id": 306}, "", "did you mean account_id?"),
    ("purge", {"dry_run": None}, "", "dry_run must have a value"),
    ("purge", {"account_id": 0}, "", "account_id must be a whole number from 1 to"),
    ("purge", {"isp": ""}, "", "isp must have a value"),
    ("purge", {"reason": "spam"}, "", "reason is not a parameter of purge"),
    ("purge", {"group": "isp"}, "", "group is not a parameter of purge"),
    ("purge", '"account_id":306,"account_id":307', "", "account_id must be given once"),
    ("purge", "<account_id>306</account_id><account_id>307</account_id>", "", "account_id must be given once"),
    ("purge", "<dry_run></dry_run>", "", "dry_run must have a value"),
    ("purge", {}, "format=", "format must have a value"),
    ("hold", {"expires_at": "2026-11-28T19:00:00Z"}, "", "did you mean expires_in?"),
    ("hold", {"hold_id": 1}, "", "hold_id is not a parameter of hold"),
    ("release", {"hold": 1}, "", "did you mean hold_id?"),
    ("release", {"hold_id": 1, "isp": "Gmail"}, "", "hold_id can't be combined with"),
]


@pytest.mark.parametrize(("call", "members", "url", "text"), MISTAKES)
async def test_a_request_with_a_mistake_is_refused_and_changes_nothing(
    operator: Operator, owner: Any, call: str, members: Any, url: str, text: str
) -> None:
    if isinstance(members, dict):
        content = json.dumps({"token": operator.token, "id": 119, **members})
    elif members.startswith("<"):
        content = f"<xml><token>{operator.token}</token><id>119</id>{members}</xml>"
    else:
        content = f'{{"token":"{operator.token}","id":119,{members}}}'
    refused = await operator.client.post(f"{STATS.replace('stats', call)}?{url}", content=content)
    assert text in check_error(refused, 400, Format.XML if content.startswith("<") else Format.JSON)
    assert await owner.fetchval("SELECT count(*) FROM queuestats.jobs") == 0
    assert await operator.counts() == (2, 1, 1, 1)


async def test_a_wrong_token_is_refused_before_a_wrong_parameter(client: httpx.AsyncClient, token: str) -> None:
    for secret, code in (("qs_unknown", 401), (token, 403)):
        content = json.dumps({"token": secret, "id": 119, "dryrun": 1})
        check_error(await client.post(STATS.replace("stats", "purge"), content=content), code, Format.JSON)


@pytest.mark.parametrize("call", ["holds", "jobs", "explain"])
async def test_holds_and_jobs_refuse_an_unknown_parameter(operator: Operator, call: str) -> None:
    refused = await operator.post(call, sender=1)
    assert check_error(refused, 400, Format.JSON).startswith(f"Incorrect request: sender is not a parameter of {call}")
    content = body_of(Format.JSON, token=operator.token, id=119)
    refused = await operator.client.post(f"{STATS.replace('stats', call)}?isp=Gmail", content=content)
    assert "isp is not accepted in the URL" in check_error(refused, 400, Format.JSON)


HITS = {"hold": 3, "release": 1, "purge": 5}


@pytest.mark.parametrize("call", HITS)
async def test_more_than_at_most_is_a_conflict_and_changes_nothing(operator: Operator, owner: Any, call: str) -> None:
    hits = HITS[call]
    for format in Format:
        refused = await operator.post(call, format=format, at_most=hits - 1)
        text = check_error(refused, 409, format)
        assert text == f"Conflict: {hits} messages match, more than at_most {hits - 1}"
    for table in ("jobs", "job_chunks", "holds", "audit_log WHERE action <> 'create token'"):
        assert await owner.fetchval(f"SELECT count(*) FROM queuestats.{table}") == 0
    assert await operator.counts() == (2, 1, 1, 1)
    assert (await operator.done(call, at_most=hits))["messages"] == hits


async def test_a_purge_with_at_most_removes_no_message_that_arrives_after_it_was_counted(
    owner: Any, queue: None
) -> None:
    start = "SELECT job_id FROM queuestats.start_job('purge', 119, NULL, NULL, NULL, 'x', '', '', NULL, 'token', $1)"
    job = await owner.fetchval(start, 5)
    await insert(owner, [Message(), Message(status="retry")])
    while await owner.fetchval("SELECT state FROM queuestats.step_job($1)", job) != "done":
        pass
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE sender_id = 119") == 2


@pytest.mark.parametrize("action", ["hold", "release"])
async def test_a_job_with_at_most_waits_for_writers_that_have_not_seen_its_hold(
    owner: Any, queue: None, database: TestDatabase, action: str
) -> None:
    start = "SELECT job_id FROM queuestats.start_job($1, 119, NULL, NULL, NULL, 'x', '', '', NULL, 'token', $2)"
    held = [Message(status="hold")] if action == "release" else [Message()]
    async with open_pool(database.owner_url) as pool, pool.connection() as writer:
        # The writer begins after the job has counted, and before the hold is seen.
        async with owner.transaction():
            job = await owner.fetchval(start, action, HITS[action])
            open_transaction = writer.transaction()
            await open_transaction.start()
            await insert(writer, held)
        states = [await owner.fetchval("SELECT state FROM queuestats.step_job($1)", job) for _ in range(4)]
        assert states[-1] == "settling"
        await open_transaction.commit()
    while await owner.fetchval("SELECT state FROM queuestats.step_job($1)", job) != "done":
        pass
    left = "SELECT count(*) FROM messages WHERE sender_id = 119 AND status = ANY ($1::message_status[])"
    assert await owner.fetchval(left, ["new", "retry"] if action == "hold" else ["hold"]) == 0


async def test_a_release_by_hold_id_ends_only_that_hold(operator: Operator, owner: Any) -> None:
    first = await operator.done("hold", account_id=306)
    second = await operator.done("hold", isp="Gmail")
    assert await operator.counts() == (0, 1, 0, 4)
    # Two messages of account 306 are held. One of them has the ISP Gmail, so the other hold matches it.
    dry = (await operator.post("release", hold_id=first["hold_id"], dry_run=1)).json()["details"]
    assert dry == {"hold": 1}
    released = await operator.done("release", hold_id=first["hold_id"], at_most=1)
    assert (released["hold_id"], released["messages"]) == (first["hold_id"], 1)
    assert [each["id"] for each in (await operator.post("holds")).json()["data"]] == [second["hold_id"]]
    assert await operator.counts() == (0, 1, 1, 3)
    again = await operator.post("release", hold_id=first["hold_id"])
    unknown = "Incorrect request: hold_id must be the id of an active hold of this sender"
    assert check_error(again, 400, Format.JSON) == unknown
    assert (await operator.done("release", hold_id=second["hold_id"]))["messages"] == 2
    assert await operator.counts() == (2, 1, 1, 1)


async def test_a_release_by_hold_id_of_another_sender_ends_nothing(operator: Operator, owner: Any) -> None:
    hold_id = (await operator.done("hold"))["hold_id"]
    content = body_of(Format.JSON, token=operator.token, id=120, hold_id=hold_id)
    refused = await operator.client.post(STATS.replace("stats", "release"), content=content)
    assert "hold_id must be" in check_error(refused, 400, Format.JSON)
    start = "SELECT queuestats.start_job('release', 120, NULL, NULL, NULL, 'x', '', '', NULL, of_hold => $1)"
    with pytest.raises(asyncpg.PostgresError, match="hold_id must be"):
        await owner.execute(start, hold_id)
    assert len((await operator.post("holds")).json()["data"]) == 1


async def test_a_limited_token_ends_no_hold_beyond_its_accounts(
    operator: Operator, client: httpx.AsyncClient, database: TestDatabase
) -> None:
    limited = await create_token(database.owner_url, "limited", list(Scope), sender_ids=[119], account_ids=[306])
    agency = Operator(client, limited)
    for members, text in (({}, "the hold must have an account_id"), ({"account_id": 307}, "other accounts")):
        hold_id = (await operator.done("hold", **members))["hold_id"]
        refused = await agency.post("release", hold_id=hold_id)
        assert check_error(refused, 403, Format.JSON).endswith(text)
    # A hold of exactly this account, by a token without limits.
    hold_id = (await operator.done("hold", account_id=306))["hold_id"]
    check_error(await agency.post("release", hold_id=hold_id), 403, Format.JSON)
    own = (await agency.done("hold", account_id=306))["hold_id"]
    assert (await agency.done("release", hold_id=own))["messages"] == 0
    assert len((await operator.post("holds")).json()["data"]) == 3


async def test_a_dry_run_of_a_release_counts_the_messages_that_it_would_change(operator: Operator) -> None:
    await operator.done("hold", account_id=306)
    await operator.done("hold", isp="Gmail")
    await operator.done("hold", account_id=306, campaign_id=4591, isp="Yahoo")
    for members in ({}, {"account_id": 306}, {"isp": "Gmail"}, {"account_id": 307}, {"isp": "Yahoo"}):
        dry = (await operator.post("release", dry_run=1, **members)).json()["details"]
        expected = {
            # The three held messages, and the one with the status hold that no hold has.
            (): 4,
            # The message with the ISP Yahoo. Another hold matches the one with Gmail.
            ("account_id", 306): 1,
            # The message of account 307. Another hold matches the one of account 306.
            ("isp", "Gmail"): 1,
            ("account_id", 307): 1,
            ("isp", "Yahoo"): 0,
        }
        assert dry == {"hold": expected[next(iter(members.items()), ())]}, members


async def test_a_token_named_expiry_releases_like_any_other(
    client: httpx.AsyncClient, database: TestDatabase, queue: None
) -> None:
    operator = Operator(client, await create_token(database.owner_url, "expiry", list(Scope)))
    # No hold has this message, so the end of an expired hold does not change it.
    assert (await operator.done("release", account_id=307))["messages"] == 1
    assert await operator.counts(account_id=307) == (2, 0, 0, 0)


async def test_the_end_of_an_expired_hold_is_in_the_audit_log_as_an_expiry(operator: Operator, owner: Any) -> None:
    await operator.done("hold", account_id=307, expires_in=1)
    finished = "SELECT count(*) FROM queuestats.audit_log WHERE actor_kind = 'expiry' AND action = 'finish'"
    while not await owner.fetchval(finished):  # noqa: ASYNC110 - the database sends no event
        await asyncio.sleep(0.1)
    assert await operator.counts(account_id=307) == (1, 0, 0, 1)
    rows = await owner.fetch("SELECT DISTINCT action FROM queuestats.audit_log WHERE actor_kind = 'expiry'")
    assert {row["action"] for row in rows} == {"expire", "finish"}
    (release, _) = (await operator.post("jobs")).json()["data"]
    assert (release["action"], release["requested_by_kind"]) == ("release", "expiry")


async def test_a_service_of_the_previous_release_can_start_jobs(owner: Any, queue: None) -> None:
    start = "SELECT job_id FROM queuestats.start_job('hold', 119, NULL, NULL, NULL, 'operator', 'id', '', NULL)"
    job = await owner.fetchval(start)
    kind = "SELECT requested_by_kind || ' ' || requested_by FROM queuestats.jobs WHERE id = $1"
    assert await owner.fetchval(kind, job) == "token operator"
    assert await owner.fetchval("SELECT queuestats.cancel_job($1, 'operator')", job)


async def test_times_are_the_same_in_xml(operator: Operator) -> None:
    await operator.done("hold", isp="Gmail")
    (hold,) = (await operator.post("holds")).json()["data"]
    assert f"<created_at>{hold['created_at']}</created_at>" in (await operator.post("holds", Format.XML)).text


async def test_at_most_of_a_large_queue_is_counted_by_the_counters_and_collected_by_the_job(owner: Any) -> None:
    await owner.execute("INSERT INTO messages (sender_id, recipient) SELECT 119, 'x' FROM generate_series(1, 100001)")
    start = "SELECT job_id FROM queuestats.start_job('{}', 119, NULL, NULL, NULL, 't', '', '', NULL, at_most => {})"
    for action in ("hold", "purge"):
        with pytest.raises(asyncpg.PostgresError, match="100001 messages match, more than at_most 100000"):
            await owner.fetchval(start.format(action, 100_000))
        await owner.fetchval(start.format(action, 100_001))
    assert await owner.fetch("SELECT action, state, matched FROM queuestats.jobs ORDER BY id") == [
        ("hold", "waiting", 0),
        ("purge", "waiting", 100_001),
    ]


async def test_a_large_purge_with_at_most_removes_no_more_than_were_counted(owner: Any) -> None:
    """The first step of the job collects the messages. Other messages arrive before this step."""
    arrive = "INSERT INTO messages (sender_id, recipient) SELECT 1, 'x' FROM generate_series(1, $1)"
    await owner.execute(arrive, 100_500)
    await owner.fetch("SELECT queuestats.start_job('purge', 1, NULL, NULL, NULL, 'x', '', '', NULL, 'token', 100500)")
    await owner.execute(arrive, 700)
    while not await owner.fetchval("SELECT finished_at IS NOT NULL FROM queuestats.jobs"):
        await owner.fetch("SELECT queuestats.step_job(most_pending => 1000000)")
    assert await owner.fetchval("SELECT count(*) FROM messages") == 700


async def test_the_service_deletes_what_is_older_than_its_retention(
    settings: Settings, owner: Any, queue: None
) -> None:
    await owner.execute(
        "INSERT INTO queuestats.audit_log (at, action, sender_id, request_id)"
        " SELECT now() - make_interval(days => n), 'hold', 119, '' FROM generate_series(1, 60) AS n"
    )
    async with serving(replace(settings, retention_days=50)):
        while await owner.fetchval("SELECT count(*) FROM queuestats.audit_log") != 49:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
