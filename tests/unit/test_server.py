"""uvicorn, httptools and asyncio still have the members that the server overrides."""

import asyncio
import inspect
from typing import Any

import httptools
import pytest
import uvicorn
from sse_starlette.sse import AppStatus
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.http.server.processes import Server, Worker, Workers
from service.http.server.protocol import GatheringTransport, HttpProtocol, RestartingParser

OVERRIDES = {
    (Server, uvicorn.Server): ["on_tick", "handle_exit", "shutdown"],
    (Worker, Process): ["server"],
    (Workers, Multiprocess): [
        *("init_processes", "handle_ttin", "keep_subprocess_alive", "restart_all", "terminate_all"),
    ],
    (HttpProtocol, HttpToolsProtocol): ["connection_made", "on_headers_complete", "on_message_complete"],
    (RestartingParser, httptools.HttpRequestParser): ["feed_data"],
    (GatheringTransport, asyncio.Transport): [
        "write",
        "close",
    ],
}
# Members that override nothing.
ADDED = {"start_worker", "started", "head_without_offer"}


def parameters(method: Any) -> list[str]:
    return [*inspect.signature(method).parameters]


@pytest.mark.parametrize(
    ("ours", "base", "name"), [(ours, base, name) for (ours, base), names in OVERRIDES.items() for name in names]
)
def test_an_overridden_method_is_still_there_with_the_same_parameters(ours: type, base: type, name: str) -> None:
    assert name in vars(ours)
    inherited = inspect.getattr_static(base, name)
    if inspect.isfunction(inherited):
        # sse-starlette replaces `handle_exit` by its own function, and keeps that of uvicorn.
        original = AppStatus.original_handler if name == "handle_exit" else inherited
        assert parameters(vars(ours)[name]) == parameters(original)


@pytest.mark.parametrize(("ours", "base"), OVERRIDES)
def test_every_override_is_public_and_pinned(ours: type, base: type) -> None:
    defined = {name for name, value in vars(ours).items() if inspect.isroutine(value) or hasattr(value, "__get__")}
    overridden = {name for name in defined if hasattr(base, name) and not name.startswith("__")}
    assert overridden == set(OVERRIDES[ours, base])
    assert not [name for name in overridden if name.startswith("_")]
    assert {name for name in defined - overridden if not name.startswith("_")} <= ADDED


def test_uvicorn_has_the_members_that_the_drain_reads() -> None:
    server = uvicorn.Server(uvicorn.Config("nowhere:app", log_config=None))
    assert (server.server_state.total_requests, server.server_state.tasks) == (0, set())
    assert server.config.timeout_graceful_shutdown is None
    assert "self.servers" in inspect.getsource(uvicorn.Server.startup)
