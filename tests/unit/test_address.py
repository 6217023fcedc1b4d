"""Database addresses: several hosts, brackets, sockets, and passwords with special characters."""

import ctypes
import ssl
from pathlib import Path

import pytest

from service.db.address import (
    FIXED,
    HONOURED,
    IGNORED,
    at_host,
    check_address,
    for_driver,
    for_programs,
    of_primary,
    with_search_path,
)
from service.embedded import binaries
from service.errors import CommandError

SEVERAL = "postgresql://me:p%40ss@a:5432,b:5433/db"
BRACKETS = "postgresql://me:p%40ss:word@[::1]:5432/db"
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


def test_an_address_without_a_host_gets_no_host() -> None:
    assert for_programs(with_search_path("postgresql:///db", "mail"))[0] == "postgresql:///db"


@pytest.mark.parametrize(
    ("url", "node"),
    [
        (SEVERAL, "postgresql://me:p%40ss@[::2]:6432/db"),
        (BRACKETS, "postgresql://me:p%40ss:word@[::2]:6432/db"),
        (SOCKET, "postgresql://me@[::2]:6432/db"),
        ("postgresql:///db", "postgresql://[::2]:6432/db"),
    ],
)
def test_another_node_has_the_same_database_and_user(url: str, node: str) -> None:
    assert at_host(url, "::2", 6432) == node


def test_the_primary_of_several_hosts_is_chosen_unless_the_address_or_environment_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert of_primary(SEVERAL) == {"target_session_attrs": "primary"}
    assert of_primary(f"{SEVERAL}?target_session_attrs=any") == {}
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "any")
    assert of_primary(SEVERAL) == {}


class LibpqOption(ctypes.Structure):
    """PQconninfoOption of libpq-fe.h."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    ]


def libpq_parameters() -> list[str]:
    """The parameters of PostgreSQL 18's libpq, as the library itself lists them."""
    libpq = ctypes.CDLL(str(binaries(18).parent / "lib" / "libpq.so.5"))
    libpq.PQconndefaults.restype = ctypes.POINTER(LibpqOption)
    found: list[str] = []
    for option in libpq.PQconndefaults():
        if option.keyword is None:
            return found
        found.append(option.keyword.decode())
    raise AssertionError


def test_every_parameter_of_libpq_is_in_the_table_and_in_the_document_once() -> None:
    names = sorted(libpq_parameters())
    assert sorted([*HONOURED, *FIXED, *IGNORED]) == names
    document = (Path(__file__).resolve().parents[2] / "docs/deployment.md").read_text()
    section = document.partition("**Parameters of the address.**")[2].partition("\n**")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted("".join(cells).replace("`", "").replace(",", " ").split()) == names


@pytest.mark.parametrize(
    ("query", "ignored"),
    [
        ("channel_binding=prefer&sslmode=require", []),
        ("gssencmode=disable&replication=false&sslsni=1&sslcertmode=allow", []),
        ("connect_timeout=3&keepalives_idle=30&sslmode=require", ["connect_timeout", "keepalives_idle"]),
        ("options=-c%20jit%3Doff", []),
    ],
)
def test_parameters_that_the_driver_lacks_do_not_reach_the_server(query: str, ignored: list[str]) -> None:
    url = f"postgresql://me@host/db?{query}"
    assert check_address(url, "X") == ignored
    passed = for_driver(url)["dsn"].partition("?")[2]
    assert {pair.partition("=")[0] for pair in passed.split("&") if pair} <= HONOURED


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("host/db?channel_binding=require", r"^X has the parameter channel_binding, which .* takes disable or prefer"),
        ("host/db?require_auth=password", r"^X has the parameter require_auth, which the service can't honour; remove"),
        ("host/db?scram_client_key=hunter2", r"^X has the parameter scram_client_key, which the service can't honour"),
        ("host/db?pgbouncer=true", r"^X has the parameter pgbouncer, which libpq does not have"),
        ("host/db?sslmode", r"^X has a malformed port or query"),
        ("host:99999/db", r"^X has a malformed port or query: a port is a number from 1 to 65535\.$"),
        ("host:0/db", r"^X has a malformed port"),
        ("a:1,[::1]:65536/db", r"^X has a malformed port"),
        ("/db?host=a,b&port=1,x", r"^X has a malformed port"),
    ],
)
def test_an_address_that_the_driver_cannot_use_is_refused_in_a_sentence(address: str, said: str) -> None:
    with pytest.raises(CommandError, match=said) as refusal:
        check_address(f"postgresql://me:hunter2@{address}", "X")
    assert "hunter2" not in str(refusal.value)


def test_sslrootcert_system_verifies_the_certificate_and_the_host_name() -> None:
    arguments = for_driver("postgresql://host/db?sslrootcert=system&sslmode=require")
    assert arguments["dsn"] == "postgresql://host/db"
    assert arguments["ssl"].verify_mode is ssl.CERT_REQUIRED
    assert arguments["ssl"].check_hostname


def test_the_options_of_a_program_include_those_of_the_address_and_the_schema() -> None:
    url, environment = for_programs(
        with_search_path("postgresql://host/db?options=-c%20jit%3Doff&sslmode=disable", "mail")
    )
    assert url == "postgresql://host/db?sslmode=disable"
    assert environment["PGOPTIONS"] == "-c jit=off -c search_path=mail"
