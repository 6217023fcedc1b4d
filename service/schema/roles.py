"""Creates the service's role and grants its rights, with sql/roles.sql."""

import getpass
import logging
import os
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from service.db import Connection
from service.db.statements import read_sql

logger = logging.getLogger(__name__)


async def grant(connection: Connection, service_url: str) -> None:
    """Creates the role of `service_url` if it is missing, and grants its rights; the owner needs none."""
    user, password = login(service_url)
    if user == await connection.fetchval("SELECT current_user"):
        return
    connection.add_log_listener(_pass_on_warning)
    async with connection.transaction():
        await connection.execute(
            "SELECT set_config('queuestats.service_role', $1, true),"
            " set_config('queuestats.service_password', $2, true)",
            user,
            password,
        )
        await connection.execute(read_sql("roles"))
    connection.remove_log_listener(_pass_on_warning)


def login(url: str) -> tuple[str, str]:
    """User and password of an address, from the same sources as in the driver; "" without a password."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user = unquote(parts.username or "") or query.get("user") or os.environ.get("PGUSER") or getpass.getuser()
    password = unquote(parts.password or "") or query.get("password") or os.environ.get("PGPASSWORD") or ""
    return user, password


def _pass_on_warning(_: object, message: Any) -> None:
    if message.severity_en == "WARNING":
        logger.warning("%s", message.message)
