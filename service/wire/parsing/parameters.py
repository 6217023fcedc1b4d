"""The limits of a request, and the rules for one parameter's value as it came from JSON, XML or the URL.

Left out, null and "" are the same everywhere. Blanks (space, tab, CR, LF) alone are the same too
wherever a value is trimmed. An error names the parameter and what it accepts, never the value.
"""

import re
from enum import StrEnum
from typing import Final, TypeVar

from service.errors import BadRequest
from service.model import Format

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 32  # levels of nesting; the JSON object or the element <xml> itself is the first
MAX_MEMBERS = 256  # of the JSON object or of <xml>, each as often as it is written
MAX_INT = 2**63 - 1
NOT_TEXT: Final = object()  # the value of a parameter that is neither text nor a number nor left out

_BLANKS = " \t\r\n"
_MAX_DIGITS = len(str(MAX_INT))
_NEITHER_STORED_NOR_SENT = re.compile("[\0\ud800-\udfff]")  # NUL, lone surrogates
_Choice = TypeVar("_Choice", bound=StrEnum)


def too_deep() -> BadRequest:
    return BadRequest(f"the body must nest {MAX_DEPTH} levels at most, and close each of them")


def too_many_members() -> BadRequest:
    return BadRequest(f"the body must have {MAX_MEMBERS} members at most")


class Number(str):
    """A JSON number, as it was written. Not exactly a `str`, so no string parameter takes it."""

    __slots__ = ()


def parse_text(value: object, demand: str) -> str:
    """The text as it stands, "" where it is left out. Whatever is no string raises `demand`."""
    if value is None:
        return ""
    if type(value) is not str or _NEITHER_STORED_NOR_SENT.search(value):
        raise BadRequest(demand)
    return value


def parse_choice(name: str, value: object, choices: type[_Choice]) -> _Choice | None:
    """The choice, trimmed and in the very case, or None where it is left out."""
    text = "" if value is None else value.strip(_BLANKS) if type(value) is str else "no text"
    try:
        return choices(text) if text else None
    except ValueError:
        *others, last = choices
        raise BadRequest(f"{name} must be {', '.join(others)} or {last}") from None


def parse_whole_number(name: str, value: object, least: int, most: int = MAX_INT) -> int:
    """From `least` to `most`; 0 where it is left out, which is an error if `least` is more."""
    number = _whole_number(value)
    if number is None or not least <= number <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}")
    return number


def parse_flag(name: str, value: object) -> bool:
    """1 is yes; 0 and left out are no."""
    number = _whole_number(value)
    if number not in (0, 1):
        raise BadRequest(f"{name} must be 0 or 1")
    return number == 1


def _whole_number(value: object) -> int | None:
    if value is None:
        return 0
    digits = value.strip(_BLANKS).lstrip("0") or "0" if isinstance(value, str) else "no digits"
    # Measured before it is converted: Python's int() takes quadratic time.
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        return None
    return int(digits)


def parse_token(value: object) -> str | None:
    """The trimmed token, or None where there is none."""
    demand = "token must be a string without NUL and lone surrogates"
    return parse_text(value, demand).strip(_BLANKS) or None


def parse_format(value: object) -> Format | None:
    """The format that was asked for, or None where it is left out."""
    return parse_choice("format", value, Format)


def valid_format(value: object) -> Format | None:
    """As `parse_format`, but a wrong value counts as left out: for the format of an error."""
    try:
        return parse_format(value)
    except BadRequest:
        return None
