"""The command `retrievalguard cluster`. Ray and torch are loaded when it runs."""

import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from retrievalguard import interrupts, preflight
from retrievalguard.cluster import surroundings
from retrievalguard.cluster.plan import ClusterPlan, check_gallery, replicas, shared
from retrievalguard.opening import checked_settings, log_to_stderr

if TYPE_CHECKING:
    from service.settings import Settings

app = typer.Typer()
log = logging.getLogger("retrievalguard")

# How often it is looked whether Ray lives.
LOOK_SECONDS = 0.5


@app.command()
def cluster(
    api: Annotated[str, typer.Option(help="API replicas, by queries in flight: 2, or 1:4 for 1 to 4.")] = "1",
    samplers: Annotated[
        str, typer.Option(help="Samplers, by samples in line, as above: each has a core, or a GPU.")
    ] = "1:4",
    gpu: Annotated[bool, typer.Option("--gpu", help="Samplers have one GPU each.")] = False,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray that runs: deploy there, or update what is there, and return."),
    ] = None,
) -> None:
    """Serve with Ray, on this machine or several; settings come from the environment (docs/operations.md)."""
    plan = ClusterPlan(replicas(api, "--api"), replicas(samplers, "--samplers"), gpu)
    preflight.check_ray("a cluster")
    settings = shared(checked_settings())
    log_to_stderr(settings)
    if settings.keys_file is not None:
        preflight.check_keys_file(settings.keys_file)
    sockets = preflight.listening(settings.host, settings.port if address is None else 0)
    if not settings.open_to_all:
        preflight.check_guarded(sockets, settings.keys)
    port = sockets[0].getsockname()[1] if address is None else settings.port
    for one in sockets:  # Serve's proxies listen, on every machine
        one.close()
    settings = settings.model_copy(update={"port": port})
    interrupts.raise_again()
    if settings.database_url is not None and address is None:
        _check_reached(settings)

    with (
        surroundings.for_own_ray(settings.data_dir)
        if address is None
        else surroundings.for_joined_ray(settings.data_dir)
    ):
        _serve(settings, plan, address)


def _check_reached(settings: "Settings") -> None:
    """Raise `index.StoreFailure` if the gallery cannot be opened: replicas would wait, and start again."""
    from index import GalleryStore
    from service.gallery.place import gallery_place

    GalleryStore(gallery_place(settings)).close()


def _serve(settings: "Settings", plan: ClusterPlan, address: str | None) -> None:
    from retrievalguard.cluster import ray_here, rollout
    from service.secret import noise_secret

    noise_secret(settings.secret, settings.data_dir)  # made now, so that it is there for all
    with ray_here.own(plan) if address is None else ray_here.joined(address) as running:
        ended = threading.Event()
        if address is None:  # only now: Ray has handlers of its own until then
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: ended.set())
        check_gallery(settings, plan, ray_here.machines())
        ray_here.open_door(settings)
        rollout.roll_out(settings, plan)
        log.info(
            "running on http://%s:%d (update it with --address %s)",
            settings.host,
            settings.port,
            running.address,
        )
        if address is None:
            wait(ended, lambda: running.alive)


def wait(ended: threading.Event, alive: Callable[[], bool]) -> None:
    """Until somebody ends the command. Raises `CheckError` when Ray, which it started, is not alive."""
    while not ended.wait(LOOK_SECONDS):
        if not alive():
            raise preflight.CheckError(
                "Ray has ended, and the cluster with it (its logs are in /tmp/ray): start it again"
            )
