"""`GET /openapi.json`: the HTTP interface, described from the types that the code itself works with.

Names, choices, limits and rows come from the model and the table of parameters, so the description can't go stale.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, Final

import msgspec

from service import errors
from service.control.jobs import STATUSES_OF
from service.model import (
    SUCCESS,
    Action,
    By,
    Format,
    Grouping,
    HistoryGrouping,
    Ids,
    Measure,
    Oldest,
    ReportFormat,
    ReportOrder,
    StatsRow,
    Window,
    With,
)
from service.wire.parsing.parameters import (
    MAX_BODY_BYTES,
    OF_ENDPOINTS,
    Choice,
    Flag,
    Numbers,
    Parameter,
    Text,
    Texts,
    Time,
    WholeNumber,
    Words,
)

QUEUE: Final = "/api/v1.1/admin/senders/queue"
ERRORS: Final = (
    *(errors.BadRequest, errors.Unauthorized, errors.Forbidden, errors.TooLarge),
    *(errors.TooManyRequests, errors.InternalError, errors.Unavailable, errors.TimedOut),
)
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
POSTS: Final = {
    "stats": ("StatsRequest", "StatsResponse", "Messages by status, in rows by `group`."),
    "explain": ("ExplainRequest", "Explained", "The SQL that `stats` would run, and its plan."),
    "hold": ("HoldRequest", "ControlResponse", "Stops new messages and retries, and what arrives until the release."),
    "release": ("ReleaseRequest", "ControlResponse", "Ends holds; each message gets its former status back."),
    "purge": ("ControlRequest", "ControlResponse", "Removes messages of every status."),
    "history": (
        *("HistoryRequest", "HistoryResponse"),
        "The counts at the end of each step, and the numbers of messages that arrived and left within it. A step that"
        " is not fully recorded has no row; the last row is the current step.",
    ),
    "report": ("ReportRequest", "ReportResponse", "The messages of many senders by keys of choice, a page at a time."),
    "holds": ("ListRequest", "Rows", "The active holds of a sender."),
    "jobs": ("ListRequest", "Rows", "A hundred holds, releases and purges of a sender, the open ones first."),
}
TOP: Final = ("by", "order", "status", "limit", "id", "format", "ids", "names")
STREAM: Final = ("id", "group", "account_id", "campaign_id", "isp", "with", "interval_ms", "ids", "names")
NOTES: Final = {
    "ids": "string: JSON has ids as strings, for clients that cannot represent integers above 2^53",
    "names": "1: rows also have the texts of adopted keys, after the documented members; null if there is none",
    "order": "oldest: the senders with the oldest messages; only with by=sender; rows also have `oldest`",
    "status": "only with order=oldest: the status of the oldest message; total: any status",
    "at_most": "if more messages match: 409, and no change",
    "expires_in": "seconds; 0 or left out: never",
    "hold_id": "ends only this hold; in place of the filters",
    "from": "a time as in RFC 3339, or seconds before now; default: an hour ago",
    "to": "as from; default: now",
    "step": "60 (only for all ISPs together), 600 or 3600 seconds; default: the finest step that is kept for the whole"
    " time and gives 1,440 rows at most for each ISP",
    "with": "oldest: when the oldest messages arrived, for the group total without filters. rates: what arrived and"
    " left in the last five full minutes, for the groups total and isp without filters. XML, URLs: comma-separated",
}
REPORT_NOTES: Final = {
    "senders": "left out: all that the token may see",
    "by": "what a row stands for; none: one grand total; default: sender",
    "account_id": "one or a list; 0: the messages without an account; left out: all",
    "campaign_id": "one or a list; 0: the messages without a campaign; left out: all",
    "isp": 'one or a list; "": the messages without an ISP; left out: all',
    "status": "only rows that have such messages; with order=oldest: the status of the oldest message",
    "search": "only senders whose id, or with names whose name, begins so",
    "order": "key: ascending; a count: descending; oldest: only with by=sender and no filter, rows also have `oldest`",
    "after": "the `next` of the page before, of the same query",
    "count": "1: the answer has the number of rows of all pages; null if it is not known",
}
EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "stats": {"id": 119, "group": "account_campaign"},
    "report": {"senders": [119, 120], "by": ["sender", "isp"]},
}
DEFAULTS: Final = {"account_id": 0, "campaign_id": 0, "isp": "", "group": "total", "analyze": 0}
NO_DEFAULTS: Final = (
    "No parameter has a default, which a generated client would send. Without filters the call is for all messages."
)
DETAILS: Final = "Of a dry run: messages by status. Otherwise: the ids, and how many messages were changed."
# A NUL is refused everywhere, a blank text by calls with effects.
WITHOUT_NUL: Final = r"^[^\u0000]*$"
FILLED: Final = r"^[^\u0000]*[^\u0000 \t\r\n][^\u0000]*$"
STRING: Final[dict[str, Any]] = {"type": "string"}
OBJECT: Final = {"type": "object"}
UNCHANGED: Final = {"304": {"description": "The client has this report."}}
REFERENCE: Final = "#/components/schemas/{name}"
Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]
Name = str | None | msgspec.UnsetType


class ReportRow(StatsRow, frozen=True, kw_only=True):
    """The documented members, with `ids` as strings or numbers, and the members that `names` adds."""

    account_id: int | Digits  # type: ignore[assignment]
    campaign_id: int | Digits  # type: ignore[assignment]
    account_name: Name = msgspec.UNSET
    campaign_name: Name = msgspec.UNSET
    sender_name: Name = msgspec.UNSET
    arrived: int | msgspec.UnsetType | None = msgspec.UNSET
    empty_in: int | msgspec.UnsetType | None = msgspec.UNSET
    last_left: datetime | msgspec.UnsetType | None = msgspec.UNSET
    left: int | msgspec.UnsetType | None = msgspec.UNSET
    window: Window | msgspec.UnsetType = msgspec.UNSET
    oldest: Oldest | msgspec.UnsetType = msgspec.UNSET


class PageRow(msgspec.Struct, kw_only=True):
    """The keys of `by`, the counts, and the members that `names` and the order `oldest` add."""

    sender_id: int | Digits | msgspec.UnsetType = msgspec.UNSET
    account_id: int | Digits | msgspec.UnsetType = msgspec.UNSET
    campaign_id: int | Digits | msgspec.UnsetType = msgspec.UNSET
    isp: str | msgspec.UnsetType = msgspec.UNSET
    hold: int
    new: int
    proc: int
    retry: int
    total: int
    oldest: Oldest | msgspec.UnsetType = msgspec.UNSET
    account_name: Name = msgspec.UNSET
    campaign_name: Name = msgspec.UNSET
    sender_name: Name = msgspec.UNSET


class HistoryRow(msgspec.Struct):
    """`at`: the end of the step. `arrived` and `left` are null if the current step is not fully recorded."""

    arrived: int | None
    at: datetime
    hold: int
    isp: str
    left: int | None
    new: int
    proc: int
    retry: int
    total: int


@cache
def openapi_document() -> bytes:
    """The description as JSON."""
    largest = "The senders, or keys of one sender, with the most messages; or the senders with the oldest messages."
    changes = "The report at once, and again after each change."
    findings = "What `queuestats doctor` finds in little time, for a token that is not limited."
    events = {"description": "Events `report` and `error`.", "content": {"text/event-stream": {"schema": STRING}}}
    alive = {"200": _body("Yes.", "Alive")}
    is_ready = alive | {"503": _body("Not yet.", "Alive")}
    top = [_in_url("top", name, id="unless by=sender") for name in TOP]
    stream = [_in_url("stream", name, required="id") for name in STREAM]
    paths: dict[str, Any] = {f"{QUEUE}/{name}/": {"post": _post(name, *post)} for name, post in POSTS.items()}
    paths |= {
        f"{QUEUE}/top/": {"get": _get("top", largest, top, {"200": _body("Done.", "Rows")} | UNCHANGED)},
        f"{QUEUE}/stream/": {"get": _get("stream", changes, stream, {"200": events})},
        "/conditions": {"get": _get("conditions", findings, [], {"200": _body("Done.", "Rows")})},
        "/healthz": {"get": _operation("healthz", "For probes.", alive, security=[])},
        "/readyz": {"get": _operation("readyz", "For probes.", is_ready, security=[])},
    }
    security = {"token": {"type": "http", "scheme": "bearer"}}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "queuestats", "version": version("queuestats"), "description": DESCRIPTION},
            "security": [{"token": []}],
            "paths": paths,
            "components": {"schemas": _schemas(), "securitySchemes": security},
        }
    )


def _operation(name: str, summary: str, responses: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": responses, **members}


def _post(name: str, request: str, response: str, summary: str) -> dict[str, Any]:
    example = EXAMPLES.get(name, {"id": 119})
    content = {
        "application/json": {"schema": _reference(request), "example": example},
        "application/xml": {"schema": STRING, "example": f"<xml>{''.join(map(_element, example.items()))}</xml>"},
    }
    description, others = REFUSES_UNKNOWN, {}
    done = _body("Done.", response)
    if name == "stats":
        description, others = IGNORES, UNCHANGED
    elif name == "report":
        others = UNCHANGED
        done["content"]["text/csv"] = {"schema": STRING}
    elif name in list(Action):
        description = f"{REFUSES} A dry run counts: {', '.join(STATUSES_OF[Action(name)])}."
        others = _errors(errors.Conflict)
    responses = {"200": done} | others | _errors(*ERRORS)
    body = {"required": True, "description": BODY, "content": content}
    return _operation(name, summary, responses, description=description, requestBody=body)


def _get(name: str, summary: str, query: list[dict[str, Any]], responses: dict[str, Any]) -> dict[str, Any]:
    return _operation(name, summary, responses | _errors(*ERRORS), description=REFUSES_UNKNOWN, parameters=query)


def _schemas() -> dict[str, Any]:
    choices = (Format, ReportFormat, Grouping, HistoryGrouping, Ids, By, Measure, ReportOrder, With)
    own = (*choices, ReportRow, PageRow, HistoryRow)
    _, of_model = msgspec.json.schema_components(own, ref_template=REFERENCE)
    success = {"error": {"enum": [0], "default": 0}, "error_text": {**STRING, "default": SUCCESS}}
    codes = [400, 401, 403, 404, 405, 409, 413, 429, 500, 503, 504]
    details = ("messages", "job_id", "hold_id", "new", "proc", "retry", "hold", "left_holds", "left_messages")
    bodies = {
        "StatsResponse": _object({**success, "data": _array(_reference("ReportRow"))}, "data"),
        "ReportResponse": _object(
            {
                **success,
                "data": _array(_reference("PageRow")),
                "next": {"type": ["string", "null"]},
                "count": {"type": ["integer", "null"]},
            },
            *("data", "next"),
        ),
        "HistoryResponse": _object({**success, "data": _array(_reference("HistoryRow"))}, "data"),
        "Explained": _object({**success, "data": OBJECT}, "data"),
        "Rows": _object({**success, "data": _array(OBJECT)}, "data"),
        "ControlResponse": _object({**success, "details": _reference("Details")}),
        "Details": _object({name: {"type": "integer"} for name in details} | {"left_reason": STRING})
        | {"description": DETAILS},
        "Error": _object({"error": {"enum": codes}, "error_text": STRING}, "error", "error_text"),
        "Alive": _object({"status": STRING, "pending": _array(STRING)}, "status"),
    }
    # Several endpoints may share a schema: they take the same parameters.
    bodies |= {request: _request(endpoint) for endpoint, (request, *_) in POSTS.items()}
    bodies["ControlRequest"]["description"] = NO_DEFAULTS
    return of_model | {name: {"title": name, **schema} for name, schema in bodies.items()}


def _request(endpoint: str) -> dict[str, Any]:
    """The body of a POST, as the table of parameters has it."""
    is_control = endpoint in list(Action)
    filters = dict.fromkeys(("account_id", "campaign_id"), "left out: all" if is_control else "0 or left out: all")
    notes = NOTES | (REPORT_NOTES if endpoint == "report" else filters)
    defaults = {} if is_control or endpoint == "report" else DEFAULTS
    properties = {}
    for parameter in OF_ENDPOINTS[endpoint]:
        name, text = parameter.name, STRING | {"pattern": FILLED if is_control else WITHOUT_NUL}
        default = {"default": defaults[name]} if name in defaults else {}
        note = {"description": notes[name]} if name in notes else {}
        properties[name] = _schema(parameter, text) | default | note
    others = {} if endpoint == "stats" else {"additionalProperties": False}
    return _object(properties, *({"id"} & properties.keys())) | others


def _schema(parameter: Parameter, text: dict[str, Any]) -> dict[str, Any]:
    # Of a Flag.
    schema: dict[str, Any] = {"enum": [0, 1]}
    match parameter:
        case WholeNumber(_, least, most):
            schema = {"type": "integer", "minimum": least, "maximum": most}
        case Choice(_, choices):
            schema = _reference(choices.__name__)
        case Words(_, choices):
            schema = _array(_reference(choices.__name__))
        case Numbers(_, least, most):
            schema = _list({"type": "integer", "minimum": least}, most)
        case Texts(_, most):
            schema = _list(text, most)
        case Time():
            schema = {"type": ["integer", "string"]}
        case Text(_, most):
            schema = text | ({"maxLength": most} if most < MAX_BODY_BYTES else {})
    return schema


def _in_url(endpoint: str, name: str, required: str = "", **notes: str) -> dict[str, Any]:
    """A parameter of a GET, as the table of parameters has it."""
    parameter = next(parameter for parameter in OF_ENDPOINTS[endpoint] if parameter.name == name)
    schema: dict[str, Any] = STRING
    match parameter:
        case WholeNumber(_, least, most, default):
            schema = {"type": "integer", "minimum": least, "maximum": most} | ({"default": default} if default else {})
        case Flag():
            schema = {"type": "integer", "enum": [0, 1], "default": 0}
        case Choice(_, choices):
            words = [choice.value for choice in choices]
            schema = {"type": "string", "enum": words, "default": words[0]}
    if note := (NOTES | notes).get(name):
        schema = schema | {"description": note}
    return {"name": name, "in": "query", "required": name == required, "schema": schema}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _element(member: tuple[str, Any]) -> str:
    name, value = member
    return f"<{name}>{','.join(map(str, value)) if isinstance(value, list) else value}</{name}>"


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    """One value, or an array of them."""
    return {"anyOf": [items, _array(items) | {"minItems": 1, "maxItems": most}]}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": REFERENCE.format(name=name)}


def _body(description: str, name: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(name)}, "application/xml": {"schema": STRING}}
    return {"description": description, "content": content}


def _errors(*refusals: type[errors.ServiceError]) -> dict[str, Any]:
    return {str(error.code): _body(f"{error.begins.rstrip(': ')}.", "Error") for error in refusals}
