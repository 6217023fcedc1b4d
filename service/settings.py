"""Every setting: its name, default and meaning in one table, and one frozen object that holds what is in force.

Precedence: an option of the command, the environment, the `.env` file of the working directory, the default.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import platformdirs
from dotenv import dotenv_values

from service.errors import CommandError, WrongUsage
from service.model import Grouping

PREFIX = "QUEUESTATS_"
LOCAL = "127.0.0.1"
# Several hosts may stand there, a name or a bracketed address each, with or without a port.
_HOST = r"(\[[0-9a-fA-F:.%]*\]|[^][@:/?#,]*)(:[0-9]*)?"
_DATABASE_URL = re.compile(rf"postgres(ql)?://([^/?#]*@)?{_HOST}(,{_HOST})*([/?#]|$)")
_SCHEMA = re.compile("[a-z_][a-z0-9_]{0,62}")
FOR_TESTS_ONLY = {"QUEUESTATS_TEST_DATABASE_URL", "QUEUESTATS_TEST_BINARIES"}


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # Python refuses to read thousands of digits, in words of its own.
        if not (text.isascii() and text.isdigit() and len(text) < 20 and lowest <= int(text) <= highest):
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return int(text)

    return read


def _database_url(text: str) -> str:
    if not _DATABASE_URL.match(text):
        raise ValueError("a postgresql://… address")
    return text


def _schema(text: str) -> str:
    if not _SCHEMA.fullmatch(text) or text == "queuestats":
        raise ValueError("a name of up to 63 lowercase letters, digits and underscores, and not queuestats")
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words))
        # The very word: it may be a member of an enumeration.
        return words[words.index(text)]

    return read


def _default_data_dir() -> Path:
    return Path("/var/lib/queuestats") if os.geteuid() == 0 else Path(platformdirs.user_data_dir("queuestats"))


def _setting(meaning: str, read: Callable[[str], Any], **default: Any) -> Any:
    return field(metadata={"meaning": meaning, "read": read}, **default)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force. `None` for a database address means the embedded server under `data_dir`."""

    database_url: str | None = _setting("the database, as the service's role", _database_url, default=None)
    admin_database_url: str | None = _setting("the same database, as its owner", _database_url, default=None)
    messages_schema: str = _setting(
        "the schema of the table messages; `migrate` builds there", _schema, default="public"
    )
    data_dir: Path = _setting("where the embedded database lives", Path, default_factory=_default_data_dir)
    host: str = _setting("address to listen on; one that others reach needs TLS, here or in front", str, default=LOCAL)
    port: int = _setting("port to listen on; 0 takes a free one", _number(0, 65535), default=8080)
    workers: int = _setting("processes that serve; one for each core", _number(1, 256), default=1)
    tls_certificate: Path | None = _setting(
        "certificate with its chain (PEM), where no proxy ends TLS", Path, default=None
    )
    tls_key: Path | None = _setting("private key of that certificate (PEM)", Path, default=None)
    default_group: Grouping = _setting("`group` where a request has none", _one_of(*Grouping), default=Grouping.TOTAL)
    error_http_status: str = _setting(
        "`200` for clients that read errors from the body alone", _one_of("match", "200"), default="match"
    )
    pool_size: int = _setting(
        "database connections of a process; more where long listings wait for each other", _number(2, 1000), default=4
    )
    metrics_senders: int = _setting(
        "of how many of the largest senders `/metrics` tells the depth, four series each", _number(1, 1000), default=20
    )
    control_messages: int = _setting(
        "a hold, release or purge of more messages answers at once with its job", _number(0, 10**9), default=100_000
    )
    batch_queries: int = _setting(
        "most queries in one statement; 1 to see what sharing statements gains", _number(1, 10_000), default=200
    )
    waiting_requests: int = _setting(
        "requests that may wait for the database; more where that many clients ask at once",
        _number(1, 1_000_000),
        default=2000,
    )
    request_time_limit_ms: int = _setting(
        "longest time for a request, its body, waiting and the database together; below the clients' own limit",
        _number(10, 600_000),
        default=10_000,
    )
    connect_timeout_ms: int = _setting(
        "longest wait for a database connection; more where the database is far away",
        _number(10, 600_000),
        default=2000,
    )
    slow_statement_ms: int = _setting(
        "a statement that ran so long is logged; less while you look for what is slow", _number(0, 600_000), default=500
    )
    prepared_statements: str = _setting(
        "`off` behind a PgBouncer before 1.21 in transaction mode", _one_of("on", "off"), default="on"
    )
    keep_alive_timeout_ms: int = _setting(
        "longest wait for the next request on a connection; longer than a proxy in front keeps it",
        _number(1000, 3_600_000),
        default=75_000,
    )
    send_timeout_ms: int = _setting(
        "longest wait for a client that does not read its answer; more over slow lines",
        _number(10, 600_000),
        default=30_000,
    )
    unsent_limit_bytes: int = _setting(
        "large reports that a process holds for clients to read; less where memory is short",
        _number(1 << 20, 1 << 40),
        default=128 << 20,
    )
    shutdown_timeout_ms: int = _setting(
        "longest wait for open requests at the end; below the supervisor's own limit", _number(0, 600_000), default=3000
    )
    traces: str = _setting(
        "`on` sends OpenTelemetry spans, where the extra `otel` is installed", _one_of("off", "on"), default="off"
    )
    log_format: str = _setting("`json` where a machine collects the lines", _one_of("text", "json"), default="text")
    log_level: str = _setting(
        "least level that is logged; `debug` has a line for each request",
        _one_of("debug", "info", "warning", "error"),
        default="info",
    )

    @property
    def owner_url(self) -> str | None:
        return self.admin_database_url or self.database_url

    @property
    def has_prepared_statements(self) -> bool:
        return self.prepared_statements == "on"


