"""What is wrong with a plan, in words for the one who can mend it."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# From here on, reading the whole table is the better plan for a scan.
LARGE_SHARE = 0.05
# Fewer rows than this cost nothing, whatever was expected.
ROWS_THAT_MATTER = 100
SANE_FACTOR = 10
COUNTS = ("counters", "deltas", "watermarks")
_INDEXES = re.compile(r"^-- indexes: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan is judged by: the indexes that can be used, and how many messages there are (-1: unknown)."""

    indexes: Collection[str]
    messages: int


def intended_indexes(text: str) -> tuple[str, ...]:
    """Those that the header of a statement's file names."""
    found = _INDEXES.search(text)
    return tuple(found[1].split(", ")) if found else ()


def warnings(text: str, tree: Mapping[str, Any], around: Surroundings, *, is_scan: bool) -> list[str]:
    """One sentence for each way in which the plan is not the one intended; none where all is well.

    `text` is that of the statement's file, `tree` PostgreSQL's JSON of its plan. With ANALYZE estimates are judged too,
    but only a scan's: the plan of a look-up is made for all senders, large and small alike.
    """
    nodes = list(nodes_of(tree["Plan"]))
    intended = intended_indexes(text)
    lacking = [each for each in intended if each not in around.indexes]
    found = [f"The index {each} is missing or invalid: see queuestats doctor." for each in lacking]
    whole = [node for node in nodes if node["Node Type"] == "Seq Scan"]
    workers = max(node.get("Workers Planned", 0) for node in nodes)
    found += [f"{each['Relation Name']} is read as a whole." for each in whole if _is_wrong(each, around, workers)]
    if not whole:
        used = {node.get("Index Name") for node in nodes}
        found += [f"The index {each} is not used." for each in intended if each not in used and each not in lacking]
    if tree.get("JIT", {}).get("Functions"):
        found.append("The plan is compiled first (JIT), which takes longer than such a statement: set jit = off.")
    return found + (list(_misjudged(nodes)) if is_scan else [])


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A node and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


def off_by(node: Mapping[str, Any]) -> float:
    """By what factor more or fewer rows came than were expected, a loop; 1 where too few came to matter."""
    rows, expected = node.get("Actual Rows", 0), max(1, node["Plan Rows"])
    return 1.0 if rows < ROWS_THAT_MATTER else float(max(rows / expected, expected / rows))


def _is_wrong(node: Mapping[str, Any], around: Surroundings, workers: int) -> bool:
    """Whether a table should not be read as a whole: `messages` may be, for a sender who has a good part of it."""
    if node["Relation Name"] != "messages":
        return node["Relation Name"] in COUNTS
    # What a node says of itself is for each worker.
    times = node.get("Actual Loops", 1 + (workers if node["Parallel Aware"] else 0))
    return bool(node.get("Actual Rows", node["Plan Rows"]) * times < LARGE_SHARE * around.messages)


def _misjudged(nodes: list[Mapping[str, Any]]) -> Iterator[str]:
    for node in nodes:
        if off_by(node) > SANE_FACTOR:
            yield (
                f"{node['Node Type']} was expected to give {node['Plan Rows']} rows and gave {node['Actual Rows']:.0f}:"
                " ANALYZE messages."
            )
