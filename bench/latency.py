"""How long answers take: a cache hit against a trivial route, and short queries among long ones."""

import http.client
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from bench.server import demo_server
from evaluation.workbench import held_out
from models import Stop
from models.datasets import digits
from service.errors import Abandoned
from service.images import png
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever

REQUESTS = 500
# 64 in flight: so many short ones, the others as long as they may be.
SHORT, IN_FLIGHT, MEASURED = 4, 64, 200


def hit_over_route() -> dict[str, float]:
    """p50 in ms over one kept connection to a real server, in turns: a hit, and GET /livez."""
    body = png(digits("query").pixels[0])
    with demo_server() as url:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)

        def request(method: str, path: str, content: bytes | None, headers: dict[str, str]) -> float:
            started = time.perf_counter()
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            return time.perf_counter() - started

        def hit() -> float:
            return request("POST", "/retrieve", body, {"Content-Type": "image/png"})

        def trivial() -> float:
            return request("GET", "/livez", None, {})

        times = [(hit(), trivial()) for _ in range(REQUESTS + 50)][50:]
        connection.close()
    hits, routes = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {
        "hit_p50_ms": round(hits, 3),
        "route_p50_ms": round(routes, 3),
        "hit_over_route": round(hits / routes, 2),
    }


def short_among_long(retriever: Retriever) -> dict[str, float]:
    """p95 in ms of short queries (is it robust to r = 0.1?): one after the other, of a few clients, and of as
    many among long queries, 64 in all. Every query has pixels of its own, so none is cached.
    """
    generator, lock = np.random.default_rng(), threading.Lock()
    tensors = held_out("digits", 296).tensors

    def fresh() -> NDArray[np.float32]:
        with lock:
            moved = tensors[generator.integers(len(tensors))] + generator.normal(0, 0.01, tensors[0].shape)
        clipped: NDArray[np.float32] = moved.clip(0, 1).astype(np.float32)
        return clipped

    def short(_: int) -> float:
        image, started = fresh(), time.perf_counter()
        retriever.retrieve(image, RetrieveOptions(target_radius=0.1))
        return time.perf_counter() - started

    def long(stop: Stop) -> None:
        options = RetrieveOptions(max_samples=retriever.settings.samples_limit, min_gain=0)
        while not stop.cancelled:
            try:
                retriever.retrieve(fresh(), options, stop=stop)
            except Abandoned:
                return

    for number in range(20):
        short(number)
    singly = [short(number) for number in range(MEASURED)]
    stop = Stop()
    with ThreadPoolExecutor(IN_FLIGHT - SHORT) as crowd, ThreadPoolExecutor(SHORT) as clients:
        alone = list(clients.map(short, range(MEASURED)))
        for _ in range(IN_FLIGHT - SHORT):
            crowd.submit(long, stop)
        try:
            time.sleep(3)
            among = list(clients.map(short, range(MEASURED)))
        finally:
            stop.cancel()
    p95 = [1000 * float(np.quantile(times, 0.95)) for times in (singly, alone, among)]
    return {
        "short_clients": SHORT,
        "short_singly_p95_ms": round(p95[0], 2),
        "short_alone_p95_ms": round(p95[1], 2),
        "short_among_p95_ms": round(p95[2], 2),
        "cheap_p95_ratio": round(p95[2] / p95[1], 2),
        "cheap_p95_ratio_singly": round(p95[2] / p95[0], 2),
    }
