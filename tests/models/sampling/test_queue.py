"""The line before the network: who is next, what fits in, and how one leaves."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import CHUNK, Purpose
from models.sampling.queue import FOREGROUND, MOST_LOSSES, OLDEST_EVERY, Draw, SampleQueue, Stream


def request(chunks: int, served: int = 0, first: int = 0, purpose: Purpose = "query") -> Draw:
    """A request for `chunks` chunks of a stream that has been served `served` of them before."""
    stream = Stream(b"", np.zeros((1, 1, 1), np.float32), purpose, served=served)
    return Draw(stream, first, first + chunks, np.empty((chunks, CHUNK, 1), np.float32))


def drained(line: SampleQueue, batch: int = 1) -> list[tuple[Draw, int]]:
    """Everything that waits, in the order in which it is handed out."""
    found: list[tuple[Draw, int]] = []
    while line.waiting:
        found += line.take(batch)
    return found


def test_chunks_of_one_request_come_in_order() -> None:
    line, asked = SampleQueue(), request(5, first=7)
    line.put(asked)

    assert drained(line) == [(asked, number) for number in range(7, 12)]


def test_a_batch_holds_chunks_of_many_requests() -> None:
    line, many = SampleQueue(), [request(3) for _ in range(4)]
    for one in many:
        line.put(one)

    assert {taken for taken, _ in line.take(4)} == set(many)


def test_who_has_had_least_is_next() -> None:
    line, long, short = SampleQueue(), request(1000), request(2)
    line.put(long)
    for _ in range(100):
        line.take(1)
    line.put(short)

    order = [line.take(1)[0][0] for _ in range(4)]

    # At most one chunk in OLDEST_EVERY goes to whoever came first.
    assert order.count(short) == 2


def finished(line: SampleQueue, asked: list[Draw]) -> list[int]:
    """Whose last chunk is handed out first, and so on, when nothing else comes."""
    last = {asked.index(draw): number for number, (draw, _) in enumerate(drained(line))}
    return sorted(last, key=last.__getitem__)


def test_equal_long_queries_are_finished_one_after_another() -> None:
    line, asked = SampleQueue(), [request(400) for _ in range(5)]
    for one in asked:
        line.put(one)
    order = [asked.index(draw) for draw, _ in drained(line)]
    ends = [max(at for at, number in enumerate(order) if number == one) for one in range(5)]
    # Not all at the end: the first is done when about as much was drawn as it needs, and so on.
    assert ends == sorted(ends)
    for place, end in enumerate(ends, 1):
        assert end <= len(order) * place / 5 + 5 * FOREGROUND // CHUNK


def test_of_long_queries_the_one_with_least_left_is_next_whatever_it_asks_for_now() -> None:
    line, asked = SampleQueue(), [request(32, served=100) for _ in range(3)]
    for one, most in zip(asked, (900, 300, 600), strict=True):
        one.stream.most = most
        line.put(one)
    assert finished(line, asked) == [1, 2, 0]


def test_whoever_came_first_stays_the_first_among_equals_slice_after_slice() -> None:
    line, first, second = SampleQueue(), request(4, served=100), request(4, served=100)
    for one in (first, second):
        one.stream.most = 100
        line.put(one)
    for start in range(4, 40, 4):
        while first.handed_out < 4:
            line.take(1)
        first = Draw(first.stream, start, start + 4, first.samples)
        line.put(first)
    # One chunk in OLDEST_EVERY is for the oldest, which is the first as well.
    assert second.handed_out == 0


def test_items_for_the_gallery_come_after_all_queries_and_always_go_on() -> None:
    line, item, long = SampleQueue(), request(8, purpose="gallery"), request(1000)
    line.put(item)
    line.put(long)
    order = [line.take(1)[0][0] for _ in range(4 * OLDEST_EVERY)]
    assert order.count(item) == 4  # being the oldest
    assert order[: OLDEST_EVERY - 1] == [long] * (OLDEST_EVERY - 1)


def test_a_query_that_comes_back_for_more_is_not_new() -> None:
    line, again, new = SampleQueue(), request(2, served=50), request(2)
    line.put(again)
    line.put(new)

    assert [taken for taken, _ in drained(line)] == [new, new, again, again]


def test_a_long_request_goes_on_however_many_short_ones_come() -> None:
    line, long = SampleQueue(), request(10_000, served=10**6)
    line.put(long)
    taken = 0
    for _ in range(1000):
        line.put(request(1))
        taken += line.take(1)[0][0] is long

    assert taken == pytest.approx(1000 / OLDEST_EVERY, abs=1)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 20)), min_size=1, max_size=12),
    batch=st.integers(1, 9),
)
def test_every_chunk_is_handed_out_once(sizes: list[tuple[int, int]], batch: int) -> None:
    line, asked = SampleQueue(), [request(chunks, served) for chunks, served in sizes]
    for one in asked:
        line.put(one)
    waiting = line.waiting

    found = drained(line, batch)

    assert waiting == CHUNK * sum(chunks for chunks, _ in sizes)
    assert sorted((asked.index(one), number) for one, number in found) == [
        (position, number) for position, (chunks, _) in enumerate(sizes) for number in range(chunks)
    ]


def test_who_leaves_is_gone_at_once() -> None:
    line, leaving, staying = SampleQueue(), request(50), request(3)
    line.put(leaving)
    line.put(staying)

    line.drop(leaving)
    line.drop(request(1))  # one that never joined

    assert line.waiting == 3 * CHUNK
    assert [taken for taken, _ in drained(line)] == [staying] * 3


def test_taking_waits_for_something_to_take() -> None:
    line, found = SampleQueue(), []
    worker = threading.Thread(target=lambda: found.extend(line.take(1)))
    worker.start()
    time.sleep(0.05)
    assert not found

    line.put(request(1))
    worker.join(10)

    assert len(found) == 1


def test_closing_fails_who_waits_and_lets_the_workers_go() -> None:
    line, asked, found = SampleQueue(), request(3), [("not", "returned")]
    line.put(asked)
    line.close()

    found[:] = line.take(1)  # type: ignore[assignment]

    assert found == []
    assert asked.finished.is_set()
    assert isinstance(asked.error, RuntimeError)
    with pytest.raises(RuntimeError, match="shutting down"):
        line.put(request(1))


def test_what_is_there_without_a_gap() -> None:
    asked, samples = request(4, first=2), np.ones((CHUNK, 1), np.float32)
    found = []
    for chunk in (3, 2, 5, 4):
        found.append((asked.whole, asked.finished.is_set()))
        asked.deliver(chunk, chunk * samples)

    assert found == [(0, False), (0, False), (2, False), (2, False)]
    assert (asked.whole, asked.finished.is_set()) == (4, True)
    assert np.array_equal(asked.samples[:, 0, 0], [2, 3, 4, 5])


@pytest.mark.parametrize("most", [OLDEST_EVERY, 2 * OLDEST_EVERY])
def test_what_is_handed_out_alone_comes_under_any_load_and_holds_up_nobody(most: int) -> None:
    """In step with the chunk in `OLDEST_EVERY`, too: batches are full, and the rest of its draw goes on."""
    line, long, short = SampleQueue(), request(20), [request(1) for _ in range(20 * most)]
    line.put(long)
    for _ in range(MOST_LOSSES - 1):
        assert line.take(1) == [(long, 0)]
        line.give_back([(long, 0)], RuntimeError("lost"))
    for one in short:
        line.put(one)
    assert line.waiting == CHUNK * (20 + len(short))

    taken = [line.take(most) for _ in range(10)]

    assert taken[0] == [(long, 0)]
    assert [len(batch) for batch in taken[1:]] == [most] * 9
    assert any(draw is long for batch in taken[1:] for draw, _ in batch)


def test_what_is_to_be_handed_out_alone_leaves_and_ends_with_its_draw() -> None:
    line, left, waits = SampleQueue(), request(1), request(1)
    for draw in (left, waits):
        line.put(draw)
        for _ in range(MOST_LOSSES - 1):
            line.give_back(line.take(1), RuntimeError("lost"))
        if draw is left:
            line.drop(left)
            assert line.waiting == 0
    line.close()

    assert left.error is None
    assert waits.error is not None
    assert line.take(1) == []
