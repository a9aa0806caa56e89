"""Whether the service can answer, and the metrics that are looked up rather than counted."""

import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

import numpy as np

from index import Device, Gallery, Snapshot
from models import SmoothedModel
from service.gallery.job_records import State
from service.gallery.jobs import Jobs
from service.metrics import Metrics
from service.settings import Settings
from service.traffic.backlog import Backlog


@dataclass(frozen=True)
class HealthCheck:
    """What is looked at of a service; `snapshot`: the newest version of its gallery."""

    settings: Settings
    smoothed: SmoothedModel
    gallery: Gallery
    snapshot: Callable[[], Snapshot]
    device: Device | None
    backlog: Backlog
    jobs: Jobs
    metrics: Metrics

    def check(self) -> dict[str, str]:
        """Run the model and a search, for /readyz; raises what they raise."""
        image = np.zeros(self.smoothed.model.input_shape, np.float32)
        vector = self.smoothed.sample(image, 0, 1).mean(axis=0, dtype=np.float64)
        snapshot = self.snapshot()
        point = snapshot.lift(vector[None])[0]
        if self.settings.shard_missing == "abstain":  # then it answers also without some of the shards
            snapshot.nearest_reached(point, 1)
        else:
            snapshot.nearest(point, 1)
        damaged = len(self.gallery.damaged)
        left_out = f", {damaged} damaged and left out" if damaged else ""
        away = ", its database is away" if self.gallery.cut_off else ""
        name = self.smoothed.model.manifest.name
        return {"model": name, "gallery": f"{len(snapshot)} items{left_out}{away}"}

    def measure(self) -> None:
        """Bring those metrics up to date that are looked up rather than counted."""
        metrics, engine = self.metrics, self.smoothed.engine
        metrics.queued.set(engine.waiting)
        metrics.gallery_cut_off.set(self.gallery.cut_off)
        for lane, seconds in self.backlog.seconds().items():
            metrics.backlog.labels(lane).set(seconds)
        metrics.gallery_gpu_bytes.set(self.device.bytes if self.device else 0)
        jobs = Counter(job.state for job in self.jobs.records.all())
        for state in get_args(State):
            metrics.jobs.labels(state).set(jobs[state])
        with suppress(OSError):  # as long as the disk cannot be asked, what it told last
            metrics.disk_free.set(shutil.disk_usage(self.settings.data_dir).free)
