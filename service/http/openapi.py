"""`GET /openapi.json`: describes the HTTP interface from the types that the code uses.

Names, choices, limits and rows come from the model and the table of parameters, so the description is up to date.
`schemas.py` has the schemas, `openapi.toml` the descriptions.
"""

from functools import cache
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import msgspec

from service import errors
from service.control.jobs import STATUSES_OF
from service.http.schemas import STRING, TEXTS, parameter_schema, reference, schema_name, schemas
from service.model import Action, Scope
from service.wire.parsing.parameters import OF_ENDPOINTS, Parameter, Words

QUEUE: Final = "/api/v1.1/admin/senders/queue"


class Operation(NamedTuple):
    """`response`: the name of its schema, "" if it is not JSON. Without a scope, no token is needed."""

    tag: str
    scope: Scope | None
    response: str = ""


OPERATIONS: Final[dict[str, Operation]] = {
    "stats": Operation("read", Scope.STATS, "StatsResponse"),
    "top": Operation("read", Scope.STATS, "TopResponse"),
    "stream": Operation("read", Scope.STATS),
    "history": Operation("read", Scope.STATS, "HistoryResponse"),
    "report": Operation("read", Scope.STATS, "ReportResponse"),
    **dict.fromkeys(Action, Operation("control", Scope.CONTROL, "ControlResponse")),
    "holds": Operation("control", Scope.STATS, "HoldsResponse"),
    "jobs": Operation("control", Scope.CONTROL, "JobsResponse"),
    "audit": Operation("control", Scope.CONTROL, "AuditResponse"),
    "explain": Operation("operate", Scope.EXPLAIN, "ExplainResponse"),
    "metrics": Operation("operate", Scope.METRICS),
    "conditions": Operation("operate", Scope.STATS, "ConditionsResponse"),
    "healthz": Operation("operate", None, "Alive"),
    "readyz": Operation("operate", None, "Alive"),
}
# Called by GET, with the parameters in the URL.
GETS: Final = ("top", "stream")
# With an ETag.
TAGGED: Final = ("stats", "top", "report")
GENERAL: Final = TEXTS["general"]
ERRORS: Final = (
    *(errors.BadRequest, errors.Unauthorized, errors.Forbidden, errors.TooLarge),
    *(errors.TooManyRequests, errors.InternalError, errors.Unavailable, errors.TimedOut),
)


@cache
def openapi_document() -> bytes:
    """The description as JSON."""
    info = {"title": "queuestats", "version": version("queuestats"), "description": GENERAL["description"]}
    security = {"token": {"type": "http", "scheme": "bearer", "description": GENERAL["security"]}}
    headers = {name: {"schema": STRING, "description": text} for name, text in TEXTS["headers"].items()}
    refusals = {error.__name__: _refusal(error) for error in (*ERRORS, errors.Conflict)}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": info,
            "tags": [{"name": name, "description": text} for name, text in TEXTS["tags"].items()],
            "paths": {_path(name): {_method(name): _operation(name)} for name in OPERATIONS},
            "components": {
                "schemas": schemas(),
                "responses": refusals,
                "headers": headers,
                "securitySchemes": security,
            },
        }
    )


def _path(name: str) -> str:
    return f"{QUEUE}/{name}/" if name in OF_ENDPOINTS else f"/{name}"


def _method(name: str) -> str:
    return "post" if name in OF_ENDPOINTS and name not in GETS else "get"


def _operation(name: str) -> dict[str, Any]:
    operation = OPERATIONS[name]
    action = Action(name) if name in list(Action) else None
    described: dict[str, Any] = {
        "operationId": name,
        "tags": [operation.tag],
        "summary": TEXTS["operations"][name]["summary"],
        "description": _text(name, action),
        "security": [{"token": [operation.scope]}] if operation.scope else [],
        "responses": {"200": _success(name)} | _others(name, action),
    }
    if _method(name) == "post":
        example = {"senders": [119, 120], "by": ["sender", "isp"]} if name == "report" else {"id": 119}
        content = {"schema": reference(schema_name(name, "Request")), "example": example}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    in_url = OF_ENDPOINTS[name] if name in GETS else ()
    parameters = [_in_url(name, each) for each in in_url if each.name not in _not_in_url(name)]
    if name in TAGGED:
        parameters.append(_in_header("If-None-Match", GENERAL["if_none_match"]))
    if name == "stream":
        parameters.append(_in_header("Last-Event-ID", GENERAL["last_event_id"]))
    return described | ({"parameters": parameters} if parameters else {})


def _text(name: str, action: Action | None) -> str:
    text: str = TEXTS["operations"][name]["description"]
    if action:
        return f"{text} {GENERAL['refuses'].format(', '.join(STATUSES_OF[action]))}"
    return f"{text} {GENERAL['refuses_unknown']}" if name in OF_ENDPOINTS and name != "stats" else text


def _not_in_url(name: str) -> tuple[str, ...]:
    """The token of a GET is in the header; the stream has one format."""
    return ("token", "format") if name == "stream" else ("token",)


def _success(name: str) -> dict[str, Any]:
    match name:
        case "stream":
            stream = {"schema": STRING, "example": GENERAL["event"]}
            return {"description": GENERAL["events"], "content": {"text/event-stream": stream}}
        case "metrics":
            return {"description": "The metrics.", "content": {"text/plain": {"schema": STRING}}}
    body = _body("Success.", reference(OPERATIONS[name].response), has_xml=name in OF_ENDPOINTS)
    headers = ["X-Request-Id"]
    if name == "report":
        body["content"]["text/csv"] = {"schema": STRING}
    if name in TAGGED:
        headers += ["ETag", "Server-Timing"]
    if name == "stats":
        headers.append("X-Queuestats-Ignored")
    return body | _headers(*headers)


def _others(name: str, action: Action | None) -> dict[str, Any]:
    """The responses other than 200."""
    if name == "healthz":
        return {}
    if name == "readyz":
        not_ready = {"anyOf": [reference("NotReady"), reference("Error")]}
        return {"503": _body("It is not ready.", not_ready, has_xml=False) | _headers("Retry-After")}
    found = {"304": {"description": GENERAL["unchanged"], **_headers("ETag")}} if name in TAGGED else {}
    refusals = (*ERRORS, errors.Conflict) if action else ERRORS
    return found | {str(error.code): {"$ref": f"#/components/responses/{error.__name__}"} for error in refusals}


def _refusal(error: type[errors.ServiceError]) -> dict[str, Any]:
    names = [name for name in error.headers if name in TEXTS["headers"]]
    return _body(TEXTS["errors"][str(error.code)], reference("Error")) | _headers("X-Request-Id", *names)


def _in_url(name: str, parameter: Parameter) -> dict[str, Any]:
    schema = parameter_schema(name, parameter)
    text = schema.pop("description")
    is_required = (name, parameter.name) == ("stream", "id")
    # Generators write a list in several ways, of which the service accepts one.
    schema = STRING if isinstance(parameter, Words) else schema
    return {"name": parameter.name, "in": "query", "required": is_required, "description": text, "schema": schema}


def _in_header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": STRING}


def _headers(*names: str) -> dict[str, Any]:
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def _body(description: str, schema: dict[str, Any], *, has_xml: bool = True) -> dict[str, Any]:
    as_xml = {"application/xml": {"schema": STRING}} if has_xml else {}
    return {"description": description, "content": {"application/json": {"schema": schema}, **as_xml}}
