"""The README names every command and setting, and nothing that does not exist."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from service.cli import COMMANDS, main
from service.settings import FOR_TESTS_ONLY, Settings, load_settings, variable

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "migrations").glob("*.md"))]
SETTINGS = [variable(each.name) for each in fields(Settings)]
# A row of the table of settings: the variables, the meaning, the defaults.
ROW = re.compile(r"^\| (`QUEUESTATS_.*?) \| .* \| (.*) \|$", re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    assert f"`queuestats {name}`" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_what_is_below_it_has_a_help_with_an_example(name: str) -> None:
    found = command(name)
    below = list(found.commands.values()) if isinstance(found, click.Group) else []
    for each in (found, *below):
        assert each.hidden or "Example: queuestats " in (each.help or "")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_stands_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


def test_the_readme_gives_the_defaults_that_are_in_force(tmp_path: Path) -> None:
    in_force = load_settings(None, {}, tmp_path / "none")
    told: dict[str, str] = {}
    for names, defaults in ROW.findall(README):
        told |= dict(zip(re.findall(r"`(QUEUESTATS_\w+)`", names), defaults.replace("`", "").split(", "), strict=False))
    expected = {variable(each.name): str(getattr(in_force, each.name)) for each in fields(Settings)}

    in_words = {
        *("QUEUESTATS_DATABASE_URL", "QUEUESTATS_ADMIN_DATABASE_URL"),
        "QUEUESTATS_DATA_DIR",
    }
    assert told.keys() >= expected.keys()
    assert {name: told[name] for name in expected if name not in in_words} == {
        name: text for name, text in expected.items() if name not in in_words
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_document_names_no_command_and_no_setting_that_does_not_exist(path: Path) -> None:
    text = path.read_text("utf-8")

    assert set(re.findall(r"QUEUESTATS_[A-Z_]*[A-Z]", text)) <= {*SETTINGS, *FOR_TESTS_ONLY}
    assert set(re.findall(r"(?:^|[`/])queuestats ([a-z]+)\b", text, re.MULTILINE)) <= COMMANDS.keys()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_document_names_no_file_of_ours_that_does_not_exist(path: Path) -> None:
    named = re.findall(r"`((?:service|sql|migrations|tests|docs)/[\w./-]+)`", path.read_text("utf-8"))
    assert [each for each in named if not (ROOT / each).exists()] == []
