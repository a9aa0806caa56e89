"""Rule `vote`: every noisy copy votes for its own nearest item, counted again here by hand."""

from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from certify import METHODS, Claim, Guarantee, Terms, certify_votes, horizon_for, noise_samples
from index import Snapshot
from models import CHUNK
from service.retrieval.contest import Contest, vectors_of
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from tests.service.processes import Server
from tests.service.queries import QUERIES, Json, answer, claims, digit, post, tensor

SAMPLES = 1000

Rows = NDArray[np.int64]


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


def vote(retriever: Retriever, row: int, **options: Any) -> Json:
    given = RetrieveOptions(rule="vote", **{"max_samples": SAMPLES, **options})
    body: Json = retriever.retrieve(tensor(row), given).model_dump(mode="json")
    return body


def counted(retriever: Retriever, row: int, count: int = SAMPLES) -> tuple[Rows, Rows, Snapshot]:
    """The nearest item of each noisy copy and its label, in float64; -1 where `slack` might change it."""
    snapshot = retriever.snapshot()
    samples = retriever.smoothed.first(tensor(row), count).astype(np.float64)
    vectors = snapshot.vectors.astype(np.float64)
    squares = cdist(np.pad(samples, [(0, 0), (0, 1)]), vectors) ** 2
    best = squares.argmin(axis=1)
    close = squares - squares.min(axis=1, keepdims=True) <= (
        2 * retriever.space.slack * cdist(vectors, vectors)[best] + 1e-9
    )
    other = snapshot.labels != snapshot.labels[best][:, None]
    rows = np.where(close.sum(axis=1) > 1, -1, best)
    return rows, np.where((close & other).any(axis=1), -1, snapshot.labels[best]), snapshot


def shares(votes: Rows, count: int) -> Rows:
    """How many votes each of `count` items (labels) has."""
    return np.bincount(votes[votes >= 0], minlength=count)


@pytest.mark.parametrize("guarantee", ["label", "item"])
def test_the_server_answers_what_the_same_secret_gives_in_process(
    client: httpx.Client, demo_retriever: Retriever, guarantee: str
) -> None:
    asked: dict[str, Any] = {"guarantee": guarantee, "top_k": 5}
    body = answer(client, digit(3), rule="vote", max_samples=SAMPLES, **asked)
    assert claims(body) == claims(vote(demo_retriever, 3, **asked))
    certificate = body["certificate"]
    assert [certificate[name] for name in ("rule", "method", "guarantee", "samples", "alpha", "sigma")] == [
        "vote", "cdf", guarantee, SAMPLES, 0.001, 0.25
    ]  # fmt: skip
    assert certificate["radius"] == certificate[f"{guarantee}_radius"]
    assert certificate["label_radius"] >= certificate["item_radius"] >= 0
    assert certificate["status"] == ("certified" if certificate["radius"] > 0 else "abstained")


@pytest.mark.parametrize("row", [0, 4, 18, 36])
def test_items_are_listed_with_the_votes_that_they_have(demo_retriever: Retriever, row: int) -> None:
    body = vote(demo_retriever, row, top_k=100)
    items, labels, snapshot = counted(demo_retriever, row)
    of_items = shares(items, len(snapshot))
    listed = [body["neighbor"], *body["neighbors"]]
    rows = {item.id: number for number, item in enumerate(snapshot.items)}

    assert [item["votes"] for item in listed] == [of_items[rows[item["id"]]] for item in listed]
    # The label with most votes first, then by votes, then as items are ordered that are equally near.
    winning = snapshot.label_names[shares(labels, 10).argmax()]
    keys = snapshot.keys(np.arange(len(snapshot)))
    order = [(item["label"] != winning, -item["votes"], keys[rows[item["id"]]]) for item in listed]
    assert order == sorted(order)
    assert body["neighbor"]["label"] == winning


def test_guarantee_item_answers_with_the_item_of_most_votes(demo_retriever: Retriever) -> None:
    for row in (0, 4, 18, 36):
        body = vote(demo_retriever, row, guarantee="item", top_k=100)
        items, _, snapshot = counted(demo_retriever, row)
        of_items = shares(items, len(snapshot))
        listed = [body["neighbor"], *body["neighbors"]]
        assert listed[0]["id"] == snapshot.items[of_items.argmax()].id
        assert [item["votes"] for item in listed] == sorted(of_items, reverse=True)[:100]


