"""Attacks on a running service, on this machine only. Measures how long a new client waits during each attack.

    python tests/load/attacks.py churn|idle|unread|heads|odd --port 8080 --token qs_…

Each attack has a time limit. It prints its figures and asserts nothing, because the figures depend on the machine.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
STATS = "/api/v1.1/admin/senders/queue/stats/"
RESET = struct.pack("ii", 1, 0)
SECONDS = 8.0


def question(token: str, group: str = "total", sender: int = 1) -> bytes:
    body = json.dumps({"token": token, "id": sender, "group": group}).encode()
    return f"POST {STATS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return int(head.split()[1])


async def keep_asking(port: int, request: bytes, seen: Counter[Any]) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
            while True:
                writer.write(request)
                seen[await read_answer(reader)] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            seen[type(error).__name__] += 1
            await asyncio.sleep(0.05)


async def new_client(port: int, request: bytes, patience: float = 10.0) -> float | None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(request)
            await read_answer(reader)
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None
    return time.perf_counter() - began


async def watch(port: int, request: bytes, seconds: float) -> str:
    waits: list[float | None] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        waits.append(await new_client(port, request))
        await asyncio.sleep(0.1)
    served = [each for each in waits if each is not None]
    worst = f"median {statistics.median(served) * 1000:.0f} ms, worst {max(served) * 1000:.0f} ms" if served else "none"
    return f"new clients: {len(served)} of {len(waits)} served, {worst}"


async def reset_forever(port: int, request: bytes, a_second: int) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = time.perf_counter()
        for _ in range(a_second // 20):
            client = socket.socket()
            client.setblocking(False)
            with suppress(OSError):
                await asyncio.wait_for(loop.sock_connect(client, (HOST, port)), 1)
                client.send(request)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        await asyncio.sleep(max(0, began + 0.05 - time.perf_counter()))


async def churn(port: int, token: str) -> None:
    """200 busy keep-alive connections, and 320 connections per second that send and reset."""
    seen: Counter[Any] = Counter()
    work: list[Coroutine[Any, Any, None]] = [keep_asking(port, question(token), seen) for _ in range(200)]
    work.append(reset_forever(port, question(token), 320))
    tasks = [asyncio.create_task(each) for each in work]
    await asyncio.sleep(1)
    print(await watch(port, question(token), SECONDS), dict(seen))
    for task in tasks:
        task.cancel()


async def idle(port: int, token: str) -> None:
    """1,500 connections that send nothing."""
    held = []
    for _ in range(1500):
        with suppress(OSError, TimeoutError):
            held.append(await asyncio.wait_for(asyncio.open_connection(HOST, port), 1))
    print(f"{len(held)} idle connections;", await watch(port, question(token), 5))
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    print("probes:", await watch(port, health, 3))


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


async def unread(port: int, token: str, pid: int) -> None:
    """150 clients, each with 20 pipelined requests for large reports, that read nothing."""
    request = question(token, "account_campaign", 9119) * 20
    before, peak = resident(pid), 0.0
    sockets = []
    for _ in range(150):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((HOST, port))
        client.setblocking(False)
        with suppress(OSError):
            client.send(request)
        sockets.append(client)
    for _ in range(150):
        await asyncio.sleep(0.1)
        peak = max(peak, resident(pid))
    print(f"memory: {before:.0f} MB before, {peak:.0f} at most;", await watch(port, question(token), 3))


async def heads(port: int, token: str) -> None:
    """A head of 100 MB, and one that arrives with one byte per second."""
    reader, writer = await asyncio.open_connection(HOST, port)
    sent = 0
    with suppress(ConnectionError):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        for _ in range(1600):
            writer.write(b"a" * 65536)
            await writer.drain()
            sent += 65536
    print(f"huge head: {sent / 1e6:.1f} MB taken")
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\nHo")
    began = time.perf_counter()
    with suppress(TimeoutError, ConnectionError):
        await asyncio.wait_for(reader.read(), 40)
    print(f"slow head: held {time.perf_counter() - began:.0f} s")


HOST_LINE = "Host: a"
ODD = {
    "FOO": ("FOO /x", HOST_LINE),
    "lower-case": (f"post {STATS}", HOST_LINE),
    "CONNECT": ("CONNECT example.com:443", HOST_LINE),
    "absolute": (f"POST http://a{STATS}", HOST_LINE),
    "absolute without path": ("POST http://a", HOST_LINE),
    "no host": (f"POST {STATS}", "A: b"),
    "two hosts": (f"POST {STATS}", "Host: a\r\nHost: b"),
    "h2c offer": (f"POST {STATS}", "Host: a\r\nConnection: upgrade\r\nUpgrade: h2c"),
    "length and chunks": (f"POST {STATS}", "Host: a\r\nTransfer-Encoding: chunked"),
    "encoded slash": (f"POST {STATS.replace('queue/stats', 'queue%2Fstats')}", HOST_LINE),
}


def odd_request(first: str, headers: str) -> bytes:
    return f"{first} HTTP/1.1\r\n{headers}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


async def odd(port: int, token: str) -> None:
    """Unusual HTTP requests, and a client that closes its half of the connection after its request."""
    requests = {name: odd_request(*parts) for name, parts in ODD.items()}
    requests["bare LF"] = requests["h2c offer"].replace(b"\r\n", b"\n")
    for name, request in {**requests, "half-close": question(token)}.items():
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(request)
        if name == "half-close":
            writer.write_eof()
        got = b""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(1):
                while data := await reader.read(65536):
                    got += data
        writer.close()
        print(f"{name}: {got[:12]!r} … {got[-60:]!r}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("attack", choices=["churn", "idle", "unread", "heads", "odd"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--pid", type=int, default=0)
    asked = parser.parse_args()
    attack: Callable[..., Awaitable[None]] = globals()[asked.attack]
    more = (asked.pid,) if asked.attack == "unread" else ()
    asyncio.run(attack(asked.port, asked.token, *more))  # type: ignore[arg-type]


main()
