"""What doctor says of a healthy database, and of one in which something was broken on purpose."""

from typing import Any

import pytest

from service.counters.doctor import Severity, examine
from tests.conftest import TestDatabase

SERVICE = "queuestats_service"


async def found(owner: Any) -> dict[str, Severity]:
    return {each.check: each.severity for each in await examine(owner, SERVICE)}


async def test_a_fresh_database_has_nothing_to_mend(owner: Any) -> None:
    assert await found(owner) == {}


@pytest.mark.parametrize(
    ("harm", "check", "severity"),
    [
        ("ALTER TABLE messages DISABLE TRIGGER messages_updated", "triggers", Severity.ERROR),
        ("DROP TRIGGER messages_inserted ON messages", "messages", Severity.ERROR),
        ("DELETE FROM queuestats.baseline", "baseline", Severity.WARNING),
        ("INSERT INTO queuestats.counters VALUES (1, 'total', 0, 0, 0, '', -1, 0, 0, 0)", "negative", Severity.ERROR),
        ("INSERT INTO queuestats.counters VALUES (1, 'isp', 0, 0, 0, 'a', -1, 0, 0, 0),"
         " (1, 'isp', 0, 0, 0, 'b', 1, 0, 0, 0)", "negative", Severity.ERROR),
        ("INSERT INTO queuestats.keys VALUES (7, 'acme'), (-7, 'emca')", "keys", Severity.ERROR),
        ("INSERT INTO queuestats.counters VALUES (1, 'total', 0, 0, 0, '', 1, 0, 0, 0)", "drift", Severity.ERROR),
        ("INSERT INTO queuestats.counters VALUES (1, 'total', 0, 0, 0, '', 1, 0, 0, 0),"
         " (1, 'account', 0, 0, 0, '', 2, 0, 0, 0)", "groupings", Severity.ERROR),
        ("INSERT INTO queuestats.deltas SELECT '1', 1, 0, 0, '', 0, 0, 0, 0 FROM generate_series(1, 6000)", "pending",
         Severity.WARNING),
        ("ALTER TABLE queuestats.counters SET (autovacuum_enabled = off)", "autovacuum", Severity.ERROR),
        ("DROP INDEX messages_sender_id_status", "indexes", Severity.ERROR),
        (f"GRANT INSERT ON messages TO {SERVICE}", "role", Severity.WARNING),
        (f"REVOKE SELECT ON queuestats.counters FROM {SERVICE}", "rights", Severity.ERROR),
        ("TRUNCATE queuestats.counters; INSERT INTO messages (sender_id, recipient) VALUES (1, 'x');"
         " DELETE FROM queuestats.deltas", "drift", Severity.ERROR),
        ("INSERT INTO queuestats.counters VALUES (1, 'total', 9, 0, 0, '', 1, 0, 0, 0)", "epochs", Severity.ERROR),
        ("GRANT EXECUTE ON FUNCTION queuestats.record_insert() TO PUBLIC", "triggers", Severity.ERROR),
        ("CREATE TABLE theirs (); CREATE TRIGGER forged AFTER TRUNCATE ON theirs"
         " EXECUTE FUNCTION queuestats.record_truncate()", "triggers", Severity.ERROR),
        ("ALTER TYPE message_status ADD VALUE 'bounced'", "messages", Severity.ERROR),
        ("ALTER TABLE messages SET UNLOGGED", "messages", Severity.WARNING),
        ("ALTER TABLE messages ENABLE ROW LEVEL SECURITY", "messages", Severity.WARNING),
        ("ALTER TABLE messages FORCE ROW LEVEL SECURITY", "messages", Severity.ERROR),
        ("CREATE TABLE child () INHERITS (messages)", "messages", Severity.ERROR),
        ("DELETE FROM queuestats.alembic_version", "schema", Severity.ERROR),
    ],
)  # fmt: skip
async def test_what_is_broken_is_found(owner: Any, harm: str, check: str, severity: Severity) -> None:
    await owner.execute(harm)
    assert (await found(owner)).get(check) == severity


async def test_extensions_that_are_missing_are_not_missed(database: TestDatabase, owner: Any) -> None:
    assert not {"statements"} & (await found(owner)).keys()


async def test_a_server_that_keeps_rows_of_merge_from_the_triggers_is_an_error(owner: Any) -> None:
    await owner.execute(
        "WITH first AS (INSERT INTO messages (sender_id, recipient) VALUES (1, 'x'))"
        " MERGE INTO messages USING (VALUES (2)) AS other (id) ON messages.sender_id = other.id"
        " WHEN NOT MATCHED THEN INSERT (sender_id, recipient) VALUES (other.id, 'x')"
    )
    is_counted = await owner.fetchval("SELECT sum(new) = 2 FROM queuestats.deltas")
    assert (await found(owner)).get("version") == (None if is_counted else Severity.ERROR)
