"""The house rules that a linter does not know."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "service").rglob("*.py"))
LONGEST_FUNCTION_LINES = 50
LONGEST_FILE_LINES = 400
DRAWERS = {"utils", "util", "common", "helpers", "misc"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_functions_stay_small() -> None:
    assert [
        f"{name_of(path)} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION_LINES
    ] == []


def test_files_stay_small() -> None:
    assert [name_of(path) for path in MODULES if len(path.read_text().splitlines()) > LONGEST_FILE_LINES] == []


def test_no_module_is_a_drawer_for_functions_without_a_home() -> None:
    assert [name_of(path) for path in MODULES if {*path.parent.parts, path.stem} & DRAWERS] == []


def test_only_the_cluster_s_modules_ask_whether_a_queue_is_distributed() -> None:
    found = [name_of(path) for path in MODULES if re.search("is_distributed|queries/citus", path.read_text())]
    # `migrate` stands below them, and asks under its lock.
    assert [name for name in found if not name.startswith("service/cluster/")] == ["service/schema/migrate.py"]


def test_no_sql_statement_is_written_in_python() -> None:
    """What a DBA reads in `sql/` is all that runs on `messages`."""
    beginnings = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ")
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.lstrip().startswith(beginnings) and "messages" in node.value
    ]
    assert found == []
