"""One gallery with all that changes it: what reads, embeds, names, copies, and does much at once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index import Gallery
from service.gallery.check import ItemRules
from service.gallery.intake import Intake
from service.gallery.items import GalleryItems
from service.gallery.jobs import JobLimits, Jobs
from service.gallery.named import FilterLimits, NamedGalleries
from service.gallery.replica import replica_name
from service.gallery.snapshots import Snapshots
from service.gallery.unpacking import UnpackLimits
from service.gallery.vectors import GalleryVectors
from service.settings import Settings


class ManagedGallery:
    """All that serves one `gallery`, within the limits of an installation.

    `vectors` embeds; `decode` makes an input tensor (C, H, W) of an image file.
    """

    def __init__(
        self,
        settings: Settings,
        gallery: Gallery,
        vectors: GalleryVectors,
        decode: Callable[[bytes], NDArray[np.float32]],
    ) -> None:
        replica = replica_name(settings)
        rules = ItemRules(settings.max_name_length, settings.max_metadata_bytes)
        self.intake = Intake(gallery, vectors, decode)
        self.items = GalleryItems(gallery, self.intake, rules, settings.max_changes)
        self.named = NamedGalleries(
            gallery.store,
            FilterLimits(settings.max_filter_conditions, settings.max_filter_values),
            settings.max_galleries,
        )
        self.snapshots = Snapshots(
            settings.data_dir / "snapshots", gallery, self.intake.beside, settings.max_snapshots, replica
        )
        unpacked = UnpackLimits(
            settings.max_unpacked_files, settings.max_body_bytes, settings.max_unpacked_bytes
        )
        self.jobs = Jobs(
            settings.data_dir / "jobs",
            settings.jobs_root,
            self.intake,
            rules,
            JobLimits(settings.max_jobs, settings.kept_jobs, unpacked),
            replica,
        )
