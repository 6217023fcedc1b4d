"""All parameters: their valid values, and the endpoints that accept them.

An omitted parameter, null and "" are the same everywhere, and only blanks (space, tab, CR, LF) too if the value is
trimmed. A value from JSON, XML or the URL is a `str`, an `int`, a `Number`, None, a tuple of these, or `NOT_TEXT`.
An error contains the name of the parameter and its valid values, never the given value.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, TypeGuard, TypeVar

from service.errors import BadRequest
from service.model import (
    MAX_REASON_CHARACTERS,
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

MAX_BODY_BYTES: Final = 65_536
MAX_DEPTH: Final = 32  # levels of nesting; the JSON object or the element <xml> is the first
MAX_MEMBERS: Final = 256  # of the JSON object or of <xml>, with repeats
MAX_ITEMS: Final = 100  # of a list; longer lists have only whole numbers
MAX_INT: Final = 2**63 - 1
NOT_TEXT: Final = object()  # a value that is neither text nor a number nor omitted
BLANKS: Final = " \t\r\n"

_MAX_DIGITS = len(str(MAX_INT))
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NEITHER_STORED_NOR_SENT = re.compile("[\0\ud800-\udfff]")  # NUL, lone surrogates
_Choice = TypeVar("_Choice", bound=StrEnum)
Members = Mapping[str, object]


class Number(str):
    """A JSON number, as it was written. Its type is not exactly `str`, so string parameters refuse it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class WholeNumber:
    name: str
    least: int = 0
    most: int = MAX_INT
    default: int = 0

    def read(self, members: Members) -> int:
        """The number, or the default. Raises BadRequest if it is not from `least` to `most`."""
        value = members.get(self.name)
        number = value if type(value) is int else _whole_number(self.default if value in (None, "") else value)
        if number is None or not self.least <= number <= self.most:
            raise BadRequest(f"{self.name} must be a whole number from {self.least} to {self.most}")
        return number

    def read_given(self, members: Members) -> int | None:
        """As `read`; None if the parameter is omitted."""
        return self.read(members) if self.name in members else None


@dataclass(frozen=True, slots=True)
class Flag:
    name: str

    def read(self, members: Members) -> bool:
        """True for 1; False for 0, and if it is omitted. Raises BadRequest."""
        value = members.get(self.name)
        number = _whole_number(value) if value else 0
        if number not in (0, 1):
            raise BadRequest(f"{self.name} must be 0 or 1")
        return number == 1


@dataclass(frozen=True, slots=True)
class Choice(Generic[_Choice]):
    """One of several words, trimmed and case-sensitive; the first one is the usual default."""

    name: str
    choices: type[_Choice]
    without: tuple[_Choice, ...] = ()

    @property
    def words(self) -> tuple[_Choice, ...]:
        return tuple(choice for choice in self.choices if choice not in self.without)

    def read(self, members: Members) -> _Choice | None:
        """None if it is omitted. Raises BadRequest."""
        value = members.get(self.name)
        if value is None:
            return None
        text = value.strip(BLANKS) if type(value) is str else "no text"
        if not text:
            return None
        with suppress(ValueError):
            if (choice := self.choices(text)) not in self.without:
                return choice
        *others, last = self.words
        raise BadRequest(f"{self.name} must be {', '.join(others)} or {last}")


@dataclass(frozen=True, slots=True)
class Words(Generic[_Choice]):
    """Some of several words: a JSON array, or a comma-separated string, trimmed.

    With `is_filled`, an empty list or an empty word is an error. Otherwise both are ignored.
    """

    name: str
    choices: type[_Choice]
    is_filled: bool = False

    def read(self, members: Members) -> frozenset[_Choice]:
        """Empty if it is omitted. Raises BadRequest."""
        value = members.get(self.name)
        if value is None or (type(value) is str and not value.strip(BLANKS)):
            return frozenset()
        with suppress(AttributeError, ValueError):
            words = [word.strip(BLANKS) for word in _items(value, MAX_ITEMS)]
            found = frozenset(self.choices(word) for word in words if word or self.is_filled)
            if found or not self.is_filled:
                return found
        raise BadRequest(f"{self.name} must be a list of {', '.join(self.choices)}")


