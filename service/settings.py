"""Every setting: its name, range, default and meaning in one table, and one frozen object with the values in force.

Precedence: an option of the command, the environment, the `.env` file of the working directory, the default.
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import unquote

import msgspec
import platformdirs
from dotenv import dotenv_values
from msgspec import Meta

from service.errors import CommandError, WrongUsage
from service.model import Grouping

PREFIX = "QUEUESTATS_"
FOR_TESTS_ONLY = {"QUEUESTATS_TEST_DATABASE_URL", "QUEUESTATS_TEST_BINARIES", "QUEUESTATS_TEST_CITUS"}
ON_OFF = {"on": True, "off": False}
# An address may list several hosts: names or bracketed addresses, with or without ports.
_HOST = r"(\[[0-9a-fA-F:.%]*\]|[^][@:/?#,]*)(:[0-9]*)?"
_ADDRESS = "a postgresql://… address; in its user and password, write %40 for @, %23 for #, %2F for /, %3F for ?"
_NAME = "a name of up to 63 lowercase letters, digits and underscores, and not queuestats"
DatabaseUrl = Annotated[str, Meta(pattern=rf"\Apostgres(ql)?://([^@/?#]*@)?{_HOST}(,{_HOST})*([/?][^@#]*)?\Z")]
SchemaName = Annotated[str, Meta(pattern=r"\A(?!queuestats\Z)[a-z_][a-z0-9_]{0,62}\Z", title=_NAME)]
TimeLimit = Annotated[int, Meta(ge=10, le=600_000)]
LogLevel = Literal["debug", "info", "warning", "error"]


def _default_data_dir() -> Path:
    return Path("/var/lib/queuestats") if os.geteuid() == 0 else Path(platformdirs.user_data_dir("queuestats"))


# Of a process, beside its pool for reports of one sender: service/app.py.
OTHER_CONNECTIONS = 14


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings. `None` for a database address means the embedded server under `data_dir`.

    The text beside a type is the meaning of the setting. A `title` describes the valid values if no range does.
    """

    database_url: Annotated[
        DatabaseUrl | None, Meta(title=_ADDRESS), "address of the database, with the login of the service's role"
    ] = None
    admin_database_url: Annotated[
        DatabaseUrl | None, Meta(title=_ADDRESS), "address of the same database, with the login of its owner"
    ] = None
    messages_schema: Annotated[
        SchemaName, "schema of the table messages; `migrate` creates the schema and the table"
    ] = "public"
    data_dir: Annotated[Path, "folder of the embedded database"] = msgspec.field(default_factory=_default_data_dir)
    host: Annotated[str, "address to listen on; if other hosts can reach it, use TLS in the service or in a proxy"] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535), "port to listen on; 0: any free port"] = 8080
    workers: Annotated[int, Meta(ge=1, le=256), "number of worker processes; set it to the number of cores"] = 1
    tls_certificate: Annotated[Path | None, "certificate with its chain (PEM), if no proxy terminates TLS"] = None
    tls_key: Annotated[Path | None, "private key of the certificate (PEM)"] = None
    default_group: Annotated[Grouping, "value of `group` for requests that omit it"] = Grouping.TOTAL
    error_http_status: Annotated[Literal["match", "200"], "`200` for clients that read errors only from the body"] = (
        "match"
    )
    pool_size: Annotated[
        int,
        Meta(ge=2, le=1000),
        "size of the connection pool of each process; raise it if long reports wait for each other",
    ] = 4
    metrics_senders: Annotated[
        int,
        Meta(ge=1, le=1000),
        "number of senders, largest first, whose queue depth `/metrics` reports, four series for each sender",
    ] = 20
    control_messages: Annotated[
        int,
        Meta(ge=0, le=10**9),
        "a hold, release or purge of more messages than this returns at once and continues as a job",
    ] = 100_000
    retention_days: Annotated[
        int,
        Meta(ge=0, le=36_500),
        "number of days to keep finished jobs and the audit log, at least 30; 0: no limit",
    ] = 400
    history_minutes_days: Annotated[int, Meta(ge=1, le=36_500), "number of days to keep the history by minute"] = 1
    history_ten_minutes_days: Annotated[
        int, Meta(ge=1, le=36_500), "number of days to keep the history by ten minutes, including that of ISPs"
    ] = 7
    history_hours_days: Annotated[
        int, Meta(ge=1, le=36_500), "number of days to keep the history by hour, including that of ISPs"
    ] = 90
    batch_queries: Annotated[
        int, Meta(ge=1, le=10_000), "largest number of queries in one statement; 1: statements are not shared"
    ] = 200
    waiting_requests: Annotated[
        int, Meta(ge=1, le=10**6), "largest number of requests that wait for the database; raise it for more clients"
    ] = 2000
    request_time_limit_ms: Annotated[
        TimeLimit, "longest time for a whole request; set it below the time limit of the clients"
    ] = 10_000
    connect_timeout_ms: Annotated[
        TimeLimit, "longest wait for a database connection; raise it if the database is far away"
    ] = 2000
    proof_percent: Annotated[
        int,
        Meta(ge=0, le=50),
        "percentage of the time of one database session for the recount of random senders; 0: never",
    ] = 1
    slow_statement_ms: Annotated[int, Meta(ge=0, le=600_000), "a statement that takes at least this long is logged"] = (
        500
    )
    has_prepared_statements: Annotated[bool, "set `off` behind a PgBouncer before 1.21 in transaction mode"] = (
        msgspec.field(default=True, name="prepared_statements")
    )
    keep_alive_timeout_ms: Annotated[
        int,
        Meta(ge=1000, le=3_600_000),
        "longest wait for the next request on a connection; set it longer than that of the proxy",
    ] = 75_000
    send_timeout_ms: Annotated[
        TimeLimit, "longest wait for a client that does not read its response; raise it for slow networks"
    ] = 30_000
    unsent_limit_bytes: Annotated[
        int,
        Meta(ge=1 << 20, le=1 << 40),
        "largest total size of reports that a process holds until clients read them",
    ] = 128 << 20
    token_streams: Annotated[
        int,
        Meta(ge=1, le=10**6),
        "largest number of open streams of one token in a process; raise it if many clients share a token",
    ] = 500
    token_reports: Annotated[
        int,
        Meta(ge=1, le=10**6),
        "largest number of open reports on many senders of one token in a process; one of them reads at a time",
    ] = 20
    token_unread_bytes: Annotated[
        int,
        Meta(ge=1 << 16, le=1 << 40),
        "largest total size of one token's large reports and streams that a process holds until clients read them",
    ] = 64 << 20
    token_holds: Annotated[int, Meta(ge=1, le=10**6), "largest number of active holds of one token"] = 1000
    token_jobs: Annotated[
        int, Meta(ge=1, le=10**6), "largest number of holds, releases and purges of one token that run at the same time"
    ] = 100
    shutdown_timeout_ms: Annotated[
        int,
        Meta(ge=0, le=600_000),
        "longest wait for open requests when the service stops; set it below the time limit of the supervisor",
    ] = 3000
    has_traces: Annotated[bool, "`on` sends OpenTelemetry spans, if the extra `otel` is installed"] = msgspec.field(
        default=False, name="traces"
    )
    log_format: Annotated[Literal["text", "json"], "`json` if a program collects the lines"] = "text"
    log_level: Annotated[LogLevel, "least level that is logged; `debug` has a line for each request"] = "info"

    @property
    def connections(self) -> int:
        """How many database connections the service opens at most."""
        return self.workers * (self.pool_size + OTHER_CONNECTIONS)

    @property
    def history_kept(self) -> dict[str, timedelta]:
        """How long each step is kept, by the parameters of sql/queries/roll_up_history.sql."""
        days = (self.history_minutes_days, self.history_ten_minutes_days, self.history_hours_days)
        names = ("kept_by_minute", "kept_by_ten_minutes", "kept_by_hour")
        return {name: timedelta(days=number) for name, number in zip(names, days, strict=True)}

    @property
    def owner_url(self) -> str | None:
        return self.admin_database_url or self.database_url


