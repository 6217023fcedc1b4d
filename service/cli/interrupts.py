"""Ctrl-C, SIGTERM and a closed terminal: the first signal unwinds the command; further ones are ignored."""

import asyncio
import select
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from traceback import walk_stack
from types import FrameType
from typing import Any, TypeVar

import click

Result = TypeVar("Result")

ENDING = (signal.SIGINT, signal.SIGTERM)
# Python reports and drops exceptions in destructors and callbacks of weak references, which imports use.
DROPPING = ("importlib._bootstrap", "importlib._bootstrap_external", "weakref", "_weakrefset")
RETRY_SECONDS = 0.01
# SIGALRM repeats a signal until the command unwinds.
HANDLED = (*ENDING, signal.SIGALRM)


def unwind_on_signals() -> None:
    """The next signal raises KeyboardInterrupt, also if the shell has set SIGINT to be ignored (`&`)."""
    on_signals(_unwind)


def hold_off_signals() -> None:
    """Ignores signals from now on: a second Ctrl-C must not interrupt the cleanup."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    # A handler that does nothing, because child processes would inherit SIG_IGN.
    on_signals(lambda number, frame: None)


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Sets the handler of every signal that ends a command."""
    for number in HANDLED:
        signal.signal(number, handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as set by nohup
        signal.signal(signal.SIGHUP, handler)


def run(work: Coroutine[Any, Any, Result], *, has_more: bool = False) -> Result:
    """As `asyncio.run`, but a signal cancels the work and raises KeyboardInterrupt after that.

    A handler that raises within the event loop or a greenlet (Alembic runs in one) has crashed it.
    `has_more`: the command continues after the work. Then a signal also raises KeyboardInterrupt if the work ended
    normally, because the signal came at its end or `asyncio.wait_for` of Python 3.11 caught the cancellation.
    """
    signals: list[int] = []

    async def cancellable() -> Result:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def cancel(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        on_signals(cancel)
        return await work

    try:
        result = asyncio.run(cancellable())
    except asyncio.CancelledError:
        hold_off_signals()
        raise KeyboardInterrupt from None
    finally:
        if not signals:
            unwind_on_signals()
    if signals:
        hold_off_signals()
        if has_more:
            raise KeyboardInterrupt
    return result


@contextmanager
def until_stopped() -> Iterator[None]:
    """For a command that runs until a signal: a signal ends it with success, also during the start."""
    try:
        yield
    except KeyboardInterrupt:
        hold_off_signals()
    # A write to a full pipe would never end.
    if select.select([], [sys.stderr], [], 0)[1]:
        click.echo("Stopped.", err=True)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, and raises it again a little later if Python has dropped it.

    Python drops it in C code that raises another error, such as `pwd.getpwuid` of Python 3.11.2.
    """
    hold_off_signals()
    signal.signal(signal.SIGALRM, _unwind)
    signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
    if not (_is_unwinding() or any(_drops(caller) for caller, _ in walk_stack(frame))):
        raise KeyboardInterrupt


def _is_unwinding() -> bool:
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _drops(frame: FrameType) -> bool:
    return frame.f_code.co_name == "__del__" or frame.f_globals.get("__name__") in DROPPING
