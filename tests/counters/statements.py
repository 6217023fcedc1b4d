"""Every kind of statement that changes messages: its SQL, and its effect on a queue in Python."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.oracle import Message

COLUMNS = "id, sender_id, account_id, campaign_id, isp, status, recipient, batch_id"
# A batch that is never deleted.
LASTING_BATCH = 4

# Objects of others: a table that messages reference, a view of messages, and a BEFORE trigger.
SURROUNDINGS = """
CREATE TABLE batches (id bigint PRIMARY KEY);
INSERT INTO batches SELECT generate_series(1, 4);
ALTER TABLE messages ADD COLUMN batch_id bigint REFERENCES batches ON DELETE CASCADE;
CREATE VIEW queue AS SELECT * FROM messages;
CREATE FUNCTION rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.recipient = 'drop' THEN
        RETURN NULL;
    ELSIF NEW.recipient = 'hold' THEN
        NEW.status := 'hold';
    END IF;
    -- Any time of arrival; some of those that change their status get another one, and some others too.
    IF TG_OP = 'INSERT' OR NEW.id % 4 = 0 THEN
        NEW.created_at := timestamptz '2026-01-01 00:00Z'
            + ((NEW.id * 7919 + length(NEW.status::text)) % 60) * interval '1 day';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rewrite BEFORE INSERT OR UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION rewrite();
