"""The rules for a file below `sql/`, and that every file keeps them."""

import re
from pathlib import Path

import pytest

from service.db.statements import BadStatement, load_statement, parse_statement
from service.resources import sql_path

FOLDERS_OF_STATEMENTS = ("queries", "tokens", "scan", "seed")
FILES = sorted(
    path
    for path in sql_path().rglob("*.sql")
    if path.relative_to(sql_path()).parts[0] in FOLDERS_OF_STATEMENTS or "\n-- parameters: " in path.read_text("utf-8")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(sql_path()).with_suffix(""))


def refusal(source: str, name: str = "queries/open") -> str:
    with pytest.raises(BadStatement) as caught:
        parse_statement(name, source)
    return str(caught.value)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_loads(path: Path) -> None:
    loaded = load_statement(name_of(path))
    assert set(loaded.order) == loaded.types.keys()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_runs_is_the_file_apart_from_the_parameters(path: Path) -> None:
    loaded = load_statement(name_of(path))
    numbers = {name: f"${number}" for number, name in enumerate(loaded.order, 1)}

    assert loaded.text == path.read_text("utf-8")
    assert loaded.sql == re.sub(r"\(:(\w+) ", lambda found: f"({numbers[found[1]]} ", loaded.text)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_statement_says_in_the_servers_log_which_file_it_is(path: Path) -> None:
    """Inside the statement: what stands before it, pg_stat_statements drops."""
    first = next(line for line in path.read_text("utf-8").splitlines() if not line.startswith("--"))
    assert re.match(rf"[A-Z][\w (,)]* /\* {name_of(path)}\.sql \*/", first)


def test_a_parameter_that_is_used_twice_is_bound_once() -> None:
    source = (
        "-- open: one\n-- parameters: b text, a bigint\n"
        "SELECT cast(:a AS bigint), cast(:b AS text), cast(:a AS bigint)\n"
    )
    loaded = parse_statement("queries/open", source)

    assert loaded.sql.splitlines()[-1] == "SELECT cast($1 AS bigint), cast($2 AS text), cast($1 AS bigint)"
    assert loaded.bind({"b": "x", "a": 7}) == [7, "x"]


def test_a_cast_may_be_written_in_capitals_and_a_type_may_be_an_array() -> None:
    source = "-- open: one\n-- parameters: ids bigint[], at timestamp with time zone\n"
    source += "SELECT CAST(:ids AS bigint[]), cast(:at AS timestamp with time zone), '%I 100%'\n"
    assert parse_statement("queries/open", source).sql.endswith("cast($2 AS timestamp with time zone), '%I 100%'\n")


@pytest.mark.parametrize(
    ("source", "named"),
    [
        pytest.param("-- parameters: none\nSELECT 1\n", "-- open: ", id="no name"),
        pytest.param("-- closed: one\n-- parameters: none\nSELECT 1\n", "-- open: ", id="another's name"),
        pytest.param("-- open:\n-- parameters: none\nSELECT 1\n", "-- open: ", id="no sentence"),
        pytest.param("-- open: one\nSELECT 1\n", "-- parameters: ", id="no parameters line"),
        pytest.param("-- open: one\n-- parameters: id\nSELECT cast(:id AS bigint)\n", "id", id="no type"),
        pytest.param("-- open: one\n-- parameters: id text, id text\nSELECT cast(:id AS text)\n", "id", id="twice"),
        pytest.param("-- open: one\n-- parameters: id bigint,\nSELECT cast(:id AS bigint)\n", "type", id="comma"),
        pytest.param("-- open: one\n-- parameters: none\nSELECT cast(:id AS bigint)\n", "id", id="undeclared"),
        pytest.param("-- open: one\n-- parameters: id bigint\nSELECT 1\n", "id", id="unused"),
        pytest.param("-- open: one\n-- parameters: at date\nSELECT :at::date\n", "at", id="a cast that hides the name"),
        pytest.param("-- open: one\n-- like :this\n-- parameters: none\nSELECT 1\n", "this", id="colon in a comment"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_with_the_name(source: str, named: str) -> None:
    message = refusal(source)

    assert "sql/queries/open.sql" in message
    assert named in message


@pytest.mark.parametrize("given", [{}, {"sender_id": 1}, {"job_id": 1, "sender_id": 1}])
def test_a_value_too_many_or_too_few_is_named(given: dict[str, object]) -> None:
    with pytest.raises(BadStatement) as caught:
        load_statement("queries/control/step").bind(given)
    wrong = str(caught.value).rpartition(": ")[2]
    assert wrong == ", ".join(sorted(given.keys() ^ {"job_id"}))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BadStatement, match=r"sql/queries/nothing\.sql"):
        load_statement("queries/nothing")
