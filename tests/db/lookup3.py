"""PostgreSQL's hash of a text, hash_bytes_extended() of src/common/hashfn.c with the seed 0, for oracles in Python."""

import itertools
import random

WORD = 0xFFFFFFFF
State = tuple[int, int, int]


def key_id(text: str) -> int:
    """The number under which a text key is counted."""
    data = text.encode()
    a = b = c = (0x9E3779B9 + len(data) + 3923095) & WORD
    state = (a, b, c)
    while len(data) >= 12:
        state = _mix(_add(state, data[:12]))
        data = data[12:]
    # The lowest byte of c is reserved for the length.
    b, c = _final(_add(state, data[:8].ljust(8, b"\0") + b"\0" + data[8:].ljust(3, b"\0")))
    return max((b << 32 | c) & 0x7FFFFFFFFFFFFFFF, 1)


def same_key_id() -> tuple[str, str]:
    """Two texts with the same number: the second block reverses the difference of the first."""
    dice = random.Random(0)
    start = ((0x9E3779B9 + 24 + 3923095) & WORD,) * 3
    one = "tenant-00000" + "1" * 12
    wanted = _add(_mix(_add(start, one[:12].encode())), one[12:].encode())
    for _ in itertools.count():
        first = bytes(dice.choices(range(97, 123), k=12))
        reached = _mix(_add(start, first))
        second = b"".join(((x - y) & WORD).to_bytes(4, "little") for x, y in zip(wanted, reached, strict=True))
        if all(0 < each < 128 for each in second):
            return one, (first + second).decode()
    raise AssertionError


def _add(state: State, block: bytes) -> State:
    words = (int.from_bytes(block[at : at + 4], "little") for at in (0, 4, 8))
    a, b, c = ((each + word) & WORD for each, word in zip(state, words, strict=True))
    return a, b, c


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & WORD


def _mix(state: State) -> State:
    a, b, c = state
    for bits in (4, 6, 8, 16, 19, 4):
        a = (a - c & WORD) ^ _rotate(c, bits)
        c = c + b & WORD
        a, b, c = b, c, a
    return a, b, c


def _final(state: State) -> tuple[int, int]:
    a, b, c = state
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - _rotate(b, bits) & WORD
        a, b, c = b, c, a
    # The last step rotates the words by one place.
    return a, b
