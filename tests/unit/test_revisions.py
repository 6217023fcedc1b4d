"""The rules for every revision file. `migrations/README.md` gives the reasons."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from service.resources import migrations_path
from service.schema.revisions import revisions

FILES = sorted((migrations_path() / "versions").glob("*.py"))


def test_the_names_of_the_files_are_in_the_order_in_which_they_run() -> None:
    assert [path.stem[: len("20261123_01")] for path in FILES] == list(reversed(revisions()))


def faults(path: Path) -> Iterator[str]:
    """The rules that a revision file breaks."""
    tree, number = ast.parse(path.read_text()), path.stem[:11]
    text = ast.get_docstring(tree) or ""
    if not re.search(r"^Phase: (expand|contract) \(.+\)$", text, re.MULTILINE):
        yield "states no phase"
    if not re.search(rf"^Revision: {number}, after (nothing|\d{{8}}_\d\d)$", text, re.MULTILINE):
        yield "states no revision"
    written = re.search(r"^Written: (\d{4})-(\d\d)-(\d\d)$", text, re.MULTILINE)
    if written is None or "".join(written.groups()) != path.stem[:8]:
        yield "states another day than its name"
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    back = functions.get("downgrade")
    if back is None or isinstance(back.body[-1], ast.Pass | ast.Raise):
        yield "can't be taken back"
    if not imported(tree) <= {"alembic", "sqlalchemy", "collections", "typing"}:
        yield "is not frozen: it imports what may change"
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    if "open" in called:
        yield "is not frozen: it reads a file"


def imported(tree: ast.Module) -> set[str]:
    return {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }


def test_every_revision_states_its_phase_can_be_downgraded_and_is_frozen() -> None:
    assert FILES
    assert [f"{path.stem} {fault}" for path in FILES for fault in faults(path)] == []


def test_a_new_table_is_committed_with_the_end_of_its_revision() -> None:
    """There the service gets the right to read it. Earlier, this would make the former release not ready."""
    command = [sys.executable, "-m", "alembic", "upgrade", "head", "--sql"]
    root = migrations_path().parent
    written = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    transactions = [part for part in written.split("\nCOMMIT;\n") if "CREATE TABLE queuestats." in part]
    assert len(transactions) > 5
    unfinished = [
        part for part in transactions if not re.search(r"^(UPDATE|INSERT INTO) queuestats.alembic", part, re.MULTILINE)
    ]
    assert unfinished == []
