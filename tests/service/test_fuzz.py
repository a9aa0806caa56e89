"""The fuzzer for seconds: `make fuzz` runs it for minutes, with requests as well."""

import pytest

from tests.service import fuzz
from tests.service.fuzz import fuzz_manifests, fuzz_pictures

SECONDS, SEED = 2.0, 11


def test_a_damaged_file_is_a_picture_or_a_problem() -> None:
    count, broken = fuzz_pictures(SEED, SECONDS)
    assert not broken
    assert count > 20


def test_a_decoder_that_fails_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr(fuzz, "read_image", fails)
    count, broken = fuzz_pictures(SEED, 0.1)
    assert len(broken) == count > 0


def test_a_damaged_manifest_is_refused_or_read() -> None:
    count, broken = fuzz_manifests(SEED, SECONDS)
    assert not broken
    assert count > 20