FIELDS = msgspec.structs.fields(Settings)


def variable(name: str) -> str:
    return PREFIX + name.upper()


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
) -> Settings:
    """The settings in force; `overrides` holds field names, None where an option was not given.

    Raises CommandError naming an unknown QUEUESTATS_* variable, or the variable and what it must be; WrongUsage where
    an option is wrong.
    """
    variables = {**_dotenv(dotenv_path or Path(".env")), **(os.environ if environ is None else environ)}
    given = {name: text for name, text in variables.items() if name.startswith(PREFIX)}
    known = {variable(field.encode_name) for field in FIELDS}
    for name in sorted(given.keys() - known - FOR_TESTS_ONLY):
        raise CommandError(f"{name} is not a setting; the README lists them.")
    values: dict[str, Any] = {}
    for field in FIELDS:
        name, option = variable(field.encode_name), (overrides or {}).get(field.name)
        if option is not None:
            values[field.name] = _convert(field, str(option), f"--{field.name.replace('_', '-')}", WrongUsage)
        # A variable that is set to nothing is as good as unset.
        elif text := given.get(name):
            values[field.name] = _convert(field, text, name, CommandError)
    return Settings(**values)


def _dotenv(path: Path) -> dict[str, str | None]:
    try:
        return dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CommandError(f"The file {path} can't be read: {reason}.") from error


