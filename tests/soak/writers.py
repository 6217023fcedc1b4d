"""Transactions of the platform, which put into the ledgers what they change."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.soak.clients import ACCOUNTS, CAMPAIGNS, ISPS
from tests.soak.ledger import Cell, Ledger

# The status that the platform last gave a message is also in `attempts`, so that a release can be checked.
STATUSES = {"new": 1, "proc": 2, "retry": 3}
PAUSE_SECONDS = 0.03
MOST_MESSAGES = 3000
DISCONNECTED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
PLATFORM = "CREATE TABLE soak_transactions (sender_id bigint, id uuid, PRIMARY KEY (sender_id, id))"
COLUMNS = ("sender_id", "account_id", "campaign_id", "isp", "status", "attempts", "recipient")
INSERT = f"""
INSERT INTO messages ({", ".join(COLUMNS)})
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::message_status[], $6::int[], $7::text[])
"""
CHOSEN = """
WITH chosen AS (
  SELECT * FROM messages
  WHERE sender_id = $1 AND status::text = ANY ($2::text[]) AND account_id >= $3
  ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
)
"""
RETURNING = """
WHERE message.id = chosen.id AND message.sender_id = chosen.sender_id
RETURNING chosen.account_id, chosen.campaign_id, chosen.isp, chosen.status AS former
"""
UPDATE = f"{CHOSEN} UPDATE messages AS message SET {{}} FROM chosen {RETURNING}"
MESSAGES = "account_id, message.campaign_id, message.isp, message.status"
CHANGES = {
    "take": (("new", "retry"), "status = 'proc', attempts = 2"),
    "retry": (("proc",), "status = 'retry', attempts = 3"),
    "move": (("new", "proc", "retry", "hold"), "account_id = (message.account_id + 1) % 3"),
    "rename": (("new", "proc"), "isp = 'Gmail'"),
}
DELETE = f"{CHOSEN} DELETE FROM messages AS message USING chosen {RETURNING}, message.{MESSAGES}"


@dataclass
class Written:
    transactions: int = 0
    messages: int = 0
    unknown: int = 0
    """Transactions whose COMMIT got no answer; each was looked up afterwards."""
    errors: Counter[str] = field(default_factory=Counter)


class Writer:
    def __init__(self, seed: int, url: str, ledgers: Mapping[int, Ledger], written: Written) -> None:
        self._random, self._url = random.Random(seed), url
        self._ledgers, self._written = ledgers, written

    async def write_forever(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._url, timeout=5)
            except (*DISCONNECTED, TimeoutError):
                await asyncio.sleep(0.2)
                continue
            try:
                while True:
                    sender = self._random.choice(list(self._ledgers))
                    async with self._ledgers[sender].writing():
                        await self._transaction(connection, sender)
                    await asyncio.sleep(PAUSE_SECONDS)
            except DISCONNECTED as error:
                self._written.errors[f"{type(error).__name__} {error}"[:150]] += 1
            finally:
                connection.terminate()

    async def _transaction(self, connection: Any, sender: int) -> None:
        """Raises one of DISCONNECTED; then the ledger has what became of it all the same."""
        ledger, id_ = self._ledgers[sender], uuid.UUID(int=self._random.getrandbits(128))
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO soak_transactions VALUES ($1, $2)", sender, id_)
        changes = Counter[Cell]()
        for _ in range(self._random.randint(1, 3)):
            await self._statement(connection, sender, changes)
        if self._random.random() < 0.1:
            await transaction.rollback()
            return
        ledger.attempt(changes)
        try:
            await transaction.commit()
        except DISCONNECTED:
            self._written.unknown += 1
            await self._resolve(sender, id_, changes)
            raise
        self._committed(ledger, changes)

    async def _statement(self, connection: Any, sender: int, changes: Counter[Cell]) -> None:
        ledger = self._ledgers[sender]
        is_full = ledger.size() > MOST_MESSAGES
        kind = self._random.choice(("insert", "copy", *CHANGES, "delete") if not is_full else (*CHANGES, "delete"))
        if kind in ("insert", "copy"):
            records = [self._message(sender) for _ in range(self._random.choice((1, 1, 5, 30)))]
            for _, account, campaign, isp, status, *_ in records:
                changes[ledger.cell(account, campaign, isp, status)] += 1
            if kind == "copy":
                await connection.copy_records_to_table("messages", records=records, columns=COLUMNS)
            else:
                await connection.execute(INSERT, *map(list, zip(*records, strict=True)))
            return
        statuses, assignment = CHANGES.get(kind, (("proc",), ""))
        statement = DELETE if kind == "delete" else UPDATE.format(assignment) + f", message.{MESSAGES}"
        limit = self._random.choice((1, 5, 20)) * (5 if is_full else 1)
        rows = await connection.fetch(statement, sender, statuses, self._random.choice((0, 0, *ACCOUNTS)), limit)
        for row in map(tuple, rows):
            changes[ledger.cell(*row[:4])] -= 1
            if kind != "delete":
                changes[ledger.cell(*row[4:])] += 1

    def _message(self, sender: int) -> tuple[Any, ...]:
        status = self._random.choice(("new", "new", "proc", "retry"))
        keys = (self._random.choice(each) for each in (ACCOUNTS, CAMPAIGNS, ISPS))
        return (sender, *keys, status, STATUSES[status], "x")

    async def _resolve(self, sender: int, id_: uuid.UUID, changes: Counter[Cell]) -> None:
        """Looks up whether it was committed. The key that it wrote makes the look-up wait for its end."""
        look_up = "INSERT INTO soak_transactions VALUES ($1, $2) ON CONFLICT DO NOTHING"
        was_committed = None
        while was_committed is None:
            try:
                connection = await asyncpg.connect(self._url, timeout=5)
                try:
                    await connection.execute("BEGIN")
                    was_committed = await connection.execute(look_up, sender, id_) == "INSERT 0 0"
                finally:
                    connection.terminate()
            except (*DISCONNECTED, TimeoutError):
                await asyncio.sleep(0.2)
        if was_committed:
            self._committed(self._ledgers[sender], changes)
        else:
            self._ledgers[sender].roll_back(changes)

    def _committed(self, ledger: Ledger, changes: Counter[Cell]) -> None:
        ledger.commit(changes)
        self._written.transactions += 1
        self._written.messages += sum(map(abs, changes.values()))
