"""Processes for load tests, on free ports of this machine. Each ends with its block."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cli.programs import environment
from tests.clusters import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


@contextmanager
def running(
    command: Sequence[str], port: int | None, variables: Mapping[str, str], folder: Path = ROOT
) -> Iterator[int]:
    """The id of the process, once it listens on the port. Raises RuntimeError if it ends before that."""
    process = subprocess.Popen(command, env=environment(**variables), cwd=folder, stdout=subprocess.DEVNULL)
    try:
        give_up_at = time.monotonic() + START_SECONDS
        while port is not None and not _listens(port):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"{command} does not listen on port {port}.")
            time.sleep(0.05)
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended before the load did.")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Checkout:
    """The service of a checkout of this repository, with the interpreter of its environment."""

    def __init__(self, root: Path, owner_url: str, service_url: str) -> None:
        self.root = root
        self._python = str(root / ".venv/bin/python") if root != ROOT else sys.executable
        self._addresses = {"QUEUESTATS_DATABASE_URL": service_url, "QUEUESTATS_ADMIN_DATABASE_URL": owner_url}

    def run(self, *arguments: str) -> str:
        """The output of one command. Raises CalledProcessError."""
        command = [self._python, "-m", "service", *arguments]
        variables = environment(**self._addresses)
        done = subprocess.run(command, env=variables, cwd=self.root, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    def create_token(self) -> str:
        token: str = json.loads(self.run("token", "create", "load", "--json"))["token"]
        return token

    @contextmanager
    def serving(self, **variables: str) -> Iterator[int]:
        """The port of `queuestats serve` with one worker."""
        with self.serving_process(**variables) as (port, _):
            yield port

    @contextmanager
    def serving_process(self, **variables: str) -> Iterator[tuple[int, int]]:
        """The port and the process id."""
        port = free_port()
        command = [self._python, "-m", "service", "serve", "--port", str(port), "--workers", "1"]
        variables = {"QUEUESTATS_LOG_LEVEL": "warning", **self._addresses, **variables}
        with running(command, port, variables, self.root) as process_id:
            yield port, process_id

    @contextmanager
    def simulating(self, messages_per_second: int, senders: int) -> Iterator[None]:
        """Runs `queuestats simulate` as a writer."""
        options = ["--rate", str(messages_per_second), "--senders", str(senders), "--seconds", "86400"]
        command = [self._python, "-m", "service", "simulate", *options]
        with running(command, None, self._addresses, self.root):
            yield


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
