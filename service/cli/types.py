"""Types of the values that options take."""

import math
import re
from datetime import timedelta
from enum import StrEnum
from typing import Any

import click

# Ids of senders, accounts and campaigns.
ID = click.IntRange(1, 2**63 - 1)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class FiniteRange(click.FloatRange):
    """As click's FloatRange, but refuses NaN, which click accepts within any bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class Member(click.Choice[StrEnum]):
    """A member of an enumeration, by its value; click's own type uses the name."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        return str(choice)


class Duration(click.ParamType[timedelta]):
    """A time as `90d`, `12h`, `30m` or `45s`; up to ten years, or to `most_days`."""

    name = "duration"

    def __init__(self, most_days: int = 3650) -> None:
        self._most_days = most_days

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch("([0-9]{1,9})([smhd])", value)
        duration = timedelta(**{UNITS[found[2]]: int(found[1])}) if found else timedelta()
        if not timedelta() < duration <= timedelta(days=self._most_days):
            self.fail(f"{value!r} is not a time such as 90d, 12h, 30m or 45s, up to {self._most_days}d.", param, ctx)
        return duration


class Text(click.ParamType[str]):
    """A text that the database accepts: UTF-8 without NUL; with `is_filled`, not blank."""

    name = "text"

    def __init__(self, most_characters: int | None = None, *, is_filled: bool = False) -> None:
        self._most_characters, self._is_filled = most_characters, is_filled

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.search("[\0\ud800-\udfff]", value):
            self.fail("it must be UTF-8 text without NUL.", param, ctx)
        if self._is_filled and not value.strip():
            self.fail("it must have a value, or be omitted.", param, ctx)
        if self._most_characters is not None and len(value) > self._most_characters:
            self.fail(f"it must have {self._most_characters} characters at most.", param, ctx)
        return str(value)
