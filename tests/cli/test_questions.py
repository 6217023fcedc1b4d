"""`stats`, `explain` and `psql`: queries on the command line."""

import asyncio
import csv
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import asyncpg
import msgspec
import pytest
from rich.console import Console

from service.cli.output import table_of
from service.cli.top import View, sparkline
from service.db.statements import literal, read_sql
from service.model import Dimension, Measure, TopQuery
from service.reports import TopReport
from tests.cli.programs import ROOT, Run, program, queuestats, run_on_terminal
from tests.conftest import TestDatabase

# account, campaign, isp, status: few enough to count by hand
ROWS = [
    (306, 4591, "Gmail", "new"),
    (306, 4591, "Gmail", "new"),
    (306, 4914, "Yahoo", "hold"),
    (307, 0, "", "proc"),
    (307, 0, "evil\x1b[31m", "retry"),
]


@pytest.fixture
def ask(database: TestDatabase) -> Run:
    """The program, on a database that has ROWS for sender 119."""

    async def fill() -> None:
        connection = await asyncpg.connect(database.owner_url)
        await connection.executemany(
            "INSERT INTO messages (sender_id, account_id, campaign_id, isp, status, recipient)"
            " VALUES (119, $1, $2, $3, $4, 'someone@example.com')",
            ROWS,
        )
        await connection.close()

    asyncio.run(fill())
    return partial(
        queuestats,
        QUEUESTATS_DATABASE_URL=database.service_url,
        QUEUESTATS_ADMIN_DATABASE_URL=database.owner_url,
    )


def rows(ended: CompletedProcess[str]) -> list[dict[str, Any]]:
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = msgspec.json.decode(ended.stdout)
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [(0, 0, "", 5)]),
        (("--group", "account"), [(306, 0, "", 3), (307, 0, "", 2)]),
        (("--group", "account_campaign"), [(306, 4591, "", 2), (306, 4914, "", 1), (307, 0, "", 2)]),
        (("--group", "isp"), [(0, 0, "", 1), (0, 0, "Gmail", 2), (0, 0, "Yahoo", 1), (0, 0, "evil\x1b[31m", 1)]),
        (("--group", "isp", "--account", "306", "--campaign", "4591"), [(0, 0, "Gmail", 2)]),
        (("--isp", "Yahoo"), [(0, 0, "", 1)]),
        (("--group", "isp", "--isp", "nobody"), []),
    ],
)
def test_stats_prints_the_rows_of_the_query_as_json(
    ask: Run, options: tuple[str, ...], expected: list[tuple[int, int, str, int]]
) -> None:
    answer = rows(ask("stats", "--sender", "119", "--json", *options))
    assert [(row["account_id"], row["campaign_id"], row["isp"], row["total"]) for row in answer] == expected
    assert all(row["total"] == sum(row[status] for status in ("new", "proc", "retry", "hold")) for row in answer)


def test_a_table_groups_thousands_of_counts_and_not_of_ids() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table_of(["account_id", "total"], [{"account_id": 1234567, "total": 1234567}]))
    assert re.search("│ +1234567 │ +1,234,567 │", captured.get())


def test_a_table_is_complete_and_harmless(ask: Run) -> None:
    table = ask("stats", "--sender", "119", "--group", "isp", COLUMNS="30").stdout
    assert [line.count("│") for line in table.splitlines() if "│" in line] == [9] * 4
    assert "…" not in table
    assert "\x1b" not in table
    assert "evil\\x1b[31m" in table


def test_an_empty_queue_is_an_empty_table_and_no_error(ask: Run) -> None:
    for group in ("account", "account_campaign", "isp"):
        ended = ask("stats", "--sender", "120", "--group", group)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "account_id" in ended.stdout
        assert rows(ask("stats", "--sender", "120", "--group", group, "--json")) == []


def test_stats_as_csv_has_a_head_and_a_line_for_each_row(ask: Run) -> None:
    lines = list(csv.reader(ask("stats", "--sender", "119", "--group", "account", "--csv").stdout.splitlines()))
    assert lines == [
        ["account_id", "campaign_id", "isp", "new", "proc", "retry", "hold", "total"],
        ["306", "0", "", "2", "0", "0", "1", "3"],
        ["307", "0", "", "0", "1", "1", "0", "2"],
    ]


