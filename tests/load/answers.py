"""Properties of every correct response, for any contents of the queue. Needs only the standard library."""

import json
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

FIELDS = ["account_id", "campaign_id", "hold", "isp", "new", "proc", "retry", "total"]
NUMBERS = [name for name in FIELDS if name != "isp"]
KEYS = ["account_id", "campaign_id", "isp"]
BEGINS = {400: "Incorrect request: ", 401: "API token required"}


class WrongAnswer(Exception):
    """A response violates the contract."""


def check_report(content: bytes, format: str, group: str) -> None:
    """Checks that totals add up, rows are ordered and different, and other keys are empty. Raises WrongAnswer."""
    rows = rows_of(content, format)
    own = [name for name in KEYS if name.removesuffix("_id") in group.split("_")]
    if group == "total" and len(rows) != 1:
        raise WrongAnswer(f"{len(rows)} rows for a total")
    for row in rows:
        if row["total"] != row["new"] + row["proc"] + row["retry"] + row["hold"]:
            raise WrongAnswer(f"the total does not add up: {row}")
        if group != "total" and row["total"] <= 0:
            raise WrongAnswer(f"a row without messages: {row}")
        if any(row[name] for name in KEYS if name not in own):
            raise WrongAnswer(f"a key that was not asked for: {row}")
    keys = [[_ranked(row[name]) for name in own] for row in rows]
    if any(one >= other for one, other in pairwise(keys)):
        raise WrongAnswer("the rows are not in the order of their keys")


def rows_of(content: bytes, format: str) -> list[dict[str, Any]]:
    """The rows of a report, by field. Raises WrongAnswer for other responses."""
    return _rows_of_json(content) if format == "json" else _rows_of_xml(content)


def check_error(content: bytes, format: str, code: int) -> None:
    """Checks the members of an error. Raises WrongAnswer."""
    if format == "json":
        answer = json.loads(content)
        if list(answer) != ["error", "error_text"]:
            raise WrongAnswer(f"not an error's members: {list(answer)}")
        number, text = answer["error"], answer["error_text"]
    else:
        root = ElementTree.fromstring(content)
        if [root.tag, *(child.tag for child in root)] != ["xml", "error", "error_text"]:
            raise WrongAnswer("not an error's elements")
        number, text = int(root[0].text or ""), root[1].text or ""
    if number != code or not text.startswith(BEGINS[code]):
        raise WrongAnswer(f"error {number} instead of {code}: {text}")


def _rows_of_json(content: bytes) -> list[dict[str, Any]]:
    answer = json.loads(content)
    if list(answer) != ["data", "error", "error_text"] or answer["error"] != 0:
        raise WrongAnswer(f"not a report's members: {list(answer)}")
    if any(list(row) != FIELDS for row in answer["data"]):
        raise WrongAnswer("not a row's members")
    rows: list[dict[str, Any]] = answer["data"]
    return rows


def _rows_of_xml(content: bytes) -> list[dict[str, Any]]:
    *data, error, error_text = ElementTree.fromstring(content)
    if (error.tag, error.text, error_text.tag) != ("error", "0", "error_text"):
        raise WrongAnswer(f"not a report's elements: {error.tag}, {error_text.tag}")
    if len(data) == 1 and len(data[0]) == 0:
        return []
    if any([field.tag for field in row] != FIELDS for row in data):
        raise WrongAnswer("not a row's elements")
    return [
        {field.tag: int(field.text or "") if field.tag in NUMBERS else field.text or "" for field in row}
        for row in data
    ]


def _ranked(key: Any) -> Any:
    return key.encode() if isinstance(key, str) else key
