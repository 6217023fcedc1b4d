"""Converts the driver's errors into those of service/errors.py."""

import logging
import os
import re
from collections.abc import Callable

import asyncpg

from service.errors import (
    STANDBY,
    BadRequest,
    Conflict,
    Forbidden,
    Moved,
    ServiceError,
    TimedOut,
    TooManyRequests,
    Unavailable,
    Uncounted,
)

logger = logging.getLogger(__name__)

# The time limit of the role or of the request; a lock that was not granted in time.
_OUT_OF_TIME = ("57014", "55P03")
# The database cannot be used now: 08 connection, 28 authorisation, 3D no such database, 40 cancelled on a standby,
# 53 resources, 57P shutdown, 58 system, 3F and 42… a schema that is not migrated.
_OUT_OF_REACH = ("08", "28", "3D", "3F", "40", "53", "57P", "58", "42P01", "42703", "42883", "42501")

# A prepared statement of another server process or of another client: a pooler in transaction mode.
UNPREPARED = ("26000", "42P05")

# The driver quotes the text that it could not read, which may be part of the password.
MALFORMED = "The database can't be reached: its address is malformed."

# A standby, or a primary that is set to read-only.
READ_ONLY = "25006"

# Encodings: a byte that is not valid, or a character that the other encoding lacks.
_NOT_IN_ENCODING, _LACKING = "22021", "22P05"


def _lacking(said: str) -> ServiceError:
    """In every language, the last word of the server's message is the encoding that lacks the character."""
    if "UTF8" in said[-6:]:
        return Unavailable(": a text of the database has a character that UTF-8 lacks")
    return BadRequest("a text has a character that the encoding of the database lacks")


# Raised by our own functions with a text for the client; the detail is for the log.
_OURS: dict[str, Callable[[str], ServiceError]] = {
    "QS400": BadRequest,
    "QS403": Forbidden,
    "QS412": Conflict,
    "QS429": lambda said: TooManyRequests(said, "active_holds"),
    "QS430": lambda said: TooManyRequests(said, "open_jobs"),
    "QS409": lambda said: Moved(f": {said}"),
    "QS425": lambda said: Uncounted(f": {said}"),
    "QS503": lambda said: Unavailable(f": {said}"),
    _NOT_IN_ENCODING: lambda _: Unavailable(": a text of the database is not in the encoding of the database"),
    _LACKING: _lacking,
    READ_ONLY: lambda _: Unavailable(": the database can't be written to"),
}

# The advice by the beginning of the SQLSTATE; {} is the message of the server.
_ADVICE = {
    ("28",): (
        "The database refuses the login: {}; correct the user or the password in its address, renew the role's VALID"
        " UNTIL, or run `queuestats migrate`, which creates the role."
    ),
    ("3D",): "There is no such database: {}; create it, or correct the address.",
    ("42501",): ("The database's role lacks a right: {}; `queuestats migrate`, run as the owner, grants it."),
    ("42P01", "42703", "42883", "3F"): (
        "The database is not migrated to this version: {}; run `queuestats migrate` first."
    ),
    ("42P07", "42710", "42723"): (
        "The database has an object of this name that `queuestats migrate` has not created: {}; rename it first."
    ),
    _OUT_OF_TIME: "The database took longer than the limit: {}; try again when it is less busy.",
    ("53300",): (
        "The database has no connection left: {}; raise max_connections or the CONNECTION LIMIT of the role or the"
        " database, or end some connections."
    ),
    UNPREPARED: (
        "The pooler in front of the database does not keep prepared statements: {}; set"
        " QUEUESTATS_PREPARED_STATEMENTS=off, or max_prepared_statements of PgBouncer 1.21 or later."
    ),
    (READ_ONLY,): "The database can't be written to: {}; it may be a standby: use the address of the primary.",
}


def in_words(error: BaseException) -> str:
    """One sentence for a person at a terminal, not for a client: the message of the database, and advice."""
    if isinstance(error, ServiceError):
        return _ours_in_words(error)
    state, said = getattr(error, "sqlstate", None) or "", _first_line(error)
    for states, advice in _ADVICE.items():
        if state.startswith(states):
            return advice.format(said)
    # The driver's class for a lost connection is a subclass of PostgresError.
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        return f"The database refuses: {said}."
    return _out_of_reach(error, said)


# These have a text of our own, also if the database raised them: sql/control/start.sql.
_WITH_OWN_TEXT = (BadRequest, Conflict, Forbidden, TooManyRequests)


def _ours_in_words(error: ServiceError) -> str:
    if isinstance(error, Unavailable) and error.said:
        return error.said
    cause = error.__cause__
    if cause is None or isinstance(cause, ServiceError) or isinstance(error, _WITH_OWN_TEXT):
        return f"{error.text}."
    return in_words(cause)


def _out_of_reach(error: BaseException, said: str) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "The database is a standby: use the address of the primary."
    if isinstance(error, TimeoutError):
        return "The database does not answer in time: check its address, and that the server runs."
    return f"The database can't be reached: {said}: check its address, and that the server runs."


def _first_line(error: BaseException) -> str:
    """The message without the DETAIL and HINT lines that the driver appends; for errors of the system, its own text."""
    if isinstance(error, OSError) and error.errno is not None:
        place = re.search(r"\('?[^()]*\)", str(error))
        return os.strerror(error.errno) + (f" {place[0]}" if place else "")
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection was lost, so that a read may run again on another one."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57P"))
    # In Python a timeout is an OSError; a value that cannot be sent is an InterfaceError.
    if isinstance(error, TimeoutError | asyncpg.DataError):
        return False
    # InternalClientError: the driver has read the server's last message, but not yet the end of the connection.
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def translated(error: Exception) -> Exception:
    """The error that the client gets, or the error itself if it is a fault of the service. Logs an outage."""
    known, state = error, getattr(error, "sqlstate", None) or ""
    if isinstance(error, ServiceError):
        return error
    if state in _OURS:
        known = _OURS[state](_first_line(error))
        # Part of the operation of a cluster: the query is answered in another way.
        if not isinstance(known, Moved | Uncounted):
            logger.warning("database refuses said=%r detail=%r", _first_line(error), getattr(error, "detail", None))
        return known
    if isinstance(error, TimeoutError) or state in _OUT_OF_TIME:
        return TimedOut()
    said = in_words(error)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        known = Unavailable(STANDBY, said)
    elif state.startswith((*_OUT_OF_REACH, *UNPREPARED)) or is_disconnect(error):
        known = Unavailable(said=said)
    if isinstance(known, Unavailable):
        logger.warning("%s error=%s sqlstate=%s", said, type(error).__name__, state)
    return known
