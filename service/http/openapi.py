"""`GET /openapi.json`: the HTTP interface, described from the types that the code itself works with.

Names, choices, limits and rows come from the model and the table of parameters, so the description can't go stale.
"""

from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from service.control.jobs import STATUSES_OF
from service.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    ServiceError,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from service.model import MAX_REASON_CHARACTERS, SUCCESS, Action, Format, Grouping, Ids, StatsRow
from service.wire.parsing import parameters
from service.wire.parsing.parameters import EXPIRES_IN, MAX_INT, Choice, Flag, Parameter, WholeNumber

QUEUE: Final = "/api/v1.1/admin/senders/queue"
ERRORS: Final = (BadRequest, Unauthorized, Forbidden, TooLarge, InternalError, Unavailable, TimedOut)
IDS: Final = "string: JSON has ids as strings, for clients that cannot represent integers above 2^53"
NAMES: Final = "1: rows also have the texts of adopted keys, after the documented members; null if there is none"
DESCRIPTION: Final = (
    "What is in a mail sender's queue. Counts are exact. While the service can't prove that, for instance on a standby"
    " or after a counting trigger was disabled, it answers 503. It ignores offers to upgrade (`Upgrade`)."
)
BODY: Final = "In UTF-8, not compressed. The first byte decides between JSON and XML. Forms are refused."
IGNORES: Final = "Unknown parameters are ignored, and listed in the header `X-Queuestats-Ignored`."
REFUSES_UNKNOWN: Final = "Unknown parameters are refused with 400."
REFUSES: Final = (
    "Unknown, repeated, null, empty and blank parameters, filters of 0, and parameters in the URL other than `token`"
    " and `format` are refused with 400, and nothing is changed."
)
ZeroOrOne = Literal[0, 1]
Id = Annotated[int, Meta(ge=1, le=MAX_INT)]
Filter = Annotated[int, Meta(ge=0, le=MAX_INT, description="0 or left out: all")]
Digits = Annotated[str, Meta(pattern="^[0-9]+$")]
WrittenIds = Annotated[Ids | msgspec.UnsetType, Meta(description=IDS)]
HasNames = Annotated[ZeroOrOne | msgspec.UnsetType, Meta(description=NAMES)]
Name = str | None | msgspec.UnsetType
# A NUL is refused everywhere.
Text = Annotated[str, Meta(pattern="^[^\\u0000]*$")]
# Of calls with effects, which refuse a blank one.
FILLED: Final = r"^[^\u0000]*[^\u0000 \t\r\n][^\u0000]*$"
FilledText = Annotated[str, Meta(pattern=FILLED)]
FilledFilter = Annotated[int, Meta(ge=1, le=MAX_INT, description="left out: all")]
AtMost = Annotated[int, Meta(ge=0, le=MAX_INT, description="if more messages match: 409, and no change")]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS, pattern=FILLED)]
ExpiresIn = Annotated[int, Meta(ge=0, le=EXPIRES_IN.most, description="seconds; 0 or left out: never")]
HoldId = Annotated[int, Meta(ge=1, le=MAX_INT, description="ends only this hold; in place of the filters")]


class Error(msgspec.Struct):
    error: Literal[400, 401, 403, 404, 405, 409, 413, 500, 503, 504]
    error_text: str


class Token(msgspec.Struct):
    """Whose request it is; the header `Authorization: Bearer …` does as well."""

    token: Text | msgspec.UnsetType = msgspec.UNSET
    format: Format | msgspec.UnsetType = msgspec.UNSET


class StatsRequest(Token, kw_only=True):
    id: Id
    account_id: Filter = 0
    campaign_id: Filter = 0
    isp: Text = ""
    group: Grouping = Grouping.TOTAL
    ids: WrittenIds = msgspec.UNSET
    names: HasNames = msgspec.UNSET


class ListRequest(Token, kw_only=True, forbid_unknown_fields=True):
    id: Id
    ids: WrittenIds = msgspec.UNSET
    names: HasNames = msgspec.UNSET