def test_the_oldest_messages_are_added_on_request(ask: Run) -> None:
    (row,) = rows(ask("stats", "--sender", "119", "--with", "oldest", "--json"))
    assert sorted(row["oldest"]) == ["hold", "new", "proc", "retry", "total"]
    assert row["oldest"]["total"] == min(row["oldest"].values())
    assert rows(ask("stats", "--sender", "119", "--with", "oldest", "--from-messages", "--json")) == [row]
    head, line = csv.reader(ask("stats", "--sender", "119", "--with", "oldest", "--csv").stdout.splitlines())
    assert dict(zip(head, line, strict=True))["oldest_total"] == row["oldest"]["total"]
    assert row["oldest"]["hold"] in ask("stats", "--sender", "119", "--with", "oldest").stdout
    refused = ask("stats", "--sender", "119", "--with", "oldest", "--group", "isp")
    assert refused.returncode == 2
    assert "oldest is for the group total" in refused.stderr


def test_rates_are_added_on_request(ask: Run) -> None:
    assert ask("fold").returncode == 0
    (row,) = rows(ask("stats", "--sender", "119", "--with", "rates", "--with", "oldest", "--json"))
    # The service has not run for five minutes.
    assert (row["arrived"], row["left"], row["empty_in"], row["total"]) == (None, None, None, 5)
    assert sorted(row["window"]) == ["from", "to"]
    head, line = csv.reader(ask("stats", "--sender", "119", "--with", "rates", "--csv").stdout.splitlines())
    assert dict(zip(head, line, strict=True))["window_to"] > row["window"]["from"]
    assert {"arrived", "left", "empty_in", "last_left"} <= set(head)
    refused = ask("stats", "--sender", "119", "--with", "rates", "--group", "account")
    assert refused.returncode == 2
    assert "rates are for the groups total and isp" in refused.stderr


def test_the_history_ends_with_the_present_counts(ask: Run) -> None:
    assert ask("fold").returncode == 0
    *_, row = rows(ask("history", "--sender", "119", "--json"))
    assert [row[name] for name in ("new", "proc", "retry", "hold", "total")] == [2, 1, 1, 1, 5]
    *_, gmail, yahoo, _ = rows(ask("history", "--sender", "119", "--group", "isp", "--step", "600", "--json"))
    assert [(each["isp"], each["total"]) for each in (gmail, yahoo)] == [("Gmail", 2), ("Yahoo", 1)]
    assert "departed" not in ask("history", "--sender", "119", "--isp", "Gmail").stdout
    refused = ask("history", "--sender", "119", "--isp", "Gmail", "--step", "60")
    assert refused.returncode == 2
    assert "step 60 is for all ISPs together" in refused.stderr
    refused = ask("history", "--sender", "119", "--from", "yesterday")
    assert refused.returncode == 2


def test_the_report_has_the_rows_of_several_keys_in_pages(ask: Run) -> None:
    by = ("report", "--by", "sender", "--by", "isp")
    first = ask(*by, "--limit", "2", "--json")
    assert [(row["sender_id"], row["isp"], row["total"]) for row in rows(first)] == [(119, "", 1), (119, "Gmail", 2)]
    after = first.stderr.removeprefix("More rows: --after ").strip()
    last = ask(*by, "--limit", "2", "--json", "--after", after)
    assert ([row["isp"] for row in rows(last)], last.stderr) == (["Yahoo", "evil\x1b[31m"], "")
    assert rows(ask(*by, "--json", "--from-messages")) == [*rows(first), *rows(last)]
    filters = ("--sender", "119", "--account", "306", "--campaign", "4914", "--isp", "Yahoo", "--status", "hold")
    head, line = csv.reader(ask("report", *filters, "--by", "account", "--csv", "--names").stdout.splitlines())
    assert head == ["account_id", "hold", "new", "proc", "retry", "total", "account_name"]
    assert line == ["306", "1", "0", "0", "0", "1", ""]
    assert [row["total"] for row in rows(ask("report", "--by", "none", "--isp", "", "--json"))] == [1]
    (oldest,) = csv.DictReader(ask("report", "--order", "oldest", "--csv").stdout.splitlines())
    (row,) = rows(ask("report", "--order", "oldest", "--json"))
    assert oldest["oldest"] == row["oldest"]["total"]
    for wrong in (("--sender", "x"), ("--order", "oldest", "--by", "isp"), ("--csv", "--json")):
        assert ask("report", *wrong).returncode == 2
    assert "not read from the messages" in ask("report", "--search", "1", "--from-messages").stderr
    assert "after must be the next of a page" in ask("report", "--after", "x").stderr


