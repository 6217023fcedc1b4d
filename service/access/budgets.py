"""The budgets of a token in a process: open streams, and bytes that its clients have not read.

The database counts its active holds and open jobs, in the transaction that begins a job.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import TooManyRequests, Unavailable
from service.telemetry.metrics import BUDGET_USED


class Budget:
    """The use of a resource by each token. All tokens have the same budget."""

    def __init__(self, resource: str, share: int) -> None:
        self._resource, self._share = resource, share
        self._used: Counter[str] = Counter()

    def take(self, token_name: str, amount: int = 1, own: int = 0) -> None:
        """Raises TooManyRequests beyond the budget, unless the token uses nothing but `own`."""
        used = self._used[token_name]
        if used > own and used + amount > self._share:
            what = self._resource.replace("_", " ")
            raise TooManyRequests(f"a token may have {self._share} {what} at a time", self._resource)
        self._change(token_name, amount)

    def give_back(self, token_name: str, amount: int = 1) -> None:
        self._change(token_name, -amount)
        if not self._used[token_name]:
            del self._used[token_name]

    def _change(self, token_name: str, amount: int) -> None:
        self._used[token_name] += amount
        BUDGET_USED.labels(self._resource, token_name).inc(amount)

    @contextmanager
    def place(self, token_name: str) -> Iterator[None]:
        """Takes one unit of the resource until it is closed. Raises TooManyRequests."""
        self.take(token_name)
        try:
            yield
        finally:
            self.give_back(token_name)


class Unsent:
    """The number of bytes of reports that clients have not read yet; one object for each process."""

    def __init__(self, limit_bytes: int, token_share_bytes: int, send_timeout_ms: int) -> None:
        self.limit_bytes = limit_bytes
        self.timeout_seconds = send_timeout_ms / 1000
        self.held_bytes = 0
        self._budget = Budget("unread_bytes", token_share_bytes)

    def of(self, token_name: str) -> "UnreadResponse":
        return UnreadResponse(self, self._budget, token_name)


class UnreadResponse:
    """The bytes of one response that its client has not read yet."""

    def __init__(self, unsent: Unsent, budget: Budget, token_name: str) -> None:
        self._unsent, self._budget, self._token_name = unsent, budget, token_name
        self.timeout_seconds = unsent.timeout_seconds
        self.size = 0

    def hold(self, size: int) -> None:
        """Raises Unavailable beyond the limit of the process, TooManyRequests beyond the token's budget."""
        if self._unsent.held_bytes + size > self._unsent.limit_bytes:
            raise Unavailable(": too many large reports wait to be read")
        # A report that is larger than the budget is sent if it is the only one of its token.
        self._budget.take(self._token_name, size, own=self.size)
        self._unsent.held_bytes += size
        self.size += size

    def release(self) -> None:
        """Releases all bytes; a second call changes nothing."""
        self._budget.give_back(self._token_name, self.size)
        self._unsent.held_bytes -= self.size
        self.size = 0
