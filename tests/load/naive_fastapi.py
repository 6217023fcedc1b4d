"""A simple implementation: FastAPI, the async session of SQLAlchemy, and a scan of the queue for every request.

A competitor in `python -m tests.load.http`, written well: models, a suitable index, one grouped query, a pool.
Reads DATABASE_URL.
"""

import hashlib
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import BigInteger, DateTime, func, select
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

STATUSES = ("new", "proc", "retry", "hold")

engine = create_async_engine(os.environ.get("DATABASE_URL", "").replace("postgresql://", "postgresql+asyncpg://", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Token(Base):
    __tablename__ = "tokens"
    __table_args__ = ({"schema": "queuestats"},)

    name: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[bytes]
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Message(Base):
    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sender_id: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(ENUM(*STATUSES, name="message_status", create_type=False))


class Query(BaseModel):
    token: str
    id: int
    group: str = "total"


class Row(BaseModel):
    account_id: int = 0
    campaign_id: int = 0
    hold: int = 0
    isp: str = ""
    new: int = 0
    proc: int = 0
    retry: int = 0
    total: int = 0


class Report(BaseModel):
    data: list[Row]
    error: int = 0
    error_text: str = "Successful operation"


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@app.post("/api/v1.1/admin/senders/queue/stats/")
async def stats(query: Query, opened: Annotated[AsyncSession, Depends(session)]) -> Report:
    digest = hashlib.sha256(query.token.encode()).digest()
    known = await opened.scalar(select(Token.name).where(Token.hash == digest, Token.revoked_at.is_(None)))
    if known is None:
        raise HTTPException(401, "API token required")
    counted = await opened.execute(
        select(Message.status, func.count()).where(Message.sender_id == query.id).group_by(Message.status)
    )
    by_status = dict(counted.tuples().all())
    return Report(data=[Row.model_validate({**by_status, "total": sum(by_status.values())})])