class ExplainRequest(StatsRequest, kw_only=True, forbid_unknown_fields=True):
    analyze: ZeroOrOne = 0


class ControlRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """No parameter has a default, which a generated client would send. Without filters the call is for all messages."""

    token: FilledText | msgspec.UnsetType = msgspec.UNSET
    format: Format | msgspec.UnsetType = msgspec.UNSET
    id: Id
    account_id: FilledFilter | msgspec.UnsetType = msgspec.UNSET
    campaign_id: FilledFilter | msgspec.UnsetType = msgspec.UNSET
    isp: FilledText | msgspec.UnsetType = msgspec.UNSET
    dry_run: ZeroOrOne | msgspec.UnsetType = msgspec.UNSET
    at_most: AtMost | msgspec.UnsetType = msgspec.UNSET
    details: ZeroOrOne | msgspec.UnsetType = msgspec.UNSET


class HoldRequest(ControlRequest, kw_only=True, forbid_unknown_fields=True):
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    expires_in: ExpiresIn | msgspec.UnsetType = msgspec.UNSET


class ReleaseRequest(ControlRequest, kw_only=True, forbid_unknown_fields=True):
    hold_id: HoldId | msgspec.UnsetType = msgspec.UNSET


class Success(msgspec.Struct, kw_only=True):
    error: Literal[0] = 0
    error_text: str = SUCCESS


class ReportRow(StatsRow, frozen=True, kw_only=True):
    """The documented members, with `ids` as strings or numbers, and the members that `names` adds."""

    account_id: int | Digits  # type: ignore[assignment]
    campaign_id: int | Digits  # type: ignore[assignment]
    account_name: Name = msgspec.UNSET
    campaign_name: Name = msgspec.UNSET
    sender_name: Name = msgspec.UNSET


class StatsResponse(Success, kw_only=True):
    data: list[ReportRow]


class Rows(Success, kw_only=True):
    data: list[dict[str, Any]]


class Explained(Success, kw_only=True):
    data: dict[str, Any]


class Details(msgspec.Struct):
    """Of a dry run: messages by status. Otherwise: the ids, and how many messages were changed."""

    messages: int | msgspec.UnsetType = msgspec.UNSET
    job_id: int | msgspec.UnsetType = msgspec.UNSET
    hold_id: int | msgspec.UnsetType = msgspec.UNSET
    new: int | msgspec.UnsetType = msgspec.UNSET
    proc: int | msgspec.UnsetType = msgspec.UNSET
    retry: int | msgspec.UnsetType = msgspec.UNSET
    hold: int | msgspec.UnsetType = msgspec.UNSET


class ControlResponse(Success, kw_only=True):
    details: Details | msgspec.UnsetType = msgspec.UNSET


class Alive(msgspec.Struct):
    status: str
    pending: list[str] | msgspec.UnsetType = msgspec.UNSET


POSTS: Final = {
    "stats": (StatsRequest, StatsResponse, "Messages by status, in rows by `group`."),
    "explain": (ExplainRequest, Explained, "The SQL that `stats` would run, and its plan."),
    "hold": (HoldRequest, ControlResponse, "Stops new messages and retries, and what arrives until the release."),
    "release": (ReleaseRequest, ControlResponse, "Ends holds; each message gets its former status back."),
    "purge": (ControlRequest, ControlResponse, "Removes messages of every status."),
    "holds": (ListRequest, Rows, "The active holds of a sender."),
    "jobs": (ListRequest, Rows, "The latest holds, releases and purges of a sender."),
}
TYPES: Final = [*dict.fromkeys(type_ for types in POSTS.values() for type_ in types[:2]), Error, Rows, Alive]
TOP: Final = (parameters.BY, parameters.ORDER, parameters.LIMIT, parameters.ID, parameters.FORMAT)
STREAM: Final = (
    *(parameters.ID, parameters.GROUP, parameters.ACCOUNT_ID, parameters.CAMPAIGN_ID, parameters.ISP),
    parameters.INTERVAL_MS,
)
PRESENTATION: Final = (parameters.IDS, parameters.NAMES)
UNCHANGED: Final = {"304": {"description": "The client has this report."}}


