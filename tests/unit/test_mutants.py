"""The configuration of `make mutants`, which is too slow for `make test`."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
NOTES = tomllib.loads((ROOT / "tests/mutants/survivors.toml").read_text("utf-8"))


def test_the_modules_and_tests_of_mutation_testing_exist() -> None:
    patterns = [*CONFIGURATION["only_mutate"], *CONFIGURATION["pytest_add_cli_args_test_selection"]]
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []


def test_an_explained_survivor_names_code_that_is_still_there() -> None:
    stale = []
    for entry in NOTES["survivor"]:
        path = ROOT / entry["module"].replace(".", "/")
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        lines = {line.strip() for line in module.read_text("utf-8").splitlines()} if module.exists() else set()
        replaced = [line[2:] for line in entry["change"].strip().splitlines() if line.startswith("- ")]
        if not set(replaced) <= lines:
            stale.append(entry["change"])
    assert stale == []


def test_a_survivor_is_explained_once() -> None:
    changes = [(entry["module"], entry["change"].strip()) for entry in NOTES["survivor"]]
    assert sorted(set(changes)) == sorted(changes)
    assert all(entry["why"] for entry in [*NOTES["survivor"], *NOTES["left_out"]])