@pytest.mark.parametrize("guarantee", ["label", "item"])
def test_the_certificate_is_that_of_the_votes(demo_retriever: Retriever, guarantee: Guarantee) -> None:
    for row in (4, 36):
        items, labels, snapshot = counted(demo_retriever, row)
        of_items = shares(items, len(snapshot))
        if guarantee == "label":
            of_items[snapshot.labels != shares(labels, 10).argmax()] = -1
        answer = int(of_items.argmax())
        votes: dict[Claim, Rows] = {"item": items}
        if guarantee == "label":
            votes["label"] = labels
        smoothed = demo_retriever.smoothed
        terms = Terms(
            0.25,
            0.001,
            guarantee,
            horizon=horizon_for(SAMPLES, None),
            blur=smoothed.blur,
            noise=smoothed.noise_distance(noise_samples(SAMPLES)),
        )
        expected = certify_votes(votes, {"item": answer, "label": int(snapshot.labels[answer])}, terms)
        found = vote(demo_retriever, row, guarantee=guarantee)["certificate"]
        assert (found["label_radius"], found["item_radius"]) == (expected.label_radius, expected.item_radius)
        assert found["reason"] == expected.reason


def test_a_unanimous_vote_gets_nearly_the_largest_radius_that_so_many_samples_allow(
    demo_retriever: Retriever,
) -> None:
    row = next(row for row in range(60) if len(set(counted(demo_retriever, row)[1].tolist())) == 1)
    radius = vote(demo_retriever, row)["certificate"]["radius"]
    # Had the label's share been p, m votes agree with probability p^m. Where that is more than α, the radius
    # σ Φ⁻¹(p) that p allows must not be exceeded.
    alpha, voters = 0.9 * 0.001, SAMPLES - 128
    limit = 0.25 * ndtri(alpha ** (1 / voters))
    # Bets are planned for fewer samples than these.
    assert 0.9 * limit < radius < limit


def test_the_label_of_most_digits_is_right_and_certified(demo_retriever: Retriever) -> None:
    rows = range(0, len(QUERIES), 15)
    bodies = [vote(demo_retriever, row) for row in rows]
    right = [body["neighbor"]["label"] == QUERIES.labels[row] for row, body in zip(rows, bodies, strict=True)]
    assert np.mean(right) > 0.9
    assert np.mean([body["certificate"]["radius"] for body in bodies]) > 0.2


def test_no_votes_are_told_where_nobody_voted(client: httpx.Client) -> None:
    body = answer(client, digit(0), top_k=3)
    assert [item["votes"] for item in (body["neighbor"], *body["neighbors"])] == [None] * 3


def test_votes_of_copies_that_may_be_off_by_more_are_in_doubt_and_certify_less(
    demo_retriever: Retriever,
) -> None:
    snapshot, terms = demo_retriever.snapshot(), Terms(0.25, 0.001, horizon=4 * CHUNK)
    samples = demo_retriever.smoothed.sample(tensor(4), 0, 4)
    space = demo_retriever.space
    radii, votes = [], []
    for slack in (0.0, space.slack, 0.002, 1.0):
        loose = type(space)(space.nonnegative, space.norm_bound, slack, space.padded)
        contest = Contest(snapshot, vectors_of(snapshot), loose, "vote", terms, top_k=len(snapshot))
        outcome = contest.outcome(samples)
        radii.append(outcome.certificate.radius)
        assert outcome.votes is not None
        votes.append(sum(outcome.votes))
    assert radii == sorted(radii, reverse=True)
    assert radii[0] > radii[3] == 0
    assert len(samples) == votes[0] >= votes[1] > votes[2] > votes[3] == 0


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"cdf"}))
def test_another_method_than_cdf_is_refused_by_name(client: httpx.Client, method: str) -> None:
    response = post(client, digit(0), rule="vote", method=method)
    assert response.status_code == 422
    body = response.json()
    assert body["type"] == "urn:retrievalguard:problem:invalid-option"
    assert [error["option"] for error in body["errors"]] == ["method"]
    assert method in body["errors"][0]["message"]
    assert answer(client, digit(0), rule="vote", method="cdf")["certificate"]["rule"] == "vote"
