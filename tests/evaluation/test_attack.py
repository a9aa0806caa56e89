"""The certificate against an adversary who has everything but the noise."""

import pytest

from evaluation.attack import attack
from service.settings import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate({"gallery_samples": 128})


def test_no_attack_inside_the_radius_changes_an_answer(settings: Settings) -> None:
    report = attack("digits", settings, queries=40, scale=0.999, samples=1_000)
    assert report["attacked"] >= 33
    assert report["changed"] == 0


def test_the_attack_is_strong_enough_to_mean_something(settings: Settings) -> None:
    report = attack("digits", settings, queries=12, scale=3.0, samples=1_000)
    assert report["changed"] >= report["attacked"] / 2
