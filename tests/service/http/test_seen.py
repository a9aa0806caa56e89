"""A server with all that makes it seen: keys in the log, metrics on a port of their own, traces."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import promql_parser
import pytest

from service.keys import Keys
from service.metrics import memory_limit
from service.traces import Traces
from tests.service.http.collector import Collector, collecting
from tests.service.processes import SAMPLES, Server, copy_gallery, serving, spawn_cli, wait_for
from tests.service.queries import digit

DOCKER = Path(__file__).parents[3] / "docker"
ALERTS = (DOCKER / "prometheus" / "alerts.yml").read_text()
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "retrievalguard.json").read_text())
EXPLAINED = (DOCKER.parent / "docs" / "observability.md").read_text()
# What Prometheus makes itself.
ITS_OWN = {"up", "ALERTS"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Seen:
    server: Server
    metrics: str
    key_id: str
    headers: dict[str, str]
    collector: Collector

    def query(self, row: int, **headers: str) -> httpx.Response:
        found = self.server.client.post(
            "/retrieve", content=digit(row), headers=self.headers | {"content-type": "image/png"} | headers
        )
        assert found.status_code == 200, found.text
        return found

    def line(self, request_id: str) -> dict[str, Any]:
        """The line of a request in the log."""

        def found() -> list[dict[str, Any]]:
            records = [json.loads(line) for line in self.server.log.read_text().splitlines()]
            return [
                record
                for record in records
                if record["logger"] == "retrievalguard.access" and record["request_id"] == request_id
            ]

        wait_for(found)
        (line,) = found()
        return line


@pytest.fixture(scope="module")
def seen(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("seen"))
    key, token = Keys(data / "keys.json").create("shop", ["retrieve"])
    port = free_port()
    with (
        collecting() as collector,
        mock.patch.dict(os.environ, {"OTEL_BSP_SCHEDULE_DELAY": "200"}),  # milliseconds between two sendings
        serving(data, METRICS_PORT=port, TRACES_URL=collector.url) as server,
    ):
        yield Seen(server, f"http://127.0.0.1:{port}", key.id, {"x-api-key": token}, collector)


def test_the_line_of_a_query_tells_its_key_its_samples_and_what_the_cache_held(seen: Seen) -> None:
    seen.query(40, **{"x-request-id": "first"})
    again = seen.query(40, **{"x-request-id": "again"})
    first, second = seen.line("first"), seen.line("again")
    certified = int(again.json()["certificate"]["status"] == "certified")
    told = {"method": "POST", "route": "/retrieve", "status": 200, "key": seen.key_id}
    told |= {"answers": 1, "certified": certified, "samples": SAMPLES, "gallery_version": 1}
    for line, hits in ((first, 0), (second, 1)):
        assert line.items() >= (told | {"cache_hits": hits}).items()
        assert 0 < line["ms"] < 60_000
    assert first["gallery_version"] == again.json()["gallery"]["version"]
    assert seen.headers["x-api-key"] not in seen.server.log.read_text()


def test_the_line_of_a_batch_tells_sums_and_that_of_a_refusal_no_key(seen: Seen) -> None:
    shape = seen.server.client.get("/model", headers=seen.headers).json()["input_shape"]
    pixels = [[[0.5] * shape[2]] * shape[1]] * shape[0]
    queries = [{"pixels": pixels}, {"pixels": pixels}, {"pixels": []}]
    sent = seen.server.client.post(
        "/retrieve/batch", json=queries, headers=seen.headers | {"x-request-id": "batch"}
    )
    assert sent.status_code == 200
    assert seen.line("batch").items() >= {"answers": 2, "samples": 2 * SAMPLES, "key": seen.key_id}.items()

    refused = seen.server.client.get("/gallery", headers={"x-request-id": "refused", "x-api-key": "rg_no"})
    assert refused.status_code == 401
    assert not seen.line("refused").keys() & {"key", "answers"}


def test_metrics_are_on_their_own_port_alone_and_need_no_key_there(seen: Seen) -> None:
    for method in ("GET", "HEAD"):
        assert httpx.request(method, f"{seen.metrics}/metrics", headers={"host": "api"}).status_code == 200
    for path in ("/", "/retrieve", "/gallery", "/v1/metrics", "/livez"):
        assert httpx.get(seen.metrics + path, headers=seen.headers).status_code == 404, path
    assert httpx.post(f"{seen.metrics}/metrics").status_code == 404
    keys = Keys(seen.server.data / "keys.json")
    for path in ("/metrics", "/v1/metrics"):
        headers = {"x-api-key": keys.create("all", ["admin"])[1]}
        assert seen.server.client.get(path, headers=headers).status_code == 404


def exposed(seen: Seen) -> dict[str, set[str]]:
    """The labels of every metric that there is, under the names of its series."""
    series: dict[str, set[str]] = {}
    for line in httpx.get(f"{seen.metrics}/metrics").text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found:
            series.setdefault(found[1], set()).update(re.findall(r'(\w+)="', found[2] or ""))
    return series


def expressions() -> list[str]:
    """All that the rules and the dashboard ask Prometheus."""
    rules = re.findall(r"expr: (\|\n(?: {10}.*\n)+|.*)", ALERTS)
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [*(rule.removeprefix("|") for rule in rules), *panels]


def test_rules_and_dashboard_ask_for_what_a_server_tells(seen: Seen) -> None:
    seen.query(41)
    series = exposed(seen)
    asked = expressions()
    assert len(asked) > 40
    for expression in asked:
        filled = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
        parsed = promql_parser.parse(filled).prettify()
        bare = re.sub(r'"[^"]*"', '""', parsed)
        names = set(re.findall(r"\b(?:retrievalguard|process)_\w+|\bup\b", bare))
        assert names, expression
        assert names <= series.keys() | ITS_OWN, expression
        for name, matchers in re.findall(r"\b(\w+)\{([^}]*)\}", bare):
            labels = set(re.findall(r"(\w+)(?:!=|=~|!~|=)", matchers)) - {"instance", "job"}
            assert labels <= series.get(name, set()), expression


def test_every_alert_is_explained_and_watches_something_of_its_own() -> None:
    names = re.findall(r"- alert: (\w+)", ALERTS)
    assert len(names) == len(set(names))
    assert names == re.findall(r"^\| `(RetrievalGuard\w+)` \| .+ \| .+ \|$", EXPLAINED, re.M)


def test_what_is_looked_up_is_looked_up(seen: Seen) -> None:
    found = httpx.get(f"{seen.metrics}/metrics").text
    values = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", found, re.M))
    assert float(values["retrievalguard_ready"]) == 1
    assert float(values["retrievalguard_data_free_bytes"]) > 0
    assert float(values['retrievalguard_jobs{state="failed"}']) == 0
    assert float(values["retrievalguard_queries_under_way"]) == 0
    assert float(values["process_resident_memory_bytes"]) > 50e6
    assert float(values['retrievalguard_cache_failures_total{reason="rejected"}']) == 0


def test_a_query_is_traced_below_the_trace_that_it_names(seen: Seen) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    seen.query(42, traceparent=f"00-{trace}-{parent}-01", **{"x-request-id": "traced"})
    assert seen.line("traced")["trace_id"] == trace
    wait_for(lambda: any(span.name == "POST /retrieve" for span in seen.collector.of(trace)))
    spans = {span.name: span for span in seen.collector.of(trace)}
    assert spans.keys() == {"POST /retrieve", "decode", "sample", "queue", "look", "search", "certify"}
    whole, look = spans["POST /retrieve"], spans["look"]
    assert whole.parent_span_id.hex() == parent
    assert {spans[name].parent_span_id for name in ("decode", "sample", "queue", "look")} == {whole.span_id}
    assert {spans[name].parent_span_id for name in ("search", "certify")} == {look.span_id}
    for span in spans.values():
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= whole.end_time_unix_nano
    told = {found.key: found.value for found in whole.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert told["retrievalguard.samples"].int_value == SAMPLES
    assert told["retrievalguard.key"].string_value == seen.key_id


def test_probes_are_not_traced_and_what_fails_says_nothing_of_what_was_sent(seen: Seen) -> None:
    seen.server.client.get("/livez")
    bad = {"content-type": "image/png", "x-request-id": "bad"} | seen.headers
    seen.server.client.post("/retrieve?method=nonsense", content=b"nonsense", headers=bad)
    trace = seen.line("bad")["trace_id"]
    wait_for(lambda: seen.collector.of(trace))
    assert not any("livez" in span.name for span in seen.collector.spans)
    assert not any("nonsense" in str(span) for span in seen.collector.spans)


def test_without_the_setting_nothing_of_the_extra_is_loaded() -> None:
    code = "import service.http.app, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "service.traces" in loaded
    assert "opentelemetry.sdk.trace" not in loaded  # its interface is: FastAPI needs that
    assert "opentelemetry.exporter" not in loaded


LIBRARY = """
import threading, sys, socket
def refused(*arguments): raise AssertionError("it connects")
socket.socket.connect = socket.getaddrinfo = refused
from service.traces import Traces, span
with span("untraced"):
    pass
