"""The role of the service: its rights, its limits, and its creation."""

import asyncio
import base64
import hashlib
import hmac
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from service.embedded import binaries
from service.errors import CommandError
from service.resources import sql_path
from service.schema import migrate
from service.schema.roles import login
from tests.conftest import TestDatabase, _on, drop_database, url_of

LIMITS = {
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "row_security": "off",
}


@pytest.fixture(scope="module")
def migrated(server_url: str) -> Iterator[TestDatabase]:
    """A migrated database. It is not a clone, because a clone lacks the rights on the database. No test changes it."""
    name = f"queuestats_roles_{uuid.uuid4().hex[:12]}"
    database = TestDatabase(name, url_of(server_url, name), url_of(server_url, name, "queuestats_service"))
    asyncio.run(_on(server_url, f"CREATE DATABASE {name}"))
    asyncio.run(migrate(database.owner_url, database.service_url))
    yield database
    asyncio.run(drop_database(server_url, name))


@pytest.fixture
async def as_service(migrated: TestDatabase) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(migrated.service_url)
    yield connection
    await connection.close()


@pytest.fixture
async def new_role(empty_database: TestDatabase) -> AsyncIterator[str]:
    """The name of a role that does not exist. The name needs quoting."""
    name = f'odd "role", {uuid.uuid4().hex[:8]}'
    yield name
    await drop(empty_database, name)


async def drop(database: TestDatabase, name: str) -> None:
    if await ask(database.owner_url, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name):
        for statement in ("GRANT {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
            await ask(database.owner_url, statement.format(quoted(name)))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def ask(url: str, query: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


def as_role(database: TestDatabase, name: str, password: str = "") -> str:
    """The address of the database for another user."""
    address = url_of(database.owner_url, database.name, "USER", "PASSWORD")
    with_user = address.replace("USER", quote(name, safe=""), 1)
    if ":PASSWORD" in with_user:
        return with_user.replace("PASSWORD", quote(password, safe=""), 1)
    return f"{with_user}&password={quote(password)}" if password else with_user


@pytest.mark.parametrize("table", ["queued_messages", "counters", "tokens", "repeatable_migrations", "alembic_version"])
async def test_the_service_reads_what_it_needs(as_service: Any, table: str) -> None:
    await as_service.fetch(f"SELECT * FROM queuestats.{table}")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')",
        "UPDATE messages SET status = 'hold'",
        "DELETE FROM messages",
        "TRUNCATE messages",
        "LOCK TABLE messages IN ROW EXCLUSIVE MODE",
        "SELECT FROM messages FOR UPDATE",
        "SELECT FROM queuestats.queued_messages FOR UPDATE",
        "INSERT INTO queuestats.tokens (name, hash) VALUES ('mine', 'x')",
        "UPDATE queuestats.tokens SET revoked_at = NULL",
        "DELETE FROM queuestats.tokens",
        "SELECT recipient FROM messages",
        "INSERT INTO queuestats.repeatable_migrations (name, hash) VALUES ('mine', 'x')",
        "LOCK TABLE queuestats.fold_lock IN ACCESS SHARE MODE",
        "SELECT queuestats.take_fold_lock(false)",
        "SELECT queuestats.rebuild()",
        "UPDATE queuestats.alembic_version SET version_num = 'x'",
        "SELECT nextval('messages_id_seq')",
        "CREATE INDEX ON messages (isp)",
        "ALTER TABLE messages ADD COLUMN x text",
        "DROP TABLE messages",
        "CREATE TABLE mine ()",
        "CREATE FUNCTION mine() RETURNS void LANGUAGE sql AS ''",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "COPY messages TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT rolpassword FROM pg_authid",
    ],
)
async def test_the_service_may_do_nothing_else(as_service: Any, statement: str) -> None:
    async with as_service.transaction():
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_service.execute(statement)


async def test_the_service_has_no_attribute_and_no_other_role(as_service: Any) -> None:
    attributes = await as_service.fetchrow(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles"
        " WHERE rolname = current_user"
    )
    assert set(attributes.values()) == {False}
    memberships = "SELECT count(*) FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles WHERE rolname = $1)"
    assert await as_service.fetchval(memberships, "queuestats_service") == 0


