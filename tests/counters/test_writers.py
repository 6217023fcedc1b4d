"""Hazards of writers: their rights, their settings, and every way in which a message can change."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from service.model import Grouping, StatsQuery
from service.schema.files import own_table
from tests.conftest import TestDatabase
from tests.counters.conftest import Connect
from tests.counters.observing import answer, drift, fold, row_count, scanned

COLUMNS = "sender_id, account_id, campaign_id, isp, status, recipient"
# Objects that a function without a fixed search path could use by mistake.
SHADOWS = """
CREATE SCHEMA odd;
CREATE TABLE odd.deltas (trap integer);
CREATE TABLE odd.counters (trap integer);
CREATE TABLE odd.new_rows (trap integer);
CREATE TABLE odd.fold_lock (trap integer);
CREATE FUNCTION odd.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS 'SELECT NULL::xid8';
CREATE FUNCTION odd.never(bigint, integer) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR odd.<> (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = odd.never);
CREATE FUNCTION odd.same(public.message_status, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR odd.= (LEFTARG = public.message_status, RIGHTARG = text, FUNCTION = odd.same);
CREATE AGGREGATE odd.count(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '100');
GRANT USAGE ON SCHEMA odd TO PUBLIC;
"""


@pytest.fixture
async def owner_connection(connect: Connect) -> Any:
    return await connect()


@pytest.fixture
async def writer(database: TestDatabase, owner_connection: Any) -> AsyncIterator[Any]:
    """A mail transfer agent with rights only on messages, and with its own search path."""
    name = f"writer_{uuid4().hex[:8]}"
    await owner_connection.execute(SHADOWS)
    await owner_connection.execute(
        f"CREATE ROLE {name}; GRANT {name} TO CURRENT_USER; GRANT TEMPORARY ON DATABASE {database.name} TO {name};"
        f" GRANT INSERT, UPDATE, DELETE, SELECT, TRUNCATE ON messages TO {name}"
    )
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute(f"SET ROLE {name}; SET search_path = odd, pg_catalog, public")
    await connection.execute(
        "CREATE TEMPORARY TABLE deltas (trap integer); CREATE TEMPORARY TABLE old_rows (trap integer)"
    )
    yield connection
    await connection.close()
    await owner_connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_writer_with_rights_only_on_messages_and_another_search_path_is_counted(
    writer: Any, owner_connection: Any
) -> None:
    rows = ", ".join(f"(1, {n % 2}, {n % 3}, 'Gmail', 'new', 'x')" for n in range(12))
    await writer.execute(f"INSERT INTO public.messages ({COLUMNS}) VALUES {rows}")
    records = [(1, 2, 3, "", "retry", "x")] * 3
    await writer.copy_records_to_table("messages", schema_name="public", records=records, columns=COLUMNS.split(", "))
    await writer.execute("UPDATE public.messages SET status = 'proc' WHERE account_id = 1")
    await writer.execute("DELETE FROM public.messages WHERE campaign_id = 1")

    (row,) = await answer(owner_connection, StatsQuery(1))
    assert (row.new, row.proc, row.retry, row.hold) == (4, 4, 3, 0)
    assert await drift(owner_connection) == []
    await fold(owner_connection, mark_every=0.001)
    assert await drift(owner_connection) == []
    await writer.execute("TRUNCATE public.messages")
    assert await row_count(owner_connection, "queuestats.counters") == 0
    assert await drift(owner_connection) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT queuestats.fold()",
        "SELECT queuestats.compact()",
        "SELECT queuestats.rebuild()",
        "DELETE FROM queuestats.deltas",
        "DO $$ BEGIN LOCK TABLE queuestats.fold_lock IN ACCESS SHARE MODE; END $$",
    ],
)
async def test_such_a_writer_can_change_no_count_alone(writer: Any, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await writer.execute(statement)


# A table with the columns of messages. The cast of a value of this type to bigint runs a function.
FORGERY = """
CREATE TYPE odd.evil AS (id bigint);
CREATE FUNCTION odd.run(odd.evil) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  CREATE TABLE odd.was_here AS SELECT current_user::text;
  RETURN 1;
END
$$;
CREATE CAST (odd.evil AS bigint) WITH FUNCTION odd.run AS ASSIGNMENT;
"""
ATTACHED = {
    "INSERT": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"
    " EXECUTE FUNCTION queuestats.record_insert()",
    "UPDATE": "AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT"
    " EXECUTE FUNCTION queuestats.record_update()",
    "DELETE": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT"
    " EXECUTE FUNCTION queuestats.record_delete()",
    "TRUNCATE": "AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_truncate()",
}
USED = {
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET isp = 'Gmail'",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
}


@pytest.mark.parametrize("event", ATTACHED)
@pytest.mark.parametrize("is_owner", [False, True])
@pytest.mark.parametrize("kind", ["TABLE", "TEMPORARY TABLE"])
async def test_a_role_can_not_forge_counts_with_its_own_table(
    writer: Any, owner_connection: Any, event: str, is_owner: bool, kind: str
) -> None:
    """This is so even if the owner has attached the trigger to the table."""
    await owner_connection.execute(FORGERY)
    await owner_connection.execute(f"INSERT INTO messages ({COLUMNS}) VALUES (1, 0, 0, '', 'new', 'x')")
    attacker = owner_connection if is_owner else writer
    if not is_owner:
        role = await writer.fetchval("SELECT current_user")
        await owner_connection.execute(f"GRANT CREATE ON SCHEMA odd TO {role}; GRANT USAGE ON TYPE odd.evil TO {role}")
    table = "forged" if kind == "TEMPORARY TABLE" else "odd.forged"
    await attacker.execute(
        f"CREATE {kind} {table} (sender_id odd.evil DEFAULT ROW(1), account_id bigint DEFAULT 1,"
        " campaign_id bigint DEFAULT 1, isp text DEFAULT '', status public.message_status DEFAULT 'new');"
        f" INSERT INTO {table} DEFAULT VALUES"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await attacker.execute(
            f"CREATE TRIGGER forge {ATTACHED[event].format(table=table)}; {USED[event].format(table=table)}"
        )

    assert (await answer(owner_connection, StatsQuery(1)))[0].total == 1
    assert await drift(owner_connection) == []
    assert await owner_connection.fetchval("SELECT to_regclass('odd.was_here')") is None
    if not is_owner:
        await writer.execute(f"DROP TABLE {table}")


async def test_a_partition_of_messages_with_its_own_triggers_is_counted(connect: Connect) -> None:
    connection = await connect()
    await connection.execute(
        "ALTER TABLE messages RENAME TO old_messages; CREATE TABLE messages (LIKE old_messages INCLUDING ALL)"
        " PARTITION BY HASH (sender_id);"
        " CREATE TABLE part PARTITION OF messages FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    )
    await connection.execute(own_table().render("counters/queued_messages"))
    for event, trigger in ATTACHED.items():
        await connection.execute(f"CREATE TRIGGER count_{event} {trigger.format(table='part')}")
    await connection.execute(own_table().render("counters/attach"))
    await connection.execute("SELECT queuestats.rebuild()")
    await connection.execute(
        f"INSERT INTO part ({COLUMNS}, id) VALUES (1, 0, 0, '', 'new', 'x', 1), (1, 0, 0, '', 'new', 'x', 2)"
    )
    await connection.execute("UPDATE part SET status = 'hold' WHERE id = 1")
    await connection.execute("DELETE FROM part WHERE id = 2")

    (row,) = await answer(connection, StatsQuery(1))
    assert (row.new, row.hold) == (0, 1)
    assert await drift(connection) == []


async def test_a_writer_that_may_only_insert_is_counted(connect: Connect, owner_connection: Any) -> None:
    name, writer = f"writer_{uuid4().hex[:8]}", await connect()
    await owner_connection.execute(
        f"CREATE ROLE {name}; GRANT {name} TO CURRENT_USER; GRANT INSERT ON messages TO {name}"
    )
    async with writer.transaction():
        await writer.execute(f"SET LOCAL ROLE {name}")
        await writer.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')")

    assert (await answer(owner_connection, StatsQuery(1)))[0].new == 1
    await owner_connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_account_and_campaign_0_and_the_isp_without_a_name_are_keys_like_any_other(connect: Connect) -> None:
    connection = await connect()
    await connection.execute(
        f"INSERT INTO messages ({COLUMNS}) VALUES (1, 0, 0, '', 'new', 'x'), (1, 0, 5, '', 'new', 'x'),"
        " (1, 5, 0, 'Gmail', 'new', 'x'), (1, 5, 5, '', 'new', 'x')"
    )
    for _ in range(2):
        (row,) = await answer(connection, StatsQuery(1, account_id=0))
        assert row.total == 2
        (row,) = await answer(connection, StatsQuery(1, campaign_id=0, grouping=Grouping.ISP, isp="Gmail"))
        assert (row.isp, row.total) == ("Gmail", 1)
        (row,) = await answer(connection, StatsQuery(1, 0, 0, ""))
        assert row.total == 1
        assert [each.total for each in await answer(connection, StatsQuery(1, grouping=Grouping.ACCOUNT))] == [2, 2]
        await fold(connection)


SURROUNDINGS = """
CREATE TABLE campaigns (id bigint PRIMARY KEY);
INSERT INTO campaigns VALUES (0), (1), (2);
ALTER TABLE messages ADD FOREIGN KEY (campaign_id) REFERENCES campaigns ON UPDATE CASCADE ON DELETE SET DEFAULT;
CREATE TABLE senders (id bigint PRIMARY KEY);
INSERT INTO senders VALUES (1), (2);
ALTER TABLE messages ADD FOREIGN KEY (sender_id) REFERENCES senders ON DELETE CASCADE;
CREATE VIEW queue AS SELECT * FROM messages WHERE status <> 'hold' WITH CHECK OPTION;
INSERT INTO messages (sender_id, campaign_id, status, recipient)
SELECT 1 + n % 2, n % 3, (enum_range(NULL::message_status))[1 + n % 4], 'x' FROM generate_series(1, 24) AS n;
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.status := 'hold'; RETURN NEW; END $$;
CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE messages SET account_id = account_id + 1 WHERE id = NEW.id;
    RETURN NULL;
END
$$;
"""
WAYS = {
    "COPY from the server": "COPY messages (sender_id, recipient) FROM PROGRAM 'printf ''1\\tx\\n2\\tx\\n'''",
    "INSERT … SELECT": f"INSERT INTO messages ({COLUMNS}) SELECT {COLUMNS} FROM messages WHERE id % 2 = 0",
    "INSERT of nothing": f"INSERT INTO messages ({COLUMNS}) SELECT {COLUMNS} FROM messages WHERE false",
    "UPDATE … FROM": "UPDATE messages SET status = 'hold' FROM campaigns WHERE campaigns.id = campaign_id",
    "DELETE … USING": "DELETE FROM messages USING senders WHERE senders.id = sender_id AND senders.id = 2",
    "MERGE": "MERGE INTO messages USING campaigns ON campaigns.id = campaign_id AND messages.id % 2 = 0"
    " WHEN MATCHED AND campaigns.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET status = 'retry'"
    " WHEN NOT MATCHED THEN INSERT (sender_id, recipient) VALUES (1, 'x')",
    "ON CONFLICT DO UPDATE": "INSERT INTO messages (id, sender_id, recipient)"
    " VALUES (1, 1, 'x'), (2, 1, 'x'), (99, 1, 'x')"
    " ON CONFLICT (id, sender_id) DO UPDATE SET status = 'hold', isp = 'Gmail'",
    "ON CONFLICT DO NOTHING": "INSERT INTO messages (id, sender_id, recipient)"
    " VALUES (1, 1, 'x'), (2, 1, 'x'), (99, 1, 'x') ON CONFLICT DO NOTHING",
    "a data-modifying CTE": "WITH gone AS (DELETE FROM messages WHERE id < 9 RETURNING *), held AS (UPDATE messages"
    " SET status = 'hold' WHERE id > 20), more AS (UPDATE messages SET isp = 'Gmail' WHERE id BETWEEN 12 AND 15)"
    f" INSERT INTO messages ({COLUMNS}) SELECT {COLUMNS} FROM gone",
    "a cascade of DELETE": "DELETE FROM senders WHERE id = 1",
    "a cascade of UPDATE": "UPDATE campaigns SET id = id + 10 WHERE id > 0",
    "a cascade that sets the default": "DELETE FROM campaigns WHERE id = 1",
    "a view": "UPDATE queue SET status = 'retry'; DELETE FROM queue WHERE campaign_id = 1",
    "a BEFORE trigger that rewrites the status": "CREATE TRIGGER hold BEFORE INSERT OR UPDATE ON messages FOR EACH ROW"
    " EXECUTE FUNCTION hold(); INSERT INTO messages (sender_id, recipient) VALUES (1, 'x');"
    " UPDATE messages SET status = 'new' WHERE id < 9",
    "an AFTER trigger that changes the same rows": "CREATE TRIGGER follow AFTER INSERT ON messages FOR EACH ROW"
    " EXECUTE FUNCTION follow(); INSERT INTO messages (sender_id, recipient) VALUES (1, 'x'), (2, 'x')",
    "a deferred constraint trigger": "CREATE CONSTRAINT TRIGGER follow AFTER INSERT ON messages DEFERRABLE INITIALLY"
    " DEFERRED FOR EACH ROW EXECUTE FUNCTION follow(); INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')",
    "a block that catches an error": "DO $$ BEGIN DELETE FROM messages WHERE id < 5; BEGIN DELETE FROM messages;"
    " RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$",
    "a cursor": "DO $$ DECLARE each record; BEGIN FOR each IN SELECT id FROM messages WHERE id < 9 FOR UPDATE LOOP"
    " UPDATE messages SET status = 'proc' WHERE id = each.id; END LOOP; END $$",
    "a procedure that commits in the middle": "DO $$ BEGIN DELETE FROM messages WHERE id = 1; COMMIT;"
    " DELETE FROM messages WHERE id = 2; ROLLBACK; DELETE FROM messages WHERE id = 3; END $$",
    "another number": "UPDATE messages SET id = id + 1000",
    "a changed type": "DROP VIEW queue; ALTER TABLE messages ALTER attempts TYPE bigint;"
    " DELETE FROM messages WHERE id < 5",
    "an added column": "ALTER TABLE messages ADD note text DEFAULT 'x'; INSERT INTO messages (sender_id, recipient)"
    " VALUES (1, 'x')",
    "VACUUM FULL": "VACUUM FULL messages",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_in_which_messages_change_is_counted(superuser: Any, way: str) -> None:
    connection = superuser
    await connection.execute(SURROUNDINGS)
    await fold(connection, mark_every=0.001)
    await connection.execute(WAYS[way])

    assert await drift(connection) == []
    for grouping in Grouping:
        query = StatsQuery(1, grouping=grouping)
        assert await answer(connection, query) == await scanned(connection, query)
    await fold(connection, mark_every=0.001)
    assert await drift(connection) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE messages SET attempts = attempts + 1, next_attempt_at = now()",
        "UPDATE messages SET status = status",
        "UPDATE messages SET id = id + 1000",
        "UPDATE messages SET status = 'hold' WHERE false",
        # One message leaves the key, and one message gets it.
        "UPDATE messages SET account_id = 7 - account_id WHERE account_id IN (3, 4)",
    ],
)
async def test_no_delta_is_written_if_no_count_changes(connect: Connect, statement: str) -> None:
    connection = await connect()
    await connection.execute(
        f"INSERT INTO messages ({COLUMNS}) VALUES (1, 3, 0, '', 'new', 'x'), (1, 4, 0, '', 'new', 'x')"
    )
    await fold(connection)
    await connection.execute(statement)

    assert await row_count(connection, "queuestats.deltas") == 0
    assert await drift(connection) == []


async def test_a_statement_writes_one_delta_for_each_key_for_any_number_of_messages(connect: Connect) -> None:
    connection = await connect()
    await connection.execute(
        f"INSERT INTO messages ({COLUMNS}) SELECT 1, 0, n % 5, '', 'new', 'x' FROM generate_series(1, 1000) AS n"
    )
    assert await row_count(connection, "queuestats.deltas") == 5
    await fold(connection)
    await connection.execute("UPDATE messages SET status = 'proc'")

    found = await connection.fetch("SELECT new, proc, retry, hold FROM queuestats.deltas")
    assert [tuple(each) for each in found] == [(-200, 200, 0, 0)] * 5


async def test_the_triggers_have_their_own_settings(connect: Connect) -> None:
    """They do not use the work_mem, jit and search_path of the writer."""
    found = await (await connect()).fetch(
        "SELECT proname, prosecdef, proconfig FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid"
        " WHERE tgrelid = 'messages'::regclass AND NOT tgisinternal"
    )
    assert len(found) == 4
    assert all(each["prosecdef"] for each in found)
    for each in found:
        names = {setting.partition("=")[0] for setting in each["proconfig"]}
        assert names >= (
            {"search_path"} if each["proname"] == "record_truncate" else {"search_path", "jit", "work_mem"}
        )
