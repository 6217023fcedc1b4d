"""Tokens in the database: a hash and a name, valid or revoked."""

import hashlib
import os
import pwd
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.access.admin import MAX_NAME_CHARACTERS, create_token, list_tokens, revoke_token, rotate_token
from service.access.rules import token_hash
from service.control.actor import Actor, of_command
from service.db import load_statement
from service.errors import CommandError
from tests.conftest import TestDatabase


async def valid(owner: Any) -> dict[bytes, str]:
    """The valid tokens, as processes of the service read them."""
    return {row["hash"]: row["name"] for row in await owner.fetch(load_statement("tokens/valid").sql)}


async def test_a_created_token_is_valid_by_its_hash(database: TestDatabase, owner: Any) -> None:
    secret = await create_token(database.owner_url, "dashboard")
    assert await valid(owner) == {token_hash(secret): "dashboard"}
    assert token_hash(secret) == hashlib.sha256(secret.encode()).digest()


async def test_the_secret_is_stored_nowhere(database: TestDatabase, owner: Any) -> None:
    secret = await create_token(database.owner_url, "dashboard")
    stored = await owner.fetchval("SELECT tokens::text FROM queuestats.tokens")

    assert secret not in stored
    assert secret.encode().hex() not in stored
    assert secret not in str(await list_tokens(database.owner_url))


async def test_secrets_are_different_and_need_no_quoting(database: TestDatabase) -> None:
    secrets = {await create_token(database.owner_url, f"number {number}") for number in range(10)}

    assert len(secrets) == 10
    assert all(secret.isascii() and secret.replace("_", "").replace("-", "").isalnum() for secret in secrets)


async def test_a_valid_name_can_not_be_used_twice(database: TestDatabase, owner: Any) -> None:
    secret = await create_token(database.owner_url, "dashboard")
    with pytest.raises(CommandError, match="dashboard already"):
        await create_token(database.owner_url, "dashboard")
    assert await valid(owner) == {token_hash(secret): "dashboard"}


async def test_a_valid_token_can_be_replaced_on_request_and_its_former_secret_is_revoked(
    database: TestDatabase, owner: Any
) -> None:
    await create_token(database.owner_url, "demo", replace=True)
    new = await create_token(database.owner_url, "demo", replace=True)
    assert await valid(owner) == {token_hash(new): "demo"}


async def test_a_revoked_token_is_not_valid_and_remains_listed(database: TestDatabase, owner: Any) -> None:
    await create_token(database.owner_url, "dashboard")
    kept = await create_token(database.owner_url, "other")
    await revoke_token(database.owner_url, "dashboard")

    assert await valid(owner) == {token_hash(kept): "other"}
    listed = {each["name"]: each["revoked_at"] for each in await list_tokens(database.owner_url)}
    assert listed.keys() == {"dashboard", "other"}
    assert isinstance(listed["dashboard"], datetime)
    assert listed["other"] is None


async def test_the_name_of_a_revoked_token_can_be_used_again_for_a_new_secret(
    database: TestDatabase, owner: Any
) -> None:
    old = await create_token(database.owner_url, "dashboard")
    await revoke_token(database.owner_url, "dashboard")
    new = await create_token(database.owner_url, "dashboard")

    assert old != new
    assert await valid(owner) == {token_hash(new): "dashboard"}


@pytest.mark.parametrize("revoked_before", [True, False])
async def test_revoking_a_token_that_is_not_valid_is_refused(database: TestDatabase, revoked_before: bool) -> None:
    if revoked_before:
        await create_token(database.owner_url, "dashboard")
        await revoke_token(database.owner_url, "dashboard")
    with pytest.raises(CommandError, match="No active token named 'dashboard'"):
        await revoke_token(database.owner_url, "dashboard")


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
async def test_revoking_an_invalid_name_is_refused(database: TestDatabase, name: str) -> None:
    with pytest.raises(CommandError, match="No active token named"):
        await revoke_token(database.owner_url, name)


async def test_tokens_are_listed_oldest_first_with_aware_times_and_no_hash(database: TestDatabase, owner: Any) -> None:
    for name in ("b", "a", "c"):
        await create_token(database.owner_url, name)
    await owner.execute("UPDATE queuestats.tokens SET created_at = created_at + interval '1 hour' WHERE name = 'b'")
    listed = await list_tokens(database.owner_url)

    assert [each["name"] for each in listed] == ["a", "c", "b"]
    assert all("hash" not in each and "former_hash" not in each for each in listed)
    created_at = listed[0]["created_at"]
    assert isinstance(created_at, datetime)
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\0b", "\ud800", "tab\t", "x" * (MAX_NAME_CHARACTERS + 1), "\u202e"]
)
async def test_an_invalid_name_is_refused_and_nothing_is_stored(database: TestDatabase, owner: Any, name: str) -> None:
    with pytest.raises(CommandError, match="printable"):
        await create_token(database.owner_url, name)
    assert await valid(owner) == {}


@pytest.mark.parametrize(
    "name", ["x", "Grafana (EU)", "it's", "панель", "😀", "x" * MAX_NAME_CHARACTERS, "%s", ":name"]
)
async def test_any_printable_name_is_accepted(database: TestDatabase, owner: Any, name: str) -> None:
    secret = await create_token(database.owner_url, name)
    assert await valid(owner) == {token_hash(secret): name}
    await revoke_token(database.owner_url, name)
    assert await valid(owner) == {}


async def test_the_error_without_a_schema_names_the_solution(empty_database: TestDatabase) -> None:
    with pytest.raises(CommandError, match="run `queuestats migrate`"):
        await create_token(empty_database.owner_url, "dashboard")


async def test_every_change_of_a_token_is_in_the_audit_log_and_a_refused_one_is_not(
    database: TestDatabase, owner: Any
) -> None:
    await create_token(database.owner_url, "dashboard")
    with pytest.raises(CommandError):
        await create_token(database.owner_url, "dashboard")
    await rotate_token(database.owner_url, "dashboard", timedelta(hours=1))
    await revoke_token(database.owner_url, "dashboard")
    for change in (revoke_token(database.owner_url, "dashboard"), rotate_token(database.owner_url, "no", timedelta())):
        with pytest.raises(CommandError):
            await change
    rows = await owner.fetch("SELECT * FROM queuestats.audit_log ORDER BY id")
    assert [(row["action"], row["subject"]) for row in rows] == [
        ("create token", "dashboard"),
        ("rotate token", "dashboard"),
        ("revoke token", "dashboard"),
    ]
    name = f"{os.getuid()} ({pwd.getpwuid(os.getuid()).pw_name})"
    assert {(row["actor_kind"], row["actor_name"], row["sender_id"]) for row in rows} == {("command", name, 0)}


async def test_a_token_is_not_changed_if_the_audit_log_can_not_be_written(database: TestDatabase, owner: Any) -> None:
    secret = await create_token(database.owner_url, "dashboard")
    await owner.execute("ALTER TABLE queuestats.audit_log ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    for change in (
        create_token(database.owner_url, "other"),
        rotate_token(database.owner_url, "dashboard", timedelta(hours=1)),
        revoke_token(database.owner_url, "dashboard"),
    ):
        with pytest.raises(Exception, match="full_up"):
            await change
    assert await valid(owner) == {token_hash(secret): "dashboard"}


async def test_a_command_uses_the_user_id_if_the_system_has_no_name_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    assert of_command() == Actor("command", "4000000001")
