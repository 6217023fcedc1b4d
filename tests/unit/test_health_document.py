"""`make health` generates docs/health.md from the list of conditions."""

import os
from pathlib import Path

from service.counters.health import (
    CHEAP,
    CONDITIONS,
    CONTRACT,
    NODE,
    POOLER,
    PROBE,
    SCHEMA,
    SHARDS,
    UNEXAMINED,
    Condition,
)
from service.resources import sql_path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/health.md"
# The text before this mark is written by hand.
MARK = "<!-- From here on, `make health` writes this document. -->\n"
TRIED = {
    SCHEMA: "the database lacks a revision or a file of sql/",
    CONTRACT: "the contract numbers of the instance and of the database are not compatible",
    POOLER: "the pooler in front of the database does not keep prepared statements, and the service uses them",
    PROBE: "a query of `stats` for a group, or the query of tokens, fails when it runs as the service's role",
    UNEXAMINED: "a statement that examines conditions failed",
    NODE: "a node of a cluster does not answer",
}


def rendered() -> str:
    introduction = DOCUMENT.read_text("utf-8").partition(MARK)[0]
    return "\n".join(
        [introduction + MARK, *(part for condition in (*TRIED, *SHARDS, *CONDITIONS) for part in section(condition))]
    )


def section(condition: Condition) -> list[str]:
    path = f"conditions/{'node/' if condition in SHARDS else ''}{condition.name}.sql"
    found = TRIED.get(condition) or sql_path(path).read_text("utf-8").partition("\n")[0].partition(": ")[2]
    source = "" if condition in TRIED else f" (`sql/{path}`)"
    costs = "" if condition in (*TRIED, *SHARDS, *CHEAP) else " Only `doctor` examines it."
    costs += " Examined on each node of a cluster too." if condition.is_of_node else ""
    answers = " `/readyz` and `stats` can be 503." if condition.is_refusal else ""
    return [
        f"## {condition.name}",
        "",
        f"{condition.severity.name.capitalize()}: {found}{source}.{costs}{answers}",
        "",
        f"- **Effect on responses.** {condition.meaning}",
        f"- **What to do.** {condition.advice}",
        "",
    ]


def test_the_document_is_the_list() -> None:
    if os.environ.get("WRITE_HEALTH"):
        DOCUMENT.write_text(rendered(), "utf-8")
    assert DOCUMENT.read_text("utf-8") == rendered()


def test_every_condition_has_a_statement_and_every_statement_a_condition() -> None:
    files = {path.stem for path in sql_path("conditions").glob("*.sql")}
    assert files == {condition.name for condition in CONDITIONS}
    of_nodes = {path.stem for path in sql_path("conditions/node").glob("*.sql")}
    assert of_nodes == {condition.name for condition in SHARDS} | {"service_rights"}
