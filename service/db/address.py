"""The address of a database for the driver and for other programs; docs/deployment.md has the table of parameters.

Parsed with urllib: SQLAlchemy's `make_url` refuses several hosts with ports and takes two bracketed ones for one; the
driver and libpq accept both. See docs/design/libraries.md.
"""

import os
import ssl
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from service.errors import CommandError

# Parameters of libpq that the driver has too.
_HONOURED = (
    "dbname gsslib host krbsrvname options passfile password port ssl_max_protocol_version ssl_min_protocol_version"
    " sslcert sslcrl sslkey sslmode sslnegotiation sslpassword sslrootcert target_session_attrs user"
)
HONOURED = frozenset(_HONOURED.split())
# Parameters whose listed values are the behaviour of the driver. Other values are refused, because ignoring them
# would weaken a connection silently.
FIXED = MappingProxyType(
    {
        "channel_binding": ("disable", "prefer"),
        "gssdelegation": ("0",),
        "gssencmode": ("disable", "prefer"),
        "hostaddr": (),
        "max_protocol_version": ("3.0", "3.2", "latest"),
        "min_protocol_version": ("3.0",),
        "oauth_client_id": (),
        "oauth_client_secret": (),
        "oauth_issuer": (),
        "oauth_scope": (),
        "replication": ("false", "off", "no", "0"),
        "require_auth": (),
        "requirepeer": (),
        "scram_client_key": (),
        "scram_server_key": (),
        "service": (),
        "sslcertmode": ("allow",),
        "sslcrldir": (),
        "sslsni": ("1",),
    }
)
# Parameters without an effect on answers.
_IGNORED = (
    "application_name client_encoding connect_timeout fallback_application_name keepalives keepalives_count"
    " keepalives_idle keepalives_interval load_balance_hosts sslcompression sslkeylogfile tcp_user_timeout"
)
IGNORED = frozenset(_IGNORED.split())


def check_address(url: str, variable: str) -> list[str]:
    """The ignored parameters. Raises CommandError if the address has a parameter that can't be honoured."""
    malformed = f"{variable} has a malformed port or query: a port is a number from 1 to 65535."
    try:
        # Some versions of Python refuse a bracketed address that is not the first.
        address = urlsplit(url)
        query = dict(parse_qsl(address.query, strict_parsing=bool(address.query)))
        ports = [urlsplit(f"//{host}").port for host in address.netloc.rpartition("@")[2].split(",")]
        ports += [int(port) for port in query.get("port", "1").split(",")]
    except ValueError:
        raise CommandError(malformed) from None
    if not all(port is None or 0 < port < 1 << 16 for port in ports):
        raise CommandError(malformed)
    for name, value in query.items():
        if name not in HONOURED | IGNORED | FIXED.keys():
            advice = "write a setting of the server as options=-c%20name%3Dvalue"
            raise CommandError(f"{variable} has the parameter {name}, which libpq does not have; {advice}.")
        if name in FIXED and value not in FIXED[name]:
            advice = f"takes {' or '.join(FIXED[name])} alone" if FIXED[name] else "can't honour; remove it"
            raise CommandError(f"{variable} has the parameter {name}, which the service {advice} (docs/deployment.md).")
    return sorted(IGNORED & query.keys())


def for_driver(url: str) -> dict[str, Any]:
    """The driver's arguments: the address with its parameters, and trust in the system's certificates."""
    address = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in IGNORED | FIXED.keys()]
    if ("sslrootcert", "system") not in query:
        return {"dsn": _with_query(address, query)}
    # As in libpq, it implies verify-full.
    query = [(name, value) for name, value in query if name not in ("sslrootcert", "sslmode")]
    return {"dsn": _with_query(address, query), "ssl": ssl.create_default_context()}


def with_search_path(url: str, schema: str) -> str:
    """The address with this schema as search_path; public is the default."""
    if schema == "public":
        return url
    address = urlsplit(url)
    return _with_query(address, [*parse_qsl(address.query), ("search_path", schema)])


def for_programs(url: str) -> tuple[str, dict[str, str]]:
    """The address for libpq, and the environment with its password, because any user can read a command line."""
    address, environment = urlsplit(url), {}
    if address.password is not None:
        environment["PGPASSWORD"] = unquote(address.password)
        login, _, host = address.netloc.rpartition("@")
        address = address._replace(netloc=f"{login.partition(':')[0]}@{host}")
        url = address.geturl()
    query = dict(parse_qsl(address.query))
    if schema := query.pop("search_path", None):
        environment["PGOPTIONS"] = f"{query.pop('options', '')} -c search_path={schema}".strip()
        url = _with_query(address, list(query.items()))
    return url, environment


def of_primary(url: str) -> dict[str, Any]:
    """Arguments of the driver that select the primary of several hosts, unless the address or PG… selects one."""
    is_said = "target_session_attrs" in dict(parse_qsl(urlsplit(url).query)) or "PGTARGETSESSIONATTRS" in os.environ
    return {} if is_said else {"target_session_attrs": "primary"}


def at_host(url: str, host: str, port: int) -> str:
    """The address of the same database, as the same user, on another server."""
    address = urlsplit(url)
    login, at, _ = address.netloc.rpartition("@")
    bracketed = f"[{host}]" if ":" in host else host
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in ("host", "port")]
    return _with_query(address._replace(netloc=f"{login}{at}{bracketed}:{port}"), query)


def of_database(url: str, name: str) -> str:
    """The address of another database on the same server."""
    address = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(address.query) if key != "dbname"]
    return _with_query(address._replace(path=f"/{name}"), query)


def _with_query(address: SplitResult, query: list[tuple[str, str]]) -> str:
    # urllib drops the `//` before an empty host, without which libpq reads the address in another way.
    # libpq decodes no `+`.
    after_host = SplitResult("", "", address.path, urlencode(query, quote_via=quote), address.fragment).geturl()
    return f"{address.scheme}://{address.netloc}{after_host}"
