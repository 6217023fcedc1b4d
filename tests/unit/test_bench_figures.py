"""What the benchmarks make of their numbers: medians, ratios, comparisons, tables, pictures."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from service.bench.compare import compare, read_report
from service.bench.figures import Figure, Figures, ratio
from service.bench.pages import ENDED_EARLY, markdown, number, write_pages
from service.bench.plot import HEIGHT, TOP, draw_bars, draw_lines
from service.bench.queues import Queue
from service.bench.verdicts import CHURNED, CLIENT, FRESH, Cell, verdicts
from service.bench.writers import parse
from service.cli.bench import bench
from service.errors import CommandError

PGBENCH = """pgbench (18.4)
number of transactions actually processed: 1234
number of failed transactions: 3 (0.243%)
number of serialization failures: 1 (0.081%)
number of deadlock failures: 2 (0.162%)
latency average = 1.5 ms
tps = 246.800000 (without initial connection time)
"""


def report(*figures: Figure) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(json.dumps({"benchmark": "sql", "figures": [each.as_json() for each in figures]}))
    return told


def test_a_figure_keeps_every_round_and_tells_the_median() -> None:
    figures = Figures("ms")
    for value in (3.0, 1.0, 9.0):
        figures.add(value, group="total", messages=7)
    figures.add(5.0, group="isp", messages=7)

    [total, isp] = figures
    told = total.as_json()
    assert (told["median"], told["least"], told["greatest"], told["rounds"]) == (3, 1, 9, 3)
    assert figures.of(messages=7, group="isp") == isp
    assert not figures.has(messages=8, group="isp")


def test_a_ratio_is_of_the_rounds_that_both_took_part_in() -> None:
    one, other = Figure({}, "ms", [10, 90, 20]), Figure({}, "ms", [20, 30])
    assert ratio(one, other, {}, is_more_better=True, bar=None).values == [0.5, 3]


@pytest.mark.parametrize(
    ("is_more_better", "values", "is_met"),
    [(True, [0.8, 0.9, 1], True), (True, [0.8], False), (False, [0.8], True), (False, [1.3], False)],
)
def test_a_bar_is_kept_from_the_right_side(is_more_better: bool, values: list[float], is_met: bool) -> None:
    assert Figure({}, "times", values, is_more_better, bar=0.9).is_met is is_met


def test_the_best_scan_is_the_quickest_one_of_that_state() -> None:
    times = Figures("ms")
    for state, scan, covering in ((FRESH, 900.0, 600.0), (CHURNED, 1000.0, 7000.0)):
        for contestant, value in (("counters", 0.1), ("scan", scan), ("covering index", covering)):
            for group in ("total", "account", "account_campaign", "isp"):
                for messages in (10_000_000, 100):
                    for seen in (CLIENT, "server"):
                        times.add(value, **Cell(state, messages, group, contestant).labels(seen))

    found = {
        (each.labels["state"], each.labels["ratio"]): each
        for each in verdicts(times, [Queue(1, 10_000_000), Queue(2, 100)])
        if (each.labels["group"], each.labels["seen"]) == ("total", CLIENT)
    }
    fresh, churned = found[FRESH, "best scan / counters"], found[CHURNED, "best scan / counters"]
    assert (round(fresh.median), fresh.bar) == (6000, 1000)
    assert (round(churned.median), churned.bar) == (10_000, 5000)
    flat = found[FRESH, "counters at 10,000,000 / at 100 messages"]
    assert (flat.median, flat.bar, flat.is_met) == (1, 1.2, True)


def test_worse_is_slower_or_fewer_and_the_worst_comes_first() -> None:
    labels = {"group": "total"}
    old = report(Figure(labels, "ms", [10]), Figure(labels, "messages/s", [100], is_more_better=True))
    new = report(Figure(labels, "messages/s", [50], is_more_better=True), Figure(labels, "ms", [9]))

    assert [(each.unit, round(each.worse_percent)) for each in compare(old, new)] == [("messages/s", 100), ("ms", -10)]


def test_only_figures_of_both_are_compared_and_without_any_it_is_an_error() -> None:
    old, new = report(Figure({"group": "isp"}, "ms", [1])), report(Figure({"group": "total"}, "ms", [1]))
    assert len(compare(old, old)) == 1
    for ratios_only, other in ((False, new), (True, old)):
        with pytest.raises(CommandError, match="no figure in common"):
            compare(old, other, ratios_only=ratios_only)


def test_the_reports_of_requests_are_compared_too() -> None:
    def phases(rate: float) -> dict[str, Any]:
        row = {"name": "service", "connections": 32, "rate": rate, "p99_ms": 2.0}
        ratio_row = {"ratio": "a / b", "of": "rate", "connections": 32, "median": 1.0}
        return {"phases": [{"written_per_second": 0, "results": [row], "ratios": [ratio_row]}]}

    worst, *others = compare(phases(200), phases(100))
    assert (worst.unit, worst.worse_percent) == ("answers/s", 100)
    assert [each.worse_percent for each in others] == [0, 0]


@pytest.mark.parametrize(("percent", "exit_code"), [("20", 0), ("9", 1)])
def test_the_command_fails_where_a_figure_got_worse_by_more(tmp_path: Path, percent: str, exit_code: int) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(report(Figure({"group": "total"}, "ms", [10]))))
    new.write_text(json.dumps(report(Figure({"group": "total"}, "ms", [11]))))

    told = CliRunner().invoke(bench, ["compare", str(old), str(new), "--regression", percent])
    assert told.exit_code == exit_code
    assert ("group total" in told.output) is bool(exit_code)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"figures"'])
def test_a_file_that_is_no_report_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(text)
    with pytest.raises(CommandError, match=r"some\.json is not a benchmark's report"):
        read_report(path)


def test_what_pgbench_tells_is_counted_in_messages() -> None:
    written = parse(PGBENCH, messages=50, client_share=0.1)
    assert (written.messages_per_second, written.failed, written.deadlocks) == (12_340, 3, 2)
    with pytest.raises(CommandError, match="something else"):
        parse("pgbench: aborted", 1, 0)


def test_lines_are_drawn_on_decades_and_zero_stands_below_them() -> None:
    picture = ElementTree.fromstring(
        draw_lines("A & B", "messages", "ms", {"<x>": [(0, 1), (100, 10), (10_000, 100)], "y": [(100, 1)]})
    )
    [first, _] = [each.attrib["points"].split() for each in picture.iter() if each.tag.endswith("polyline")]
    across, up = zip(*(map(float, each.split(",")) for each in first), strict=True)
    # 0 takes the place of 10: a decade before 100, which is two before 10,000.
    assert across[2] - across[1] == pytest.approx(2 * (across[1] - across[0]), abs=0.2)
    assert up[2] == TOP
    assert up[0] == HEIGHT - 50
    assert {"A & B", "<x>", "0", "10,000"} <= {each.text for each in picture.iter() if each.text}


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        draw_lines("", "", "", {})


def test_a_bar_is_as_long_as_its_number() -> None:
    picture = ElementTree.fromstring(draw_bars("writers", [("with", 50, "50"), ("without", 100, "100")]))
    half, whole = [int(each.attrib["width"]) for each in picture.iter() if each.attrib.get("height") == "16"]
    assert 2 * half == whole


@pytest.mark.parametrize(("value", "text"), [(0.0456, "0.046"), (1.234, "1.23"), (12.34, "12.3"), (12345.6, "12,346")])
def test_a_number_has_three_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_has_a_line_for_each_row_and_its_bars_do_not_part_cells() -> None:
    assert markdown([{"a": "1|2", "b": "3"}]).splitlines() == ["| a | b |", "| --- | --- |", "| 1/2 | 3 |"]
    assert markdown([]) == "Nothing.\n"


def test_the_pages_are_written_from_the_json_alone(tmp_path: Path) -> None:
    rate = Figure({"what": "counting", "load": "lives", "contestant": "with"}, "messages/s", [5], is_more_better=True)
    told = {"benchmark": "write", "circumstances": {"commit": "abc", "cpus": 2}, "figures": [rate.as_json()]}

    written = write_pages(json.loads(json.dumps(told)), tmp_path / "pages")
    assert {path.name for path in written} == {"write.md", "write-counting-lives.svg"}
    page = (tmp_path / "pages" / "write.md").read_text("utf-8")
    assert "| lives | 5.00 |" in page
    assert ENDED_EARLY not in page


def test_a_kept_report_is_shown_again_and_one_that_ended_early_says_so(tmp_path: Path) -> None:
    times = Figures("ms")
    times.add(0.1, **Cell(FRESH, 1000, "total", "counters").labels(CLIENT))
    told = report(*times) | {"circumstances": {"commit": "abc"}, "bytes": {}, "rows": [], "plans": []}
    file = tmp_path / "sql.json"
    file.write_text(json.dumps(told | {"complete": False}))

    shown = CliRunner().invoke(bench, ["show", str(file), "--report", str(tmp_path)])
    assert shown.exit_code == 0
    assert "commit: abc" in shown.stdout
    assert ENDED_EARLY in shown.stdout
    assert ENDED_EARLY in (tmp_path / "sql.md").read_text("utf-8")
    assert [path.name for path in tmp_path.glob("*.svg")] == ["sql-fresh-total.svg"]