async def test_the_limits_are_active_after_the_login(as_service: Any) -> None:
    assert {name: await as_service.fetchval(f"SHOW {name}") for name in LIMITS} == LIMITS


async def test_other_roles_lose_no_right(empty_database: TestDatabase, new_role: str) -> None:
    """Other applications of the same database keep the rights of PUBLIC."""
    role = quoted(new_role)
    await ask(empty_database.owner_url, f"CREATE ROLE {role} LOGIN PASSWORD 'service'")
    await ask(empty_database.owner_url, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    await migrate(empty_database.owner_url, empty_database.service_url)

    await ask(as_role(empty_database, new_role, "service"), "CREATE TEMPORARY TABLE mine ()")
    await ask(as_role(empty_database, new_role, "service"), "CREATE TABLE theirs ()")
    await ask(empty_database.owner_url, f"DROP OWNED BY {role}")


async def test_rights_that_a_dba_revoked_from_public_are_granted_to_the_service(empty_database: TestDatabase) -> None:
    owner_url = empty_database.owner_url
    await ask(owner_url, f"REVOKE ALL ON DATABASE {empty_database.name} FROM PUBLIC")
    await ask(owner_url, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    await migrate(owner_url, empty_database.service_url)

    assert await ask(empty_database.service_url, "SELECT count(*) FROM queuestats.queued_messages") == 0


async def test_a_new_role_has_the_name_and_the_password_of_the_address(
    empty_database: TestDatabase, new_role: str
) -> None:
    password = "p@ss:w/rd 'quoted' %41"
    await migrate(empty_database.owner_url, as_role(empty_database, new_role, password))
    assert await has_password(empty_database, new_role, password)


async def test_a_role_that_exists_keeps_its_password(empty_database: TestDatabase, new_role: str) -> None:
    await migrate(empty_database.owner_url, as_role(empty_database, new_role, "first"))
    await migrate(empty_database.owner_url, as_role(empty_database, new_role, "second"))
    assert await has_password(empty_database, new_role, "first")


async def has_password(database: TestDatabase, name: str, password: str) -> bool:
    """Compares the stored SCRAM secret with the password. Logs in if the role of the test may not read the secret."""
    try:
        stored = await ask(database.owner_url, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", name)
    except asyncpg.InsufficientPrivilegeError:
        # The server may accept any password. The test then detects no difference.
        return bool(await ask(as_role(database, name, password), "SELECT current_user = $1", name))
    return is_scram_of(stored, password)


def is_scram_of(stored: str, password: str) -> bool:
    """RFC 5803: SCRAM-SHA-256$iterations:salt$stored key:server key"""
    iterations, salt = stored.split("$")[1].split(":")
    stored_key, _ = stored.split("$")[2].split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(key).digest() == base64.b64decode(stored_key)


async def test_a_limit_that_a_dba_chose_is_kept_and_a_missing_one_is_set(
    empty_database: TestDatabase, new_role: str
) -> None:
    role, owner_url = quoted(new_role), empty_database.owner_url
    await ask(owner_url, f"CREATE ROLE {role} LOGIN")
    await ask(owner_url, f"ALTER ROLE {role} SET statement_timeout = '1min'")
    in_database = f"ALTER ROLE {role} IN DATABASE {empty_database.name}"
    await ask(owner_url, f"{in_database} SET idle_in_transaction_session_timeout = 0")
    url = as_role(empty_database, new_role)
    await migrate(empty_database.owner_url, url)

    in_force = {name: await ask(url, f"SHOW {name}") for name in LIMITS}
    assert in_force == LIMITS | {"statement_timeout": "1min", "idle_in_transaction_session_timeout": "0"}


async def test_one_address_for_owner_and_service_works_and_grants_no_rights(empty_database: TestDatabase) -> None:
    url = empty_database.owner_url
    await migrate(url, url)
    assert await ask(url, "SELECT relacl IS NULL FROM pg_class WHERE relname = 'messages'")


async def test_two_databases_of_a_cluster_share_a_role_that_both_create_at_once(
    empty_database: TestDatabase, server_url: str, new_role: str
) -> None:
    name = f"{empty_database.name}_b"
    await ask(server_url, f"CREATE DATABASE {name} TEMPLATE template1")
    second = TestDatabase(name, url_of(server_url, name), "")
    both = [empty_database, second]
    try:
        # Separate processes, because Alembic stores its state in a variable of a module.
        running = [await start_migration(each.owner_url, as_role(each, new_role)) for each in both]
        assert [await process.wait() for process in running] == [0, 0]

        for each in both:
            assert await ask(as_role(each, new_role), "SELECT count(*) FROM queuestats.queued_messages") == 0
    finally:
        await drop_database(server_url, name)


async def start_migration(*urls: str) -> asyncio.subprocess.Process:
    script = "import asyncio, sys; from service.schema import migrate; asyncio.run(migrate(*sys.argv[1:]))"
    return await asyncio.create_subprocess_exec(sys.executable, "-c", script, *urls)


@pytest.fixture
async def plain_owner(empty_database: TestDatabase, new_role: str) -> AsyncIterator[str]:
    """The address of an owner that may not create roles. It is dropped before the role to which it granted rights."""
    name = f"plain_owner_{uuid.uuid4().hex[:8]}"
    await ask(empty_database.owner_url, f"CREATE ROLE {name} LOGIN PASSWORD 'service'")
    await ask(empty_database.owner_url, f"GRANT ALL ON DATABASE {empty_database.name} TO {name}")
    await ask(empty_database.owner_url, f"GRANT ALL ON SCHEMA public TO {name}")
    yield as_role(empty_database, name, "service")
    await drop(empty_database, name)


async def test_the_error_for_an_owner_without_createrole_has_the_commands_for_a_superuser(
    empty_database: TestDatabase, plain_owner: str, new_role: str
) -> None:
    with pytest.raises(CommandError, match=r"sql/roles\.sql") as caught:
        await migrate(plain_owner, as_role(empty_database, new_role))

    message = str(caught.value)
    assert "\n" not in message
    assert "superuser" in message
    assert f"SET queuestats.service_role = '{new_role}'" in message


async def test_an_owner_that_may_not_set_limits_grants_the_rights_and_warns(
    empty_database: TestDatabase, plain_owner: str, new_role: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(empty_database.owner_url, f"CREATE ROLE {quoted(new_role)} LOGIN")
    await migrate(plain_owner, as_role(empty_database, new_role))

    assert await ask(as_role(empty_database, new_role), "SELECT count(*) FROM queuestats.queued_messages") == 0
    assert all(f"SET {name} = " in each for name, each in zip(LIMITS, caplog.messages, strict=True))


async def test_the_file_can_be_run_in_psql_as_it_documents(empty_database: TestDatabase, new_role: str) -> None:
    await migrate(empty_database.owner_url, None)
    settings = [f"SET queuestats.service_role = '{new_role}'", "SET queuestats.service_password = 'secret'"]
    command = [str(binaries(18) / "psql"), "-Xqd", empty_database.owner_url, "--set=ON_ERROR_STOP=1"]
    process = await asyncio.create_subprocess_exec(
        *command, "-c", settings[0], "-c", settings[1], "-f", str(sql_path("roles.sql"))
    )

    assert await process.wait() == 0
    assert await has_password(empty_database, new_role, "secret")
    assert {name: await ask(as_role(empty_database, new_role, "secret"), f"SHOW {name}") for name in LIMITS} == LIMITS


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://me:secret@host/db", ("me", "secret")),
        ("postgresql://m%40e:s%2Fcr%25t@host/db", ("m@e", "s/cr%t")),
        ("postgresql://host/db?user=me&password=s%26t", ("me", "s&t")),
        ("postgresql://me@/db?host=/socket", ("me", "")),
        ("postgresql:///db", ("from environment", "also")),
    ],
)
def test_user_and_password_are_read_as_by_the_driver(
    monkeypatch: pytest.MonkeyPatch, url: str, found: tuple[str, str]
) -> None:
    if found[0].startswith("from"):
        monkeypatch.setenv("PGUSER", "from environment")
        monkeypatch.setenv("PGPASSWORD", "also")
    assert login(url) == found
