"""What the parts of a query cost the server, one kind of query against another, in seconds of a core.

The same images are asked for four times: all has to be done; then their samples are there, and another alpha
needs another certificate; then the answers are in the cache, and in memory. What the last ones take is
compared with a bare route that returns the same bytes (`bench.load.route`), by the clock too, in turns.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.load.asking import Asked, Asking
from bench.load.kinds import Kinds
from bench.load.loads import Load, closed
from bench.load.spent import spent
from bench.server import launched
from bench.throughput import Bare
from models import EmbeddingModel, SmoothedModel, calibrated
from service.settings import Settings

CLIENTS = 8
# How often hits and the bare route have their turn.
TURNS = 3
# Samples that the bare loop draws, in the passes of the server.
BARE_SAMPLES = 50_000


async def costs(asking: Asking, kinds: Kinds, headers: Mapping[str, str], images: int) -> dict[str, Any]:
    """Seconds of a core of the server for each kind, a query; and samples a cold query."""
    cold = [kinds.cold() for _ in range(images)]
    report: dict[str, Any] = {"queries": len(cold)}
    for kind, asked in (
        ("cold", cold),
        ("certify", [kinds.certify(one) for one in cold]),
        ("hit", [kinds.hit(one) for one in cold]),
        ("known", [kinds.known(one) for one in cold]),
    ):
        before = await spent(asking, headers)
        for one in asked:  # one after another: nobody is refused
            await asking.until_answered(one)
        took = (await spent(asking, headers)).since(before)
        report |= {f"{kind}_seconds": round(took["server_seconds"] / len(asked), 5)}
        report |= {f"{kind}_samples": round(took["samples"] / len(asked), 1)}
    return report


async def loaded(asking: Asking, kinds: Kinds, headers: Mapping[str, str], seconds: float) -> Load:
    """The server as busy as it gets with cold queries, and with nothing else, not even probes."""
    before = await spent(asking, headers)
    load = await closed(asking, "loaded", [[kinds.cold]] * CLIENTS, seconds)
    load.spent = (await spent(asking, headers)).since(before)
    return load


def loaded_over_bare(load: Load, of: Mapping[str, Any], bare_seconds: float) -> float:
    """Samples a second of a core of the server under `load`, certificates counted out, over the bare loop.

    A certificate takes what such a query takes beyond one whose answer is there.
    """
    certificates: float = load.answers * (of["certify_seconds"] - of["hit_seconds"])
    return round(load.spent["samples"] / (load.spent["server_seconds"] - certificates) * bare_seconds, 3)


def bare_seconds(settings: Settings) -> float:
    """Seconds of a core for a sample of the bare loop: the passes that the server runs, and nothing else."""
    model = EmbeddingModel.load(settings.model)
    sigma = settings.sigma or model.manifest.sigma
    found = calibrated(model, sigma, settings.variant, settings.data_dir / "calibration.json")
    smoothed = SmoothedModel(model, sigma, bytes(32), found)
    loop = Bare(smoothed)
    smoothed.close()
    loop.core_seconds(BARE_SAMPLES // 5)
    return loop.core_seconds(BARE_SAMPLES)


async def hits_over_route(asking: Asking, hit: Asked, seconds: float) -> dict[str, Any]:
    """Hits over answers of a bare route with the same bytes: in a second of the clock, and of a core."""
    found: dict[str, list[float]] = {"hits": [], "route": [], "hit_seconds": [], "route_seconds": []}
    response = await asking.content(hit)
    with tempfile.TemporaryDirectory(prefix="retrievalguard-load-") as folder:
        file = Path(folder) / "answer"
        file.write_bytes(response)
        command: list[str | Path] = [sys.executable, "-m", "bench.load.route", file]
        with launched(command, os.environ, Path(folder) / "log") as (_, url):
            async with Asking(url) as bare:
                asked = replace(hit, path="/", headers={}, cache=None)
                for _ in range(TURNS):
                    before = await spent(asking, hit.headers)
                    load = await closed(asking, "hits", [[lambda: hit]] * CLIENTS, seconds)
                    took = (await spent(asking, hit.headers)).since(before)["server_seconds"]
                    found["hits"].append(load.answers / seconds)
                    found["hit_seconds"].append(took / max(load.answers, 1))
                    since = float(await bare.text("/readyz", {}))
                    load = await closed(bare, "route", [[lambda: asked]] * CLIENTS, seconds)
                    took = float(await bare.text("/readyz", {})) - since
                    found["route"].append(load.answers / seconds)
                    found["route_seconds"].append(took / max(load.answers, 1))
    return {
        "clients": CLIENTS,
        "hits_per_second": round(statistics.median(found["hits"]), 1),
        "route_per_second": round(statistics.median(found["route"]), 1),
        "hits_over_route": _ratio(found["hits"], found["route"]),
        "hits_over_route_by_core_seconds": _ratio(found["route_seconds"], found["hit_seconds"]),
        "hit_core_ms": round(1000 * statistics.median(found["hit_seconds"]), 3),
        "route_core_ms": round(1000 * statistics.median(found["route_seconds"]), 3),
    }


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over the turns."""
    return round(statistics.median(a / b if b else 0.0 for a, b in zip(one, other, strict=True)), 3)
