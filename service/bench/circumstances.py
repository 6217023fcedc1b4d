"""What a figure is worth nothing without: versions, machine, commit, data set, settings."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from service.db import statement
from service.resources import sql_path
from service.settings import Settings, dump_settings

PACKAGES = ("queuestats", "starlette", "uvicorn", "uvloop", "httptools", "asyncpg", "msgspec", "sqlalchemy", "fastapi")


async def circumstances(connection: Any, settings: Settings) -> dict[str, Any]:
    """Everything that can be told of this machine, this code and this database, ready for JSON."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "postgresql": await connection.fetchval("SHOW server_version"),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        # Others at work on the machine show here.
        "load_before": round(os.getloadavg()[0], 2),
        "server_settings": dict(await connection.fetch(statement("bench/server").sql)),
        "settings": dump_settings(settings).splitlines(),
    }


def commit() -> str:
    """The commit that runs, with a plus where files differ from it; "unknown" outside a checkout."""
    folder = sql_path().parent
    told = [
        subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
        for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
    ]
    if told[0].returncode != 0:
        return "unknown"
    return told[0].stdout.strip() + ("+" if told[1].stdout.strip() else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as told:
            names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
