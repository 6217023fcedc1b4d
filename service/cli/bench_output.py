"""Where the report of a benchmark goes: the terminal, a file, a folder of pages."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

TO_TERMINAL = "-"
REPORT = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

report_option = click.option("--report", "report_folder", type=FOLDER, help="write Markdown and SVG charts there")


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `json_file` and `report_folder`."""
    json_option = click.option(
        "--json",
        "json_file",
        is_flag=False,
        flag_value=TO_TERMINAL,
        metavar="[FILE]",
        callback=_writable,
        help="everything, as one JSON object, into this file; without a name, instead of the tables",
    )
    return json_option(report_option(function))


def _writable(context: click.Context, parameter: click.Parameter, file: str | None) -> str | None:
    """Said before the run, which may take hours."""
    if file not in (None, TO_TERMINAL):
        path = Path(str(file))
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise click.BadParameter(f"{file} can't be written.")
    return file


def set_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--set", "set_for_all", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="a server setting, for all"
    )(function)


def _pairs(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if any(not name or not sign for name, sign, _ in pairs):
        raise click.BadParameter("NAME=VALUE, as in work_mem=64MB.")
    return {name: value for name, _, value in pairs}


def keep(report: Mapping[str, Any], json_file: str | None) -> None:
    """Into the file, where one is named; what stood there stays until the new report is written to its end."""
    if json_file in (None, TO_TERMINAL):
        return
    path = Path(str(json_file))
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    unfinished.replace(path)


def put_out(report: Mapping[str, Any], json_file: str | None, report_folder: Path | None) -> None:
    keep(report, json_file)
    if report_folder is not None:
        from service.bench.pages import write_pages

        for path in write_pages(report, report_folder):
            click.echo(f"Written: {path}", err=True)
    if json_file == TO_TERMINAL:
        click.echo(msgspec.json.encode(report))
    else:
        _print_tables(report)


def _print_tables(report: Mapping[str, Any]) -> None:
    from service.bench.pages import ENDED_EARLY, in_words, is_complete, tables
    from service.cli.output import print_table

    for name, value in report["circumstances"].items():
        # Settings stand in the JSON and the pages only.
        if name not in ("settings", "server_settings"):
            click.echo(f"{name.replace('_', ' ')}: {in_words(value)}")
    if not is_complete(report):
        click.echo(f"\n{ENDED_EARLY}")
    for title, rows in tables(report):
        click.echo(f"\n{title}")
        if rows:
            print_table(rows, list(rows[0]), False)
        else:
            click.echo("Nothing.")
