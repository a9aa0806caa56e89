"""A gallery on a GPU: the same answers as the processor's, whatever its rounding, and whatever fails.

The GPU is another arithmetic here (`tests.index.devices`); where there is a real one it is tried, too.
"""

import gc
import logging
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import Device, Gallery, Snapshot, gpu
from index import device as device_module
from index.flat import rounding
from index.search import ExactSearch
from tests.index.devices import ARITHMETIC, Arithmetic, Machine, StandIn, expansion, snapshot_on, tensor_cores
from tests.index.items import MODEL, new

Singles = NDArray[np.float32]
Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _few_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "WORTH", 1)


def true_distances(snapshot: Snapshot, point: Array) -> NDArray[np.longdouble]:
    differences = snapshot.vectors.astype(np.longdouble) - point.astype(np.longdouble)
    return np.sqrt((differences**2).sum(axis=1))


def check(here: Snapshot, there: Snapshot, point: Array, count: int) -> None:
    """The neighbours are those of the processor, and nobody else is nearer than is said."""
    expected, found = here.nearest(point, count), there.nearest(point, count)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.distances.tolist() == expected.distances.tolist()
    left = np.setdiff1d(np.arange(len(there)), found.rows)
    if len(left):
        nearest = true_distances(there, point)[left].min()
        assert found.outside <= nearest + 1e-12 * (1 + nearest), "a rival may be missed"


def check_votes(here: Snapshot, there: Snapshot, points: Array) -> None:
    """Who is certain of both is the same, and what is certain is true."""
    expected, found = here.votes(points), there.votes(points)
    both = (expected.rows >= 0) & (found.rows >= 0)
    assert (expected.rows[both] == found.rows[both]).all()
    certain = found.rows >= 0
    differences = there.vectors.astype(np.longdouble) - points[certain, None, :].astype(np.longdouble)
    squares = (differences**2).sum(axis=2)
    assert (squares[np.arange(len(squares)), found.rows[certain]] == squares.min(axis=1)).all()


