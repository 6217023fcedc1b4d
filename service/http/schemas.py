"""The schemas of `GET /openapi.json`: requests from the table of parameters, responses from `row_types.py`.

`openapi.toml` has the descriptions.
"""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import msgspec

from service import errors
from service.http.row_types import ROWS, ConditionRow, Details, Explanation
from service.model import (
    SUCCESS,
    Action,
    By,
    Dimension,
    Format,
    Grouping,
    HistoryGrouping,
    Ids,
    Measure,
    Order,
    ReportFormat,
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

TEXTS: Final = tomllib.loads(Path(__file__).with_name("openapi.toml").read_text("utf-8"))
REFERENCE: Final = "#/components/schemas/{name}"
STRING: Final[dict[str, Any]] = {"type": "string"}
# All calls refuse a NUL; calls with effects also refuse a blank text.
WITHOUT_NUL: Final = r"^[^\u0000]*$"
FILLED: Final = r"^[^\u0000]*[^\u0000 \t\r\n][^\u0000]*$"
# A separate schema, so that a generated client has one type for all of them. The names are for generators.
FLAG: Final = {"title": "Flag", "type": "integer", "enum": [0, 1], "x-enum-varnames": ["NO", "YES"]}
CHOICES: Final = (
    *(Format, Grouping, HistoryGrouping, Ids, With, Dimension, Order, Measure),
    *(By, ReportFormat),
)


def schemas() -> dict[str, Any]:
    """All schemas by name, each with a description."""
    own = (*CHOICES, *ROWS.values(), Explanation, Details, ConditionRow)
    _, found = msgspec.json.schema_components(own, ref_template=REFERENCE)
    found |= {row.__name__: _as_sent(found[row.__name__]) for row in ROWS.values()}
    found |= {"Flag": FLAG, **_bodies()}
    found |= {schema_name(name, "Request"): _request(name) for name in OF_ENDPOINTS if name not in ("top", "stream")}
    return {name: _described(name, schema) for name, schema in found.items()}


def schema_name(endpoint: str, part: str) -> str:
    return f"{endpoint.capitalize()}{part}"


def reference(name: str) -> dict[str, Any]:
    return {"$ref": REFERENCE.format(name=name)}


def _bodies() -> dict[str, Any]:
    success = {"error": {"type": "integer", "const": 0}, "error_text": {**STRING, "const": SUCCESS}}
    codes = sorted(error.code for error in errors.ServiceError.__subclasses__())
    rows = {name: _array(reference(row.__name__)) for name, row in ROWS.items()}
    status = {"status": STRING}
    page = {"next": {"type": ["string", "null"]}, "count": {"type": ["integer", "null"]}}
    return {
        **{
            schema_name(name, "Response"): _object(success | {"data": data}, text=f"The response of `{name}`.")
            for name, data in {**rows, "explain": reference("Explanation")}.items()
        },
        "ReportResponse": _object(
            success | {"data": rows["report"]} | page, ("count",), "The response of `report` as JSON or XML."
        ),
        "ControlResponse": _object(success | {"details": reference("Details")}, optional=("details",)),
        "ConditionsResponse": _object({"data": _array(reference("ConditionRow"))}),
        "StreamReport": _object(success | {"data": rows["stats"], "taken_at": {**STRING, "format": "date-time"}}),
        "Error": _object({"error": {"type": "integer", "enum": codes}, "error_text": STRING}),
        "Alive": _object(status),
        "NotReady": _object(status | {"pending": _array(STRING)}),
    }


def _described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its title, its description and those of its members; integers have 64 bits."""
    schema = {"title": name, **schema}
    if text := TEXTS["schemas"].get(name):
        schema["description"] = text
    for each in (schema, *schema.get("properties", {}).values()):
        if "enum" in each:
            each.setdefault("type", "string")
    for member, own in schema.get("properties", {}).items():
        for each in (own, *own.get("anyOf", ())):
            if each.get("type") == "integer" and not {"enum", "const"} & set(each):
                each["format"] = "int64"
        members = TEXTS["members"]
        if member_text := members.get(name, {}).get(member) or members.get(member):
            own.setdefault("description", member_text)
    return schema


def _as_sent(schema: dict[str, Any]) -> dict[str, Any]:
    """A row with its members in alphabetical order; members that a request adds are last."""
    properties = schema["properties"]
    order = sorted(properties, key=lambda name: (name not in schema["required"], name))
    return schema | {"properties": {name: properties[name] for name in order}}


def _request(endpoint: str) -> dict[str, Any]:
    """The body of a POST. Only `stats` ignores other members."""
    taken = OF_ENDPOINTS[endpoint]
    properties = {parameter.name: parameter_schema(endpoint, parameter) for parameter in taken}
    optional = [name for name in properties if name != "id"]
    schema = _object(properties, optional, f"The parameters of `{endpoint}`.")
    return schema if endpoint == "stats" else schema | {"additionalProperties": False}


def parameter_schema(endpoint: str, parameter: Parameter) -> dict[str, Any]:
    """A parameter with its description. No default: generated clients send defaults, and TypeScript requires them."""
    schema: dict[str, Any]
    match parameter:
        case WholeNumber(_, least, most):
            size = "int64" if most >= 1 << 31 else "int32"
            schema = {"type": "integer", "format": size, "minimum": least, "maximum": most}
        case Flag():
            schema = reference("Flag")
        case Choice(_, choices, without):
            of_its_own = STRING | {"title": schema_name(endpoint, choices.__name__), "enum": [*parameter.words]}
            schema = of_its_own if without else reference(choices.__name__)
        case Words(_, choices, is_filled):
            schema = _array(reference(choices.__name__)) | ({"minItems": 1} if is_filled else {})
        case Numbers(_, least, most):
            schema = _list({"type": "integer", "format": "int64", "minimum": least}, most)
        case Texts(_, most):
            schema = _list(STRING | {"pattern": WITHOUT_NUL}, most)
        case Time():
            schema = {"type": ["integer", "string"]}
        case Text(_, most):
            schema = STRING | {"pattern": FILLED if endpoint in list(Action) else WITHOUT_NUL}
            schema |= {"maxLength": most} if most < MAX_BODY_BYTES else {}
    return schema | {"description": _text(endpoint, parameter.name)}


def _text(endpoint: str, parameter: str) -> str:
    own = TEXTS["parameters_of"].get(endpoint, {})
    of_control = TEXTS["parameters_of_control"] if endpoint in list(Action) else {}
    text: str = (TEXTS["parameters"] | of_control | own)[parameter]
    return text


def _object(properties: dict[str, Any], optional: Collection[str] = (), text: str = "") -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    # Copies, because `_described` adds to them.
    own = {name: {**schema} for name, schema in properties.items()}
    return {"type": "object", "description": text, "properties": own, "required": required}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    """One value, or an array of them."""
    return {"anyOf": [items, _array(items) | {"minItems": 1, "maxItems": most}]}
