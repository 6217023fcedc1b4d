"""The revisions of `migrations/`, which Alembic runs."""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError as AlembicError
from sqlalchemy import Connection as AlembicConnection
from sqlalchemy import StaticPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service.db import Connection
from service.errors import CommandError
from service.resources import migrations_path

MOST_ATTEMPTS = 5


async def upgrade(connection: Connection) -> None:
    """Migrates the tables to the newest revision. Raises CommandError if the database has an unknown one."""

    def work(wrapped: AlembicConnection) -> None:
        # migrations/env.py reads it.
        command.upgrade(alembic_config(attributes={"connection": wrapped}), "head")

    await with_alembic(connection, work)


def upgrade_as_sql() -> str:
    """All revisions as SQL, without a database."""
    output = io.StringIO()
    command.upgrade(alembic_config(output_buffer=output), "head", sql=True)
    return output.getvalue()


async def with_alembic(connection: Connection, work: Callable[[AlembicConnection], None]) -> None:
    """Runs Alembic's work on this connection, which stays open; the driver's errors are not converted.

    A revision locks several tables. After a deadlock with a writer, the work continues from the last revision.
    """

    async def this_one(*args: Any, **kwargs: Any) -> Connection:
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=this_one, poolclass=StaticPool)
    try:
        for attempts_left in reversed(range(MOST_ATTEMPTS)):
            try:
                async with engine.connect() as wrapped:
                    return await wrapped.run_sync(work)
            except DBAPIError as error:
                cause = error.orig and error.orig.__cause__
                if not (attempts_left and isinstance(cause, asyncpg.DeadlockDetectedError)):
                    raise cause or error from None
    except AlembicError as error:
        raise CommandError(
            f"Alembic can't migrate: {str(error).rstrip('.')}: no release up to this one has such a revision."
        ) from error
    finally:
        await engine.dispose(close=False)


def alembic_config(**options: Any) -> Config:
    config = Config(**options)
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Every revision that this code knows, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())