"""


@dataclass(frozen=True)
class Queued(Message):
    """A message with the effects of the objects of others. `recipient` is a command to the trigger."""

    recipient: str = "keep"
    batch_id: int = 1


Queue = dict[int, Queued]
Change = tuple[str, Queue]


@dataclass(frozen=True)
class Where:
    """A condition on messages, in SQL and in Python. `column` may be `id % 2`."""

    column: str
    value: int | str

    @property
    def sql(self) -> str:
        return f"sender_id < 3 AND {self.column} = {self.value!r}"

    def picks(self, queue: Queue) -> list[int]:
        """The numbers of the messages, in ascending order."""
        return [number for number in sorted(queue) if self._value_of(number, queue[number]) == self.value]

    def _value_of(self, number: int, message: Queued) -> Any:
        return number % 2 if self.column == "id % 2" else getattr(message, self.column)


def insert(queue: Queue, first: int, messages: Sequence[Queued], table: str) -> Change:
    rows = ", ".join(_values(first + offset, each) for offset, each in enumerate(messages))
    return f"INSERT INTO {table} ({COLUMNS}) VALUES {rows}", queue | arrived(first, messages)


def insert_select(queue: Queue, first: int, where: Where) -> Change:
    copied = [queue[number] for number in where.picks(queue)[:3]]
    sql = (
        f"INSERT INTO messages ({COLUMNS}) SELECT {first - 1} + row_number() OVER (ORDER BY id), sender_id, account_id,"
        f" campaign_id, isp, status, recipient, batch_id FROM messages WHERE {where.sql} ORDER BY id LIMIT 3"
    )
    return sql, queue | arrived(first, copied)


def update(queue: Queue, where: Where, column: str, value: int | str, table: str) -> Change:
    changed = {number: _written(queue[number], **{column: value}) for number in where.picks(queue)}
    return f"UPDATE {table} SET {column} = {value!r} WHERE {where.sql}", queue | changed


def update_uncounted(queue: Queue, where: Where) -> Change:
    return f"UPDATE messages SET attempts = attempts + 1, next_attempt_at = now() WHERE {where.sql}", queue


def renumber(queue: Queue, first: int, pick: int) -> Change:
    number = _existing(queue, pick)
    changed = {(first if each == number else each): message for each, message in queue.items()}
    return f"UPDATE messages SET id = {first} WHERE id = {number}", changed


def delete(queue: Queue, where: Where, table: str) -> Change:
    return f"DELETE FROM {table} WHERE {where.sql}", without(queue, where.picks(queue))


def merge(queue: Queue, first: int, picks: Sequence[int], status: str) -> Change:
    """Deletes some messages, sets the status of the others, and adds one."""
    numbers = sorted({_existing(queue, pick) for pick in picks if queue})
    gone, kept = numbers[::2], numbers[1::2]
    rows = ", ".join(f"({number}, {number in gone})" for number in [*numbers, first])
    sql = (
        f"MERGE INTO messages USING (VALUES {rows}) AS wanted (number, is_gone) ON id = number"
        " WHEN MATCHED AND is_gone THEN DELETE"
        f" WHEN MATCHED THEN UPDATE SET status = '{status}'"
        f" WHEN NOT MATCHED THEN INSERT ({COLUMNS}) VALUES (number, 1, 7, 0, '', '{status}', 'keep', 1)"
    )
    changed = {number: _written(queue[number], status=status) for number in kept}
    return sql, without(queue, gone) | changed | {first: Queued(1, 7, status=status)}


def upsert(queue: Queue, first: int, pick: int, status: str, is_updating: bool) -> Change:
    """An existing message, if there is one, and a new message."""
    known = [_existing(queue, pick)] if queue else []
    rows = [_values(number, replace(queue[number], status=status, recipient="keep")) for number in known]
    rows.append(_values(first, Queued(status=status, sender_id=2)))
    action = "UPDATE SET status = excluded.status" if is_updating else "NOTHING"
    sql = f"INSERT INTO messages ({COLUMNS}) VALUES {', '.join(rows)} ON CONFLICT (id, sender_id) DO {action}"
    changed = {number: _written(queue[number], status=status) for number in known if is_updating}
    return sql, queue | changed | {first: Queued(status=status, sender_id=2)}


def move(queue: Queue, first: int, where: Where, campaign_id: int) -> Change:
    """Deletes and inserts in one statement."""
    picked = where.picks(queue)
    moved = [replace(queue[number], campaign_id=campaign_id) for number in picked]
    sql = (
        f"WITH gone AS (DELETE FROM messages WHERE {where.sql} RETURNING *) INSERT INTO messages ({COLUMNS})"
        f" SELECT {first - 1} + row_number() OVER (ORDER BY id), sender_id, account_id, {campaign_id}, isp, status,"
        " recipient, batch_id FROM gone ORDER BY id"
    )
    return sql, without(queue, picked) | arrived(first, moved)


def all_at_once(queue: Queue, first: int, status: str, account_id: int) -> Change:
    """Two updates, a delete and an insert in one statement."""
    shares = [[number for number in queue if number % 4 == rest] for rest in range(4)]
    sql = (
        f"WITH a AS (UPDATE messages SET status = '{status}' WHERE sender_id < 3 AND id % 4 = 0),"
        " b AS (DELETE FROM messages WHERE sender_id < 3 AND id % 4 = 1),"
        f" c AS (UPDATE messages SET account_id = {account_id} WHERE sender_id < 3 AND id % 4 = 2)"
        f" INSERT INTO messages ({COLUMNS}) VALUES {_values(first, Queued(1))}"
    )
    changed = {number: _written(queue[number], status=status) for number in shares[0]}
    changed |= {number: _written(queue[number], account_id=account_id) for number in shares[2]}
    return sql, without(queue, shares[1]) | changed | arrived(first, [Queued(1)])


def cascade(queue: Queue, batch_id: int) -> Change:
    sql = f"DELETE FROM batches WHERE id = {batch_id}; INSERT INTO batches VALUES ({batch_id})"
    return sql, without(queue, Where("batch_id", batch_id).picks(queue))


def caught(queue: Queue, first: int, message: Queued) -> Change:
    """The exception block undoes only its own statements."""
    sql = (
        f"DO $$ BEGIN INSERT INTO messages ({COLUMNS}) VALUES {_values(first, message)};"
        " BEGIN DELETE FROM messages WHERE sender_id < 3; RAISE division_by_zero;"
        " EXCEPTION WHEN division_by_zero THEN NULL; END; END $$"
    )
    return sql, queue | arrived(first, [message])


def arrived(first: int, messages: Sequence[Queued]) -> Queue:
    """The rows in the table after messages were inserted with numbers from `first` on."""
    return {first + offset: _written(each) for offset, each in enumerate(messages) if each.recipient != "drop"}


def without(queue: Queue, gone: Sequence[int]) -> Queue:
    return {number: message for number, message in queue.items() if number not in gone}


def _written(message: Queued, **changes: Any) -> Queued:
    changed = replace(message, **changes)
    return replace(changed, status="hold") if changed.recipient == "hold" else changed


def _existing(queue: Queue, pick: int) -> int:
    return sorted(queue)[pick % len(queue)]


def _values(number: int, each: Queued) -> str:
    counted = (each.sender_id, each.account_id, each.campaign_id, each.isp, each.status)
    return repr((number, *counted, each.recipient, each.batch_id))