def _convert(field: msgspec.structs.FieldInfo, text: str, name: str, error: type[CommandError]) -> Any:
    """The value of a setting. Raises `error` with the name and what the value must be, never the value: it may be a
    secret."""
    reads: dict[type, Callable[[str], Any]] = {bool: ON_OFF.get, int: _whole_number}
    try:
        value = reads.get(field.type.__origin__, str)(text.strip())
        is_strict = field.type.__origin__ is not float
        return msgspec.convert(value, field.type, strict=is_strict, dec_hook=lambda kind, path: kind(path))
    except msgspec.ValidationError:
        raise error(f"{name} must be {_wanted(field)}.") from None


def _whole_number(text: str) -> int | None:
    # Python refuses to read thousands of digits, in words of its own.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _wanted(field: msgspec.structs.FieldInfo) -> str:
    kind, (meta, *_) = field.type.__origin__, field.type.__metadata__
    if isinstance(meta, Meta):
        return meta.title or f"a {'' if kind is float else 'whole '}number from {meta.ge} to {meta.le}"
    return "one of " + ", ".join(ON_OFF if kind is bool else kind if kind is Grouping else get_args(kind))


def meaning(name: str) -> str:
    (field,) = (field for field in FIELDS if field.name == name)
    return str(field.type.__metadata__[-1])


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these very settings."""
    values = {variable(field.encode_name): getattr(settings, field.name) for field in FIELDS}
    words = {is_on: word for word, is_on in ON_OFF.items()}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None
    }


def dump_settings(settings: Settings) -> str:
    """One `NAME=value` line a setting, in the order of the table; passwords masked."""
    values = as_environment(settings)
    names = (variable(field.encode_name) for field in FIELDS)
    return "\n".join(f"{name}={_mask(values.get(name, ''))}" for name in names)


def _mask(text: str) -> str:
    """Without its password, also where that holds signs which an address should have encoded."""
    address, mark, query = re.sub(r"(://[^:@/?#]*):.*@", r"\1:***@", text).partition("?")
    return address + mark + "&".join(map(_mask_pair, query.split("&")))


def _mask_pair(pair: str) -> str:
    name, _, _ = pair.partition("=")
    return f"{name}=***" if "password" in unquote(name).lower() else pair
