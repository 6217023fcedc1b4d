"""`queue/report/`: reports on many senders by any keys, compared with sums computed in Python."""

import base64
import csv
import io
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import msgspec
import pytest
from lxml import etree

from service.access.admin import create_token
from service.model import Dimension, Format, Order, ReportQuery
from service.queue import report as report_module
from service.wire.cursor import write_cursor
from tests.api.wire import STATS, body_of, check_error
from tests.conftest import TestDatabase
from tests.oracle import STATUSES, Message, insert

REPORT = STATS.replace("stats", "report")
COUNTS = [*("hold", "new", "proc", "retry"), "total"]
BY = [each for size in range(5) for each in itertools.combinations(["sender", "account", "campaign", "isp"], size)]
ORDERS = ["key", "total", "new", "proc", "retry", "hold"]
# None: no filter. Each key has cases with one value, with several, and with the messages without one.
FILTERS: list[dict[str, Any]] = [
    {},
    {"account_id": 1},
    {"account_id": [0, 2]},
    {"campaign_id": [1, 2]},
    {"campaign_id": 0},
    {"isp": "Gmail"},
    {"isp": ["", "Yahoo"]},
    {"isp": ""},
    {"account_id": [1, 2], "campaign_id": [0, 1]},
    {"account_id": [0, 1, 2], "isp": ["Gmail", "Yahoo"]},
    {"campaign_id": 1, "isp": ["Gmail", ""]},
    {"account_id": 1, "campaign_id": 1, "isp": "Gmail"},
]
SENDERS = [1, 2, 7, 12, 119, 120, 1200]


def some_messages(seed: int, number: int) -> list[Message]:
    chance = random.Random(seed)
    return [
        Message(
            chance.choice(SENDERS),
            chance.randrange(3),
            chance.randrange(3),
            chance.choice(["", "Gmail", "Yahoo"]),
            chance.choice(STATUSES),
        )
        for _ in range(number)
    ]


def columns_of(by: Iterable[str]) -> list[str]:
    return [Dimension(each).column for each in by]


def listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def of(message: Message) -> list[tuple[str, Any]]:
    """The parameters of filters, and the value of each in a message."""
    return [
        ("senders", message.sender_id),
        *((name, getattr(message, name)) for name in ("account_id", "campaign_id", "isp")),
    ]


def expected(messages: Iterable[Message], by: Sequence[str], **asked: Any) -> list[dict[str, Any]]:
    """The rows of all pages, in their order."""
    columns, counts = columns_of(by), defaultdict[tuple[Any, ...], Counter[str]](Counter)
    for message in messages:
        begins = str(message.sender_id).startswith(str(asked.get("search", "")))
        if begins and all(asked.get(name) is None or value in listed(asked[name]) for name, value in of(message)):
            counts[tuple(getattr(message, column) for column in columns)][message.status] += 1
    rows = [
        {**dict(zip(columns, key, strict=True)), **{name: of_key[name] for name in COUNTS[:4]}, "total": of_key.total()}
        for key, of_key in sorted(counts.items())
    ]
    order = asked.get("order", "key")
    if order != "key":
        rows.sort(key=lambda row: -row[order])
    return [row for row in rows if row[asked.get("status", "total")]]


async def ask(
    client: httpx.AsyncClient, token: str, written_in: Format = Format.JSON, /, **members: Any
) -> httpx.Response:
    return await client.post(REPORT, content=body_of(written_in, token=token, **members))


async def pages(client: httpx.AsyncClient, token: str, **members: Any) -> list[Any]:
    """The rows of all pages."""
    rows, after = [], members.pop("after", None)
    while True:
        response = await ask(client, token, after=after, **members)
        assert response.status_code == 200, response.text
        content = response.json()
        assert len(content["data"]) <= members.get("limit", 1000)
        rows += content["data"]
        after = content["next"]
        if after is None:
            return rows


