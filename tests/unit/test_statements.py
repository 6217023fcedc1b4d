"""The rules for the files below `sql/`, and that every file complies with them."""

import re
from pathlib import Path

import pytest

from service.db.statements import (
    PLACES,
    BadStatement,
    Statement,
    fill,
    load_statement,
    parse_statement,
    replace_parameters,
)
from service.resources import sql_path

FOLDERS_OF_STATEMENTS = ("queries", "tokens", "scan", "seed")
FILES = sorted(
    path
    for path in sql_path().rglob("*.sql")
    if path.relative_to(sql_path()).parts[0] in FOLDERS_OF_STATEMENTS or "\n-- parameters: " in path.read_text("utf-8")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(sql_path()).with_suffix(""))


# A value for every place. The tests do not depend on it.
SAMPLE = {place: f"the_{place}" for place in PLACES} | {"parameters": "shards bigint[]"}


def load(path: Path) -> Statement:
    return load_statement(name_of(path), SAMPLE)


def refusal(source: str, name: str = "queries/open") -> str:
    with pytest.raises(BadStatement) as caught:
        parse_statement(name, source)
    return str(caught.value)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_loads(path: Path) -> None:
    loaded = load(path)
    assert set(loaded.order) == loaded.types.keys()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_executed_text_is_the_file_with_its_places_and_parameters_filled(path: Path) -> None:
    loaded = load(path)
    numbers = {name: f"${number}" for number, name in enumerate(loaded.order, 1)}

    source = re.sub(r"(?m)^-- places: .*\n", "", path.read_text("utf-8"))
    assert loaded.text == re.sub(r'"\{(\w+)\}"', lambda found: SAMPLE[found[1]], source)
    assert loaded.sql == re.sub(r"\(:(\w+) ", lambda found: f"({numbers[found[1]]} ", loaded.text)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_statement_has_the_name_of_its_file_in_the_log_of_the_server(path: Path) -> None:
    """The name is inside the statement, because pg_stat_statements removes comments before it."""
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
def test_an_extra_or_missing_value_is_named(given: dict[str, object]) -> None:
    with pytest.raises(BadStatement) as caught:
        load_statement("queries/control/step").bind(given)
    wrong = str(caught.value).rpartition(": ")[2]
    assert wrong == ", ".join(sorted(given.keys() ^ {"job_id"}))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BadStatement, match=r"sql/queries/nothing\.sql"):
        load_statement("queries/nothing")


PLACED = """-- notes: about "{schema}".notes, and '{}', and '{a,b}'
-- places: schema, messages
CREATE FUNCTION "{schema}".f() RETURNS text LANGUAGE sql AS $$
  SELECT '"{messages}" needs queuestats migrate' -- of "{schema}"
$$;
"""


def test_all_places_are_filled_and_the_filled_text_is_not_searched() -> None:
    filled = fill("notes", PLACED, {"schema": "ours", "messages": '"{schema}" :name $1 \\1 queuestats'})
    assert (
        filled
        == """-- notes: about ours.notes, and '{}', and '{a,b}'
CREATE FUNCTION ours.f() RETURNS text LANGUAGE sql AS $$
  SELECT '"{schema}" :name $1 \\1 queuestats needs queuestats migrate' -- of ours
$$;
"""
    )


@pytest.mark.parametrize(
    ("source", "places", "named"),
    [
        pytest.param('SELECT "{schema}"\n', {"schema": "x"}, "schema", id="undeclared"),
        pytest.param("-- places: schema\nSELECT 1\n", {"schema": "x"}, "schema", id="unused"),
        pytest.param('-- places: shcema\nSELECT "{shcema}"\n', {}, "shcema", id="unknown"),
        pytest.param("SELECT 1\n", {"shcema": "x"}, "shcema", id="a value for an unknown one"),
        pytest.param('-- places: schema\nSELECT "{schema}"\n', {}, "without a value: schema", id="no value"),
    ],
)
def test_a_place_that_is_unknown_unused_or_without_a_value_is_refused_by_name(
    source: str, places: dict[str, str], named: str
) -> None:
    with pytest.raises(BadStatement, match=rf"sql/queries/open\.sql .*{named}"):
        fill("queries/open", source, places)


def test_a_value_in_place_of_a_parameter_is_not_searched_for_parameters() -> None:
    text = "SELECT cast(:a AS text), cast(:b AS text), '100%', x::int\n"
    replaced = replace_parameters(text, {"a": "':b 5%'", "b": "NULL"})
    assert replaced == "SELECT cast(':b 5%' AS text), cast(NULL AS text), '100%', x::int\n"
