"""Which PostgreSQL the tests run on: a named one, else a container, else the embedded one. Never a mock."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.embedded import EmbeddedServer
from tests.clusters import FORGETFUL, Cluster, running

IMAGE = "postgres:18"


@dataclass(frozen=True)
class ChosenServer:
    """`url` is of a role that may create databases and roles; `words` tell a person which server it is."""

    url: str
    words: str


@contextmanager
def choose_server(environ: Mapping[str, str], docker: Callable[[], Any]) -> Iterator[ChosenServer]:
    """The server of QUEUESTATS_TEST_DATABASE_URL; else one from QUEUESTATS_TEST_BINARIES, a folder or a version of the
    wheel; else a container where an engine answers and has or gets the image; else the embedded one."""
    with ExitStack() as stack:
        yield _choose(environ, docker, stack)


def _choose(environ: Mapping[str, str], docker: Callable[[], Any], stack: ExitStack) -> ChosenServer:
    named, wanted = environ.get("QUEUESTATS_TEST_DATABASE_URL"), environ.get("QUEUESTATS_TEST_BINARIES", "")
    if named:
        return ChosenServer(named, "the one of QUEUESTATS_TEST_DATABASE_URL")
    if wanted.isdigit():
        return ChosenServer(stack.enter_context(_embedded(int(wanted))), f"the embedded one, version {wanted}")
    if wanted:
        return ChosenServer(stack.enter_context(_installed(Path(wanted))), f"the one of {wanted}")
    try:
        container = stack.enter_context(docker())
        return ChosenServer(container.get_connection_url(driver=None), f"a container of {IMAGE}")
    except Exception as error:  # noqa: BLE001 no engine, no image, no network: each is a reason, none a failure
        reason = type(error).__name__
    return ChosenServer(stack.enter_context(_embedded(18)), f"the embedded one (no container: {reason})")


def docker_container() -> Any:
    """A container of the official image. Raises whatever testcontainers raises where it can't be had."""
    from testcontainers.postgres import PostgresContainer

    return PostgresContainer(IMAGE, username="postgres", dbname="postgres")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that the embedded server's user reaches, whoever runs the tests; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="queuestats-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _embedded(version: int) -> Iterator[str]:
    with scratch_folder() as folder, EmbeddedServer(folder / "data", version, options=FORGETFUL) as server:
        yield server.owner_url.replace("/queuestats?", "/postgres?")


@contextmanager
def _installed(binaries: Path) -> Iterator[str]:
    """A throwaway cluster of an installed PostgreSQL, on a socket in a folder that is its user's alone."""
    with scratch_folder() as folder:
        cluster = Cluster(binaries, folder / "data")
        cluster.initialise()
        with running(cluster):
            yield cluster.url