@pytest.fixture
async def messages(owner: Any) -> list[Message]:
    """Messages whose deltas are folded into epoch 0, folded into the epochs of hot senders, or pending."""
    folded, hot, pending = some_messages(1, 300), some_messages(2, 60), some_messages(3, 40)
    await insert(owner, folded)
    await owner.execute("SELECT * FROM queuestats.fold(100000, 1e9)")
    await insert(owner, hot)
    await owner.execute("SELECT * FROM queuestats.fold(100000, 5)")
    await insert(owner, [*pending, Message(33, 1, 1, "Gmail")])
    return [*folded, *hot, *pending, Message(33, 1, 1, "Gmail")]


@pytest.mark.parametrize("by", BY, ids=lambda by: ",".join(by) or "none")
async def test_every_grouping_with_every_filter_is_exact(
    client: httpx.AsyncClient, token: str, messages: list[Message], by: tuple[str, ...]
) -> None:
    for filters, senders in itertools.product(FILTERS, (None, [1, 12, 119, 33, 5])):
        asked = {**filters, "senders": senders}
        rows = (await ask(client, token, by=list(by) or "none", **asked)).json()["data"]
        # A grand total always has a row.
        nothing = [] if by else [dict.fromkeys(COUNTS, 0)]
        assert rows == (expected(messages, by, **asked) or nothing), asked


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("by", [("sender",), ("sender", "isp"), ("account", "campaign"), ("isp",)], ids=",".join)
async def test_all_pages_together_are_the_report_in_every_order(
    client: httpx.AsyncClient, token: str, messages: list[Message], by: tuple[str, ...], order: str
) -> None:
    for asked in ({}, {"status": "hold"}, {"isp": ["Gmail", ""], "senders": [1, 119, 120, 33]}):
        given: dict[str, Any] = {"by": list(by), "order": order, **asked}
        assert await pages(client, token, limit=3, **given) == expected(messages, **given | {"by": by}), given


async def test_count_is_the_number_of_rows_of_all_pages(
    client: httpx.AsyncClient, token: str, messages: list[Message]
) -> None:
    for by, order in [
        (["sender", "isp"], "key"),
        (["sender", "isp"], "new"),
        (["account"], "key"),
        (["sender"], "new"),
    ]:
        content = (await ask(client, token, by=by, order=order, count=1, limit=2)).json()
        assert content["count"] == len(expected(messages, by))
        content = (await ask(client, token, by=by, order=order, count=1, limit=2, after=content["next"])).json()
        assert content["count"] == len(expected(messages, by))
    # A parameter that the list of the largest senders does not have.
    assert (await ask(client, token, order="total", count=1)).json()["count"] is None
    assert "count" not in (await ask(client, token)).json()


@pytest.mark.parametrize("search", ["1", "12", "120", "01", "x", "9" * 30])
async def test_search_finds_senders_by_the_beginning_of_their_ids(
    client: httpx.AsyncClient, token: str, messages: list[Message], search: str
) -> None:
    for asked in ({}, {"senders": [1, 12, 33, 1200]}, {"names": 1}, {"names": 1, "senders": [12, 33, 1200]}):
        given: dict[str, Any] = {"search": search, **asked}
        rows = await pages(client, token, limit=2, **given)
        for row in rows:
            row.pop("sender_name", None)
        assert rows == expected(messages, ["sender"], **given), asked


@pytest.mark.usefixtures("messages")
async def test_search_with_names_also_finds_names(client: httpx.AsyncClient, token: str, owner: Any) -> None:
    await owner.execute("INSERT INTO queuestats.keys (id, value) VALUES (7, '12 monkeys'), (119, 'other'), (2, '=1+1')")
    for senders in (None, [2, 7, 119, 120]):
        rows = (await ask(client, token, search="12", names=1, senders=senders)).json()["data"]
        found = [(row["sender_id"], row["sender_name"]) for row in rows]
        assert (7, "12 monkeys") in found
        assert {sender_id for sender_id, _ in found} == {7, 12, 120, 1200} & {*(senders or SENDERS)}
    rows = (await ask(client, token, search="12")).json()["data"]
    assert [row["sender_id"] for row in rows] == [12, 120, 1200]
    # A cell of CSV that a spreadsheet would run as a formula, and the name of the column.
    lines = (await ask(client, token, senders=[2], names=1, format="csv")).text.splitlines()
    assert lines[0].endswith("total,sender_name")
    assert lines[1].endswith(",'=1+1")


