"""Cursors are opaque, and valid only for their query."""

import base64

import pytest
from msgspec.structs import replace

from service.errors import BadRequest
from service.model import Dimension, Measure, Order, ReportQuery
from service.wire.cursor import BY_KEYS, read_cursor, write_cursor

QUERY = ReportQuery((Dimension.SENDER, Dimension.ISP), sender_ids=(1, 2), isps=("", "Gm\u00e4il"))
POSITION = (0, 2**63 - 1, 0, 0, "Gm\u00e4il \U0001f98a")


def test_a_written_cursor_is_read_back() -> None:
    cursor = write_cursor(QUERY, POSITION)
    assert read_cursor(replace(QUERY, after=cursor), BY_KEYS) == POSITION
    assert read_cursor(replace(QUERY, after=cursor, limit=7, has_count=True), BY_KEYS) == POSITION
    assert read_cursor(QUERY, BY_KEYS) is None


def test_it_fits_into_a_url_and_a_header() -> None:
    assert set(write_cursor(QUERY, POSITION)) <= {*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"}


@pytest.mark.parametrize(
    "other",
    [
        replace(QUERY, by=(Dimension.SENDER,)),
        replace(QUERY, sender_ids=None),
        replace(QUERY, account_ids=(0,)),
        replace(QUERY, isps=("",)),
        replace(QUERY, status=Measure.NEW),
        replace(QUERY, search="1"),
        replace(QUERY, has_names=True),
        replace(QUERY, order=Order.NEW),
    ],
    ids=str,
)
def test_another_query_refuses_it(other: ReportQuery) -> None:
    with pytest.raises(BadRequest, match="after must be the next of a page of the same query"):
        read_cursor(replace(other, after=write_cursor(QUERY, POSITION)), BY_KEYS)


def test_a_changed_position_is_refused() -> None:
    cursor = write_cursor(QUERY, POSITION)
    written = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    changed = base64.urlsafe_b64encode(written.replace(b"\x95\x00", b"\x95\x01")).decode().rstrip("=")
    assert changed != cursor
    with pytest.raises(BadRequest):
        read_cursor(replace(QUERY, after=changed), BY_KEYS)


@pytest.mark.parametrize("after", ["x", "=", "A", "AAAA", "\u00e9", "a b", "A" * 2000])
def test_other_texts_are_refused(after: str) -> None:
    with pytest.raises(BadRequest):
        read_cursor(replace(QUERY, after=after), BY_KEYS)
