"""A report for people: Markdown tables and SVG charts, from what the JSON holds and nothing else."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.bench.chart import draw_rates
from service.bench.figures import RATIO_UNIT
from service.bench.plot import draw_bars, draw_lines

Report = Mapping[str, Any]
Row = Mapping[str, Any]

RATIO_COLUMNS = ("ratio", "of", "median", "least", "greatest", "bar", "met")

ENDED_EARLY = "This run ended before everything was measured."


def write_pages(report: Report, folder: Path) -> list[Path]:
    """Writes `<benchmark>.md` and its charts; gives what it has written."""
    folder.mkdir(parents=True, exist_ok=True)
    name = report["benchmark"]
    charts = dict(CHARTS[name](report))
    parts = [f"# queuestats bench {name}\n", _circumstances(report["circumstances"])]
    parts += [] if is_complete(report) else [f"**{ENDED_EARLY}**\n"]
    parts += [f"## {title}\n\n{markdown(rows)}" for title, rows in tables(report)]
    parts += [f"![{chart}]({name}-{chart}.svg)\n" for chart in charts]
    written = {folder / f"{name}.md": "\n".join(parts)}
    written |= {folder / f"{name}-{chart}.svg": picture for chart, picture in charts.items()}
    for path, text in written.items():
        path.write_text(text, "utf-8")
    return list(written)


def is_complete(report: Report) -> bool:
    """Only long runs keep what they have so far, and say so."""
    return bool(report.get("complete", True))


def tables(report: Report) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Title and rows of each table; all cells are text, all rows of a table have the same columns."""
    if "figures" in report:
        yield "Ratios", [_ratio(each) for each in report["figures"] if each["unit"] == RATIO_UNIT]
    yield from TABLES[report["benchmark"]](report)


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return "Nothing.\n"
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _circumstances(told: Mapping[str, Any]) -> str:
    lines = [f"- {name.replace('_', ' ')}: {in_words(value)}\n" for name, value in told.items() if name != "settings"]
    return "".join(lines)


def in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(each)}" for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(in_words, value))
    return f"{value:,}" if type(value) is int else str(value)


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _ratio(figure: Row) -> dict[str, str]:
    labels = dict(figure["labels"])
    name, bar = labels.pop("ratio"), figure["bar"]
    sign = "≥" if figure["better"] == "more" else "≤"
    told = {each: number(figure[each]) for each in ("median", "least", "greatest")}
    met = {None: "", True: "yes", False: "no"}[figure["met"]]
    return {"ratio": name, "of": ", ".join(map(in_words, labels.values())), **told,
            "bar": "" if bar is None else f"{sign} {bar:,g}", "met": met}  # fmt: skip


def _times(report: Report, **labels: Any) -> list[Row]:
    """The figures in ms or s whose labels include these."""
    return [
        each for each in report["figures"] if each["unit"] != RATIO_UNIT and labels.items() <= each["labels"].items()
    ]


def _pivot(figures: Iterable[Row], down: str, across: str, tell: Callable[[Row], str]) -> list[dict[str, str]]:
    """A row for each value of one label, a column for each of the other; empty where there is no figure."""
    cells: dict[Any, dict[Any, str]] = {}
    columns: dict[Any, None] = {}
    for each in figures:
        labels = each["labels"]
        columns[labels[across]] = None
        cells.setdefault(labels[down], {})[labels[across]] = tell(each)
    return [
        {down: in_words(name), **{in_words(column): row.get(column, "") for column in columns}}
        for name, row in cells.items()
    ]


def _tell_times(report: Report) -> Callable[[Row], str]:
    """The client's milliseconds, and the server's in brackets."""
    by_labels = {frozenset(each["labels"].items()): each["median"] for each in report["figures"]}

    def tell(figure: Row) -> str:
        server = by_labels.get(frozenset({**figure["labels"], "seen": "server"}.items()))
        return number(figure["median"]) + ("" if server is None else f" ({number(server)})")

    return tell


def _sql_tables(report: Report) -> Iterator[tuple[str, list[dict[str, str]]]]:
    tell = _tell_times(report)
    states = dict.fromkeys((each["labels"]["state"], each["labels"].get("messages")) for each in _times(report))
    for state, messages in states:
        if messages is not None:
            title = f"{messages:,} messages, {state}: ms seen by the client (in the server)"
            figures = _times(report, state=state, messages=messages, seen="client")
            yield title, _pivot(figures, "contestant", "group", tell)
    figures = _times(report, state="pending", seen="client")
    yield "Counters by pending deltas: ms seen by the client (in the server)", _pivot(figures, "deltas", "group", tell)
    rows = [
        {"messages": f"{each['messages']:,}", "group": each["group"], "rows": f"{each['rows']:,}"}
        for each in report["rows"]
    ]
    yield "Rows of the answers", rows
    sizes = [{"table or index": name, "MB": number(size / 1e6)} for name, size in report["bytes"].items()]
    yield "Sizes", sizes
    yield "What the server did for the longest queue", _plans(report)


