"""The embedded PostgreSQL, shared by processes: the first one starts it, the last one to exit stops it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Self
from urllib.parse import quote

from service.embedded.accounts import server_account
from service.embedded.cluster import PORT, START_SECONDS, SUPERUSER, Cluster
from service.embedded.files import exclusively, open_lock, prepare_data_dir, try_lock
from service.errors import CommandError

DATABASE = "queuestats"
OWNER = "queuestats"
SERVICE = "queuestats_service"
BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")


class EmbeddedServer:
    """One use of the PostgreSQL in a data folder, from `start` to `stop`; any number of processes may use it at once.

    Errors that a person can mend are a CommandError of one sentence. `options` are server settings; a server that runs
    already keeps its own.
    """

    def __init__(self, data_dir: Path, version: int = 18, *, options: Mapping[str, str] = MappingProxyType({})) -> None:
        self.data_dir = Path(os.path.realpath(data_dir.expanduser()))
        self._account = server_account()
        self._cluster = Cluster(self.data_dir, version, self._account, options)
        self._use: IO[bytes] | None = None
        self.owner_url = self._url(OWNER)
        self.service_url = self._url(SERVICE)
        self.superuser_url = self._url(SUPERUSER)

    def start(self) -> Self:
        """Returns when the server runs and has the owner's database."""
        with self._plain_errors():
            prepare_data_dir(self.data_dir, self._account)
            try:
                with self._alone():
                    self._use = open_lock(self._cluster.beside("users.lock"))
                    try_lock(self._use, shared=True)  # held exclusively only under the start lock
                    self._cluster.bring_up()
                    self._cluster.run_sql_file(BOOTSTRAP, self._url(SUPERUSER, "postgres"))
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self, *exception: object) -> None:
        """Ends this use; the last one stops the server."""
        if self._use is None:
            return
        use, self._use = self._use, None
        # `use` is closed in any case, and before the start lock is free for another process.
        with use, self._plain_errors(), self._alone(), use:
            if try_lock(use):
                self._cluster.shut_down()

    __enter__, __exit__ = start, stop

    def _alone(self) -> AbstractContextManager[None]:
        return exclusively(self._cluster.beside("start.lock"), 2 * START_SECONDS)

    def _url(self, role: str, database: str = DATABASE) -> str:
        host = quote(str(self._cluster.socket_dir), safe="/")
        return f"postgresql://{role}@/{database}?host={host}&port={PORT}"

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self.data_dir
            raise CommandError(f"The embedded PostgreSQL can't use {place}: {error.strerror}.") from error
