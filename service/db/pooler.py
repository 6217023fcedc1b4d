"""Whether prepared statements outlive their transaction; some poolers in transaction mode do not keep them."""

from asyncpg import DuplicatePreparedStatementError, InvalidSQLStatementNameError

from service.db.connect import Connection, connect

NAME = "queuestats_trial"
TURNS = 20


async def keeps_prepared_statements(url: str) -> bool:
    """Tests whether a statement that one server process has prepared runs in another. True without a pooler.

    Raises CommandError if the database can't be reached.
    """
    async with (
        connect(url, prepared_statements=False, is_direct=False) as one,
        connect(url, prepared_statements=False, is_direct=False) as other,
    ):
        # A pooler reports its own process number.
        if await _process(one) == one.get_server_pid():
            return True
        try:
            for turn in range(TURNS):
                if await _runs_elsewhere(one, other, f"{NAME}_{turn}"):
                    return True
        except (DuplicatePreparedStatementError, InvalidSQLStatementNameError):
            return False
    # In session mode a connection keeps its process.
    return True


async def _runs_elsewhere(one: Connection, other: Connection, name: str) -> bool:
    """Whether a process other than the one that prepared the statement has run it; False if it was the same."""
    async with one.transaction():
        prepared_by = await _process(one)
        statement = await one.prepare("SELECT pg_backend_pid()", name=name)
    # Its transaction occupies a process: most likely the last one that became free, which has the statement.
    async with other.transaction():
        await _process(other)
        return bool(await statement.fetchval() != prepared_by)


async def _process(connection: Connection) -> int:
    number: int = await connection.fetchval("SELECT pg_backend_pid()")
    return number