@cache
def openapi_document() -> bytes:
    """The description as JSON."""
    _, components = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {f"{QUEUE}/{name}/": {"post": _post(name, *types)} for name, types in POSTS.items()}
    report = {"text/event-stream": {"schema": {"type": "string"}}}
    events = {"200": {"description": "Events `report` and `error`.", "content": report}}
    summary = "The senders, or keys of one sender, with the most messages."
    top = [_parameter(parameter, id="unless by=sender") for parameter in (*TOP, *PRESENTATION)]
    stream = [_parameter(parameter, required="id") for parameter in (*STREAM, *PRESENTATION)]
    paths |= {
        f"{QUEUE}/top/": {"get": _get("top", summary, top, {"200": _body("Done.", Rows)} | UNCHANGED)},
        f"{QUEUE}/stream/": {"get": _get("stream", "The report at once, and again after each change.", stream, events)},
        "/healthz": {"get": _probe("healthz", {"200": _body("Yes.", Alive)})},
        "/readyz": {"get": _probe("readyz", {"200": _body("Yes.", Alive), "503": _body("Not yet.", Alive)})},
    }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "queuestats", "version": version("queuestats"), "description": DESCRIPTION},
            "security": [{"token": []}],
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        }
    )


def _post(name: str, request: type, response: type, summary: str) -> dict[str, Any]:
    example = {"id": 119, **({"group": "account_campaign"} if request is StatsRequest else {})}
    content = {
        "application/json": {"schema": _ref(request), "example": example},
        "application/xml": {"schema": {"type": "string"}, "example": "<xml><id>119</id></xml>"},
    }
    description, others = REFUSES_UNKNOWN, {}
    if name == "stats":
        description, others = IGNORES, UNCHANGED
    elif name in list(Action):
        description = f"{REFUSES} A dry run counts: {', '.join(STATUSES_OF[Action(name)])}."
        others = _errors(Conflict)
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "description": BODY, "content": content},
        "description": description,
        "responses": {"200": _body("Done.", response)} | others | _errors(*ERRORS),
    }


def _get(name: str, summary: str, query: list[dict[str, Any]], responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "description": REFUSES_UNKNOWN,
        "parameters": query,
        "responses": responses | _errors(*ERRORS),
    }


def _probe(name: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": "For probes.", "responses": responses, "security": []}


def _parameter(parameter: Parameter, required: str = "", **descriptions: str) -> dict[str, Any]:
    """A parameter of a URL, as the table of parameters has it."""
    schema: dict[str, Any] = {"type": "string"}
    if isinstance(parameter, WholeNumber):
        schema = {"type": "integer", "minimum": parameter.least, "maximum": parameter.most}
        schema |= {"default": parameter.default} if parameter.default else {}
    elif isinstance(parameter, Flag):
        schema = {"type": "integer", "enum": [0, 1], "default": 0}
    elif isinstance(parameter, Choice):
        words = [choice.value for choice in parameter.choices]
        schema |= {"enum": words, "default": words[0]}
    description = {"ids": IDS, "names": NAMES, **descriptions}.get(parameter.name)
    schema |= {"description": description} if description else {}
    return {"name": parameter.name, "in": "query", "required": parameter.name == required, "schema": schema}


def _ref(of: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{of.__name__}"}


def _body(description: str, of: type) -> dict[str, Any]:
    xml = {"schema": {"type": "string"}}
    return {"description": description, "content": {"application/json": {"schema": _ref(of)}, "application/xml": xml}}


def _errors(*errors: type[ServiceError]) -> dict[str, Any]:
    return {str(error.code): _body(f"{error.begins.rstrip(': ')}.", Error) for error in errors}
