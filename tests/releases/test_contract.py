"""contract.txt records the contract numbers and the database objects that the service uses. A test finds changes."""

from pathlib import Path
from typing import Any

from service.schema.contract import CONTRACT, OLDEST
from tests.conftest import TestDatabase

RECORD = Path(__file__).with_name("contract.txt")
USED = """
SELECT format('%s(%s) -> %s', proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid))
FROM pg_proc
WHERE pronamespace = 'queuestats'::regnamespace AND prorettype <> 'trigger'::regtype
  AND has_function_privilege('queuestats_service', oid, 'EXECUTE')
UNION ALL
SELECT relname || ': ' || string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attname)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'queuestats'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
  AND has_table_privilege('queuestats_service', pg_class.oid, 'SELECT')
GROUP BY relname
"""
ADVICE = (
    "The functions, tables or views that the service uses have changed. CONTRIBUTING.md, section 'The contract', says"
    " whether a number of service/schema/contract.py must be raised. Then bring tests/releases/contract.txt up to date."
)


async def test_the_record_has_the_objects_that_the_service_uses(database: TestDatabase, owner: Any) -> None:
    used = sorted(row[0] for row in await owner.fetch(USED))
    numbers, *recorded = RECORD.read_text("utf-8").splitlines()
    assert (numbers, recorded) == (f"contract {CONTRACT}, oldest {OLDEST}", used), ADVICE
