"""`queuestats demo`, from the first start to the printed curl lines."""

import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
from lxml import etree

from tests.cli.programs import (
    ROOT,
    Program,
    ask,
    is_stopped,
    program,
    queuestats,
    run_on_terminal,
    running,
    sentence,
)
from tests.clusters import free_port
from tests.servers import scratch_folder

# The smallest number with the documented example.
MESSAGES = "42000"
Modes: TypeAlias = dict[Path, tuple[int, int]]
EXAMPLE = msgspec.json.decode((ROOT / "tests" / "examples" / "stats-response.json").read_bytes())

pytestmark = pytest.mark.slow


def demo(folder: Path, messages: str = MESSAGES) -> tuple[str, ...]:
    return ("demo", "--port", "0", "--data-dir", str(folder / "data"), "--messages", messages)


def token_of(program: Program) -> str:
    return program.wait_for(r"(?s)XML:.*<token>(qs_[^<]+)<")[1]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The folder of `served`, which contains a home folder."""
    with scratch_folder() as folder:
        (folder / "home").mkdir(mode=0o700)
        yield folder


@pytest.fixture(scope="module")
def modes_before(place: Path) -> Modes:
    return modes(place)


@pytest.fixture(scope="module")
def served(place: Path, modes_before: Modes) -> Iterator[Program]:
    """One demo for all tests that do not change it."""
    settings = {
        "HOME": str(place / "home"),
        "QUEUESTATS_DATABASE_URL": "postgresql://user:secret@127.0.0.1:1/theirs",
        # A busy machine must not cause log lines.
        "QUEUESTATS_SLOW_STATEMENT_MS": "600000",
    }
    with running(place, *demo(place), **settings) as started:
        token_of(started)
        yield started


def modes(place: Path) -> Modes:
    """The mode and the owner of the home, and of all folders that a demo in `place` uses."""
    site = Path(msgspec.__file__).parent
    watched = {place / "home", site, ROOT, place, *site.parents, *ROOT.parents, *place.parents}
    return {folder: (folder.stat().st_mode, folder.stat().st_uid) for folder in watched}


def test_the_curl_lines_work_when_pasted_and_print_the_documented_example(served: Program) -> None:
    lines = re.findall(r"^curl .*$", served.output, flags=re.MULTILINE)
    as_json, as_xml = (
        subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=120).stdout for line in lines
    )
    rows = [{each.tag: each.text or "" for each in row} for row in etree.fromstring(as_xml).iterfind("data")]

    assert msgspec.json.decode(as_json) == EXAMPLE
    assert rows == [{name: str(value) for name, value in row.items()} for row in EXAMPLE["data"]]


def test_progress_is_printed_in_plain_lines_without_a_terminal(served: Program) -> None:
    assert "Seeding: 42,000 of 42,000\n" in served.errors
    assert "\x1b" not in served.output + served.errors


def test_no_secret_is_in_the_log(served: Program) -> None:
    assert ask(served.url, token_of(served)).status_code == 200
    assert token_of(served) not in served.errors


def test_other_commands_can_use_the_same_database(served: Program) -> None:
    data_dir = re.search(r"Starting PostgreSQL in (\S+)", served.output)
    assert data_dir is not None
    reported = queuestats("stats", "--sender", "119", "--json", QUEUESTATS_DATA_DIR=data_dir[1])
    assert msgspec.json.decode(reported.stdout)[0]["total"] == sum(row["total"] for row in EXAMPLE["data"])


def test_a_later_start_keeps_the_data_replaces_the_token_and_prints_how_to_change_the_size(folder: Path) -> None:
    with running(folder, *demo(folder)) as first:
        old = token_of(first)
        assert ask(first.url, old).json() == EXAMPLE
    with running(folder, *demo(folder)) as second:
        new = token_of(second)
        assert "of an earlier start is used again. Its token no longer works" in second.output
        assert "to replace them" not in second.output
        assert ask(second.url, old).status_code == 401
        assert ask(second.url, new).json() == EXAMPLE
    with running(folder, *demo(folder, "2000")) as third:
        token_of(third)
        (arguments,) = re.findall(r"^queuestats (seed --replace .*)$", third.output, re.MULTILINE)
        assert "It has 42,000 messages, not 2,000" in third.output
        assert "Seeded 2,000 messages" in queuestats(*shlex.split(arguments)).stdout


def test_a_demo_without_errors_prints_no_log_lines(served: Program) -> None:
    assert ask(served.url, token_of(served)).status_code == 200
    assert re.findall(r"^.* (?:INFO|WARNING) .*$", served.errors, re.MULTILINE) == []


def test_a_taken_port_is_an_error_before_anything_is_changed(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = queuestats("demo", "--port", port, "--data-dir", str(folder / "data"))
    assert f"port {port}" in sentence(refused)
    assert "in use" in sentence(refused)
    assert not (folder / "data").exists()


def test_two_demos_do_not_disturb_each_other(served: Program, folder: Path) -> None:
    with running(folder, *demo(folder)) as other:
        tokens = token_of(served), token_of(other)
        assert [ask(served.url, token).status_code for token in tokens] == [200, 401]
        assert [ask(other.url, token).status_code for token in tokens] == [401, 200]
    assert ask(served.url, tokens[0]).json() == EXAMPLE


def test_a_database_address_does_not_divert_it(served: Program) -> None:
    assert ask(served.url, token_of(served)).json() == EXAMPLE
    assert "QUEUESTATS_DATABASE_URL is set, but a demo uses its own" in served.output
    assert "secret" not in served.output + served.errors


def test_the_curl_lines_of_a_very_small_queue_name_an_existing_sender(folder: Path) -> None:
    with running(folder, *demo(folder, "100")) as started:
        token = token_of(started)
        assert '"id": 1,' in started.output
        assert ask(started.url, token, sender=1).json()["data"] != []


def test_no_mode_of_any_folder_is_changed(served: Program, place: Path, modes_before: Modes) -> None:
    assert modes(place) == modes_before
    assert list((place / "home").iterdir()) == []


def test_a_terminal_shows_a_bar_and_ctrl_c_ends_the_demo(folder: Path) -> None:
    seen, code = run_on_terminal([*program(), *demo(folder)], folder, b"XML:", b"\x03")
    assert "━━━" in seen
    assert "42000/42000" in seen
    assert "Stopped." in seen
    assert code == 0
    assert is_stopped(folder / "data")


def test_make_demo_uses_its_port_and_ends_with_ctrl_c(folder: Path) -> None:
    if subprocess.run(
        ["make", "-C", ROOT, "--question", ".venv/.runtime"], capture_output=True, check=False
    ).returncode:
        pytest.skip("make would set up .venv again")
    port = free_port()
    command = ["make", "-C", str(ROOT), "demo", f"PORT={port}", f"MESSAGES={MESSAGES}"]
    data_dir = str(folder / "data")
    seen, _ = run_on_terminal(command, folder, b"XML:", b"\x03\x03", QUEUESTATS_DATA_DIR=data_dir)
    assert f"Serving on http://127.0.0.1:{port} " in seen
    assert is_stopped(folder / "data")


def test_the_next_start_repairs_a_demo_that_was_killed_during_seeding(folder: Path) -> None:
    with running(folder, *demo(folder, "400000")) as killed:
        killed.wait_for("Seeding: ")
        killed.process.send_signal(signal.SIGKILL)
        killed.process.wait()
    with running(folder, *demo(folder)) as healed:
        assert ask(healed.url, token_of(healed)).json() == EXAMPLE
        assert "Seeded 42,000 messages" in healed.output
    assert is_stopped(folder / "data")
