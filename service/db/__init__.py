"""The database: a pool, named statements, and the driver's errors turned into ours."""

# The names of the driver that other folders use.
from asyncpg import (
    InsufficientPrivilegeError,
    InvalidObjectDefinitionError,
    PostgresError,
    ReadOnlySQLTransactionError,
    Record,
    TooManyConnectionsError,
)

from service.db.connect import Connection, connect, fetch, require_disposable
from service.db.errors import in_words, is_disconnect
from service.db.pool import AS_A_SCAN, WRITING, WRITING_WITHOUT_LIMIT, Database
from service.db.statements import Statement, load_statement, load_statements

__all__ = ["AS_A_SCAN", "WRITING", "WRITING_WITHOUT_LIMIT", "Connection", "Database", "Statement", "connect", "fetch"]
__all__ += ["in_words", "is_disconnect", "load_statement", "load_statements", "require_disposable"]
__all__ += ["InsufficientPrivilegeError", "InvalidObjectDefinitionError", "PostgresError"]
__all__ += ["ReadOnlySQLTransactionError", "Record", "TooManyConnectionsError"]