def variable(name: str) -> str:
    return PREFIX + name.upper()


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
) -> Settings:
    """The settings in force; `overrides` holds field names, None where an option was not given.

    Raises CommandError naming an unknown QUEUESTATS_* variable, or the variable and the type that it wants; WrongUsage
    where an option is wrong.
    """
    environment = os.environ if environ is None else environ
    given = {
        name: text
        for name, text in {**_dotenv(dotenv_path or Path(".env")), **environment}.items()
        if name.startswith(PREFIX)
    }
    known = {variable(each.name): each for each in fields(Settings)}
    for name in sorted(given.keys() - known.keys() - FOR_TESTS_ONLY):
        raise CommandError(f"{name} is not a setting; the README lists them.")
    values: dict[str, Any] = {}
    for name, each in known.items():
        option = (overrides or {}).get(each.name)
        # A variable that is set to nothing is as good as unset.
        text = given.get(name) or None if option is None else str(option)
        if text is not None:
            values[each.name] = _read(name if option is None else None, each, text)
    return Settings(**values)


def _dotenv(path: Path) -> dict[str, str | None]:
    try:
        return dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CommandError(f"The file {path} can't be read: {reason}.") from error


def _read(name: str | None, setting: Any, text: str) -> Any:
    """The value of a variable, or of an option where `name` is None."""
    try:
        return setting.metadata["read"](text.strip())
    except ValueError as wrong:
        # The value itself may be a secret, so it is never shown.
        if name is None:
            raise WrongUsage(f"--{setting.name.replace('_', '-')} must be {wrong}.") from None
        raise CommandError(f"{name} must be {wrong}.") from None


def dump_settings(settings: Settings) -> str:
    """One `NAME=value` line a setting, in the order of the table; passwords masked."""
    values = ((variable(each.name), getattr(settings, each.name)) for each in fields(settings))
    return "\n".join(f"{name}={'' if value is None else _mask(str(value))}" for name, value in values)


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these very settings."""
    values = ((variable(each.name), getattr(settings, each.name)) for each in fields(settings))
    return {name: str(value) for name, value in values if value is not None}


def _mask(text: str) -> str:
    """Without its password, also where that holds signs which an address should have encoded."""
    address, mark, query = re.sub(r"(://[^:@/?#]*):.*@", r"\1:***@", text).partition("?")
    return address + mark + "&".join(map(_mask_pair, query.split("&")))


def _mask_pair(pair: str) -> str:
    name, _, _ = pair.partition("=")
    return f"{name}=***" if "password" in unquote(name).lower() else pair
