"""Traces: where the time of one request goes, as spans of OpenTelemetry, sent to a collector that is named.

Off unless asked for: then `span` and `ended` cost a look at a context variable, and nothing of the extra
`otel` is imported. The process-wide state of OpenTelemetry is never touched, so what FastAPI traces of
itself, with paths and query strings, stays off.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.outage import Outage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span, Tracer

Attribute = str | int | float | bool
# How long the end of the process waits for spans that are still to be sent, and one attempt to send some.
PATIENCE_SECONDS = 3

# What makes the spans of the request that the present task or thread works for; None: it is not traced.
_tracer: "ContextVar[Tracer | None]" = ContextVar("tracer", default=None)
_UNTRACED: AbstractContextManager[object] = nullcontext()


def span(name: str, **attributes: Attribute) -> AbstractContextManager[object]:
    """A part of the present request: as long as the block takes."""
    tracer = _tracer.get()
    if tracer is None:
        return _UNTRACED
    # Without what an exception says: it may name what a client sent.
    return tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    )


def ended(name: str, seconds: float, **attributes: Attribute) -> None:
    """A part of the present request that is over by now, and took so many seconds."""
    tracer = _tracer.get()
    if tracer is not None:
        now = time.time_ns()
        tracer.start_span(name, attributes=attributes, start_time=now - round(seconds * 1e9)).end(now)


@dataclass(frozen=True)
class Traced:
    """The span of a whole request, while it is open; `trace_id` is in hex."""

    span: "Span"
    trace_id: str

    def tell(self, method: str, route: str, status: int, facts: Mapping[str, Attribute]) -> None:
        """What is known at the end; `facts` are of our own, the others named as OpenTelemetry names them."""
        self.span.update_name(f"{method} {route}")
        self.span.set_attribute("http.request.method", method)
        self.span.set_attribute("http.route", route)
        self.span.set_attribute("http.response.status_code", status)
        for name, value in facts.items():
            self.span.set_attribute(f"retrievalguard.{name}", value)


class Traces:
    """Sends spans to the OTLP collector at `url`, over HTTP and behind the answers. Needs the extra `otel`.

    What share of the requests is traced, and what headers the collector wants, is read from the variables of
    OpenTelemetry itself, `OTEL_*`. A collector that does not answer costs spans, and a line in the log.
    """

    def __init__(self, url: str, version: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = Resource.create({"service.name": "retrievalguard", "service.version": version})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(url)))
        self._tracer = self._provider.get_tracer("retrievalguard", version)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Traced]:
        """The span of a request: part of the trace that `headers` name (W3C), or the first of its own."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        before = TraceContextTextMapPropagator().extract(headers)
        with self._tracer.start_as_current_span(
            name, before, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as whole:
            _tracer.set(self._tracer)  # not taken back: every request is a task of its own
            yield Traced(whole, f"{whole.get_span_context().trace_id:032x}")

    def close(self) -> None:
        """Send what is left, unless that takes too long."""
        sending = threading.Thread(target=self._provider.shutdown, name="last traces", daemon=True)
        sending.start()
        sending.join(PATIENCE_SECONDS)


def _exporter(url: str) -> "SpanExporter":
    """One that has the log tell when it fails and when it works again; its own lines come by the second."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    outage = Outage("traces cannot be sent (%s): they are lost until they can", "traces are sent again")

    class Telling(OTLPSpanExporter):
        def export(self, spans: Sequence["ReadableSpan"]) -> "SpanExportResult":
            result = super().export(spans)
            if result is SpanExportResult.SUCCESS:
                outage.worked()
            else:
                outage.failed("the collector does not take them")
            return result

    return Telling(url, timeout=PATIENCE_SECONDS)
