"""The database: a pool, named statements, and the driver's errors turned into ours."""

from service.db.connect import connect
from service.db.pool import AS_A_SCAN, Database
from service.db.statements import BadStatement, Statement, load_statements, statement

__all__ = [
    "AS_A_SCAN",
    "BadStatement",
    "Database",
    "Statement",
    "connect",
    "load_statements",
    "statement",
]
