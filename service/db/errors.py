"""The one place where a driver's error becomes ours."""

import logging

import asyncpg

from service.errors import ServiceError, TimedOut, Unavailable

logger = logging.getLogger(__name__)

# By the limit of the role or of the question; a lock that did not come in time.
_OUT_OF_TIME = ("57014", "55P03")
# SQLSTATE classes and codes that say: the database cannot be used now.
# 08 connection, 28 authorisation, 3D no such database, 40 cancelled on a standby, 53 resources, 57P shutdown,
# 58 system, 42… a schema that is not migrated.
_OUT_OF_REACH = ("08", "28", "3D", "40", "53", "57P", "58", "42P01", "42703", "42883", "42501")


def to_service_error(error: BaseException) -> ServiceError | None:
    """What a client is told of a driver's error; None where it is a fault of ours."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _OUT_OF_TIME:
            return TimedOut()
        return Unavailable() if state.startswith(_OUT_OF_REACH) else None
    if isinstance(error, TimeoutError):
        return TimedOut()
    return Unavailable() if is_disconnect(error) else None


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection is gone, so that a read may be asked again on another one."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57P"))
    # A timeout counts as an operating system's error in Python, a value that cannot be sent as an interface's.
    if isinstance(error, TimeoutError | asyncpg.DataError):
        return False
    # The driver is out of step where it has read the server's farewell, but not yet the end of the connection.
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def is_outdated(error: BaseException) -> bool:
    """The table was altered since the statement was prepared; the driver has forgotten it by now."""
    return isinstance(error, asyncpg.InvalidCachedStatementError)


def translated(error: Exception) -> Exception:
    """Ours where it is a known one, else the error itself; an outage is logged."""
    known = error if isinstance(error, ServiceError) else to_service_error(error)
    if isinstance(known, Unavailable):
        logger.warning(
            "database out of reach error=%s sqlstate=%s", type(error).__name__, getattr(error, "sqlstate", "")
        )
    return known or error
