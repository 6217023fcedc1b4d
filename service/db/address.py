"""A database's address, as the driver and other programs take it.

Parsed with urllib: SQLAlchemy's `make_url` refuses several hosts with ports, takes two bracketed ones for one, and cuts
a password at an `@`, all of which the driver and libpq accept. See docs/design/libraries.md.
"""

import os
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit


def with_search_path(url: str, schema: str) -> str:
    """The address of connections that look for tables in this schema; public is where they look anyway."""
    if schema == "public":
        return url
    address = urlsplit(url)
    return _with_query(address, [*parse_qsl(address.query), ("search_path", schema)])


def for_programs(url: str) -> tuple[str, dict[str, str]]:
    """The address as libpq takes it, and the environment with its password, as any user can read a command line."""
    address, environment = urlsplit(url), {}
    if address.password is not None:
        environment["PGPASSWORD"] = unquote(address.password)
        login, _, host = address.netloc.rpartition("@")
        address = address._replace(netloc=f"{login.partition(':')[0]}@{host}")
        url = address.geturl()
    if schema := dict(parse_qsl(address.query)).get("search_path"):
        environment["PGOPTIONS"] = f"-c search_path={schema}"
        url = _with_query(address, [(name, value) for name, value in parse_qsl(address.query) if name != "search_path"])
    return url, environment


def of_primary(url: str) -> dict[str, Any]:
    """Arguments of the driver that choose the primary of several hosts, unless the address or PG… chooses one."""
    is_said = "target_session_attrs" in dict(parse_qsl(urlsplit(url).query)) or "PGTARGETSESSIONATTRS" in os.environ
    return {} if is_said else {"target_session_attrs": "primary"}


def at_host(url: str, host: str, port: int) -> str:
    """The address of the same database, as the same user, on another server."""
    address = urlsplit(url)
    login, at, _ = address.netloc.rpartition("@")
    bracketed = f"[{host}]" if ":" in host else host
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in ("host", "port")]
    return _with_query(address._replace(netloc=f"{login}{at}{bracketed}:{port}"), query)


def _with_query(address: SplitResult, query: list[tuple[str, str]]) -> str:
    # urllib itself drops the `//` of an empty host, without which libpq takes the address for something else.
    after_host = SplitResult("", "", address.path, urlencode(query), address.fragment).geturl()
    return f"{address.scheme}://{address.netloc}{after_host}"
