"""Any statements in any order, with folds between them: after each, reports equal the counts in Python."""

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from service.db import Database
from tests.conftest import TestDatabase, open_pool
from tests.counters import statements
from tests.counters.clock import Clock
from tests.counters.observing import answer, answers, drift, every_question, fold, on
from tests.counters.statements import SURROUNDINGS, Queue, Queued, Where
from tests.oracle import STATUSES, expected_rows

# For a longer run: TEST_TIMES=20
TIMES = int(os.environ.get("TEST_TIMES", "1"))
ACCOUNTS, CAMPAIGNS, ISPS = (0, 7), (0, 9), ("", "Gmail", "gmail")
# The senders of the writer. The third sender belongs to another writer.
SENDERS, OTHER_SENDER = (1, 2), 3
QUESTIONS = every_question((*SENDERS, OTHER_SENDER), ACCOUNTS, CAMPAIGNS, ISPS)

STATUS, ACCOUNT, CAMPAIGN, ISP = map(st.sampled_from, (STATUSES, ACCOUNTS, CAMPAIGNS, ISPS))
PICK = st.integers(0, 50)
TABLE = st.sampled_from(["messages", "queue"])
COUNTED = st.one_of(
    st.tuples(st.just("status"), STATUS),
    st.tuples(st.just("sender_id"), st.sampled_from(SENDERS)),
    st.tuples(st.just("account_id"), ACCOUNT),
    st.tuples(st.just("campaign_id"), CAMPAIGN),
    st.tuples(st.just("isp"), ISP),
)
WHERE = st.one_of(COUNTED, st.tuples(st.just("id % 2"), st.integers(0, 1))).map(lambda pair: Where(*pair))
WORDS = st.sampled_from(["keep", "keep", "keep", "hold", "drop"])
MESSAGE = st.builds(Queued, st.sampled_from(SENDERS), ACCOUNT, CAMPAIGN, ISP, STATUS, WORDS, st.integers(1, 3))
MESSAGES = st.lists(MESSAGE, min_size=1, max_size=6)
SETTINGS = [
    *("work_mem = '64kB'", "work_mem = '1GB'", "jit = on", "jit_above_cost = 0", "enable_hashagg = off"),
    *("enable_indexscan = off", "enable_seqscan = off", "plan_cache_mode = force_generic_plan"),
    *("search_path = odd, public", "search_path = public", "default_transaction_isolation = 'repeatable read'"),
    *("extra_float_digits = 0", "datestyle = 'German'", "row_security = off", "default_transaction_deferrable = on"),
    *("standard_conforming_strings = on", "timezone = 'Asia/Kathmandu'", "transform_null_equals = on"),
]
# Tables that a function without a fixed search path could use by mistake.
ODD_SCHEMA = """
CREATE SCHEMA odd;
CREATE TABLE odd.deltas AS SELECT 1 AS trap;
CREATE TABLE odd.counters AS SELECT 1 AS trap;
CREATE TABLE odd.watermarks AS SELECT 1 AS trap;
"""


class World:
    """The connections of one test, on their own event loop."""

    def __init__(self, database: TestDatabase) -> None:
        self.runner = asyncio.Runner()
        self.numbers = itertools.count(1, 1000)
        self.writer, self.other, self.folder, self.old = (self.connect(database.owner_url) for _ in range(4))
        self.auditor = self.connect(database.service_url)
        pool = open_pool(database.service_url)
        self.service = self.run(pool.__aenter__())
        self.run(self.writer.execute(SURROUNDINGS + ODD_SCHEMA))
        self.clock = Clock(self.folder)
        self.run(self.clock.begin())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def connect(self, url: str) -> Any:
        # No statement here waits for long. JIT compilation of an audit takes a hundred times longer than its execution.
        return self.run(asyncpg.connect(url, server_settings={"lock_timeout": "10s", "jit": "off"}))

    def close(self) -> None:
        for each in (self.writer, self.other, self.folder, self.old, self.auditor):
            self.run(each.close())
        self.run(self.service.__aexit__(None, None, None))
        self.runner.close()


