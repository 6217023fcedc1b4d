"""The rows and other parts of responses, as `GET /openapi.json` describes them.

tests/api/test_openapi.py compares them with what the service sends.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from service.model import Action

# A string for a request with `ids=string`.
Id = int | Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]
At = Annotated[datetime, msgspec.Meta(tz=True)]
Unset = msgspec.UnsetType
# Members that the request adds.
Added = int | None | Unset
Name = str | None | Unset


class Oldest(msgspec.Struct):
    hold: At | None
    new: At | None
    proc: At | None
    retry: At | None
    total: At | None


class Window(msgspec.Struct, rename={"from_": "from"}):
    from_: At
    to: At


class _Counts(msgspec.Struct, kw_only=True):
    new: int
    proc: int
    retry: int
    hold: int
    total: int


class _NamedCounts(_Counts, kw_only=True):
    account_name: Name = msgspec.UNSET
    campaign_name: Name = msgspec.UNSET
    sender_name: Name = msgspec.UNSET


class StatsRow(_NamedCounts, kw_only=True):
    account_id: Id
    campaign_id: Id
    isp: str
    arrived: Added = msgspec.UNSET
    left: Added = msgspec.UNSET
    empty_in: Added = msgspec.UNSET
    last_left: At | Unset | None = msgspec.UNSET
    window: Window | Unset = msgspec.UNSET
    oldest: Oldest | Unset = msgspec.UNSET


class TopRow(_NamedCounts, kw_only=True):
    sender_id: Id | Unset = msgspec.UNSET
    account_id: Id | Unset = msgspec.UNSET
    campaign_id: Id | Unset = msgspec.UNSET
    isp: str | Unset = msgspec.UNSET
    oldest: Oldest | Unset = msgspec.UNSET


class ReportRow(TopRow, kw_only=True):
    pass


class HistoryRow(_Counts):
    at: At
    isp: str
    arrived: int | None
    left: int | None


class _Filter(msgspec.Struct, kw_only=True):
    sender_id: Id
    account_id: Id | None
    campaign_id: Id | None
    isp: str | None
    account_name: Name = msgspec.UNSET
    campaign_name: Name = msgspec.UNSET
    sender_name: Name = msgspec.UNSET


class _Begun(_Filter, kw_only=True):
    id: Id
    created_at: At


class HoldsRow(_Begun, kw_only=True):
    messages: int
    reason: str | None
    created_by_kind: str
    created_by: str | None
    expires_at: At | None


class JobsRow(_Begun, kw_only=True):
    action: Action
    state: Literal["waiting", "working", "settling", "done", "failed", "cancelled"]
    matched: int
    changed: int
    failed: int
    error: str | None
    left_holds: int
    left_messages: int
    waits_for: str | None
    waits_since: At | None
    run_at: At
    attempts: int
    requested_by_kind: str
    requested_by: str
    finished_at: At | None


class AuditRow(_Filter, kw_only=True):
    at: At
    action: str
    messages: int | None
    actor_kind: str
    actor_name: str
    request_id: str
    reason: str
    hold_id: int | None
    hold_ids: list[int] | None
    job_id: int | None


class Explanation(msgspec.Struct):
    statement: str
    sql: str
    parameters: dict[str, Any]
    plan: list[dict[str, Any]]
    warnings: list[str]


class Details(msgspec.Struct):
    messages: int | Unset = msgspec.UNSET
    job_id: int | Unset = msgspec.UNSET
    hold_id: int | Unset = msgspec.UNSET
    new: int | Unset = msgspec.UNSET
    proc: int | Unset = msgspec.UNSET
    retry: int | Unset = msgspec.UNSET
    hold: int | Unset = msgspec.UNSET
    left_holds: int | Unset = msgspec.UNSET
    left_messages: int | Unset = msgspec.UNSET
    left_reason: str | Unset = msgspec.UNSET


class ConditionRow(msgspec.Struct):
    condition: str
    severity: Literal["error", "warning", "note"]
    finding: str
    meaning: str
    advice: str
    node: str


# By endpoint: the rows of its response.
ROWS: Final[dict[str, type[msgspec.Struct]]] = {
    "stats": StatsRow,
    "top": TopRow,
    "history": HistoryRow,
    "report": ReportRow,
    "holds": HoldsRow,
    "jobs": JobsRow,
    "audit": AuditRow,
}
