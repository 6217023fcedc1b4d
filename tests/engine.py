"""A container engine for tests: the part of Docker's HTTP interface that starting one container needs."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

PORT = 32768
PUBLISHED = {"IP": "0.0.0.0", "PrivatePort": 5432, "PublicPort": PORT, "Type": "tcp"}
NETWORKS = {"bridge": {"Gateway": "127.0.0.1", "IPAddress": "127.0.0.1"}}
CONTAINER: dict[str, Any] = {
    "Id": "c0ffee",
    "Name": "/postgres",
    "Image": "sha256:1",
    "Config": {"Image": "postgres:18", "Env": [], "Labels": {}},
    "State": {"Status": "running", "Running": True},
    "HostConfig": {"NetworkMode": "bridge"},
    "NetworkSettings": {"Ports": {"5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(PORT)}]}, "Networks": NETWORKS},
}
NO_IMAGE = 404, {"message": "No such image: postgres:18"}
ANSWERS: tuple[tuple[str, tuple[int, Any]], ...] = (
    ("GET /version", (200, {"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "27.0"})),
    ("GET /info", (200, {"ServerVersion": "27.0", "OperatingSystem": "none"})),
    ("GET /images/postgres:18/json", (200, {"Id": "sha256:1", "RepoTags": ["postgres:18"]})),
    ("POST /containers/create", (201, {"Id": "c0ffee", "Warnings": []})),
    ("POST /containers/c0ffee/start", (204, None)),
    ("POST /containers/c0ffee/exec", (201, {"Id": "e0"})),
    ("POST /exec/e0/start", (200, None)),
    ("GET /exec/e0/json", (200, {"ExitCode": 0, "Running": False})),
    (
        "GET /containers/json",
        (
            200,
            [
                {
                    "Id": "c0ffee",
                    "Ports": [PUBLISHED],
                    "HostConfig": {"NetworkMode": "bridge"},
                    "NetworkSettings": {"Networks": NETWORKS},
                }
            ],
        ),
    ),
    ("GET /containers/c0ffee/json", (200, CONTAINER)),
    ("DELETE /containers/c0ffee", (204, None)),
)


class _Request(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = f"{self.command} {re.sub(r'^/v[0-9.]+|[?].*$', '', self.path)}"
        server: Any = self.server
        server.asked.append(asked)
        unknown = 404, {"message": f"no answer to {asked}"}
        code, body = {**dict(ANSWERS), **server.answers}.get(asked, unknown)
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Writes no log. The requests are in `asked`."""

    def address_string(self) -> str:
        return "socket"


class _Engine(ThreadingUnixStreamServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes its connection early is not an error."""


@contextmanager
def engine(socket: Path, answers: dict[str, tuple[int, Any]]) -> Iterator[list[str]]:
    """Serves on the socket, with `answers` before its own responses. Returns the list of requests."""
    with _Engine(str(socket), _Request) as server:
        server.answers, server.asked = answers, []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