def _plans(report: Report) -> list[dict[str, str]]:
    longest = max((each["messages"] for each in report["plans"]), default=0)
    return [
        {
            "state": each["state"],
            "contestant": each["contestant"],
            "group": each["grouping"],
            "pages": f"{each['pages']:,}",
            "heap fetches": f"{each['heap_fetches']:,}",
            "plan": " > ".join(each["nodes"]),
        }
        for each in report["plans"]
        if each["messages"] == longest
    ]


def _sql_charts(report: Report) -> Iterator[tuple[str, str]]:
    for state, group in (("fresh", "total"), ("fresh", "account_campaign"), ("churned", "total")):
        if figures := _times(report, state=state, group=group, seen="client"):
            title = f"An answer to {group} by the length of the queue, {state}"
            yield f"{state}-{group}", draw_lines(title, "messages", "ms", _lines(figures, "contestant", "messages"))
    if figures := _times(report, state="pending", seen="client"):
        title = "An answer from the counters by deltas that are not folded yet"
        yield "pending", draw_lines(title, "pending deltas", "ms", _lines(figures, "group", "deltas"))


def _lines(figures: Iterable[Row], name: str, x: str) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for each in figures:
        lines.setdefault(each["labels"][name], []).append((each["labels"][x], each["median"]))
    return lines


def _write_tables(report: Report) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for what in ("counting", "indexes"):
        if figures := _of_unit(report, "messages/s", what):
            tell: Callable[[Row], str] = lambda each: number(each["median"])  # noqa: E731
            yield f"Messages a second: {what}", _pivot(figures, "load", "contestant", tell)
    if figures := _of_unit(report, "s", "seeding"):
        yield "Seeding", [{"way": each["labels"]["contestant"], "seconds": number(each["median"])} for each in figures]
    failed = [each for each in report["figures"] if each["unit"] == "transactions" and each["greatest"]]
    yield (
        "Failed transactions",
        [
            {"of": in_words(list(each["labels"].values())), "most in a run": in_words(int(each["greatest"]))}
            for each in failed
        ],
    )


def _write_charts(report: Report) -> Iterator[tuple[str, str]]:
    for what in ("counting", "indexes"):
        figures = _of_unit(report, "messages/s", what)
        for load in dict.fromkeys(each["labels"]["load"] for each in figures):
            same = [each for each in figures if each["labels"]["load"] == load]
            bars = [(each["labels"]["contestant"], each["median"], f"{each['median']:,.0f}") for each in same]
            name = f"{what}-{'-'.join(word for word in load.split() if word.isalnum())}"
            yield name, draw_bars(f"Messages a second, {load}", bars)


def _of_unit(report: Report, unit: str, what: str) -> list[Row]:
    return [each for each in report["figures"] if each["unit"] == unit and each["labels"].get("what") == what]


def _http_tables(report: Report) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for phase in report["phases"]:
        rate = phase["written_per_second"]
        title = f"While {rate:,} messages a second are written" if rate else "While nobody writes"
        yield title, [_http_result(each) for each in phase["results"]]
        yield f"{title}: ratios", [_http_ratio(each) for each in phase["ratios"]]


def _http_result(row: Row) -> dict[str, str]:
    return {
        "contestant": row["name"],
        "connections": str(row["connections"]),
        "answers/s": number(row["rate"]),
        **{f"{each} ms": f"{row[f'{each}_ms']:.2f}" for each in ("p50", "p95", "p99")},
        "errors": str(row["errors"]),
    }


def _http_ratio(row: Row) -> dict[str, str]:
    # Of rates, more is better; of tails, less.
    is_rate, bar = row["of"] == "rate", row["bar"]
    is_met = bar is None or (row["median"] >= bar if is_rate else row["median"] <= bar)
    return {
        **{name: str(row[name]) for name in ("ratio", "of", "connections")},
        **{name: f"{row[name]:.2f}" for name in ("median", "least", "greatest")},
        "bar": "" if bar is None else f"{'≥' if is_rate else '≤'} {bar:g}",
        "met": "" if bar is None else "yes" if is_met else "no",
    }


def _http_charts(report: Report) -> Iterator[tuple[str, str]]:
    yield "rates", draw_rates(report)


TABLES = {"sql": _sql_tables, "write": _write_tables, "http": _http_tables}
CHARTS = {"sql": _sql_charts, "write": _write_charts, "http": _http_charts}
