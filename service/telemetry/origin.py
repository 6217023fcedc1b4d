"""The command and the requests that work is done for, so that log lines, connections and traces can name them."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# Of the command line that is being run: `seed`, say.
command: ContextVar[str] = ContextVar("command", default="")


class Origin(NamedTuple):
    """A request; `span` is its span in OpenTelemetry, where traces are on."""

    request_id: str
    span: "Span | None" = None


# The requests behind the current task. Empty where there is none: folding, say.
origins: ContextVar[tuple[Origin, ...]] = ContextVar("origins", default=())

# A statement may answer hundreds; a line names so many of them.
MOST_NAMED = 5


def name_requests() -> str:
    """For a log line, `requests=7f3a,9c01 request_count=2` say; the first few and the number of all."""
    requests = origins.get()
    ids = ",".join(origin.request_id for origin in requests[:MOST_NAMED])
    return f"requests={ids} request_count={len(requests)}"


def application_name(purpose: str = "") -> str:
    """What pg_stat_activity and the server's log call a connection, `queuestats fold` say; by default the command's."""
    return f"queuestats {purpose or command.get()}".strip()
