"""`sql/README.md` is a map of every file, and its entries are correct."""

import re
from pathlib import Path

from service.cluster.node import TABLE as NODE
from service.db import load_statement
from service.db.statements import PLACES
from service.queue.explain import intended_indexes
from service.resources import sql_path
from service.schema.files import FILES as IN_ORDER
from service.schema.files import own_table

MAP = sql_path("README.md").read_text("utf-8")
FILES = sorted(str(path.relative_to(sql_path())) for path in sql_path().rglob("*.sql"))
# A row of a table: the file, what it returns, and the other columns.
ROWS = {found[1]: found[2] for found in re.finditer(r"^\| `([\w/]+\.sql)` \|[^|]*\| (.*) \|$", MAP, re.MULTILINE)}
# The map describes its parameters in words.
IN_WORDS = "seed/insert_bursts.sql"
GENERATED = "schema.sql"
MOST_CHARACTERS = 120


# A value for every place. The tests do not depend on it.
SAMPLE = {place: f"the_{place}" for place in PLACES}


def test_the_map_has_every_file_and_nothing_else() -> None:
    assert sorted(set(re.findall(r"`((?:\w+/)*\w+\.sql)`", MAP)) - {f"sql/{name}" for name in FILES}) == FILES


def test_every_file_is_ascii_so_that_a_database_in_any_encoding_accepts_it() -> None:
    assert [name for name in FILES if not sql_path(name).read_text("utf-8").isascii()] == []


def test_the_map_has_the_parameters_and_the_indexes_of_the_headers() -> None:
    wrong = []
    for name in ROWS.keys() - {IN_WORDS, "roles.sql", GENERATED}:
        parameters, *others = ROWS[name].split(" | ")
        asked = load_statement(name.removesuffix(".sql"), SAMPLE)
        indexes = ", ".join(f"`{each}`" for each in intended_indexes(asked.text))
        if parameters != (", ".join(f"`{each} {type_}`" for each, type_ in asked.types.items()) or "none"):
            wrong.append((name, parameters))
        elif indexes and others and others[0] != indexes:
            wrong.append((name, others[0]))
    assert wrong == []


def test_every_parameter_has_a_cast_so_that_postgresql_infers_no_type() -> None:
    wrong = []
    for name in ROWS.keys() - {IN_WORDS, "roles.sql", GENERATED}:
        asked = load_statement(name.removesuffix(".sql"), SAMPLE)
        text = asked.text
        for parameter, type_ in asked.types.items():
            text = re.sub(rf"cast\(:{parameter} AS {re.escape(type_)}\)", "", text, flags=re.IGNORECASE)
        if bare := re.findall(r"(?<![:\w]):([a-z]\w*)", text):
            wrong.append((name, bare))
    assert wrong == []


def test_a_line_fits_on_the_screen_except_a_list_of_parameters() -> None:
    assert [
        (name, line)
        for name in FILES
        if name != GENERATED
        for line in Path(sql_path(name)).read_text("utf-8").splitlines()
        if len(line) > MOST_CHARACTERS and not line.startswith(("-- parameters: ", "-- places: "))
    ] == []


def test_the_map_lists_every_place() -> None:
    table = MAP[MAP.index("| place |") : MAP.index("## Statements that answer requests")]
    assert sorted(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\|([^|]*)\|", table)))) == sorted(PLACES)


def test_the_words_for_an_operator_are_the_same_on_a_node() -> None:
    """The name of the command does not contain the schema of the node."""
    own = own_table()
    for path in NODE.paths:
        assert "queuestats_local " not in NODE.render(path)
        sentences = re.findall(r"queuestats (?:migrate|doctor|verify|adopt)", own.render(path))
        assert re.findall(r"queuestats (?:migrate|doctor|verify|adopt)", NODE.render(path)) == sentences


# Only migrate calls these, at its end.
CALLED_LATER = {"counters/uncountable", "counters/proof"}


def test_a_file_calls_only_functions_that_exist_before_it() -> None:
    """`migrate` commits after each file, and writers and services of the former release run between two files."""
    texts = {path: re.sub(r"--.*|DROP FUNCTION[^;]*", "", sql_path(f"{path}.sql").read_text()) for path in IN_ORDER}
    made = {
        path: set(re.findall(r'CREATE OR REPLACE FUNCTION "\{schema\}"\.(\w+)\(', texts[path])) for path in IN_ORDER
    }
    ours, in_place, offenders = set().union(*made.values()), set[str](), {}
    for path, text in texts.items():
        in_place |= made[path]
        if missing := ours & set(re.findall(r'"\{schema\}"\.(\w+)\(', text)) - in_place:
            offenders[path] = missing
    assert offenders.keys() <= CALLED_LATER, offenders


def test_the_condition_on_rights_of_a_node_names_all_that_migrate_grants() -> None:
    granted = set(re.findall(r"queuestats_local\.(\w+)", sql_path("citus/grants.sql").read_text("utf-8")))
    condition = sql_path("conditions/node/service_rights.sql").read_text("utf-8")
    named = {
        name
        for names in re.findall(r"(?:rel|pro)name IN \((.*?)\)", condition, re.DOTALL)
        for name in re.findall(r"\w+", names)
    }
    assert granted == named - {"unproved", "known"}
