"""The types of requests: enumerations and queries. `reports.py` has the types of responses."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final, TypeAlias

import msgspec

from service.errors import BadRequest

KEYS: Final = ("account_id", "campaign_id", "isp")
"""Columns by which messages are counted; they are filters too."""
MAX_REASON_CHARACTERS: Final = 200
STEPS: Final = (60, 600, 3600)
"""The steps of a history, in seconds. The finest step exists only for the whole sender."""
MOST_POINTS: Final = 1440
"""The largest number of points of a history without a given step."""
SUCCESS: Final = "Successful operation"
"""The text of a response without an error."""


class Format(StrEnum):
    """The format of a request or a response."""

    JSON = "json"
    XML = "xml"


class ReportFormat(StrEnum):
    """The format of a report on many senders."""

    JSON = "json"
    XML = "xml"
    CSV = "csv"


AnyFormat: TypeAlias = Format | ReportFormat


class Ids(StrEnum):
    """The JSON type of ids in a response."""

    NUMBER = "number"
    STRING = "string"


class Grouping(StrEnum):
    """The keys of a row of a report; the parameter `group`."""

    TOTAL = "total"
    ACCOUNT = "account"
    ACCOUNT_CAMPAIGN = "account_campaign"
    ISP = "isp"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns that distinguish its rows, in the order of the rows."""
        return tuple(key for key in KEYS if key.removesuffix("_id") in self.split("_"))


class HistoryGrouping(StrEnum):
    """The keys of a row of a history within its step; the parameter `group`."""

    TOTAL = "total"
    ISP = "isp"


class Dimension(StrEnum):
    """The key of a row of `top`; the parameter `by`."""

    SENDER = "sender"
    ACCOUNT = "account"
    CAMPAIGN = "campaign"
    ISP = "isp"

    @property
    def column(self) -> str:
        return self.value if self is Dimension.ISP else f"{self}_id"


class By(StrEnum):
    """The keys of the rows of a report on many senders: any of these, or `none` for one grand total."""

    SENDER = "sender"
    ACCOUNT = "account"
    CAMPAIGN = "campaign"
    ISP = "isp"
    NONE = "none"


class Measure(StrEnum):
    """A count of a row: the messages of a status, or all messages."""

    TOTAL = "total"
    NEW = "new"
    PROC = "proc"
    RETRY = "retry"
    HOLD = "hold"


class Order(StrEnum):
    """The order of rows: by keys (not of `top`), by a count, largest first, or by the oldest message, oldest first."""

    KEY = "key"
    TOTAL = "total"
    NEW = "new"
    PROC = "proc"
    RETRY = "retry"
    HOLD = "hold"
    OLDEST = "oldest"


class Scope(StrEnum):
    """The permissions of a token."""

    STATS = "stats"
    EXPLAIN = "explain"
    CONTROL = "control"
    METRICS = "metrics"


class With(StrEnum):
    """Optional members of a report, after the documented members of a row."""

    OLDEST = "oldest"
    RATES = "rates"


WITH_RATES: Final = (Grouping.TOTAL, Grouping.ISP)


class StatsQuery(msgspec.Struct, frozen=True, gc=False):
    """A query about one sender's queue. A filter None matches every message.

    `account_ids`: the accounts that a limited token may see, in ascending order; the report is the sum of theirs.
    `has_oldest`: rows are StatsRowWithOldest; only for a total without filters. `has_rates`: rows are
    StatsRowWithRates; only for a total or ISPs, without filters.
    """

    sender_id: int
    account_id: int | None = None
    campaign_id: int | None = None
    isp: str | None = None
    grouping: Grouping = Grouping.TOTAL
    account_ids: tuple[int, ...] | None = None
    has_oldest: bool = False
    has_rates: bool = False

    def with_parts(self, parts: Collection[With]) -> "StatsQuery":
        """The same query with these optional members. Raises BadRequest if the query cannot have one of them."""
        has_oldest, has_rates = With.OLDEST in parts, With.RATES in parts
        if has_oldest and self != StatsQuery(self.sender_id):
            raise BadRequest("oldest is for the group total, without a filter by account, campaign or ISP")
        if has_rates and self not in [StatsQuery(self.sender_id, grouping=grouping) for grouping in WITH_RATES]:
            raise BadRequest("rates are for the groups total and isp, without a filter by account, campaign or ISP")
        return msgspec.structs.replace(self, has_oldest=has_oldest, has_rates=has_rates)

    def in_numbers(self) -> str:
        """For the log: without the ISP, because a client sent that text."""
        ids = (self.sender_id, self.account_id or "", self.campaign_id or "")
        return "/".join(map(str, (self.grouping, *ids)))


