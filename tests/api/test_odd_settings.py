"""Settings that roles and databases may have for other programs change no response and no result of `doctor`."""

import asyncio
from typing import Any

import pytest

from service.access.admin import create_token
from service.counters.doctor import diagnose
from service.db import connect
from service.model import Format, Scope
from service.settings import PREFIX, Settings
from tests.api.wire import STATS, body_of, client_of, serving
from tests.cli.programs import queuestats
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow

OF_TEXTS = """
array_nulls = off
backslash_quote = off
bytea_output = 'escape'
client_encoding = 'LATIN1'
client_min_messages = 'debug1'
DateStyle = 'SQL, DMY'
extra_float_digits = -15
IntervalStyle = 'sql_standard'
lc_messages = 'C'
lc_monetary = 'C'
lc_numeric = 'C'
lc_time = 'C'
quote_all_identifiers = on
search_path = ''
standard_conforming_strings = off
TimeZone = 'Asia/Kathmandu'
timezone_abbreviations = 'India'
transform_null_equals = on
xmlbinary = 'hex'
xmloption = 'document'
"""
OF_STATEMENTS = """
application_name = '%d "x"'
check_function_bodies = off
constraint_exclusion = on
cursor_tuple_fraction = 1
debug_parallel_query = on
default_transaction_deferrable = on
default_transaction_isolation = 'serializable'
default_transaction_read_only = on
enable_hashjoin = off
enable_mergejoin = off
enable_nestloop = off
enable_sort = off
event_triggers = off
exit_on_error = on
extra_float_digits = 3
from_collapse_limit = 1
geqo_threshold = 2
gin_fuzzy_search_limit = 1
join_collapse_limit = 1
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
plpgsql.extra_errors = 'all'
plpgsql.variable_conflict = 'use_column'
search_path = pg_temp, queuestats
session_replication_role = 'replica'
synchronous_commit = off
work_mem = '64kB'
"""
# Only the database gets these: for the settings in sql/conditions/settings.sql, the role has its own values.
OF_DATABASE = ("plan_cache_mode = 'force_custom_plan'", "row_security = on", "enable_seqscan = on")
COMMANDS = (
    *(("migrate", "--check"), ("migrate",), ("verify",), ("top", "--json"), ("holds", "--json"), ("jobs",)),
    *(("stats", "--sender", "119", "--group", "isp", "--json"), ("fold",), ("token", "list")),
)
# Their output has ids, times and numbers of rows.
CHANGING = ("fold", "jobs", "token")
SCRAPED = ("queuestats_database_up", "queuestats_messages{", "queuestats_condition{")


async def over_http(settings: Settings, token: str) -> list[Any]:
    """The responses of the service."""
    async with serving(settings) as url, client_of(url) as client:
        seen = [(await client.get("/readyz")).json()]
        for action in ("stats", "hold", "stats", "release", "stats"):
            asked = {"group": "isp"} if action == "stats" else {"isp": "Gmail"}
            content = body_of(Format.JSON, token=token, id=119, **asked)
            seen.append((await client.post(STATS.replace("stats", action), content=content)).json())
        scraped = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        return seen + [line for line in scraped.text.splitlines() if line.startswith(SCRAPED)]


async def observe(database: TestDatabase, settings: Settings, token: str) -> dict[str, Any]:
    """The output of the service, of the commands and of `doctor`."""
    seen: dict[str, Any] = {"service": await over_http(settings, token)}
    urls = {f"{PREFIX}DATABASE_URL": database.service_url, f"{PREFIX}ADMIN_DATABASE_URL": database.owner_url}
    for command in COMMANDS:
        ended = await asyncio.to_thread(queuestats, *command, **urls)
        output = "" if command[0] in CHANGING else ended.stdout
        seen[" ".join(command)] = ended.returncode, output, ended.stderr
    async with connect(database.owner_url) as owner:
        found = await diagnose(owner, database.owner_url, settings)
    return seen | {"doctor": [(each.condition, each.finding) for each in found]}


@pytest.mark.parametrize("odd", [OF_TEXTS, OF_STATEMENTS], ids=["of texts", "of statements"])
async def test_no_setting_of_a_role_or_of_the_database_changes_a_response_or_a_condition(
    settings: Settings, database: TestDatabase, owner: Any, odd: str
) -> None:
    await insert(owner, [Message(sender_id=119, isp=isp, status="new") for isp in ("Gmail", "Gmail", "Yahoo")])
    token = await create_token(database.owner_url, "tests", [Scope.STATS, Scope.CONTROL, Scope.METRICS])
    before = await observe(database, settings, token)
    known = await owner.fetchval("SELECT array_agg(lower(name)) FROM pg_settings")
    roles = (await owner.fetchval("SELECT current_user"), "queuestats_service")
    places = [f"DATABASE {database.name}", *(f"ROLE {role} IN DATABASE {database.name}" for role in roles)]
    for setting in odd.strip().splitlines():
        name = setting.partition(" ")[0].lower()
        # Some versions lack some of these settings.
        if name in known or "." in name:
            for place in places:
                await owner.execute(f"ALTER {place} SET {setting}")
    for setting in OF_DATABASE:
        await owner.execute(f"ALTER {places[0]} SET {setting}")
    assert await observe(database, settings, token) == before
