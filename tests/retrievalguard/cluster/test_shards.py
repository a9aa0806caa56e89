"""Shards in processes of their own: Ray's actors, one of which is killed while it is asked."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index import Gallery, Shards, elsewhere
from index.shards.messages import Keep
from tests.index.items import MODEL
from tests.index.sharding import ASKED, DIMENSION, contest, fill, samples, small_world, told
from tests.service.processes import wait_for

ray = pytest.importorskip("ray", reason="needs the extra `cluster`")


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        small_world(patch)
        yield


def mended(far: Gallery, shards: Shards) -> bool:
    """Whether the copy that was killed holds all of its segments again."""
    far.mend()
    parts = (elsewhere(part.segment.columns.vectors) for part in far.snapshot().parts)
    marks = tuple(each.mark for each in parts if each is not None and each.shard == 1)
    request = Keep(owner="a test", marks=marks)
    try:
        (held,) = shards._shards[1].ask_copy(0, request, lambda arrays: None, 10)
    except ray.exceptions.RayError:  # it is being started
        return False
    return bool(held.all()) and len(held) > 0


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_actors_answer_as_one_machine_does_and_a_killed_one_is_given_its_segments_again(
    tmp_path: Path,
) -> None:
    from retrievalguard.cluster.shards import NAMESPACE, ray_shards

    shards = Shards(ray_shards(2), 60)
    here = Gallery(tmp_path / "gallery.sqlite3", MODEL, DIMENSION, 0.5)
    fill(here, np.random.default_rng(1), 150)
    here.close()
    here = Gallery(tmp_path / "gallery.sqlite3", MODEL, DIMENSION, 0.5)
    far = Gallery(tmp_path / "gallery.sqlite3", MODEL, DIMENSION, 0.5, shards=shards)
    try:
        for row, (rule, terms) in enumerate([ASKED[0], ASKED[2], ASKED[6]]):
            drawn = samples(np.random.default_rng(row))
            mine, theirs = (contest(each.snapshot(), rule, **terms) for each in (here, far))
            if row == 1:
                actor = ray.get_actor("shard 1 copy 0", namespace=NAMESPACE)
                ray.kill(actor, no_restart=False)
            assert told(mine.outcome(drawn)) == told(theirs.outcome(drawn))
        wait_for(lambda: mended(far, shards), 120)
        ray.kill(ray.get_actor("shard 1 copy 1", namespace=NAMESPACE))
        drawn = samples(np.random.default_rng(7))
        assert told(contest(here.snapshot()).outcome(drawn)) == told(contest(far.snapshot()).outcome(drawn))
    finally:
        far.close()
        here.close()
        ray.shutdown()
