"""How large a request may be, and the errors that say so."""

from service.errors import BadRequest

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 32
"""Levels of nesting; the JSON object or the element `<xml>` itself is the first."""
MAX_MEMBERS = 256
"""Members of the JSON object, or child elements of `<xml>`: each as often as it is written."""


def too_deep() -> BadRequest:
    return BadRequest(f"the body must nest {MAX_DEPTH} levels at most, and close each of them")


def too_many_members() -> BadRequest:
    return BadRequest(f"the body must have {MAX_MEMBERS} members at most")
