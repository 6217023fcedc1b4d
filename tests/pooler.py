"""A PgBouncer in front of a test server, if PgBouncer is installed."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.embedded.accounts import server_account
from tests.servers import scratch_folder

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
PORT = 6432
START_SECONDS = 120


class Pooler:
    """Accepts connections of every user on a socket in `folder`, and has two connections to the server at `address`."""

    def __init__(self, folder: Path, address: Any, pool_mode: str) -> None:
        account = server_account()
        host, port = address if isinstance(address, tuple) else (Path(address).parent, Path(address).suffix[1:])
        self.folder = folder
        self._user = None if account.is_ours else account.uid
        self._config = folder / "pgbouncer.ini"
        self._config.write_text(
            f"[databases]\n* = host={host} port={port}\n"
            f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {PORT}\nauth_type = trust\n"
            f"auth_file = {folder / 'users'}\npool_mode = {pool_mode}\ndefault_pool_size = 2\n"
        )
        (folder / "users").write_text('"queuestats_service" "service"\n')
        os.chown(folder, account.uid, account.gid)

    def url(self, database: str) -> str:
        return f"postgresql://queuestats_service@/{database}?host={self.folder}&port={PORT}"

    def start(self) -> None:
        assert PROGRAM is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, self._config], stdout=log, stderr=log, user=self._user)
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / f".s.PGSQL.{PORT}").exists():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends at once, with its open connections."""
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def pooler_to(address: Any, pool_mode: str = "transaction") -> Iterator[Pooler]:
    with scratch_folder() as folder:
        pooler = Pooler(folder, address, pool_mode)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()
