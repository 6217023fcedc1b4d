"""The rules that every revision file keeps; `migrations/README.md` gives the reasons."""

import ast
import re
from pathlib import Path

import pytest

from service.resources import migrations_path
from service.schema.migrate import revisions

FILES = sorted((migrations_path() / "versions").glob("*.py"))


def name_of(path: Path) -> str:
    return path.stem


def test_the_files_stand_in_the_order_in_which_they_run() -> None:
    assert [path.stem[: len("20261123_01")] for path in FILES] == list(reversed(revisions()))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_revision_states_its_phase_and_its_day(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""

    assert re.search(r"^Phase: (expand|contract) \(.+\)$", text, re.MULTILINE)
    assert re.search(rf"^Revision: {path.stem[:11]}, after (nothing|\d{{8}}_\d\d)$", text, re.MULTILINE)
    written = re.search(r"^Written: (\d{4})-(\d\d)-(\d\d)$", text, re.MULTILINE)
    assert written is not None
    assert "".join(written.groups()) == path.stem[:8]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_revision_can_be_taken_back(path: Path) -> None:
    functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}

    assert {"upgrade", "downgrade"} <= functions.keys()
    assert not isinstance(functions["downgrade"].body[-1], ast.Pass | ast.Raise)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_revision_is_frozen_it_imports_nothing_of_ours_and_reads_no_file(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    assert modules <= {"alembic", "sqlalchemy", "collections", "typing"}
    assert "open" not in called