class HistoryQuery(msgspec.Struct, frozen=True, gc=False):
    """The history of one sender: of all its messages, or only of those of `isp`. A row for each step, or step and ISP.

    `since`, `until`: aware UTC. The first and the last step are included completely. `until` is None: until now.
    """

    sender_id: int
    isp: str | None
    is_by_isp: bool
    step_seconds: int
    since: datetime
    until: datetime | None = None

    @staticmethod
    def finest_step(
        since: datetime, until: datetime, now: datetime, kept: Sequence[timedelta], *, has_isps: bool
    ) -> int:
        """The finest step that is still kept for `since` and gives `MOST_POINTS` at most; otherwise the coarsest step.

        `kept`: how long each step is kept. Only the whole sender has the first step.
        """
        for step, kept_for in zip(STEPS, kept, strict=True):
            is_short = until - since <= MOST_POINTS * timedelta(seconds=step)
            if is_short and now - since <= kept_for and not (has_isps and step == STEPS[0]):
                return step
        return STEPS[-1]


class TopQuery(msgspec.Struct, frozen=True, gc=False):
    """The largest senders or, if `sender_id` is given, the largest accounts, campaigns or ISPs of this sender.

    With `by_age`, the senders with the oldest messages of the status `order` (total: any); their rows have `oldest`.
    """

    by: Dimension
    order: Measure
    limit: int
    sender_id: int | None = None
    sender_ids: tuple[int, ...] | None = None
    """The senders that a limited token may see."""
    by_age: bool = False


class ReportQuery(msgspec.Struct, frozen=True, gc=False):
    """A page of the report on many senders; `by` is empty for one grand total.

    A filter is None, which matches every message, or a list of keys in ascending order, in which 0 and "" match
    messages without an account, a campaign or an ISP. `status`: only rows with messages of this status. `search`: only
    senders whose id, or with `has_names` whose name, begins with this text. `after`: the `next` of the page before.
    """

    by: tuple[Dimension, ...] = (Dimension.SENDER,)
    sender_ids: tuple[int, ...] | None = None
    account_ids: tuple[int, ...] | None = None
    campaign_ids: tuple[int, ...] | None = None
    isps: tuple[str, ...] | None = None
    status: Measure | None = None
    search: str = ""
    has_names: bool = False
    order: Order = Order.KEY
    limit: int = 1000
    after: str = ""
    has_count: bool = False
    is_limited: bool = False
    """Whether its token may see only these accounts, and so no sender that has none of them."""

    @property
    def has_filters(self) -> bool:
        return (self.account_ids, self.campaign_ids, self.isps) != (None, None, None)


class Action(StrEnum):
    """An action on the messages of a queue."""

    HOLD = "hold"
    RELEASE = "release"
    PURGE = "purge"


class ControlRequest(msgspec.Struct, frozen=True):
    """An action on the messages that `query` counts or, for a release, on those of the hold `hold_id`.

    If more than `at_most` messages match, nothing is done.
    """

    action: Action
    query: StatsQuery
    reason: str = ""
    expires_in_seconds: int = 0
    """0: never."""
    at_most: int | None = None
    hold_id: int | None = None


class Presentation(msgspec.Struct, frozen=True, gc=False):
    """The options of a reading call beyond the documented rows."""

    ids: Ids = Ids.NUMBER
    has_names: bool = False
