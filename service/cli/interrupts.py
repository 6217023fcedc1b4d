"""Ctrl-C, SIGTERM and a closed terminal: the first one unwinds the command, and nothing disturbs what tidies up."""

import asyncio
import select
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click

Handler = Callable[[int, FrameType | None], object]
Result = TypeVar("Result")

ENDING = (signal.SIGINT, signal.SIGTERM)


def unwind_on_signals() -> None:
    """From here on, the first such signal is a KeyboardInterrupt, even where a shell had SIGINT ignored (`&`)."""
    on_signals(_unwind)
    sys.unraisablehook = _raise_again


def hold_off_signals() -> None:
    """For the end of a command: what was started is being ended, and an impatient second Ctrl-C must not stop that."""
    # A handler that does nothing, as a program that is started from here would inherit an ignored signal.
    on_signals(lambda number, frame: None)


def on_signals(handler: Handler) -> None:
    """Who handles every signal that ends a command."""
    for number in ENDING:
        signal.signal(number, handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, handler)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, but a signal cancels the work. Raises KeyboardInterrupt then.

    An exception raised wherever the signal finds the interpreter may be amid the event loop's own code, or a greenlet's
    (Alembic runs in one), and has crashed it there.
    """

    async def cancellable() -> Result:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in ENDING:
            loop.add_signal_handler(number, task.cancel)
        try:
            return await work
        finally:
            # The loop would leave a signal to its default, which ends the process on the spot.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            for number in ENDING:
                loop.remove_signal_handler(number)
            unwind_on_signals()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        hold_off_signals()
        raise KeyboardInterrupt from None


@contextmanager
def until_stopped() -> Iterator[None]:
    """For a command that runs until it is told to stop: that is its success, however far it had come."""
    try:
        yield
    except KeyboardInterrupt:
        hold_off_signals()
    # Not on a pipe that is full and that nobody reads: the command would never end.
    if select.select([], [sys.stderr], [], 0)[1]:
        click.echo("Stopped.", err=True)


def _raise_again(lost: "sys.UnraisableHookArgs") -> None:
    """Python drops an exception that is raised in some of its own callbacks, while it imports for one."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    signal.signal(signal.SIGALRM, _unwind)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def _unwind(number: int, frame: FrameType | None) -> None:
    hold_off_signals()
    raise KeyboardInterrupt
