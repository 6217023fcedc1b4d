"""What is said of psql's variables before a file of `sql/` is run."""

from pathlib import Path

import pytest

from service.db.variables import require_variables
from service.errors import CommandError
from service.resources import sql_path

ISP = str(sql_path("queries", "isp.sql"))
GIVEN = ["-v", "sender_id=119", "-v", "account_id=NULL", "-vcampaign_id=null"]


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        require_variables(arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [*GIVEN, "-f", ISP],
        ["--set=sender_id=1", "--variable", "account_id=2", "--set", "campaign_id=3", f"--file={ISP}"],
        ["-f" + ISP, *GIVEN, "-v", "ON_ERROR_STOP=1"],
        # Somebody else may use it.
        [*GIVEN, "-v", "other=1", "-f", ISP, "-c", "SELECT :other"],
        ["-c", "SELECT 1"],
        ["-f", "/no/such/file.sql"],
        ["-f", str(sql_path("roles.sql"))],
        [],
    ],
)
def test_what_is_complete_or_none_of_ours_passes(arguments: list[str]) -> None:
    require_variables(arguments)


def test_a_missing_variable_is_named() -> None:
    sentence = refusal("-v", "sender_id=119", "-f", ISP)
    assert "sql/queries/from_counters/isp.sql takes sender_id bigint, account_id bigint, campaign_id bigint" in sentence
    assert "missing: account_id, campaign_id." in sentence


def test_a_variable_too_many_is_named() -> None:
    assert "takes no isp;" in refusal(*GIVEN, "-v", "isp='Gmail'", "-f", ISP)


@pytest.mark.parametrize("value", ["", "x", "1.5", "'1'", "1 OR true"])
def test_a_number_that_is_none_is_named(value: str) -> None:
    assert refusal("-v", f"sender_id={value}", *GIVEN[2:], "-f", ISP).startswith(
        "sender_id of sql/queries/from_counters/isp.sql"
    )


@pytest.mark.parametrize(
    ("value", "is_right"), [("'Gmail'", True), ("'it''s'", True), ("Gmail", False), ("'a'b'", False)]
)
def test_text_wants_its_quotes(value: str, is_right: bool) -> None:
    arguments = [
        "-v",
        "sender_id=1",
        "-v",
        f"isp={value}",
        "-f",
        str(sql_path("queries/from_counters/account_campaign_of_isp.sql")),
    ]
    if is_right:
        require_variables(arguments)
    else:
        assert "isp of sql/queries/from_counters/account_campaign_of_isp.sql must be text in single quotes" in refusal(
            *arguments
        )


def test_a_file_outside_of_the_project_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "isp.sql"
    mine.write_text(Path(ISP).read_text())
    require_variables(["-f", str(mine)])