traces = Traces("http://127.0.0.1:9/v1/traces", "1")
from opentelemetry import trace
assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
"""


def test_making_traces_connects_nowhere_and_touches_nothing_of_the_process() -> None:
    subprocess.run([sys.executable, "-c", LIBRARY], check=True, timeout=30)


def test_a_collector_that_is_gone_is_told_once_and_gets_spans_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    with mock.patch.dict(os.environ, {"OTEL_BSP_SCHEDULE_DELAY": "100"}):
        traces = Traces(f"http://127.0.0.1:{port}/v1/traces", "1")

    def request() -> None:
        """One span; how many get lost meanwhile does not matter."""
        with traces.request("GET", {}):
            pass

    def told() -> list[str]:
        return [line for line in caplog.messages if line.startswith("traces cannot be sent")]

    request()
    wait_for(told)
    with collecting(port) as collector:
        wait_for(lambda: request() or collector.spans)
        traces.close()
    assert len(told()) == 1


def test_a_port_of_the_metrics_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = spawn_cli(tmp_path, "serve", METRICS_PORT=taken.getsockname()[1])
    assert ended.returncode == 1
    assert "choose another RETRIEVALGUARD_METRICS_PORT" in ended.stderr


@pytest.mark.parametrize(
    ("file", "held", "limit"),
    [
        ("memory.max", "max\n", 0),
        ("memory.max", "4294967296\n", 2**32),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", 0),
        ("memory/memory.limit_in_bytes", "4294967296\n", 2**32),
        ("of something else", "", 0),
    ],
)
def test_the_limit_of_memory_is_what_the_kernel_says(
    tmp_path: Path, file: str, held: str, limit: int
) -> None:
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(held)
    assert memory_limit(tmp_path) == limit
