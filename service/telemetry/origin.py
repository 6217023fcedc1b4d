"""The command and the requests that cause work, as named in log lines, connections and OpenTelemetry's spans.

Spans are off by default: one per request, and one per statement, linked to all its requests. The standard variables
(OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME …) determine the exporter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from service.errors import CommandError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_tracer: "Tracer | None" = None

# The current command, for example `seed`.
command: ContextVar[str] = ContextVar("command", default="")


class Origin(NamedTuple):
    """A request; `span` is its span in OpenTelemetry, if traces are on."""

    request_id: str
    span: "Span | None" = None


# The requests that caused the current task. Empty for work without requests, such as folding.
origins: ContextVar[tuple[Origin, ...]] = ContextVar("origins", default=())

# A statement may answer hundreds of requests; a log line names this many of them.
MOST_NAMED = 5


def name_requests() -> str:
    """For a log line, such as `requests=7f3a,9c01 request_count=2`: the first few requests, and the number of all."""
    requests = origins.get()
    ids = ",".join(origin.request_id for origin in requests[:MOST_NAMED])
    return f"requests={ids} request_count={len(requests)}"


def application_name(purpose: str = "") -> str:
    """The name of a connection in pg_stat_activity and in the server's log, such as `queuestats fold`."""
    return f"queuestats {purpose or command.get()}".strip()


def configure_traces() -> None:
    """Creates and exports spans from now on. Raises CommandError if the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise CommandError("QUEUESTATS_TRACES needs the extra: pip install 'queuestats[otel]'.") from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider.get_tracer("queuestats"))


def use(tracer: "Tracer | None") -> None:
    global _tracer  # noqa: PLW0603 one for the process, like metrics and the log
    _tracer = tracer


def begin_request(request_id: str) -> "Span | None":
    """A span; None while traces are off."""
    if _tracer is None:
        return None
    return _tracer.start_span("request", attributes={"queuestats.request_id": request_id})


def end_request(span: "Span | None", endpoint: str, status: int) -> None:
    if span is not None:
        span.update_name(endpoint)
        span.set_attribute("http.response.status_code", status)
        span.end()


@contextmanager
def statement_span(name: str) -> Iterator[None]:
    """The span of a statement that runs for the requests of the current task."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import Link

    links = [Link(origin.span.get_span_context()) for origin in origins.get() if origin.span is not None]
    with _tracer.start_as_current_span(f"sql/{name}.sql", links=links, attributes={"db.system": "postgresql"}):
        yield
