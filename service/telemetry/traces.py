"""OpenTelemetry, off by default: a span a request, and a span a statement, linked with all requests behind it.

Where the spans go, the standard variables say: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and so on.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from service.errors import CommandError
from service.telemetry.origin import origins

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_tracer: "Tracer | None" = None


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


def statement_span(name: str) -> AbstractContextManager[None]:
    """The span of a statement that runs for the requests of the current task."""
    return nullcontext() if _tracer is None else _statement_span(_tracer, name)


@contextmanager
def _statement_span(tracer: "Tracer", name: str) -> Iterator[None]:
    from opentelemetry.trace import Link

    links = [Link(origin.span.get_span_context()) for origin in origins.get() if origin.span is not None]
    with tracer.start_as_current_span(f"sql/{name}.sql", links=links, attributes={"db.system": "postgresql"}):
        yield
