"""The one place where a driver's error becomes ours."""

import logging
import os
import re
from collections.abc import Callable

import asyncpg

from service.errors import BadRequest, Conflict, Moved, ServiceError, TimedOut, Unavailable, Uncounted

logger = logging.getLogger(__name__)

# By the limit of the role or of the request; a lock that did not come in time.
_OUT_OF_TIME = ("57014", "55P03")
# The database cannot be used now: 08 connection, 28 authorisation, 3D no such database, 40 cancelled on a standby,
# 53 resources, 57P shutdown, 58 system, 3F and 42… a schema that is not migrated.
_OUT_OF_REACH = ("08", "28", "3D", "3F", "40", "53", "57P", "58", "42P01", "42703", "42883", "42501")

# A standby, or a primary that was told to refuse writes.
READ_ONLY = "25006"

# Raised by our own functions, in words for the client; the detail is for the log.
_OURS: dict[str, Callable[[str], ServiceError]] = {
    "QS400": BadRequest,
    "QS412": Conflict,
    "QS409": lambda said: Moved(f": {said}"),
    "QS425": lambda said: Uncounted(f": {said}"),
    "QS503": lambda said: Unavailable(f": {said}"),
    READ_ONLY: lambda _: Unavailable(": the database can't be written to"),
}

# What to do, by the beginning of the SQLSTATE; {} is what the server said.
_ADVICE = {
    ("28",): (
        "The database refuses the login: {}; correct the user or the password in its address, or run"
        " `queuestats migrate`, which makes the role."
    ),
    ("3D",): "There is no such database: {}; create it, or correct the address.",
    ("42501",): (
        "The database's role lacks a right: {}; `queuestats migrate`, run as the owner, grants what is needed."
    ),
    ("42P01", "42703", "42883", "3F"): (
        "The database is not migrated to this version: {}; run `queuestats migrate` first."
    ),
    ("42P07", "42710", "42723"): (
        "The database holds something of this name that `queuestats migrate` has not made: {}; rename it first."
    ),
    _OUT_OF_TIME: "The database took longer than the limit: {}; try again when it is less busy.",
    ("53300",): "The database has no connection left: {}; raise max_connections, or end some.",
    (READ_ONLY,): "The database can't be written to: {}; it may be a standby: take the address of the primary.",
}


def in_words(error: BaseException) -> str:
    """One sentence for a person at the terminal: what the database said, and what to do about it."""
    state, said = getattr(error, "sqlstate", None) or "", _first_line(error)
    for states, advice in _ADVICE.items():
        if state.startswith(states):
            return advice.format(said)
    if isinstance(error, asyncpg.PostgresError):
        return f"The database refuses: {said}."
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "The database is a standby: take the address of the primary."
    if isinstance(error, TimeoutError):
        return "The database does not answer in time: see that its address is right and the server runs."
    return f"The database can't be reached: {said}: see that its address is right and the server runs."


def _first_line(error: BaseException) -> str:
    """Without the DETAIL and HINT lines that the driver appends; the system's words for the system's errors."""
    if isinstance(error, OSError) and error.errno is not None:
        place = re.search(r"\('?[^()]*\)", str(error))
        return os.strerror(error.errno) + (f" {place[0]}" if place else "")
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection is gone, so that a read may run again on another one."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57P"))
    # A timeout counts as an operating system's error in Python, a value that cannot be sent as an interface's.
    if isinstance(error, TimeoutError | asyncpg.DataError):
        return False
    # InternalClientError: the driver has read the server's last message, but not yet the end of the connection.
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def translated(error: Exception) -> Exception:
    """The error that the client gets, or the error itself where it is a fault of ours; an outage is logged."""
    known, state = error, getattr(error, "sqlstate", None) or ""
    if state in _OURS:
        known = _OURS[state](_first_line(error))
        if not isinstance(known, Uncounted):
            logger.warning("database refuses said=%r detail=%r", _first_line(error), getattr(error, "detail", None))
        return known
    if isinstance(error, TimeoutError) or state in _OUT_OF_TIME:
        return TimedOut()
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        known = Unavailable(": the database is a standby")
    elif state.startswith(_OUT_OF_REACH) or is_disconnect(error):
        known = Unavailable()
    if isinstance(known, Unavailable):
        logger.warning("database out of reach error=%s sqlstate=%s", type(error).__name__, state)
    return known
