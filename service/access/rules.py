"""The scopes of a token, and the senders and accounts whose messages it may see and change."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from service.errors import Forbidden
from service.model import HistoryQuery, Order, ReportQuery, Scope, StatsQuery, TopQuery


def token_hash(secret: str) -> bytes:
    """The stored hash. The secret is random, so one round of SHA-256 is as safe as a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The senders and the accounts to which a token is limited; None: no limit."""

    sender_ids: tuple[int, ...] | None = None
    account_ids: tuple[int, ...] | None = None

    @property
    def parameters(self) -> dict[str, tuple[int, ...] | None]:
        """The limits as parameters of the statements of sql/queries/control/."""
        return {"sender_limits": self.sender_ids, "account_limits": self.account_ids}

    @property
    def is_unlimited(self) -> bool:
        return self.sender_ids is None and self.account_ids is None

    def include(self, sender_limits: Sequence[int] | None, account_limits: Sequence[int] | None) -> bool:
        """Whether the other limits are the same or narrower. may_end() of sql/control/preview.sql is the same rule."""
        pairs = ((self.sender_ids, sender_limits), (self.account_ids, account_limits))
        return all(own is None or (other is not None and {*other} <= {*own}) for own, other in pairs)


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Token(Limits):
    """The scopes of a valid secret, for the messages of its limits."""

    name: str
    scopes: frozenset[str]

    def require_scope(self, scope: Scope) -> None:
        if scope not in self.scopes:
            raise Forbidden(f"this token lacks the scope {scope}")

    def require_sender(self, sender_id: int) -> None:
        if self.sender_ids is not None and sender_id not in self.sender_ids:
            raise Forbidden("this token is limited to other senders")

    def sees(self, account_id: int | None) -> bool:
        return self.account_ids is None or account_id in self.account_ids

    def limit(self, query: StatsQuery) -> StatsQuery:
        """The query, limited to the messages that this token may see. Raises Forbidden if there are none."""
        self.require_sender(query.sender_id)
        if self.account_ids is None:
            return query
        if query.has_oldest or query.has_rates:
            raise Forbidden("this token is limited to accounts, and oldest and rates are the sender's")
        if query.account_id is None:
            return msgspec.structs.replace(query, account_ids=self.account_ids)
        if not self.sees(query.account_id):
            raise Forbidden("this token is limited to other accounts")
        return query

    def limit_history(self, query: HistoryQuery) -> HistoryQuery:
        """As `limit`. Raises Forbidden for a limit to accounts, which have no history."""
        if self.account_ids is not None:
            raise Forbidden("this token is limited to accounts, and the history is the sender's")
        self.require_sender(query.sender_id)
        return query

    def limit_report(self, query: ReportQuery) -> ReportQuery:
        """The query, limited to what this token may see. Raises Forbidden if it names another sender or account."""
        if self.account_ids is not None and query.order is Order.OLDEST:
            raise Forbidden("this token is limited to accounts, and oldest is the sender's")
        return msgspec.structs.replace(
            query,
            sender_ids=_within("senders", query.sender_ids, self.sender_ids),
            account_ids=_within("accounts", query.account_ids, self.account_ids),
            is_limited=self.account_ids is not None,
        )

    def limit_top(self, query: TopQuery) -> TopQuery:
        """As `limit`. Raises Forbidden for a limit to accounts, because their messages of all senders need a scan."""
        if self.account_ids is not None:
            raise Forbidden("this token is limited to accounts")
        if query.sender_id is not None:
            self.require_sender(query.sender_id)
            return query
        return msgspec.structs.replace(query, sender_ids=self.sender_ids)


def _within(kind: str, ids: tuple[int, ...] | None, limit: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if limit is None or ids is None:
        return ids or limit
    if {*ids} <= {*limit}:
        return ids
    raise Forbidden(f"this token is limited to other {kind}")
