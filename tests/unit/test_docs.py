"""The README names every command and setting, and nothing that does not exist."""

import re
from pathlib import Path

from service.cli import COMMANDS
from service.settings import FIELDS, FOR_TESTS_ONLY, as_environment, load_settings, variable

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "migrations").glob("*.md")),
]
SETTINGS = [variable(field.encode_name) for field in FIELDS]
# A row of the table of settings: the variables, the meaning, the defaults.
ROW = re.compile(r"^\| (`QUEUESTATS_.*?) \| .* \| (.*) \|$", re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_readme_names_every_command_and_every_setting() -> None:
    wanted = [*(f"`queuestats {name}`" for name in COMMANDS), *(f"`{name}`" for name in SETTINGS)]
    assert [each for each in wanted if each not in README] == []


def test_the_readme_has_the_defaults_of_the_code(tmp_path: Path) -> None:
    in_force = load_settings(None, {}, tmp_path / "none")
    documented: dict[str, str] = {}
    for names, defaults in ROW.findall(README):
        documented |= dict(
            zip(re.findall(r"`(QUEUESTATS_\w+)`", names), defaults.replace("`", "").split(", "), strict=False)
        )
    expected = {name: as_environment(in_force).get(name, "not set") for name in SETTINGS}

    in_words = {
        *("QUEUESTATS_DATABASE_URL", "QUEUESTATS_ADMIN_DATABASE_URL"),
        "QUEUESTATS_DATA_DIR",
    }
    assert documented.keys() >= expected.keys()
    assert {name: documented[name] for name in expected if name not in in_words} == {
        name: text for name, text in expected.items() if name not in in_words
    }


def test_no_document_names_a_command_or_a_setting_that_does_not_exist() -> None:
    named = {
        (name_of(path), name)
        for path in DOCUMENTS
        for name in re.findall(r"(?:^|[`/])queuestats ([a-z]+)\b", path.read_text("utf-8"), re.MULTILINE)
    }
    settings = {
        (name_of(path), name) for path in DOCUMENTS for name in re.findall(r"QUEUESTATS_[A-Z_]*[A-Z]", path.read_text())
    }
    assert [each for each in sorted(named) if each[1] not in COMMANDS] == []
    assert [each for each in sorted(settings) if each[1] not in {*SETTINGS, *FOR_TESTS_ONLY}] == []


def test_no_document_names_a_file_of_ours_that_does_not_exist() -> None:
    assert [
        (name_of(path), named)
        for path in DOCUMENTS
        for named in re.findall(r"`((?:service|sql|migrations|tests|docs)/[\w./-]+)`", path.read_text("utf-8"))
        if not (ROOT / named).exists()
    ] == []
