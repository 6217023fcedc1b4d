"""Who answers in `queuestats bench sql`: the counters, the plain scan, and what was rejected (sql/candidates/)."""

from dataclasses import dataclass

from service.db import Statement, statement
from service.model import Grouping
from service.resources import sql_path

COUNTERS, SCAN = "counters", "scan"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to answer. One that scans reads the messages themselves; `folder` is its own in sql/candidates/."""

    name: str
    is_scan: bool
    folder: str | None = None

    def groupings(self) -> list[Grouping]:
        """Those that it answers. With nothing but another statement, it answers what there is such a statement for."""
        return [each for each in Grouping if self.folder is None or self.has_indexes or self._has(f"{each}.sql")]

    def statement(self, grouping: Grouping) -> Statement:
        """Its own, or else the one that stands."""
        if self._has(f"{grouping}.sql"):
            return statement(f"candidates/{self.folder}/{grouping}")
        return statement(f"{'scan' if self.is_scan else 'queries'}/{grouping}")

    @property
    def has_indexes(self) -> bool:
        return self._has("create.sql")

    def _has(self, file: str) -> bool:
        return self.folder is not None and sql_path("candidates", self.folder, file).is_file()


COUNTED = Candidate(COUNTERS, is_scan=False)
CANDIDATES = (
    COUNTED,
    Candidate(SCAN, is_scan=True),
    Candidate("scan, grouped by status", is_scan=True, folder="group_by_status"),
    Candidate("covering index", is_scan=True, folder="covering_index"),
    Candidate("ordered index", is_scan=True, folder="ordered_index"),
    Candidate("partial indexes", is_scan=True, folder="partial_indexes"),
    Candidate("finest counters only", is_scan=False, folder="fine_rollup"),
)
SCANS = tuple(each.name for each in CANDIDATES if each.is_scan)
# Those that bring indexes of their own.
INDEXED = tuple(each for each in CANDIDATES if each.has_indexes)


def index_files(what: str) -> list[str]:
    """The files that `create` or `drop` every candidate's indexes."""
    return [f"candidates/{each.folder}/{what}" for each in INDEXED]
