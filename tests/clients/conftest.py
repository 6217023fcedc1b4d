"""A service with the queue of the README, for clients in their own processes."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest_asyncio

from service.access.admin import create_token
from service.model import Scope
from service.settings import PREFIX
from tests.api.wire import serve_process
from tests.conftest import clone_of
from tests.oracle import Message, insert

MODULES = Path(__file__).resolve().parents[2] / ".cache" / "node" / "node_modules"
TSC = MODULES / "typescript" / "bin" / "tsc"
# Compiles a file with this class name.
TYPESCRIPT = f"node {TSC} --strict --skipLibCheck --target es2022 --module nodenext --lib es2022,dom".split()


def why_not_typescript() -> str | None:
    """The reason why the tool can't be used, or None."""
    if shutil.which("node") is None:
        return "there is no node"
    return None if TSC.exists() else "TypeScript is not installed: make .cache/node/.installed"


NODE = why_not_typescript()
QUEUE = {
    (4591, "Gmail"): {"new": 50, "proc": 100},
    (4591, "Yahoo"): {"new": 50},
    (4914, "Gmail"): {"hold": 80, "new": 10},
    (4914, "Yahoo"): {"proc": 10, "retry": 40},
}


MESSAGES = [
    Message(119, 306, campaign, isp, status)
    for (campaign, isp), counts in QUEUE.items()
    for status, count in counts.items()
    for _ in range(count)
]


class Asked(NamedTuple):
    """A service, and a token with all scopes."""

    url: str
    token: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(server_url: str, template: str) -> AsyncIterator[Asked]:
    """One service for all tests of a file, because its start takes a second of processor time."""
    async for database in clone_of(server_url, template):
        owner = await asyncpg.connect(database.owner_url)
        await insert(owner, MESSAGES)
        await owner.close()
        token = await create_token(database.owner_url, "clients", list(Scope))
        with serve_process({f"{PREFIX}DATABASE_URL": database.service_url}) as served:
            yield Asked(served.url, token)