def test_watched_stats_are_shown_again_until_ctrl_c(ask: Run, tmp_path: Path) -> None:
    """A terminal shows the table again: a second total appears after a message has left."""
    command = [*program(), "stats", "--sender", "119", "--watch", "0.1"]
    seen, code = run_on_terminal(command, tmp_path, until=b"total", keys=b"\x03", **ask.keywords)  # type: ignore[attr-defined]
    assert code == 0
    assert "\u2502" in seen
    assert re.search(r"as of \d\d:\d\d:\d\d", seen)
    assert "Stopped." in seen
    assert ask("stats", "--sender", "1", "--watch", "--json").returncode == 2


@pytest.mark.parametrize("options", [(), ("--sender", "0"), ("--sender", "x"), ("--sender", "1", "--group", "all")])
def test_an_impossible_query_is_wrong_usage(options: tuple[str, ...]) -> None:
    for command in ("stats", "explain"):
        refused = queuestats(command, *options)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr


def test_explain_shows_the_statement_of_the_file_its_parameters_and_its_plan(
    ask: Run,
) -> None:
    printed = ask("explain", "--sender", "119", "--account", "306", "--group", "isp").stdout
    shown = msgspec.json.decode(ask("explain", "--sender", "119", "--group", "isp", "--json").stdout)
    assert printed.startswith("As intended: sql/queries/from_counters/isp.sql, ")
    assert "A scan of the messages would read about " in printed
    assert "cast(ARRAY[119] AS bigint[])" in printed
    assert "cast(ARRAY[306] AS bigint[])" in printed
    assert ":sender_id" not in printed
    assert "cost=" in printed
    assert "actual" not in printed
    assert {"statement", "sql", "parameters", "plan"} <= set(shown)
    name = shown["statement"].removeprefix("sql/").removesuffix(".sql")
    assert read_sql(name) == shown["sql"]
    assert shown["plan"][0]["Plan"]


def test_explain_runs_the_statement_on_request(ask: Run) -> None:
    printed = ask("explain", "--sender", "119", "--analyze").stdout
    assert "actual" in printed
    assert re.search(r"\d+ rows, [1-9]\d* pages, \d+\.\d+ ms", printed.splitlines()[0])
    plan = msgspec.json.decode(ask("explain", "--sender", "119", "--analyze", "--json").stdout)["plan"]
    assert "Actual Rows" in plan[0]["Plan"]


@pytest.mark.parametrize("options", [(), ("--batched",), ("--isp", "it's \\ an ISP"), ("--batched", "--isp", "x'y")])
def test_the_sql_of_explain_runs_in_psql_unchanged(ask: Run, options: tuple[str, ...]) -> None:
    printed = ask("explain", "--sender", "119", "--group", "account_campaign", *options).stdout
    shown = printed[printed.index("\n\n") : printed.index(";\n") + 1]
    assert ("ARRAY[119, 120]" in shown) == ("--batched" in options)
    ran = ask("psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", shown)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) == (3 if "--isp" not in options else 0)


def test_an_isp_in_another_case_is_named(ask: Run) -> None:
    assert ask("stats", "--sender", "119", "--isp", "gmail").stderr == "There is no ISP gmail here, but Gmail.\n"
    assert ask("stats", "--sender", "119", "--isp", "Gmail").stderr == ""
    assert ask("stats", "--sender", "119", "--isp", "none").stderr == ""


def test_explain_warns_of_a_plan_that_is_not_the_one_intended(ask: Run) -> None:
    assert ask("explain", "--sender", "119").stderr == ""
    assert ask("psql", "-qc", "ALTER TABLE queuestats.watermarks DROP CONSTRAINT watermarks_pkey").returncode == 0
    warned = ask("explain", "--sender", "119")
    assert "Warning: The index watermarks_pkey is missing" in warned.stderr
    assert warned.stdout.startswith("Not as intended: ")
    assert msgspec.json.decode(ask("explain", "--sender", "119", "--json").stdout)["warnings"]


