"""The code of another release, run with the Python and the packages of this one."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.programs import ROOT, Program, environment, running_command

COMMITS = tomllib.loads(Path(__file__).with_name("releases.toml").read_text("utf-8"))
FOLDERS = ("service", "sql", "migrations")


@dataclass(frozen=True)
class Release:
    """`folder` has the code, `run_in` is an empty working directory for its programs."""

    folder: Path
    run_in: Path

    def run(self, *arguments: str, **settings: str) -> str:
        """Runs a command that must succeed. Returns its output."""
        command = [sys.executable, "-m", "service", *arguments]
        given = environment(PYTHONPATH=str(self.folder), **settings)
        done = subprocess.run(command, cwd=self.run_in, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self, folder: Path, **settings: str) -> AbstractContextManager[Program]:
        folder.mkdir()
        command = [sys.executable, "-m", "service", "serve", "--port", "0"]
        return running_command(folder, command, PYTHONPATH=str(self.folder), **settings)


def release(name: str, folder: Path) -> Release:
    """The code of a commit of releases.toml. Skips the test if the history does not contain it."""
    found = shutil.which("git") and subprocess.run(
        ["git", "cat-file", "-e", f"{COMMITS[name]}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if not found or found.returncode:
        pytest.skip(f"the history of this checkout lacks the release {COMMITS[name][:7]}")
    archive = folder / f"{name}.zip"
    subprocess.run(["git", "archive", "-o", archive, COMMITS[name], "--", *FOLDERS], cwd=ROOT, check=True)
    shutil.unpack_archive(archive, folder / name)
    return _in(folder / name)


def this_release(folder: Path, changes: Mapping[str, tuple[str, str]]) -> Release:
    """A copy of this code. `changes` has a text and its replacement, by file."""
    folder.mkdir(exist_ok=True)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, (old, new) in changes.items():
        text = (folder / "copy" / path).read_text("utf-8")
        assert old in text
        (folder / "copy" / path).write_text(text.replace(old, new), "utf-8")
    return _in(folder / "copy")


def _in(folder: Path) -> Release:
    run_in = folder / "run"
    run_in.mkdir()
    return Release(folder, run_in)
