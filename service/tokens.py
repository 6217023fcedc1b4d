"""Tokens as their owner handles them: created, listed, revoked."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from service.auth import new_secret, token_hash
from service.db import connect, statement
from service.errors import CommandError
from service.model import Scope

MAX_NAME_CHARACTERS = 100


async def create_token(
    owner_url: str, name: str, scopes: Sequence[Scope] = (Scope.STATS,), *, replace: bool = False
) -> str:
    """The secret of a new token, which is stored nowhere.

    Raises CommandError where the name is no name, or in force already and not to be replaced.
    """
    if not _is_name(name):
        raise CommandError(f"A token's name has 1 to {MAX_NAME_CHARACTERS} printable characters.")
    secret = new_secret()
    if not await _run(
        owner_url, "tokens/create", name=name, hash=token_hash(secret), scopes=list(scopes), replace=replace
    ):
        raise CommandError(f"There is a token named {name} already; revoke it first.")
    return secret


async def list_tokens(owner_url: str) -> list[dict[str, str | list[str] | datetime | None]]:
    """Every token, oldest first: `name`, `scopes`, `created_at`, `revoked_at` (None while in force)."""
    return [dict(row) for row in await _run(owner_url, "tokens/list")]


async def revoke_token(owner_url: str, name: str) -> None:
    """Raises CommandError where no such token is in force."""
    if not _is_name(name) or not await _run(owner_url, "tokens/revoke", name=name):
        raise CommandError(f"There is no token named {name} in force.")


def _is_name(name: str) -> bool:
    return bool(name.strip()) and name.isprintable() and len(name) <= MAX_NAME_CHARACTERS


async def _run(owner_url: str, statement_name: str, **parameters: Any) -> Any:
    asked = statement(statement_name)
    async with connect(owner_url) as connection:
        return await connection.fetch(asked.sql, *asked.bind(parameters))
