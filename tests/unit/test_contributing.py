"""The steps of the example in CONTRIBUTING. `make example` makes them in a copy and runs the tests there."""

import shutil
from pathlib import Path

import pytest

from service.model import Grouping
from tests.contributing.campaign import DEFINITION, NOT_COPIED, ROOT, StepFailed, take_steps

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
# In a copy of the repository where the example was carried out, its steps no longer fit.
pytestmark = pytest.mark.skipif("campaign" in list(Grouping), reason="the example was carried out")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copies only the files that a step may edit."""
    for name in ("service", "sql", "docs", "tests/unit", "tests/db"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=NOT_COPIED)
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_every_step_fits_the_repository_and_contributing_names_its_file(copy: Path) -> None:
    written = take_steps(copy)
    named = {name for name in written if name in CONTRIBUTING}
    assert written - named == {DEFINITION}, "step 1 names the folder and the file separately"


def test_a_step_whose_text_is_missing_fails(copy: Path) -> None:
    (copy / "service/model.py").write_text("")
    with pytest.raises(StepFailed, match=r"service/model\.py must have this text once, and has it 0 times"):
        take_steps(copy)