async def test_xml_and_csv_have_the_rows_of_json(
    client: httpx.AsyncClient, token: str, messages: list[Message]
) -> None:
    given: dict[str, Any] = {"by": "sender,isp", "senders": "1,119, 33", "limit": 4}
    of_json = await ask(client, token, **given)
    in_text = [{name: str(value) for name, value in row.items()} for row in of_json.json()["data"]]
    for format in Format:
        of_xml = await ask(client, token, format, **given, **({"format": "xml"} if format is Format.JSON else {}))
        root = etree.fromstring(of_xml.content)
        assert [{each.tag: each.text or "" for each in row} for row in root.findall("data")] == in_text
        assert [each.tag for each in root][-3:] == ["error", "error_text", "next"]
        assert root.findtext("next") == of_json.json()["next"]
        assert root.findtext("error") == "0"
    of_csv = await ask(client, token, **given, format="csv", count=1)
    assert of_csv.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert list(csv.DictReader(io.StringIO(of_csv.text, newline=""))) == in_text
    assert of_csv.headers["x-queuestats-next"] == of_json.json()["next"]
    assert of_csv.headers["x-queuestats-count"] == str(len(expected(messages, ["sender", "isp"], senders=[1, 119, 33])))


async def test_csv_quotes_cells_that_a_spreadsheet_would_run(client: httpx.AsyncClient, token: str, owner: Any) -> None:
    names = ["=1", "+1", "-1", "@1", "\t1", 'a,"b"']
    await insert(owner, [Message(isp=isp) for isp in names])
    response = await ask(client, token, by="isp", senders=119, format="csv")
    written = [row["isp"] for row in csv.DictReader(io.StringIO(response.text, newline=""))]
    assert sorted(written) == sorted([*(f"'{name}" for name in names[:5]), names[5]])
    assert "x-queuestats-next" not in response.headers
    empty = await ask(client, token, by="isp", senders=5, format="csv")
    assert empty.text == "isp,hold,new,proc,retry,total\r\n"


async def test_of_an_empty_queue(client: httpx.AsyncClient, token: str) -> None:
    end = '"error":0,"error_text":"Successful operation","next":null}'
    assert (await ask(client, token)).text == f'{{"data":[],{end}'
    zeros = '{"hold":0,"new":0,"proc":0,"retry":0,"total":0}'
    assert (await ask(client, token, by="none")).text == f'{{"data":[{zeros}],{end}'
    assert (await ask(client, token, Format.XML)).text.startswith("<xml><data/><error>0</error>")


async def test_ids_are_strings_on_request(client: httpx.AsyncClient, token: str, messages: list[Message]) -> None:
    (row, *_) = (await ask(client, token, by=["sender", "account"], ids="string")).json()["data"]
    assert (row["sender_id"], row["account_id"]) == ("1", "0")


@pytest.mark.usefixtures("messages")
async def test_a_client_with_the_current_report_gets_304(client: httpx.AsyncClient, token: str) -> None:
    tag = (await ask(client, token)).headers["etag"]
    content = body_of(Format.JSON, token=token)
    response = await client.post(REPORT, content=content, headers={"If-None-Match": tag})
    assert (response.status_code, response.content, response.headers["vary"]) == (304, b"", "Accept-Encoding")
    content = body_of(Format.JSON, token=token, order="total")
    assert (await client.post(REPORT, content=content, headers={"If-None-Match": tag})).status_code == 200