def near_ties(rng: np.random.Generator, size: int, dimension: int, offset: float, spread: float) -> Singles:
    """Far from the origin and near each other, every seventh twice."""
    vectors = (offset + spread * rng.standard_normal((size, dimension))).astype(np.float32)
    vectors[7::7] = vectors[0:-7:7]
    return vectors


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(60, 200),
    dimension=st.integers(1, 24),
    scale=st.sampled_from([1e-25, 1e-6, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 1.0, 30.0, 1e3]),
    spread=st.sampled_from([1e-6, 1e-3, 1.0]),
    count=st.integers(1, 40),
    stay=st.sampled_from([1.0, 0.95, 0.5]),
    arithmetic=st.sampled_from(sorted(ARITHMETIC)),
)
@settings(deadline=None, max_examples=120)
def test_a_gpu_finds_what_the_processor_finds(
    seed: int, size: int, dimension: int, scale: float, offset: float, spread: float, count: int, stay: float,
    arithmetic: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    vectors = scale * near_ties(rng, size, dimension, offset, spread)
    alive = rng.random(size) < stay
    machine = Machine(ARITHMETIC[arithmetic])
    here = snapshot_on(None, vectors, alive, opened=20)
    there = snapshot_on(machine.device, vectors, alive, opened=20)

    for point in (vectors[0] * (1 + 1e-9), vectors.mean(axis=0), scale * rng.standard_normal(dimension)):
        check(here, there, point.astype(np.float64), count)
    points = vectors[:30].astype(np.float64) + scale * spread * rng.standard_normal((30, dimension))
    check_votes(here, there, points)
    assert machine.failures == 0


@pytest.mark.parametrize("arithmetic", sorted(ARITHMETIC))
def test_squares_are_within_the_bound_and_not_within_that_of_differences(arithmetic: str) -> None:
    rng = np.random.default_rng(1)
    beyond = 0
    for dimension, offset in ((1, 30.0), (8, 30.0), (129, 0.0), (129, 30.0)):
        vectors = near_ties(rng, 200, dimension, offset, 1e-3)
        points = vectors[:5] + 1e-4
        exact = ((points[:, None].astype(np.float64) - vectors.astype(np.float64)) ** 2).sum(axis=2)
        norm = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
        off = np.abs(ARITHMETIC[arithmetic](points, vectors) - exact)
        assert (off <= rounding(points.astype(np.float64), norm)[:, None]).all()
        beyond += np.count_nonzero(off > (dimension + 3) * 2.0**-23 * exact)
    # A processor that squares differences is off in proportion to the distance; this is not.
    assert beyond > 100


def test_the_bound_of_differences_would_miss_rivals_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsound(self: ExactSearch, points: Array, squares: Singles) -> Array:
        return np.sqrt(squares.astype(np.float64) * (1 - 4 * (points.shape[1] + 4) * 2.0**-23))

    rng = np.random.default_rng(2)
    vectors = near_ties(rng, 24, 16, 30.0, 1e-4)
    points = [vectors[row].astype(np.float64) + 1e-5 for row in range(20)]
    for arithmetic in (ARITHMETIC["one by one"], ARITHMETIC["worst"]):
        here, there = (snapshot_on(one, vectors) for one in (None, Machine(arithmetic).device))
        for point in points:
            check(here, there, point, 3)
        with monkeypatch.context() as patched:
            patched.setattr(ExactSearch, "unseen", unsound)
            missed = 0
            for point in points:
                try:
                    check(here, there, point, 3)
                except AssertionError:
                    missed += 1
            assert missed > 3


def test_numbers_that_float32_cannot_square_are_left_to_float64() -> None:
    rng = np.random.default_rng(3)
    machine = Machine(ARITHMETIC["one by one"])
    for scale, opened in ((1e20, 300), (1.0, 0)):
        vectors = (scale * rng.standard_normal((300, 4))).astype(np.float32)
        there = snapshot_on(machine.device, vectors, opened=opened)
        for point in (vectors[5].astype(np.float64), np.full(4, 1e20)):
            found = there.nearest(point, 2)
            true = true_distances(there, point)
            assert found.distances.tolist() == pytest.approx(np.sort(true.astype(np.float64))[:2].tolist())
            assert found.outside <= np.sort(true)[2] * (1 + 1e-12)
    assert len(machine.searches) == 2  # both segments, for the one point that is not large


# --- what is where


@pytest.fixture
def vectors() -> Singles:
    rng = np.random.default_rng(4)
    return rng.standard_normal((600, 8)).astype(np.float32)


@pytest.fixture
def machine() -> Machine:
    return Machine(ARITHMETIC["fused"])


def test_sealed_segments_are_loaded_once_and_freed_with_the_last_snapshot(
    machine: Machine, vectors: Singles
) -> None:
    snapshot = snapshot_on(machine.device, vectors, opened=100)
    for _ in range(3):
        snapshot.nearest(np.zeros(8), 1)
    assert [len(flat.vectors) for flat in machine.loaded] == [4096, 250, 250]  # the trial, and two segments
    assert machine.device.bytes == 500 * 9 * 4
    view = snapshot.only(lambda columns: columns.labels == 0)
    assert view.nearest(np.zeros(8), 1).rows[0] < len(view)
    assert len(machine.loaded) == 3
    del snapshot, view
    gc.collect()
    snapshot_on(machine.device, vectors[:100]).nearest(np.zeros(8), 1)
    assert machine.device.bytes == 100 * 9 * 4


def test_what_has_no_room_is_searched_by_the_processor(vectors: Singles) -> None:
    machine = Machine(ARITHMETIC["fused"], most_bytes=300 * 9 * 4)
    here, there = snapshot_on(None, vectors), snapshot_on(machine.device, vectors)
    for row in range(10):
        check(here, there, vectors[row].astype(np.float64), 5)
    assert machine.device.bytes == 300 * 9 * 4
    assert (len(machine.searches), machine.failures) == (10, 0)


def test_small_searches_and_large_answers_are_left_to_the_processor(
    machine: Machine, vectors: Singles, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = np.random.default_rng(5).standard_normal((9000, 2)).astype(np.float32)
    here, there = snapshot_on(None, many), snapshot_on(machine.device, many)
    check(here, there, np.zeros(2), 2040)
    assert machine.searches == []
    check(here, there, np.zeros(2), 2000)
    assert machine.searches == [(1, 2016), (1, 2016)]
    monkeypatch.setattr(device_module, "WORTH", 4501)
    there.nearest(np.zeros(2), 1)
    assert len(machine.searches) == 2
    there.votes(np.zeros((2, 2)))
    assert len(machine.searches) == 4


@pytest.mark.parametrize("stay", [0.99, 0.5, 0.05])
def test_more_are_asked_for_where_some_have_left(machine: Machine, vectors: Singles, stay: float) -> None:
    alive = np.random.default_rng(6).random(600) < stay
    here, there = snapshot_on(None, vectors, alive), snapshot_on(machine.device, vectors, alive)
    for row in range(0, 600, 60):
        check(here, there, vectors[row].astype(np.float64), 3)
    assert machine.searches


def test_who_left_all_around_a_point_does_not_hide_who_is_there(machine: Machine) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((4000, 4)).astype(np.float32)
    alive = np.linalg.norm(vectors, axis=1) > 1.5
    here, there = snapshot_on(None, vectors, alive), snapshot_on(machine.device, vectors, alive)
    check(here, there, np.zeros(4), 3)
    points = np.concatenate([np.zeros((1, 4)), vectors[alive][:40]]).astype(np.float64)
    check_votes(here, there, points)
    assert machine.searches


# --- what fails


def test_a_gpu_without_memory_costs_no_answer(vectors: Singles, caplog: pytest.LogCaptureFixture) -> None:
    def failing(points: Singles, vectors: Singles) -> Singles:
        if len(vectors) == 300:
            raise RuntimeError("Error in allocMemory:\n  out of memory")
        return ARITHMETIC["fused"](points, vectors)

    machine = Machine(failing)
    here, there = snapshot_on(None, vectors), snapshot_on(machine.device, vectors)
    with caplog.at_level(logging.WARNING):
        for row in range(5):
            check(here, there, vectors[row].astype(np.float64), 3)
    assert machine.failures == 1  # then it rests
    assert [record.message for record in caplog.records] == [
        "the GPU failed to search the gallery, which the processor does for 30 s:"
        " Error in allocMemory: out of memory"
    ]


def test_after_a_rest_it_is_asked_again(vectors: Singles, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([RuntimeError("busy")])

    def once(points: Singles, vectors: Singles) -> Singles:
        if len(vectors) == 300 and (error := next(failures, None)):
            raise error
        return ARITHMETIC["fused"](points, vectors)

    monkeypatch.setattr(device_module, "REST", 0.0)
    machine = Machine(once)
    there = snapshot_on(machine.device, vectors)
    for _ in range(3):
        there.nearest(np.zeros(8), 1)
    assert machine.failures == 1
    assert len(machine.searches) == 6


def test_memory_that_is_not_there_is_not_asked_for_again(
    vectors: Singles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "REST", 0.0)
    machine = Machine(ARITHMETIC["fused"])
    load = machine.device._load

    def limited(vectors: Singles) -> device_module.Flat:
        if len(machine.loaded) == 2:
            raise MemoryError
        return load(vectors)

    monkeypatch.setattr(machine.device, "_load", limited)
    here, there = snapshot_on(None, vectors), snapshot_on(machine.device, vectors)
    for row in range(4):
        check(here, there, vectors[row].astype(np.float64), 3)
    assert machine.failures == 1
    assert machine.device.bytes == 300 * 9 * 4


WRONG: dict[str, tuple[Arithmetic, str]] = {
    "tensor cores": (expansion(tensor_cores), "less than the precision of float32"),
    "a little off": (
        lambda points, vectors: ARITHMETIC["fused"](points, vectors) + np.float32(1e-3),
        "farther off",
    ),
    "all equal": (
        lambda points, vectors: np.full((len(points), len(vectors)), np.float32(2048**2)),
        "farther off",
    ),
    "no numbers": (
        lambda points, vectors: np.full((len(points), len(vectors)), np.float32(np.nan)),
        "less than",
    ),
}


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_a_gpu_that_is_wrong_is_not_asked_again(
    kind: str, vectors: Singles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, said = WRONG[kind]
    monkeypatch.setattr(device_module, "REST", 0.0)
    machine = Machine(wrong)
    here, there = snapshot_on(None, vectors), snapshot_on(machine.device, vectors)
    for row in range(3):
        check(here, there, vectors[row].astype(np.float64), 3)
    assert machine.failures == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert said in record.message
    assert "from now on" in record.message
    assert machine.device.bytes == 0


@pytest.mark.parametrize("name", device_module.LESS_EXACT)
def test_a_gpu_that_is_told_to_be_less_exact_is_not_used(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setenv(name, "1")
    assert gpu(2**30) is None
    assert name in caplog.text


def test_without_a_gpu_or_bytes_for_it_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert gpu(2**30) is None
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    assert gpu(0) is None


# --- in use


def test_a_gallery_that_changes_is_searched_on_the_gpu(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.next_start.LARGE", 1000)  # so that it is kept as it is searched
    rng = np.random.default_rng(8)
    path = tmp_path / "gallery.sqlite3"
    vectors = rng.standard_normal((2500, 2))
    here = Gallery(path, MODEL, 2, 0.5)
    here.add([new(f"item-{row}", f"label-{row % 50}", vector) for row, vector in enumerate(vectors)])
    here.close()
    for start in (0, 100):  # the second time from what the first one kept
        gallery = Gallery(path, MODEL, 2, 0.5, device=machine.device)
        try:
            here = Gallery(path, MODEL, 2, 0.5)
            for row in (1, 2, 3):
                asked = len(machine.searches)
                gallery.store.delete([f"item-{start + row}"])
                points = here.snapshot().lift(rng.standard_normal((3, 2)))
                for point in points:
                    check(here.snapshot(), gallery.snapshot(), point, 4)
                assert len(machine.searches) > asked
        finally:
            here.close()
            gallery.close()
        assert path.with_suffix(".pack").exists()
    assert machine.failures == 0


def test_threads_take_turns(machine: Machine, vectors: Singles) -> None:
    here, there = snapshot_on(None, vectors), snapshot_on(machine.device, vectors)
    wrong = list[BaseException]()

    def ask(thread: int) -> None:
        try:
            for row in range(thread, 600, 60):
                check(here, there, vectors[row].astype(np.float64), 3)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert machine.failures == 0


@pytest.mark.parametrize("fails", ["nothing", "the trial", "a search"])
def test_what_is_freed_is_freed_by_who_has_the_device(fails: str, vectors: Singles) -> None:
    freed = list[bool]()

    class Freed(StandIn):
        def search(self, points: Singles, count: int) -> tuple[Singles, NDArray[np.int64]]:
            trial = len(self.vectors) == device_module.TRIED[0]
            if fails == ("the trial" if trial else "a search"):
                raise device_module.WrongResult(fails)
            return super().search(points, count)

        def __del__(self) -> None:
            freed.append(device._lock.locked())

    device = Device(lambda some: Freed(some, ARITHMETIC["fused"]), 2**30)
    snapshot_on(device, vectors).nearest(np.zeros(8), 1)
    gc.collect()
    snapshot_on(device, vectors[:100]).nearest(np.zeros(8), 1)
    assert freed == [True] * {"nothing": 3, "the trial": 1, "a search": 2}[fails]


# --- for real


@pytest.mark.gpu
@pytest.mark.skipif(
    not faiss.get_num_gpus(), reason="FAISS sees no NVIDIA GPU: pip install faiss-gpu, and have one"
)
@pytest.mark.parametrize(
    ("size", "dimension", "offset"), [(5000, 129, 0.0), (70_000, 65, 0.0), (5000, 16, 30.0)]
)
def test_a_real_gpu_finds_what_the_processor_finds(size: int, dimension: int, offset: float) -> None:
    failures = list[int]()
    device = gpu(2**30, lambda: failures.append(1))
    assert device is not None
    rng = np.random.default_rng(9)
    vectors = near_ties(rng, size, dimension, offset, 1e-3 if offset else 1.0)
    alive = rng.random(size) < 0.95
    here = snapshot_on(None, vectors, alive, opened=100)
    there = snapshot_on(device, vectors, alive, opened=100)
    for row in range(20):
        check(here, there, vectors[row] + 1e-4 * rng.standard_normal(dimension), 128)
    check_votes(here, there, vectors[:200] + 1e-4 * rng.standard_normal((200, dimension)))
    assert device.bytes > 0.9 * vectors.nbytes
    assert not failures
