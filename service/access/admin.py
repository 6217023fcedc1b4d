"""The commands of the database's owner for tokens: create, rotate, list, revoke."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from service.access.rules import token_hash
from service.control.actor import of_command
from service.db import connect, fetch
from service.errors import CommandError
from service.model import Scope

MAX_NAME_CHARACTERS = 100
# It identifies a text as a secret of queuestats.
SECRET_PREFIX = "qs_"  # noqa: S105 - the prefix of every token, not a secret


def new_secret() -> str:
    """256 random bits in 46 characters that need no quoting in a URL, a header or a shell."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


async def create_token(
    owner_url: str,
    name: str,
    scopes: Sequence[Scope] = (Scope.STATS,),
    *,
    sender_ids: Sequence[int] = (),
    account_ids: Sequence[int] = (),
    expires_in: timedelta | None = None,
    replace: bool = False,
) -> str:
    """The secret of a new token, which is not stored. Without ids it has no limits; without a time it does not expire.

    Raises CommandError if the name is not valid, or is that of an active token that is not to be replaced.
    """
    if not _is_name(name):
        raise CommandError(f"A token's name has 1 to {MAX_NAME_CHARACTERS} printable characters.")
    secret = new_secret()
    limits = {"sender_ids": list(sender_ids) or None, "account_ids": list(account_ids) or None}
    rights = {"scopes": list(scopes), "expires_in": expires_in, "replace": replace, **limits}
    if not await _change(owner_url, "tokens/create", name=name, hash=token_hash(secret), **rights):
        raise CommandError(f"There is a token named {name} already; revoke it first.")
    return secret


async def rotate_token(owner_url: str, name: str, overlap: timedelta) -> str:
    """A new secret; the former secret stays valid during the overlap. Raises CommandError as `revoke_token`."""
    secret = new_secret()
    await _change_active(owner_url, "tokens/rotate", name, hash=token_hash(secret), overlap=overlap)
    return secret


async def revoke_token(owner_url: str, name: str) -> None:
    """Raises CommandError if no such token is active."""
    await _change_active(owner_url, "tokens/revoke", name)


async def list_tokens(owner_url: str) -> list[dict[str, Any]]:
    """Every token, oldest first: the columns of sql/tokens/list.sql. `revoked_at` is None while it is active."""
    async with connect(owner_url) as connection:
        return [dict(row) for row in await fetch(connection, "tokens/list")]


def _is_name(name: str) -> bool:
    return bool(name.strip()) and name.isprintable() and len(name) <= MAX_NAME_CHARACTERS


async def _change_active(owner_url: str, statement_name: str, name: str, **parameters: Any) -> None:
    if not _is_name(name) or not await _change(owner_url, statement_name, name=name, **parameters):
        raise CommandError(f"No active token named '{name}'.")


async def _change(owner_url: str, statement_name: str, **parameters: Any) -> bool:
    """Whether a token was changed. The audit log names the user who runs the command."""
    actor = of_command()
    async with connect(owner_url) as connection:
        rows = await fetch(connection, statement_name, **parameters, actor_kind=actor.kind, actor_name=actor.name)
    return bool(rows)
