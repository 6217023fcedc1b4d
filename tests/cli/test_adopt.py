"""An owner adopts an existing queue with the commands."""

import subprocess
from functools import partial
from pathlib import Path

import msgspec
import pytest

from service.embedded import binaries
from tests.cli.programs import Run, queuestats, queuestats_in, sentence
from tests.conftest import TestDatabase

OUTBOX = """
CREATE SCHEMA mail;
CREATE TABLE mail.outbox (id serial PRIMARY KEY, sender_ref integer, recipient text, state text);
INSERT INTO mail.outbox (sender_ref, recipient, state)
SELECT 119, 'a@isp.example', 'queued' FROM generate_series(1, 3);
INSERT INTO mail.outbox (sender_ref, recipient, state) VALUES (119, 'a@isp.example', 'delivered');
"""
OPTIONS = {
    "--table": "mail.outbox",
    "--sender": "sender_ref",
    "--isp": "split_part(recipient, '@', 2)",
    "--status": "case state when 'queued' then 'new' when 'sending' then 'proc' end",
    "--where": "state in ('queued', 'sending')",
}
ARGUMENTS = [each for pair in OPTIONS.items() for each in pair]
FILE = "[adopt]\n" + "\n".join(f'{name.removeprefix("--")} = "{text}"' for name, text in OPTIONS.items())


@pytest.fixture
def run(empty_database: TestDatabase) -> Run:
    given = {
        "QUEUESTATS_DATABASE_URL": empty_database.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": empty_database.owner_url,
    }
    assert queuestats("psql", "-qc", OUTBOX, **given).returncode == 0
    return partial(queuestats, **given)


def rows_of(run: Run) -> list[tuple[str, int]]:
    asked = run("stats", "--sender", "119", "--group", "isp", "--json")
    assert asked.returncode == 0, asked.stderr
    return [(row["isp"], row["total"]) for row in msgspec.json.decode(asked.stdout)]


def test_it_tries_attaches_counts_and_detaches(run: Run) -> None:
    tried = run("adopt", *ARGUMENTS)
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.startswith("mail.outbox can be counted")
    assert "SHARE ROW EXCLUSIVE" in tried.stdout
    assert "Nothing was changed" in tried.stdout
    assert "nothing" in run("psql", "-Atc", "SELECT coalesce(to_regnamespace('queuestats')::text, 'nothing')").stdout

    attached = run("adopt", *ARGUMENTS, "--attach")
    assert attached.returncode == 0, attached.stderr
    assert run("psql", "-qc", "UPDATE mail.outbox SET state = 'sending' WHERE id = 1").returncode == 0
    assert rows_of(run) == [("isp.example", 3)]
    for command in (("verify",), ("doctor",), ("migrate",), ("migrate", "--check")):
        ended = run(*command)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    assert run("explain", "--sender", "119").returncode == 0
    assert run("explain", "--sender", "119", "--from-messages").returncode == 0
    assert "counts an adopted table" in sentence(run("seed", "--messages", "10"))

    assert run("adopt", "--detach").returncode == 0
    assert "Nothing is adopted" in sentence(run("adopt", "--detach"))


def test_the_output_of_sql_has_the_same_effect(run: Run, empty_database: TestDatabase, tmp_path: Path) -> None:
    printed = run("adopt", *ARGUMENTS, "--sql")
    assert printed.returncode == 0, printed.stderr
    script = tmp_path / "adopt.sql"
    script.write_text("SET queuestats.service_role = 'queuestats_service';\n" + printed.stdout)
    psql: list[str | Path] = [
        binaries(18) / "psql",
        "-qv",
        "ON_ERROR_STOP=1",
        "-d",
        empty_database.owner_url,
        "-f",
        script,
    ]
    subprocess.run(psql, check=True, capture_output=True)
    assert rows_of(run) == [("isp.example", 3)]
    assert run("verify").returncode == 0


def test_the_mapping_may_be_in_a_file(run: Run, empty_database: TestDatabase, tmp_path: Path) -> None:
    (tmp_path / "queuestats.toml").write_text(FILE)
    given = {
        "QUEUESTATS_DATABASE_URL": empty_database.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": empty_database.owner_url,
    }
    assert queuestats_in(tmp_path, "adopt", "--attach", **given).returncode == 0
    assert rows_of(run) == [("isp.example", 3)]
    assert queuestats_in(tmp_path, "adopt", "--isp", "'all'", "--attach", **given).returncode == 0
    assert rows_of(run) == [("all", 3)]


def test_an_invalid_mapping_is_refused_in_one_sentence(run: Run, tmp_path: Path) -> None:
    assert "missing required field `table`" in sentence(run("adopt", "--sender", "1"), 2)
    assert "STATUS=VALUE" in sentence(run("adopt", *ARGUMENTS, "--stored", "new"), 2)
    for text, said in {"[adopt": "is not valid TOML", "": "has no table [adopt]"}.items():
        (tmp_path / "wrong.toml").write_text(text)
        assert said in sentence(run("adopt", "--file", str(tmp_path / "wrong.toml")))
    (tmp_path / "wrong.toml").write_text(FILE + '\nisps = "x"')
    assert "unknown field `isps`" in sentence(run("adopt", "--file", str(tmp_path / "wrong.toml")), 2)
    assert "No such file" in sentence(run("adopt", "--file", str(tmp_path / "none.toml")))
