"""Addresses of databases: several hosts, brackets, sockets, and passwords with signs of any kind."""

import pytest

from service.db.address import at_host, for_programs, of_primary, with_search_path

SEVERAL = "postgresql://me:p%40ss@a:5432,b:5433/db"
BRACKETS = "postgresql://me:p@ss:word@[::1]:5432/db"
SOCKET = "postgresql://me@/db?host=/run/postgresql&port=5432"


@pytest.mark.parametrize("url", [SEVERAL, BRACKETS, SOCKET, "postgresql:///db"])
def test_the_schema_of_messages_is_added_and_nothing_else_changes(url: str) -> None:
    assert with_search_path(url, "public") == url
    changed = with_search_path(url, "mail")
    assert changed.partition("?")[0] == url.partition("?")[0]
    assert changed.endswith("search_path=mail")


@pytest.mark.parametrize(
    ("url", "shown", "password"),
    [
        (SEVERAL, "postgresql://me@a:5432,b:5433/db", "p@ss"),
        (BRACKETS, "postgresql://me@[::1]:5432/db", "p@ss:word"),
        (SOCKET, SOCKET, None),
    ],
)
def test_a_command_line_has_no_password(url: str, shown: str, password: str | None) -> None:
    address, environment = for_programs(url)
    assert (address, environment.get("PGPASSWORD")) == (shown, password)
    assert for_programs(with_search_path(url, "mail"))[1]["PGOPTIONS"] == "-c search_path=mail"


def test_an_address_without_a_host_stays_one() -> None:
    assert for_programs(with_search_path("postgresql:///db", "mail"))[0] == "postgresql:///db"


@pytest.mark.parametrize(
    ("url", "node"),
    [
        (SEVERAL, "postgresql://me:p%40ss@[::2]:6432/db"),
        (BRACKETS, "postgresql://me:p@ss:word@[::2]:6432/db"),
        (SOCKET, "postgresql://me@[::2]:6432/db"),
        ("postgresql:///db", "postgresql://[::2]:6432/db"),
    ],
)
def test_another_node_has_the_same_database_and_user(url: str, node: str) -> None:
    assert at_host(url, "::2", 6432) == node


def test_the_primary_of_several_is_chosen_unless_something_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_primary(SEVERAL) == {"target_session_attrs": "primary"}
    assert of_primary(f"{SEVERAL}?target_session_attrs=any") == {}
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "any")
    assert of_primary(SEVERAL) == {}
