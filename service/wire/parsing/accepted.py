"""The parameters of each endpoint, and the refusal of all others.

`stats` ignores an unknown parameter, as the documented API does. The other endpoints refuse it. Calls with effects also
refuse a repeated parameter and one without a value: otherwise a misspelt filter would select every message.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Final

from service.errors import BadRequest

URL_PARAMETERS: Final = ("token", "format")
"""The parameters that the URL of a POST may have."""
_EVERY = URL_PARAMETERS
_READING = (*_EVERY, "ids", "names")
_FILTER = ("id", "account_id", "campaign_id", "isp")
_CONTROL = (*_EVERY, *_FILTER, "dry_run", "at_most", "details")
ACCEPTED: Final[Mapping[str, Sequence[str]]] = {
    "stats": (*_READING, *_FILTER, "group"),
    "stream": (*_READING, *_FILTER, "group", "interval_ms"),
    "top": (*_READING, "id", "by", "order", "limit"),
    "holds": (*_READING, "id"),
    "jobs": (*_READING, "id"),
    "explain": (*_READING, *_FILTER, "group", "analyze"),
    "hold": (*_CONTROL, "reason", "expires_in"),
    "release": (*_CONTROL, "hold_id"),
    "purge": _CONTROL,
}
"""By endpoint: the parameters in the body of a POST, or in the URL of a GET."""
PARAMETERS: Final = frozenset(chain.from_iterable(ACCEPTED.values()))

# What a header can hold in a list. A token is longer, so that one written in a name's place is not echoed.
_PLAIN_NAME = re.compile(r"[!-+\--~]{1,32}")
_MOST_UNKNOWN_NAMES = 8
_BLANKS = " \t\r\n"


def unknown_names(names: Iterable[str], accepted: Sequence[str]) -> list[str]:
    """The names that are not accepted, fit for a header: the first few that are short and plain."""
    unknown = [name for name in names if name not in accepted and _PLAIN_NAME.fullmatch(name)]
    return unknown[:_MOST_UNKNOWN_NAMES]


def refuse_unknown(endpoint: str, names: Iterable[str]) -> None:
    """Raises BadRequest for the first name that the endpoint does not accept, and suggests a similar one."""
    accepted = ACCEPTED[endpoint]
    for name in names:
        if name not in accepted:
            meant = _near(name, accepted)
            advice = f"; did you mean {meant}?" if meant else f", which takes {', '.join(accepted)}"
            raise BadRequest(f"{_quotable(name)} is not a parameter of {endpoint}{advice}")


def refuse_in_url(endpoint: str, names: Iterable[str]) -> None:
    """Raises BadRequest for the first name that the URL of a POST may not have."""
    for name in names:
        if name not in URL_PARAMETERS:
            meant = _near(name, ACCEPTED[endpoint])
            place = "" if meant in URL_PARAMETERS else " in the body"
            advice = f"; did you mean {meant}{place}?" if meant else ""
            raise BadRequest(f"{_quotable(name)} is not accepted in the URL, which takes token and format{advice}")


def refuse_doubled(names: Iterable[str]) -> None:
    """Raises BadRequest for the first name that is given twice."""
    for name, count in Counter(names).items():
        if count > 1:
            raise BadRequest(f"{_quotable(name)} must be given once, and is given {count} times")


def refuse_misplaced(names: Iterable[str], members: Container[str]) -> None:
    """Raises BadRequest for the first name that is not a member but an attribute of `<xml>`."""
    for name in names:
        if name not in members:
            raise BadRequest(f"{_quotable(name)} must not be an attribute: a parameter is an element of <xml>")


def refuse_empty(members: Iterable[tuple[str, object]]) -> None:
    """Raises BadRequest for the first parameter that is null, empty or blank."""
    for name, value in members:
        if value is None or (isinstance(value, str) and not value.strip(_BLANKS)):
            raise BadRequest(f"{_quotable(name)} must have a value, or be left out")


def _near(name: str, accepted: Sequence[str]) -> str | None:
    """The accepted name that is likely meant. None for a parameter of another endpoint."""
    if name in PARAMETERS and name not in accepted:
        return None
    return next(iter(get_close_matches(name.lower(), accepted, n=1)), None)


def _quotable(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "a name that is too long or not plain"
