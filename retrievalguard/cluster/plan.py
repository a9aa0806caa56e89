"""What a cluster is to be, as it was asked for; and what is wrong with that, told before Ray is started."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrievalguard.preflight import CheckError

if TYPE_CHECKING:
    from service.settings import Settings


@dataclass(frozen=True)
class Replicas:
    """From `least` to `most` replicas of a kind."""

    least: int
    most: int

    def check(self, option: str) -> None:
        """`CheckError` unless 1 <= least <= most; `option`: --api or --samplers."""
        if not 1 <= self.least <= self.most:
            raise CheckError(f"{option}: ask for at least 1, and no fewer at most than at least, like 1:4")


def replicas(text: str, option: str) -> Replicas:
    """`2` is always two, `1:4` from one to four. Raises `CheckError`."""
    least, _, most = text.partition(":")
    try:
        found = Replicas(int(least), int(most or least))
    except ValueError as error:
        raise CheckError(f"{option}: {text} is neither a number, like 2, nor two, like 1:4") from error
    found.check(option)
    return found


@dataclass(frozen=True)
class ClusterPlan:
    """A cluster: how many API and sampler replicas; samplers have a core each, or with `on_gpu` a GPU."""

    api: Replicas
    samplers: Replicas
    on_gpu: bool

    @property
    def least_cores(self) -> int:
        """What the fewest replicas take, twice: an update starts the new ones beside the old."""
        return 2 * (self.api.least + (0 if self.on_gpu else self.samplers.least))


def check_gallery(settings: "Settings", plan: ClusterPlan, machines: int) -> None:
    """`CheckError` if API replicas on several `machines` would each have a gallery of its own.

    On one machine they share the data folder: a gallery in SQLite is changed by one process at a time, and
    every process sees it with its next query.
    """
    if settings.database_url is None and plan.api.most > 1 and machines > 1:
        raise CheckError(
            f"--api: several API replicas on {machines} machines need a gallery that they share: set"
            " DATABASE_URL, or ask for --api 1"
        )


def shared(settings: "Settings") -> "Settings":
    """The settings as replicas are given them: whatever folder they are started in, they mean the same."""
    places = {name: _absolute(getattr(settings, name)) for name in ("data_dir", "keys_file", "jobs_root")}
    model = Path(settings.model)
    named = str(model.absolute()) if model.is_dir() else settings.model
    return settings.model_copy(update={**places, "model": named})


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()
