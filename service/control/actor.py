"""The actor of a change of queues or tokens: a kind and a name, as in the audit log."""

import os
import pwd
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Actor:
    """A token by its name, or a command by the user who runs it. Only the database uses the third kind, `expiry`."""

    kind: Literal["token", "command"]
    name: str


def of_command() -> Actor:
    """The user id of the operating system with its name: "1000 (alice)". Environment variables do not change it."""
    user_id = os.getuid()
    try:
        name = f"{user_id} ({pwd.getpwuid(user_id).pw_name})"
    except KeyError:
        name = str(user_id)
    return Actor("command", name)
