"""A client that holds, releases and purges the queue of sender 119, and that queue."""

from typing import Any

import httpx

from service.model import Format
from tests.api.wire import STATS, body_of
from tests.oracle import Message

QUEUE = [
    Message(account_id=306, campaign_id=4591, isp="Gmail", status="new"),
    Message(account_id=306, campaign_id=4591, isp="Yahoo", status="retry"),
    Message(account_id=306, campaign_id=4914, isp="Gmail", status="proc"),
    Message(account_id=307, campaign_id=4591, isp="Gmail", status="new"),
    Message(account_id=307, campaign_id=0, isp="", status="hold"),
    Message(sender_id=120, account_id=306, status="new"),
]


class Operator:
    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client, self.token = client, token

    async def post(self, call: str, format: Format = Format.JSON, **members: Any) -> httpx.Response:
        content = body_of(format, token=self.token, id=119, **members)
        return await self.client.post(STATS.replace("stats", call), content=content)

    async def done(self, call: str, **members: Any) -> dict[str, Any]:
        response = await self.post(call, details=1, **members)
        assert response.status_code == 200, response.text
        details: dict[str, Any] = response.json()["details"]
        return details

    async def counts(self, **members: Any) -> tuple[int, int, int, int]:
        (row,) = (await self.post("stats", **members)).json()["data"]
        return row["new"], row["proc"], row["retry"], row["hold"]
