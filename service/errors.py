"""All errors, and the responses to clients.

ServiceError          an HTTP response with a number and one sentence
├── BadRequest        400  the body or a parameter
│   └── LateBody      400  the body did not come in time
├── Unauthorized      401  no token, or not a valid one
├── Forbidden         403  a valid token that lacks the right
├── UnknownMethod     404  no such path
├── MethodNotAllowed  405  not a POST
├── Conflict          409  more messages match than the request allows
├── TooLarge          413  the body is over the limit
├── TooManyRequests   429  the token has used up a budget
├── InternalError     500  a fault of the service, which is logged
├── Unavailable       503  the database is unreachable, or the service is overloaded
│   ├── Moved         503  a shard was moved to another node
│   └── Uncounted     503  a shard was moved from another node, and is not counted yet
└── TimedOut          504  the database took longer than the limit
CommandError          one sentence on the terminal, exit code 1
└── WrongUsage        exit code 2
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class ServiceError(Exception):
    """An error in a response: `code`, and `text`, one sentence with advice."""

    code: ClassVar[int]
    begins: ClassVar[str]
    is_refusal: ClassVar[bool] = False
    """Whether it is logged: the service could not, or did not want to, answer a request that may be right."""
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.text = self.begins + detail


class BadRequest(ServiceError):
    code = 400
    begins = "Incorrect request: "


class LateBody(BadRequest):
    is_refusal = True


class Unauthorized(ServiceError):
    code = 401
    begins = "API token required"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    code = 403
    begins = "No access: "


class UnknownMethod(ServiceError):
    code = 404
    begins = "Unknown method"


class MethodNotAllowed(ServiceError):
    code = 405
    begins = "Method not allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__()
        self.headers = {"Allow": allowed}


class Conflict(ServiceError):
    code = 409
    begins = "Conflict: "


class TooLarge(ServiceError):
    code = 413
    begins = "Request too large"
    is_refusal = True


class TooManyRequests(ServiceError):
    code = 429
    begins = "Too many requests: "
    is_refusal = True
    headers = MappingProxyType({"Retry-After": "1"})

    def __init__(self, detail: str, resource: str) -> None:
        """`resource`: the budget that the token has used up, for the metrics."""
        super().__init__(detail)
        self.resource = resource


class InternalError(ServiceError):
    code = 500
    begins = "Internal error"


# The detail of Unavailable if the database is a standby.
STANDBY = ": the database is a standby"


class Unavailable(ServiceError):
    code = 503
    begins = "Service unavailable"
    is_refusal = True
    headers = MappingProxyType({"Retry-After": "1"})

    def __init__(self, detail: str = "", said: str = "") -> None:
        """`said`: the message of the database for its DBA, in the log and in /readyz, but not in responses."""
        super().__init__(detail)
        self.detail, self.said = detail, said


class Moved(Unavailable):
    pass


class Uncounted(Unavailable):
    pass


class TimedOut(ServiceError):
    code = 504
    begins = "Timed out"
    is_refusal = True


class CommandError(Exception):
    """A failure of a command, as one sentence."""

    exit_code: ClassVar[int] = 1


class WrongUsage(CommandError):
    """A command line that can't be carried out."""

    exit_code = 2
