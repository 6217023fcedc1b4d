"""The command and the requests that work is done for, as log lines, connections and OpenTelemetry's spans name them.

Spans are off by default: one a request, and one a statement, linked with all requests behind it. Where they go, the
standard variables say: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and so on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from service.errors import CommandError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_tracer: "Tracer | None" = None

# Of the command line that is being run: `seed`, say.
command: ContextVar[str] = ContextVar("command", default="")


class Origin(NamedTuple):
    """A request; `span` is its span in OpenTelemetry, where traces are on."""

    request_id: str
    span: "Span | None" = None


# The requests behind the current task. Empty where there is none: folding, say.
origins: ContextVar[tuple[Origin, ...]] = ContextVar("origins", default=())

# A statement may answer hundreds; a line names so many of them.
MOST_NAMED = 5


def name_requests() -> str:
    """For a log line, `requests=7f3a,9c01 request_count=2` say; the first few and the number of all."""
    requests = origins.get()
    ids = ",".join(origin.request_id for origin in requests[:MOST_NAMED])
    return f"requests={ids} request_count={len(requests)}"


def application_name(purpose: str = "") -> str:
    """What pg_stat_activity and the server's log call a connection, `queuestats fold` say; by default the command's."""
    return f"queuestats {purpose or command.get()}".strip()


def configure_traces() -> None:
    """From here on spans are made and exported. Raises CommandError where the extra is not installed."""
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
    global _tracer  # noqa: PLW0603 one for the process, as metrics and the log are
    _tracer = tracer


def begin_request(request_id: str) -> "Span | None":
    """None while traces are off."""
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