class AnyStatement(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.current: Queue = {}
        self.committed: Queue = {}
        self.others: Queue = {}
        # The states at BEGIN and at each savepoint, and whether messages had been truncated there.
        self.saved: list[tuple[Queue, bool]] = []
        self.is_truncated = self.has_one_snapshot = False
        # The queue in an old snapshot.
        self.remembered: Queue | None = None
        self.step = 0

    def execute(self, sql: str) -> None:
        self.world.run(self.world.writer.execute(sql))

    def change(self, kind: Callable[..., tuple[str, Queue]], *arguments: Any, is_numbered: bool = True) -> None:
        numbers = (next(self.world.numbers),) if is_numbered else ()
        sql, self.current = kind(self.current, *numbers, *arguments)
        self.execute(sql)
        self.keep()

    def keep(self) -> None:
        if not self.saved:
            self.committed = self.current
            self.others = {} if self.is_truncated else self.others
            self.is_truncated = False

    @rule(messages=MESSAGES, table=TABLE)
    def insert(self, messages: list[Queued], table: str) -> None:
        self.change(statements.insert, messages, table)

    @rule(messages=MESSAGES)
    def copy(self, messages: list[Queued]) -> None:
        first = next(self.world.numbers)
        columns = statements.COLUMNS.split(", ")
        records = [
            (first + offset, *(getattr(each, column) for column in columns[1:])) for offset, each in enumerate(messages)
        ]
        self.world.run(self.world.writer.copy_records_to_table("messages", records=records, columns=columns))
        self.current = self.current | statements.arrived(first, messages)
        self.keep()

    @rule(where=WHERE)
    def insert_select(self, where: Where) -> None:
        self.change(statements.insert_select, where)

    @rule(where=WHERE, to=COUNTED, table=TABLE)
    def update(self, where: Where, to: tuple[str, Any], table: str) -> None:
        self.change(statements.update, where, *to, table, is_numbered=False)

    @rule(where=WHERE)
    def update_uncounted(self, where: Where) -> None:
        self.change(statements.update_uncounted, where, is_numbered=False)

    @precondition(lambda self: self.current)
    @rule(pick=PICK)
    def renumber(self, pick: int) -> None:
        self.change(statements.renumber, pick)

    @rule(where=WHERE, table=TABLE)
    def delete(self, where: Where, table: str) -> None:
        self.change(statements.delete, where, table, is_numbered=False)

    @precondition(lambda self: not self.saved)
    @rule()
    def delete_all(self) -> None:
        self.execute("DELETE FROM messages")
        self.current = self.committed = self.others = {}

    @rule(picks=st.lists(PICK, max_size=4), status=STATUS)
    def merge(self, picks: list[int], status: str) -> None:
        self.change(statements.merge, picks, status)

    @rule(pick=PICK, status=STATUS, is_updating=st.booleans())
    def upsert(self, pick: int, status: str, is_updating: bool) -> None:
        self.change(statements.upsert, pick, status, is_updating)

    @rule(where=WHERE, campaign_id=CAMPAIGN)
    def move(self, where: Where, campaign_id: int) -> None:
        self.change(statements.move, where, campaign_id)

    @rule(status=STATUS, account_id=ACCOUNT)
    def all_at_once(self, status: str, account_id: int) -> None:
        self.change(statements.all_at_once, status, account_id)

    @rule(batch_id=st.integers(1, 3))
    def cascade(self, batch_id: int) -> None:
        self.change(statements.cascade, batch_id, is_numbered=False)

    @rule(message=MESSAGE)
    def caught(self, message: Queued) -> None:
        self.change(statements.caught, message)

    @rule(messages=MESSAGES)
    def insert_and_fail(self, messages: list[Queued]) -> None:
        """The last row is refused, so the whole statement has no effect."""
        sql, _ = statements.insert({}, next(self.world.numbers), [*messages, Queued(sender_id=0)], "messages")
        if self.saved:
            self.execute("SAVEPOINT failing")
        with pytest.raises(asyncpg.CheckViolationError):
            self.execute(sql)
        if self.saved:
            self.execute("ROLLBACK TO failing; RELEASE failing")

    @rule()
    def truncate(self) -> None:
        # TRUNCATE waits for open transactions that have read the counters.
        self.forget_old_snapshot()
        self.execute("TRUNCATE messages")
        self.current, self.is_truncated = {}, True
        self.keep()

    @precondition(lambda self: not self.saved)
    @rule(isolation=st.sampled_from(["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]))
    def begin(self, isolation: str) -> None:
        self.has_one_snapshot = isolation != "READ COMMITTED"
        self.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        self.saved = [(self.current, False)]

    @precondition(lambda self: self.saved)
    @rule()
    def savepoint(self) -> None:
        self.execute(f"SAVEPOINT s{len(self.saved)}")
        self.saved.append((self.current, self.is_truncated))

    @precondition(lambda self: len(self.saved) > 1)
    @rule(is_taken_back=st.booleans())
    def leave_savepoint(self, is_taken_back: bool) -> None:
        before = self.saved.pop()
        if is_taken_back:
            self.execute(f"ROLLBACK TO s{len(self.saved)}")
            self.current, self.is_truncated = before
        self.execute(f"RELEASE s{len(self.saved)}")

    @precondition(lambda self: self.saved)
    @rule(is_taken_back=st.booleans())
    def end(self, is_taken_back: bool) -> None:
        self.execute("ROLLBACK" if is_taken_back else "COMMIT")
        if is_taken_back:
            self.current, self.is_truncated = self.committed, False
        self.saved = []
        self.keep()

    @precondition(lambda self: not self.is_truncated)
    @rule(message=MESSAGE, is_coming=st.booleans())
    def another_writer(self, message: Queued, is_coming: bool) -> None:
        """Writes and commits during any transaction of the first writer."""
        if is_coming:
            number = next(self.world.numbers)
            row = replace(message, sender_id=OTHER_SENDER, recipient="keep", batch_id=statements.LASTING_BATCH)
            sql, self.others = statements.insert(self.others, number, [row], "messages")
        else:
            sql, self.others = f"DELETE FROM messages WHERE sender_id = {OTHER_SENDER}", {}
        self.world.run(self.world.other.execute(sql))

    @rule(
        max_deltas=st.sampled_from([1, 3, 20_000]),
        mark_every=st.sampled_from([0.001, 2, 2000]),
        is_compacting=st.booleans(),
    )
    def fold(self, max_deltas: int, mark_every: float, is_compacting: bool) -> None:
        self.world.run(fold(self.world.folder, max_deltas, mark_every, is_compacting=is_compacting))

    @rule(seconds=st.sampled_from([1, 60, 3600]), max_changes=st.sampled_from([1, 20_000]))
    def end_steps(self, seconds: int, max_changes: int) -> None:
        """Rolls up the history of earlier folds."""
        self.world.run(self.world.clock.pause(seconds))
        self.world.run(self.world.clock.roll_up(max_changes))

    @precondition(lambda self: not self.is_truncated)
    @rule(sender_id=st.sampled_from([None, 1, 2, 3]))
    def rebuild(self, sender_id: int | None) -> None:
        self.world.run(self.world.folder.execute("SELECT queuestats.rebuild($1)", sender_id))

    @precondition(lambda self: not self.is_truncated)
    @rule(work=st.sampled_from(["VACUUM queuestats.deltas, queuestats.counters, queuestats.watermarks", "ANALYZE"]))
    def maintain(self, work: str) -> None:
        self.world.run(self.world.folder.execute(work))

    @precondition(lambda self: not self.saved)
    @rule(setting=st.sampled_from(SETTINGS))
    def change_session(self, setting: str) -> None:
        self.execute(f"SET {setting}")

    @precondition(lambda self: self.remembered is None and not self.is_truncated)
    @rule()
    def take_old_snapshot(self) -> None:
        self.world.run(
            self.world.old.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM queuestats.counters, queuestats.deltas"
            )
        )
        self.remembered = self.committed | self.others

    @precondition(lambda self: self.remembered is not None)
    @rule()
    def forget_old_snapshot(self) -> None:
        self.world.run(self.world.old.execute("ROLLBACK"))
        self.remembered = None

    @invariant()
    def answers_are_exact(self) -> None:
        # While a TRUNCATE is not committed, no other transaction can read the messages or their counts.
        if not self.is_truncated:
            self.check_from_outside()
        # A transaction with one snapshot that truncated may see the former counts until its end.
        if self.saved and not (self.is_truncated and self.has_one_snapshot):
            mine = [query for query in QUESTIONS if query.sender_id in SENDERS]
            self.check(on(self.world.writer), mine, self.current)
        if self.remembered is not None:
            self.check(on(self.world.old), QUESTIONS, self.remembered)

    def check_from_outside(self) -> None:
        self.check(self.world.service, QUESTIONS, self.committed | self.others)
        assert self.world.run(drift(self.world.auditor)) == []
        # A single query has its own statement. Each step runs a few, so that all are run.
        for _ in range(6):
            self.step += 1
            query = QUESTIONS[self.step * 97 % len(QUESTIONS)]
            expected = expected_rows((self.committed | self.others).values(), query)
            assert self.world.run(answer(self.world.auditor, query)) == expected, query

    def check(self, database: Database, queries: list[Any], queue: Queue) -> None:
        found = self.world.run(answers(database, queries))
        for query, rows in zip(queries, found, strict=True):
            assert rows == expected_rows(queue.values(), query), query

    def teardown(self) -> None:
        self.forget_old_snapshot()
        self.execute("ROLLBACK")
        self.execute("RESET ALL; TRUNCATE messages")


@pytest.mark.slow
@pytest.mark.timeout(600 + 120 * TIMES)
def test_reports_equal_the_counts_of_python_after_any_statement(database: TestDatabase) -> None:
    world = World(database)

    class Here(AnyStatement):
        def __init__(self) -> None:
            super().__init__(world)

    try:
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=8 * TIMES,
                stateful_step_count=40,
                deadline=None,
                # Shrinking the example of a failure would take minutes.
                phases=[Phase.reuse, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        world.close()
