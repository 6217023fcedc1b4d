"""The example of CONTRIBUTING, the group `campaign`, applied to a copy of the repository.

`make example` creates the copy in a temporary folder, applies the steps of CONTRIBUTING, and runs the checks and tests
there. A step fails if its text is not in its file.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".cache", ".hypothesis", "__pycache__")
# The tests that read the groups from the model, or list them.
TESTS = [
    "tests/unit",
    *(
        "tests/db/test_queries.py",
        "tests/db/test_plans.py",
        "tests/db/test_plans_seeded.py",
        "tests/db/test_explain.py",
    ),
    *(
        "tests/api/test_stats.py",
        "tests/api/test_openapi.py",
        "tests/api/test_explain.py",
        "tests/api/test_token_limits.py",
    ),
    *("tests/counters/test_plans.py", "tests/counters/test_under_load.py", "tests/load/test_load.py"),
]
# These apply the steps, which the copy already has.
NOT_IN_THE_COPY = "--ignore=tests/unit/test_contributing.py"
DEFINITION = "sql/queries/from_messages/campaign.sql"


class StepFailed(Exception):
    """A step of the example does not match the repository."""


def take_steps(copy: Path) -> set[str]:
    """Applies all steps in the copy. Returns the written files. Raises StepFailed."""
    written: set[str] = set()

    def edit(name: str, *replacements: tuple[str, str], source: str | None = None) -> None:
        text = (copy / (source or name)).read_text("utf-8")
        for old, new in replacements:
            if text.count(old) != 1:
                raise StepFailed(
                    f"{source or name} must have this text once, and has it {text.count(old)} times: {old}"
                )
            text = text.replace(old, new)
        (copy / name).write_text(text, "utf-8")
        written.add(name)

    for step in STEPS:
        step(edit)
    return written


def define(edit: Callable[..., None]) -> None:
    edit(
        DEFINITION,
        ("-- account: ", "-- campaign: "),
        ("by account and status, one row for each account", "by campaign and status, one row for each campaign"),
        ("/account.sql */", "/campaign.sql */"),
        ("  account_id,\n  cast(0 AS bigint) AS campaign_id,", "  cast(0 AS bigint) AS account_id,\n  campaign_id,"),
        ("GROUP BY account_id\nORDER BY account_id", "GROUP BY campaign_id\nORDER BY campaign_id"),
        source="sql/queries/from_messages/account.sql",
    )
    edit(
        "sql/queries/defined_answers.sql",
        ("WHEN 6 THEN 'isp'", "WHEN 6 THEN 'isp' WHEN 5 THEN 'campaign'"),
        ("(isp), (account_id, campaign_id)", "(isp), (campaign_id), (account_id, campaign_id)"),
    )


def extend_model(edit: Callable[..., None]) -> None:
    account = '    ACCOUNT = "account"\n'
    campaign = '    CAMPAIGN = "campaign"\n'
    following = '    ACCOUNT_CAMPAIGN = "account_campaign"\n'
    edit("service/model.py", (account + following, account + campaign + following))


def extend_tests(edit: Callable[..., None]) -> None:
    edit(
        "tests/unit/test_parse_parameters.py",
        ("group must be total, account, account_campaign", "group must be total, account, campaign, account_campaign"),
    )
    edit(
        "tests/db/test_queries.py",
        (
            "        (StatsQuery(119, 306, 4591, ",
            "        (\n            StatsQuery(119, grouping=Grouping.CAMPAIGN),\n"
            "            [row(0, 0, new=1, retry=1), row(0, 4591, new=2, proc=1, hold=1), row(0, 4592, retry=1)],\n"
            "        ),\n        (StatsQuery(119, 306, 4591, ",
        ),
    )


def document(edit: Callable[..., None]) -> None:
    before = "| `queries/from_messages/isp.sql` |"
    purpose = "the messages of a sender by campaign and status, one row for each campaign with messages"
    parameters = "`sender_id bigint`, `account_id bigint`, `campaign_id bigint`, `isp text`"
    figures = "| `messages_by_arrival` | not measured | not measured |"
    row = f"| `{DEFINITION.removeprefix('sql/')}` | {purpose} | {parameters} {figures}\n"
    edit("sql/README.md", (before, row + before))
    edit("README.md", ("| `total` | `total`, `account`, ", "| `total` | `total`, `account`, `campaign`, "))
    edit("docs/architecture.md", ("stands for: `total`, `account`, ", "stands for: `total`, `account`, `campaign`, "))
    edit("CHANGELOG.md", ("## [Unreleased]\n", "## [Unreleased]\n\n- The group `campaign`.\n"))


STEPS = [define, extend_model, extend_tests, document]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="queuestats-example-") as folder:
        copy = Path(folder) / "queuestats"
        # With their times, so that the environment is up to date for make.
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        shutil.rmtree(copy / "mutants", ignore_errors=True)
        (copy / ".venv").symlink_to(ROOT / ".venv")
        print("Changed:", *sorted(take_steps(copy)), sep="\n  ", flush=True)
        # The environment has an editable install of the original. This path has priority.
        environment = os.environ | {"PYTHONPATH": str(copy)}
        pytest = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "2",
            "--dist",
            "loadfile",
            NOT_IN_THE_COPY,
            *(sys.argv[1:] or TESTS),
        ]
        return max(
            subprocess.run(command, cwd=copy, env=environment, check=False).returncode
            for command in (["make", "check"], pytest)
        )


if __name__ == "__main__":
    sys.exit(main())
