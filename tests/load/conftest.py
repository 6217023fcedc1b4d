"""Fixtures for tests of benchmarks."""

from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.conftest import TestDatabase


@pytest.fixture
async def disposable(database: TestDatabase, owner: Any) -> Settings:
    """The settings of a database that may be overwritten."""
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    return Settings(database_url=database.service_url, admin_database_url=database.owner_url, data_dir=Path("/nowhere"))
