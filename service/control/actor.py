"""Who acts on queues and tokens: a kind and a name, as the audit log keeps them."""

import os
import pwd
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Actor:
    """A token by its name, or a command by the user who runs it. The third kind, `expiry`, is the database's own."""

    kind: Literal["token", "command"]
    name: str


def of_command() -> Actor:
    """The operating system's user id, with its name for reading: "1000 (alice)". No environment variable chooses it."""
    user_id = os.getuid()
    try:
        name = f"{user_id} ({pwd.getpwuid(user_id).pw_name})"
    except KeyError:
        name = str(user_id)
    return Actor("command", name)
