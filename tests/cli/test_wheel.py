"""The built wheel, in a new environment outside the checkout."""

import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from tests.cli.programs import running_command
from tests.servers import scratch_folder

ROOT = Path(__file__).resolve().parents[2]

# One worker runs this file (see PYTEST_FLAGS in the Makefile). A second file would build and install again.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path, **settings: str) -> str:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("QUEUESTATS_", "PYTHONPATH"))}
    ended = subprocess.run(command, cwd=cwd, env=kept | settings, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path) -> Path:
    """The folder of the programs in the new environment."""
    home = wheel.parent / "fresh"
    # With our own pip, because installing a new pip would take as long as all packages.
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    install = (*pip, "install", "-qq", "--no-compile")
    run(*install, "--no-deps", "--require-hashes", "-r", ROOT / "requirements-embedded.lock", cwd=home)
    run(*install, "--no-deps", wheel, cwd=home)
    run(*pip, "check", cwd=home)
    return python.parent


def test_the_command_prints_the_version_of_pyproject(installed: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(installed / "queuestats", "--version", cwd=installed).split()[-1] == version


def test_the_module_is_the_same_command(installed: Path) -> None:
    command = run(installed / "queuestats", "--help", cwd=installed)
    assert run(installed / "python", "-m", "service", "--help", cwd=installed) == command


def test_sql_and_migrations_are_inside(installed: Path) -> None:
    ask = "from service.resources import *; print(sql_path('roles.sql'), migrations_path() / 'env.py')"
    found = [Path(path) for path in run(installed / "python", "-c", ask, cwd=installed).split()]

    assert all(path.is_file() and path.is_relative_to(installed.parent) for path in found)


def test_the_wheel_has_every_sql_file_and_revision_of_the_checkout(installed: Path) -> None:
    (package,) = installed.parent.glob("lib/*/site-packages/service")
    for folder, pattern in (("sql", "*.sql"), ("migrations", "*.py"), ("service", "*.sql")):
        shipped = package if folder == "service" else package / f"_{folder}"
        here = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern)}
        assert here
        assert [path for path in sorted(here) if not (shipped / path).is_file()] == []


def test_a_query_uses_an_embedded_database(installed: Path) -> None:
    insert = "INSERT INTO messages (sender_id, isp, recipient) VALUES (119, 'Gmail', 'someone@example.com')"
    with scratch_folder() as folder:

        def queuestats(*arguments: str) -> str:
            return run(installed / "queuestats", *arguments, cwd=installed, QUEUESTATS_DATA_DIR=str(folder / "data"))

        queuestats("migrate")
        queuestats("psql", "-c", insert)
        (row,) = json.loads(queuestats("stats", "--sender", "119", "--group", "isp", "--json"))

    assert row == {
        "account_id": 0,
        "campaign_id": 0,
        "isp": "Gmail",
        "new": 1,
        "proc": 0,
        "retry": 0,
        "hold": 0,
        "total": 1,
    }


def test_the_demo_responds_over_http(installed: Path) -> None:
    with scratch_folder() as folder:
        command = [str(installed / "queuestats"), "demo", "--port", "0", "--messages", "42000"]
        with running_command(folder, command, QUEUESTATS_DATA_DIR=str(folder / "data")) as demo:
            (line,) = demo.wait_for(r"JSON:\n(curl .*)\n").groups()
            answer = json.loads(run("sh", "-c", line, cwd=folder))
    assert answer == json.loads((ROOT / "tests" / "examples" / "stats-response.json").read_text())