@dataclass(frozen=True, slots=True)
class Numbers:
    """A whole number, or several: a JSON array, or a string in which commas separate them."""

    name: str
    least: int = 0
    most_items: int = MAX_ITEMS

    def read(self, members: Members) -> tuple[int, ...] | None:
        """In ascending order, without repeats; None if it is omitted. Raises BadRequest."""
        value = members.get(self.name)
        if value is None or (type(value) is str and not value.strip(BLANKS)):
            return None
        items = _items(value, self.most_items)
        read = {item if type(item) is int else _whole_number(item or None) for item in items[: self.most_items]}
        numbers = sorted(number for number in read if number is not None and self.least <= number <= MAX_INT)
        if 1 <= len(items) <= self.most_items and len(numbers) == len(read):
            return tuple(numbers)
        kind = f"whole numbers from {self.least} to {MAX_INT}"
        raise BadRequest(f"{self.name} must be a list of 1 to {self.most_items} {kind}")


@dataclass(frozen=True, slots=True)
class Texts:
    """A text, or several: a JSON array, or a string in which commas separate them. "" is a text."""

    name: str
    most_items: int = MAX_ITEMS

    def read(self, members: Members) -> tuple[str, ...] | None:
        """In ascending order, without repeats; texts of a JSON array as written. None if omitted. BadRequest."""
        value = members.get(self.name)
        if value is None:
            return None
        items = _items(value, self.most_items)
        if 1 <= len(items) <= self.most_items and all(map(_is_text, items)):
            return tuple(sorted(set(items)))
        raise BadRequest(
            f"{self.name} must be a list of 1 to {self.most_items} strings without NUL and lone surrogates"
        )


@dataclass(frozen=True, slots=True)
class Time:
    """A time in the format of RFC 3339, or a number of seconds before now."""

    name: str
    default_seconds: int = 0

    def read(self, members: Members, now: datetime) -> datetime:
        """The time in UTC. Raises BadRequest."""
        value = members.get(self.name)
        if value is None or (type(value) is str and not value.strip(BLANKS)):
            return now - timedelta(seconds=self.default_seconds)
        seconds = _whole_number(value)
        try:
            if seconds is not None:
                return now - timedelta(seconds=seconds)
            if type(value) is str and _RFC_3339.fullmatch(text := value.strip(BLANKS)):
                return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise BadRequest(f"{self.name} must be a time as in RFC 3339 (2026-03-01T12:00:00Z), or seconds before now")


@dataclass(frozen=True, slots=True)
class Text:
    name: str
    most_characters: int = MAX_BODY_BYTES

    def read(self, members: Members) -> str:
        """The text as it is written, "" if it is omitted. Raises BadRequest."""
        value = members.get(self.name)
        if value is None:
            return ""
        if _is_text(value) and len(value) <= self.most_characters:
            return value
        size = "" if self.most_characters == MAX_BODY_BYTES else f"of at most {self.most_characters} characters "
        raise BadRequest(f"{self.name} must be a string {size}without NUL and lone surrogates")


def _is_text(value: object) -> TypeGuard[str]:
    return type(value) is str and not _NEITHER_STORED_NOR_SENT.search(value)


def _items(value: object, most: int) -> Sequence[Any]:
    """The items of a list, trimmed if it is a string; more than `most` items if the list is longer."""
    if type(value) is str:
        return [item.strip(BLANKS) for item in value.split(",", most)]
    return value if isinstance(value, tuple) else [value]


def _whole_number(value: object) -> int | None:
    digits = str(value).strip(BLANKS).lstrip("0") or "0" if isinstance(value, str | int) else "no digits"
    # The length is checked before the conversion, because Python's int() takes quadratic time.
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        return None
    return int(digits)


