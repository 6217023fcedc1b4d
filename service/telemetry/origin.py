"""Whose work is being done: the command, and the ids of the requests behind it, so that logs can name them."""

from contextvars import ContextVar

# Of the command line that is being run: `seed`, say.
command: ContextVar[str] = ContextVar("command", default="")

# Of the current task. Empty where no request is behind it: folding, say.
request_ids: ContextVar[tuple[str, ...]] = ContextVar("request_ids", default=())

# A statement may answer hundreds; a line names so many of them.
MOST_NAMED = 5


def name_requests() -> str:
    """For a log line, `requests=7f3a,9c01 request_count=2` say; the first few and the number of all."""
    ids = request_ids.get()
    return f"requests={','.join(ids[:MOST_NAMED])} request_count={len(ids)}"


def application_name(purpose: str = "") -> str:
    """What pg_stat_activity and the server's log call a connection, `queuestats fold` say; by default the command's."""
    return f"queuestats {purpose or command.get()}".strip()