def test_psql_gets_its_own_arguments_and_gives_its_own_exit_code(ask: Run) -> None:
    assert ask("psql", "-At", "-v", "x=119", "-c", "SELECT 1", "-c", "SELECT 2").stdout == "1\n2\n"
    assert ask("psql", "--tuples-only", "--no-align", "--command=SELECT count(*) FROM messages").stdout == "5\n"
    assert ask("psql", "-At", "-F", ";", "-c", "SELECT 1, 2").stdout == "1;2\n"
    assert ask("psql", "-c", "SELEC").returncode == 1
    assert ask("psql", "-v", "ON_ERROR_STOP=1", "-f", "/no/such/file").returncode == 1
    assert ask("psql", "--no-such-option").returncode == 1


def test_psql_runs_the_file_of_a_query_unchanged(ask: Run) -> None:
    shown = msgspec.json.decode(ask("explain", "--sender", "119", "--group", "account", "--json").stdout)
    given = [part for name, value in shown["parameters"].items() for part in ("-v", f"{name}={literal(value)}")]
    answered = ask("psql", "-qAt", *given, "-f", str(ROOT / shown["statement"]))
    assert answered.stdout == "1|306|0|1||2|0|0|3\n1|307|0|0||0|1|1|2\n"


def test_psql_as_the_service_may_read_and_not_write(ask: Run) -> None:
    assert ask("psql", "--as-service", "-Atc", "SELECT count(*) FROM queuestats.queued_messages").stdout == "5\n"
    for statement in ("DELETE FROM messages", "TRUNCATE messages", "UPDATE messages SET status = 'new'"):
        refused = ask("psql", "--as-service", "-c", statement)
        assert refused.returncode == 1
        assert "permission denied" in refused.stderr
    assert ask("psql", "-Atc", "DELETE FROM messages").stdout == "DELETE 5\n"


def test_the_largest_are_printed_once_without_a_terminal(ask: Run) -> None:
    found = rows(ask("top", "--by", "isp", "--sender", "119", "--json"))
    assert [(row["isp"], row["total"]) for row in found] == [("Gmail", 2), ("", 1), ("Yahoo", 1), ("evil\x1b[31m", 1)]
    assert rows(ask("top", "--json")) == [{"sender_id": 119, "new": 2, "proc": 1, "retry": 1, "hold": 1, "total": 5}]
    assert "119" in ask("top").stdout
    (row,) = rows(ask("top", "--order", "oldest", "--json"))
    (of_stats,) = rows(ask("stats", "--sender", "119", "--with", "oldest", "--json"))
    assert (row["total"], row["oldest"]) == (5, of_stats["oldest"])
    assert row["oldest"]["hold"] in ask("top", "--order", "oldest", "--status", "hold").stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--sender", "119"),
        ("--by", "isp"),
        ("--limit", "0"),
        ("--order", "size"),
        ("--order", "oldest", "--by", "isp", "--sender", "119"),
        ("--status", "new"),
    ],
)
def test_the_largest_with_impossible_arguments_is_wrong_usage(ask: Run, options: tuple[str, ...]) -> None:
    assert ask("top", *options).returncode == 2


def test_the_largest_are_updated_on_a_terminal(ask: Run, database: TestDatabase, tmp_path: Path) -> None:
    command = [*program(), "top", "--by", "isp", "--sender", "119", "--interval", "0.1"]
    seen, exit_code = run_on_terminal(
        command, tmp_path, until=b"last minutes", keys=b"h/ya\n q",
        QUEUESTATS_DATABASE_URL=database.service_url, QUEUESTATS_ADMIN_DATABASE_URL=database.owner_url,
    )  # fmt: skip
    assert exit_code == 0
    assert "by total" in seen
    assert "Yahoo" in seen


def test_names_of_keys_are_columns_on_request(ask: Run, database: TestDatabase) -> None:
    async def name() -> None:
        connection = await asyncpg.connect(database.owner_url)
        await connection.execute("INSERT INTO queuestats.keys (id, value) VALUES (119, 'acme'), (306, 'Müller')")
        await connection.close()

    asyncio.run(name())
    assert ask("hold", "--sender", "119", "--account", "306").returncode == 0
    of_stats = rows(ask("stats", "--sender", "119", "--group", "account", "--names", "--json"))
    assert [list(row.values())[-3:] for row in of_stats] == [["Müller", None, "acme"], [None, None, "acme"]]
    of_top = rows(ask("top", "--by", "account", "--sender", "119", "--names", "--json"))
    assert [(row["account_id"], row["account_name"], row["total"]) for row in of_top] == [
        *((306, "Müller", 3), (307, None, 2))
    ]
    assert list(rows(ask("top", "--by", "isp", "--sender", "119", "--names", "--json"))[0]) == [
        *("isp", "new", "proc", "retry", "hold", "total")
    ]
    for command in ("holds", "jobs"):
        (row,) = rows(ask(command, "--names", "--json"))
        assert (row["sender_name"], row["account_name"], row["campaign_name"]) == ("acme", "Müller", None)
        assert "sender_name" not in rows(ask(command, "--json"))[0]
    assert "acme" in ask("stats", "--sender", "119", "--names").stdout
    assert "acme" in ask("stats", "--sender", "119", "--names", "--csv").stdout