async def test_a_large_page_is_sent_in_slices_with_or_without_gzip(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    await insert(owner, (Message(1 + n // 10, isp=f"isp {n % 10}") for n in range(12_000)))
    given: dict[str, Any] = {"by": ["sender", "isp"], "limit": 10_000, "token": token}
    content = body_of(Format.JSON, **given)
    plain = await client.post(REPORT, content=content, headers={"Accept-Encoding": "identity"})
    packed = await client.post(REPORT, content=content, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["etag"] == packed.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.json() == packed.json()
    assert len(plain.json()["data"]) == 10_000
    rows = await pages(client, token, by=["sender", "isp"], limit=10_000)
    assert rows == expected([Message(1 + n // 10, isp=f"isp {n % 10}") for n in range(12_000)], ["sender", "isp"])


@pytest.mark.parametrize("by", [("sender",), ("account",), ("sender", "account", "isp"), ()], ids=str)
@pytest.mark.parametrize(
    "limits",
    [{"sender_ids": [1, 119]}, {"account_ids": [1, 2]}, {"sender_ids": [1, 119], "account_ids": [2]}],
    ids=str,
)
async def test_a_limited_token_gets_the_report_within_its_limits(
    client: httpx.AsyncClient,
    database: TestDatabase,
    messages: list[Message],
    by: tuple[str, ...],
    limits: dict[str, Any],
) -> None:
    token = await create_token(database.owner_url, "agency", **limits)
    seen = {"senders": limits.get("sender_ids"), "account_id": limits.get("account_ids")}
    for asked in ({}, {"order": "total"}, {"isp": "Gmail", "status": "new"}, {"senders": [1]}, {"account_id": 2}):
        rows = (await ask(client, token, by=list(by) or "none", **asked)).json()["data"]
        assert rows == expected(messages, by, **(seen | asked)), asked
    if "sender_ids" in limits:
        for order in ("key", "oldest"):
            refused = await ask(client, token, senders=[1, 2], order=order)
            # The limit to accounts is checked first.
            assert check_error(refused, 403, Format.JSON).startswith("No access: this token is limited to")
    if "account_ids" in limits:
        for asked in ({"account_id": [0, 2]}, {"order": "oldest"}):
            check_error(await ask(client, token, **asked), 403, Format.JSON)


async def test_cursors_of_a_limited_token_name_no_other_sender(
    client: httpx.AsyncClient, database: TestDatabase, owner: Any
) -> None:
    own = [Message(sender_id, account_id=7) for sender_id in (5, 400, 900)]
    # More than the first statement of a page with one row looks up.
    await insert(owner, [*own, *(Message(100 + n, account_id=8) for n in range(600))])
    token = await create_token(database.owner_url, "agency", account_ids=[7])
    rows, after = [], None
    while True:
        content = (await ask(client, token, limit=1, after=after)).json()
        rows += content["data"]
        after = content["next"]
        if after is None:
            break
        (_, sender_id, *_) = msgspec.msgpack.decode(base64.urlsafe_b64decode(f"{after}==")[12:])
        assert sender_id in (5, 400, 900)
    assert rows == expected(own, ["sender"])


async def test_a_page_without_rows_of_a_limited_token_is_an_error_without_a_cursor(
    client: httpx.AsyncClient, database: TestDatabase, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(owner, [Message(5, account_id=7), *(Message(100 + n, account_id=8) for n in range(60))])
    await insert(owner, [Message(900, account_id=7)])
    monkeypatch.setattr(report_module, "MOST_READ", 50)
    limited = await create_token(database.owner_url, "agency", account_ids=[7])
    first = (await ask(client, limited, limit=1)).json()
    assert [row["sender_id"] for row in first["data"]] == [5]
    for by in ("sender", ["sender", "isp"]):
        after = (await ask(client, limited, by=by, limit=1)).json()["next"]
        text = check_error(await ask(client, limited, by=by, after=after), 400, Format.JSON)
        assert text.endswith("this page would take more than 50 counters or look-ups: name senders")
    assert len(await pages(client, limited, senders=[5, 900])) == 2
    # A token without limits gets the next page.
    assert await pages(client, token, account_id=7) == expected([Message(5), Message(900)], ["sender"])


async def test_a_sender_that_grows_between_pages_is_not_repeated(
    client: httpx.AsyncClient, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(owner, [Message(7, account_id) for account_id in range(4)])
    first = (await ask(client, token, by=["sender", "account"], limit=2)).json()
    monkeypatch.setattr(report_module, "MOST_READ", 5)
    await insert(owner, [Message(7, account_id) for account_id in range(4, 9)])
    response = await ask(client, token, by=["sender", "account"], limit=2, after=first["next"])
    assert "more than 5 counters" in check_error(response, 400, Format.JSON)


async def test_a_cursor_is_valid_only_for_its_query(
    client: httpx.AsyncClient, token: str, messages: list[Message]
) -> None:
    after = (await ask(client, token, limit=1)).json()["next"]
    assert (await ask(client, token, limit=5, after=after)).status_code == 200
    others: list[dict[str, Any]] = [
        {"after": after, "order": "total"},
        {"after": after, "by": ["sender", "isp"]},
        {"after": after, "isp": "Gmail"},
        {"after": after, "senders": [1, 2]},
        {"after": f"{after}A"},
        {"after": after[:-2]},
        {"after": f"B{after[1:]}"},
        {"after": "x"},
        {"after": "é"},
    ]
    for asked in others:
        text = check_error(await ask(client, token, **asked), 400, Format.JSON)
        assert text == "Incorrect request: after must be the next of a page of the same query"


async def test_the_list_of_the_largest_continues_if_senders_grow_between_pages(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    messages = [Message(sender_id) for sender_id in range(1, 21) for _ in range(30 - sender_id)]
    await insert(owner, messages)
    first = (await ask(client, token, order="total", limit=4)).json()
    assert [row["sender_id"] for row in first["data"]] == [1, 2, 3, 4]
    # More senders than a page has become larger than the last row.
    grown = [Message(sender_id) for sender_id in range(13, 21) for _ in range(50)]
    await insert(owner, grown)
    rows = await pages(client, token, order="total", limit=4, after=first["next"])
    stayed = [row for row in expected([*messages, *grown], ["sender"], order="total") if row["total"] < 26]
    assert rows == stayed


FORGED: list[tuple[Order, tuple[Any, ...]]] = [
    (Order.KEY, ()),
    (Order.KEY, (0, 1, 2)),
    (Order.KEY, ("x", 1, 1, 1, "")),
    (Order.KEY, (0, 1, 1, 1, 2)),
    (Order.KEY, (0, 2**63, 1, 1, "")),
    (Order.KEY, (0, 1, 1, 1, "\0")),
    (Order.TOTAL, ("x", 1, 0)),
    (Order.TOTAL, (-1, 1, -2000)),
    (Order.OLDEST, (0, 1, 0)),
    (Order.OLDEST, ("\0", 1, -2)),
]


@pytest.mark.parametrize(("order", "position"), FORGED, ids=str)
async def test_a_forged_cursor_is_refused(
    client: httpx.AsyncClient, token: str, order: Order, position: tuple[Any, ...]
) -> None:
    after = write_cursor(ReportQuery(order=order), position)
    text = check_error(await ask(client, token, order=order, after=after), 400, Format.JSON)
    assert text == "Incorrect request: after must be the next of a page of the same query"


async def test_the_next_of_the_longest_row_is_accepted(client: httpx.AsyncClient, token: str, owner: Any) -> None:
    most = 2**63 - 1
    messages = [Message(most, most, most, "\x01" * 254 + last) for last in "ab"]
    await insert(owner, messages)
    for order in ("key", "new"):
        rows = await pages(client, token, by=BY[-1], order=order, limit=1)
        assert rows == expected(messages, BY[-1])


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"by": "planet"}, "by must be a list of sender, account, campaign, isp, none"),
        ({"by": ["none", "isp"]}, "by must be none alone, or a list of"),
        ({"by": [1]}, "by must be a list of"),
        ({"by": []}, "by must be a list of sender, account, campaign, isp, none"),
        ({"senders": []}, "senders must be a list of 1 to 1000 whole numbers from 1 to"),
        ({"senders": [0]}, "senders must be a list of"),
        ({"senders": [1.5]}, "senders must be a list of"),
        ({"senders": "1,,2"}, "senders must be a list of"),
        ({"senders": [[1]]}, "senders must be a list of"),
        ({"senders": list(range(1, 1002))}, "senders must be a list of"),
        ({"senders": [2**63]}, "senders must be a list of"),
        ({"account_id": list(range(101))}, "account_id must be a list of 1 to 100 whole numbers from 0 to"),
        ({"campaign_id": [-1]}, "campaign_id must be a list of"),
        ({"campaign_id": True}, "campaign_id must be a list of"),
        ({"isp": [5]}, "isp must be a list of 1 to 100 strings"),
        ({"isp": ["\0"]}, "isp must be a list of 1 to 100 strings"),
        ({"isp": [str(n) for n in range(101)]}, "isp must be a list of 1 to 100 strings"),
        ({"status": "sent"}, "status must be total, new, proc, retry or hold"),
        ({"order": "size"}, "order must be key, total, new, proc, retry, hold or oldest"),
        ({"limit": 10_001}, "limit must be a whole number from 1 to 10000"),
        ({"limit": 0}, "limit must be a whole number from 1 to 10000"),
        ({"format": "yaml"}, "format must be json, xml or csv"),
        ({"order": "oldest", "by": "isp"}, "order=oldest is for by=sender"),
        ({"order": "oldest", "isp": "Gmail"}, "order=oldest is for by=sender"),
        ({"order": "oldest", "limit": 1001}, "order=oldest lists the first 1,000 senders; the order key lists all"),
        ({"sender": 119}, "sender is not a parameter of report; did you mean senders?"),
        ({"id": 119}, "id is not a parameter of report, which takes token, format"),
    ],
    ids=str,
)
async def test_wrong_parameters_are_refused(
    client: httpx.AsyncClient, token: str, members: dict[str, Any], words: str
) -> None:
    assert words in check_error(await ask(client, token, **members), 400, Format.JSON)


async def test_the_error_of_a_request_for_csv_has_the_format_of_the_request(
    client: httpx.AsyncClient, token: str
) -> None:
    for format in Format:
        check_error(await ask(client, token, format, format="csv", limit=0), 400, format)


async def test_a_report_that_reads_too_much_is_refused_with_an_alternative(
    client: httpx.AsyncClient, token: str, messages: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "MOST_READ", 5)
    text = check_error(await ask(client, token, by="isp"), 400, Format.JSON)
    assert text.endswith(
        "more than 5 counters or look-ups: name senders,"
        " or ask by sender in the order key without count, which has pages"
    )
    text = check_error(await ask(client, token, by="isp", senders=[1, 2, 7, 12, 119, 120]), 400, Format.JSON)
    assert "ask for fewer senders" in text
    monkeypatch.setattr(report_module, "MOST_LARGEST", 5)
    text = check_error(await ask(client, token, order="total", limit=6), 400, Format.JSON)
    assert text.endswith("order=total lists the first 5 senders; the order key lists all")


@pytest.mark.parametrize("by", ["none", "isp", "campaign"])
async def test_a_report_for_a_list_reads_only_its_items(
    client: httpx.AsyncClient, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    await insert(owner, [Message(account_id=id_, campaign_id=id_) for id_ in range(1, 41)])
    while await owner.fetchval("SELECT count(*) FROM queuestats.deltas"):
        await owner.execute("SELECT * FROM queuestats.fold(100000, 1e9)")
    monkeypatch.setattr(report_module, "MOST_READ", 5)
    lists = {"account_id": [1, 40], "campaign_id": [1, 40], "isp": ["Gmail"]}
    for names in (["campaign_id"], ["account_id", "campaign_id"], ["campaign_id", "isp"], [*lists]):
        asked = {name: lists[name] for name in names}
        assert (await ask(client, token, by=by, **asked)).json()["error"] == 0, asked


@pytest.mark.parametrize("by", [["account", "isp"], ["sender", "account", "isp"]], ids=",".join)
async def test_counters_of_other_campaigns_that_are_read_count_towards_the_limit(
    client: httpx.AsyncClient, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch, by: list[str]
) -> None:
    await insert(owner, [Message(account_id=id_, campaign_id=id_) for id_ in range(1, 41)])
    while await owner.fetchval("SELECT count(*) FROM queuestats.deltas"):
        await owner.execute("SELECT * FROM queuestats.fold(100000, 1e9)")
    monkeypatch.setattr(report_module, "MOST_READ", 30)
    after = (await ask(client, token, by=by, campaign_id=1)).json().get("next") if "sender" in by else None
    text = check_error(await ask(client, token, by=by, campaign_id=1, after=after), 400, Format.JSON)
    assert "more than 30 counters or look-ups: name senders, or name accounts" in text
    asked = {"by": by, "campaign_id": 1, "account_id": [1, 2]}
    assert len((await ask(client, token, **asked)).json()["data"]) == 1


@pytest.mark.parametrize("by", ["none", "isp", "campaign"])
async def test_counters_between_the_items_of_a_long_list_count_towards_the_limit(
    client: httpx.AsyncClient, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    await insert(owner, [Message(campaign_id=campaign_id) for campaign_id in range(1, 41)])
    while await owner.fetchval("SELECT count(*) FROM queuestats.deltas"):
        await owner.execute("SELECT * FROM queuestats.fold(100000, 1e9)")
    monkeypatch.setattr(report_module, "MOST_READ", 30)
    monkeypatch.setattr(report_module, "MOST_SLICES", 1)
    assert (await ask(client, token, by=by, campaign_id=[1, 30])).json()["error"] == 0
    text = check_error(await ask(client, token, by=by, campaign_id=[1, 40]), 400, Format.JSON)
    assert "more than 30 counters" in text


async def test_all_pages_together_are_the_report_if_pages_end_early(
    client: httpx.AsyncClient, token: str, messages: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender whose rows are not complete at the end of a page is on the next page."""
    monkeypatch.setattr(report_module, "_enough", lambda query: query.limit)
    for asked in ({"by": ["sender"]}, {"by": ["sender", "campaign"]}, {"isp": "Gmail", "status": "hold"}):
        by = asked.get("by", ["sender"])
        for limit in (1, 7, 40):
            rows = await pages(client, token, limit=limit, **asked)
            assert rows == expected(messages, **{"by": by, **asked}), (asked, limit)


async def test_while_the_queue_is_not_counted_it_is_unavailable(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    await owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_inserted")
    check_error(await ask(client, token), 503, Format.JSON)


async def test_a_report_with_counts_below_zero_is_an_error(
    client: httpx.AsyncClient, token: str, messages: list[Message], owner: Any
) -> None:
    await owner.execute("UPDATE queuestats.counters SET hold = -1000 WHERE sender_id = 33 AND grouping_set = 'total'")
    await owner.execute(
        "INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)"
        " VALUES (33, 1, 1, 'Gmail', 0, 0, 0, -5)"
    )
    check_error(await ask(client, token), 503, Format.JSON)
    assert (await ask(client, token, senders=[1, 2])).status_code == 200


AGED = """
INSERT INTO messages (sender_id, status, recipient, created_at)
SELECT n, (ARRAY['new', 'hold'])[1 + n % 2]::message_status, 'x',
       '2026-01-01Z'::timestamptz + (9 - n % 4) * interval '1h'
FROM generate_series(1, 9) AS n
"""


async def test_the_oldest_in_pages(client: httpx.AsyncClient, token: str, owner: Any) -> None:
    await owner.execute(AGED)
    oldest = sorted(range(1, 10), key=lambda n: (9 - n % 4, n))
    for senders in (None, list(range(1, 10))):
        rows = await pages(client, token, order="oldest", limit=2, senders=senders)
        assert [row["sender_id"] for row in rows] == oldest
        assert [list(row) for row in rows] == [["sender_id", *COUNTS, "oldest"]] * 9
        rows = await pages(client, token, order="oldest", limit=2, status="new", senders=senders)
        assert [row["sender_id"] for row in rows] == [n for n in oldest if n % 2 == 0]
    lines = (await ask(client, token, order="oldest", limit=1, format="csv")).text.splitlines()
    assert lines[0] == ",".join(["sender_id", *COUNTS, *(f"oldest_{name}" for name in COUNTS)])
    assert lines[1] == "3,1,0,0,0,1,2026-01-01T06:00:00.000000Z,,,,2026-01-01T06:00:00.000000Z"
