"""The paths of SQL files and migrations: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_path(*parts: str) -> Path:
    """A file or folder of `sql/`, as in `sql_path("queries", "from_counters", "total.sql")`."""
    return _folder("sql").joinpath(*parts)


def migrations_path() -> Path:
    """The folder of Alembic's `env.py`."""
    return _folder("migrations")


def _folder(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name