def test_keys_change_the_shown_rows() -> None:
    view = View(TopQuery(Dimension.ISP, Measure.TOTAL, 20, 119), ["isp"])
    view.show(
        TopReport([{"isp": "Gmail", **dict.fromkeys(Measure, 1)}, {"isp": "Yahoo", **dict.fromkeys(Measure, 0)}]), 1
    )
    for key in "r/yahx\x7f\n ":
        view.press(key)
    assert (view.query.order, view.filter, view.is_filtering, view.is_paused) == (Measure.RETRY, "yah", False, True)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(view.draw())
    assert "by retry   paused   filter: yah" in captured.get()
    assert "Yahoo" in captured.get()
    assert "Gmail" not in captured.get()
    for key in "/\x1b q":
        view.press(key)
    assert (view.filter, view.is_paused, view.is_over) == ("", False, True)


def test_a_key_switches_to_the_senders_with_the_oldest_messages_and_back() -> None:
    def drawn() -> str:
        console = Console(width=100)
        with console.capture() as captured:
            console.print(view.draw())
        return captured.get()

    view = View(TopQuery(Dimension.SENDER, Measure.TOTAL, 20), ["sender_id"])
    row: dict[str, Any] = {"sender_id": 119, **dict.fromkeys(Measure, 1)}
    view.show(TopReport([row]), 1)
    for key in "ro":
        view.press(key)
    # The list changes with the next report.
    assert "by oldest retry" in drawn()
    three_hours_ago = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    view.show(TopReport([row | {"oldest": {"retry": three_hours_ago, "total": "2025-01-01T00:00:00Z"}}]), 1)
    assert "3 h 0 min" in drawn()
    view.press("o")
    assert "3 h 0 min" not in drawn()
    of_isps = View(TopQuery(Dimension.ISP, Measure.TOTAL, 20, 119), ["isp"])
    of_isps.press("o")
    assert not of_isps.query.by_age


@pytest.mark.parametrize(
    ("by", "by_age"), [(Dimension.SENDER, False), (Dimension.SENDER, True), (Dimension.ISP, False)]
)
def test_a_screen_of_80_by_24_has_the_borders_and_the_keys(by: Dimension, by_age: bool) -> None:
    oldest = {"oldest": dict.fromkeys(Measure, "2025-01-01T00:00:00Z")}
    key = "some provider of mail " * 5 if by is Dimension.ISP else 119
    rows = [{by.column: key, **dict.fromkeys(Measure, 1_234_567 if by_age else 12_345), **oldest} for _ in range(30)]
    view = View(TopQuery(by, Measure.TOTAL, 30, 119, by_age=by_age), [by.column])
    view.show(TopReport(rows), 1)
    console = Console(width=80, height=24)
    with console.capture() as captured:
        console.print(view.draw(*console.size))
    state, *table, keys = captured.get().splitlines()
    assert "by oldest total   18 of 30 rows" in state or "by total   18 of 30 rows" in state
    assert "end: q" in keys
    assert len(table) == 22
    assert (table[0][0], table[0][-1], table[-1][0], table[-1][-1]) == tuple("┏┓└┘")
    assert max(map(len, table)) <= 80
    assert "1,234,567" in table[5] or "12,345" in table[5]


@pytest.mark.parametrize(
    ("points", "drawn"), [((), ""), ((5,), "▁"), ((5, 5), "▁▁"), ((0, 7, 14), "▁▄█"), (range(60), 30)]
)
def test_a_sparkline_ranges_from_the_lowest_to_the_highest(points: Any, drawn: object) -> None:
    assert sparkline(points) == drawn or len(sparkline(points)) == drawn
