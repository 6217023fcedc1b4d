"""A database's address, as the driver and other programs are given it."""

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit


def with_search_path(url: str, schema: str) -> str:
    """The address of connections that look for tables in this schema; public is where they look anyway."""
    if schema == "public":
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), ("search_path", schema)])))


def for_programs(url: str) -> tuple[str, dict[str, str]]:
    """The address as libpq takes it, without its password, and the environment that goes with it.

    Everybody can read a command line. A search_path stands in an option of the session.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    environment = {}
    if schema := dict(query).get("search_path"):
        environment["PGOPTIONS"] = f"-c search_path={schema}"
        parts = parts._replace(query=urlencode([each for each in query if each[0] != "search_path"]))
    if parts.password is not None:
        host = parts.netloc.rpartition("@")[2]
        environment["PGPASSWORD"] = unquote(parts.password)
        parts = parts._replace(netloc=f"{parts.netloc.partition(':')[0]}@{host}")
    return urlunsplit(parts) if environment else url, environment


def of_primary(url: str) -> dict[str, Any]:
    """What the driver is told, so that of several hosts a connection has the primary; the address may say otherwise."""
    is_said = "target_session_attrs" in dict(parse_qsl(urlsplit(url).query)) or "PGTARGETSESSIONATTRS" in os.environ
    return {} if is_said else {"target_session_attrs": "primary"}


def at_host(url: str, host: str, port: int) -> str:
    """The address of the same database, as the same user, on another server."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    query = [each for each in parse_qsl(parts.query) if each[0] not in ("host", "port")]
    bracketed = f"[{host}]" if ":" in host else host
    netloc = f"{login}@{bracketed}:{port}" if login else f"{bracketed}:{port}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query)))
