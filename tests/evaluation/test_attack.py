"""The certificate against an adversary who has everything but the noise."""

from evaluation.attack import attack
from service.retriever import Retriever


def test_no_attack_inside_the_radius_changes_an_answer(demo_retriever: Retriever) -> None:
    report = attack("digits", demo_retriever, queries=20, scale=0.999, samples=1_000)
    assert report["attacked"] >= 16
    assert report["changed"] == 0


def test_the_attack_is_strong_enough_to_mean_something(demo_retriever: Retriever) -> None:
    report = attack("digits", demo_retriever, queries=8, scale=3.0, samples=1_000)
    assert report["changed"] >= report["attacked"] / 2