TOKEN: Final = Text("token")
FORMAT: Final = Choice("format", Format)
IDS: Final = Choice("ids", Ids)
NAMES: Final = Flag("names")
ID: Final = WholeNumber("id", least=1)
ACCOUNT_ID: Final = WholeNumber("account_id")
CAMPAIGN_ID: Final = WholeNumber("campaign_id")
ISP: Final = Text("isp")
GROUP: Final = Choice("group", Grouping)
WITH: Final = Words("with", With)
FROM: Final = Time("from", default_seconds=3600)
TO: Final = Time("to")
STEP: Final = WholeNumber("step", least=60, most=3600)
HISTORY_GROUP: Final = Choice("group", HistoryGrouping)
INTERVAL_MS: Final = WholeNumber("interval_ms", least=100, most=60_000, default=1000)
BY: Final = Choice("by", Dimension)
ORDER: Final = Choice("order", Order, without=(Order.KEY,))
STATUS: Final = Choice("status", Measure)
LIMIT: Final = WholeNumber("limit", least=1, most=1000, default=100)
SENDERS: Final = Numbers("senders", least=1, most_items=1000)
REPORT_BY: Final = Words("by", By, is_filled=True)
ACCOUNT_IDS: Final = Numbers("account_id")
CAMPAIGN_IDS: Final = Numbers("campaign_id")
ISPS: Final = Texts("isp")
SEARCH: Final = Text("search", 255)
REPORT_ORDER: Final = Choice("order", Order)
REPORT_LIMIT: Final = WholeNumber("limit", least=1, most=10_000, default=1000)
AFTER: Final = Text("after", 2000)
COUNT: Final = Flag("count")
REPORT_FORMAT: Final = Choice("format", ReportFormat)
ANALYZE: Final = Flag("analyze")
# Calls with effects refuse filters of 0, which reports print as the keys of rows.
FILLED_ACCOUNT_ID: Final = replace(ACCOUNT_ID, least=1)
FILLED_CAMPAIGN_ID: Final = replace(CAMPAIGN_ID, least=1)
DRY_RUN: Final = Flag("dry_run")
AT_MOST: Final = WholeNumber("at_most")
DETAILS: Final = Flag("details")
REASON: Final = Text("reason", MAX_REASON_CHARACTERS)
EXPIRES_IN: Final = WholeNumber("expires_in", most=31_536_000)
HOLD_ID: Final = WholeNumber("hold_id", least=1)

Parameter = WholeNumber | Flag | Text | Time | Choice[Any] | Words[Any] | Numbers | Texts
_READING = (TOKEN, FORMAT, IDS, NAMES)
_FILTER = (ID, ACCOUNT_ID, CAMPAIGN_ID, ISP)
_CONTROL = (TOKEN, FORMAT, ID, FILLED_ACCOUNT_ID, FILLED_CAMPAIGN_ID, ISP, DRY_RUN, AT_MOST, DETAILS)
OF_ENDPOINTS: Final[Mapping[str, Sequence[Parameter]]] = {
    "stats": (*_READING, *_FILTER, GROUP, WITH),
    "stream": (*_READING, *_FILTER, GROUP, WITH, INTERVAL_MS),
    "history": (TOKEN, FORMAT, ID, ISP, HISTORY_GROUP, FROM, TO, STEP),
    "top": (*_READING, ID, BY, ORDER, STATUS, LIMIT),
    "report": (
        *(TOKEN, REPORT_FORMAT, IDS, NAMES, SENDERS, REPORT_BY, ACCOUNT_IDS, CAMPAIGN_IDS, ISPS, STATUS, SEARCH),
        *(REPORT_ORDER, REPORT_LIMIT, AFTER, COUNT),
    ),
    "holds": (*_READING, ID),
    "jobs": (*_READING, ID),
    "audit": (*_READING, ID, LIMIT),
    "explain": (*_READING, *_FILTER, GROUP, WITH, ANALYZE),
    "hold": (*_CONTROL, REASON, EXPIRES_IN),
    "release": (*_CONTROL, HOLD_ID),
    "purge": _CONTROL,
}
# By endpoint: the names in the body of a POST, or in the URL of a GET.
ACCEPTED: Final = {endpoint: tuple(taken.name for taken in parameters) for endpoint, parameters in OF_ENDPOINTS.items()}
# The names in the URL of a POST.
URL_PARAMETERS: Final = (TOKEN.name, FORMAT.name)
PARAMETERS: Final = frozenset().union(*ACCEPTED.values())
# The parameters whose value may be a JSON array.
LISTS: Final = frozenset(
    taken.name
    for parameters in OF_ENDPOINTS.values()
    for taken in parameters
    if isinstance(taken, Words | Numbers | Texts)
)
