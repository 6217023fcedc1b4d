"""Requests as clients send them, and what is right for an answer."""

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any
from xml.etree import ElementTree

from service.model import Format

STATS_PATH = "/api/v1.1/admin/senders/queue/stats/"
STATUSES = ("new", "proc", "retry", "hold")
# Requests that are rendered before the load begins; enough that their order is no pattern.
REQUESTS = 2000

Check = Callable[[int, bytes], bool]


def http_request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def stats_request(format: Format, token: str, sender_id: int) -> bytes:
    if format is Format.XML:
        body = f"<xml><token>{token}</token><id>{sender_id}</id><group>total</group></xml>"
    else:
        body = f'{{"token": "{token}", "id": {sender_id}, "group": "total"}}'
    return http_request(STATS_PATH, body.encode())


def graphql_request(sender_id: int) -> bytes:
    """The same question to PostGraphile, which reads sql/bench/postgraphile.sql."""
    query = "query($id: BigInt!) { queueTotal(senderId: $id) { hold new proc retry total } }"
    body = json.dumps({"query": query, "variables": {"id": str(sender_id)}})
    return http_request("/graphql", body.encode())


def random_senders(senders: Sequence[int], seed: int) -> list[int]:
    return Random(seed).choices(senders, k=REQUESTS)


def row_of_json(body: bytes) -> Mapping[str, Any]:
    [row] = json.loads(body)["data"]
    return {name: row[name] for name in (*STATUSES, "total")}


def row_of_xml(body: bytes) -> Mapping[str, Any]:
    data = ElementTree.fromstring(body).find("data")  # noqa: S314 - from our own server
    assert data is not None, "an answer to `total` has a row"
    return {name: int(data.findtext(name) or "") for name in (*STATUSES, "total")}


def row_of_graphql(body: bytes) -> Mapping[str, Any]:
    row = json.loads(body)["data"]["queueTotal"]
    return {name: int(row[name]) for name in (*STATUSES, "total")}


def check_of(
    read: Callable[[bytes], Mapping[str, Any]], asked: Sequence[int], totals: Mapping[int, int] | None
) -> Check:
    """Whether an answer adds up and, where the queue holds still, has the total that its sender has."""

    def is_right(number: int, body: bytes) -> bool:
        row = read(body)
        adds_up: bool = row["total"] == sum(row[status] for status in STATUSES)
        return adds_up and (totals is None or row["total"] == totals[asked[number]])

    return is_right
