"""Which forward pass is chosen, that the choice is kept, and when it is made anew."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import CHUNK, Calibration, EmbeddingModel, Measured, VariantError, calibrated
from models.passes import calibration as calibrating
from models.passes.calibration import BATCHES, KEPT, WORTHWHILE, calibrate, machine
from models.passes.variants import BY_NAME, VARIANTS, Variant
from tests.models.elsewhere import SIGMA

Images = NDArray[np.float32]


def measured(**speeds: float) -> list[Measured]:
    """As if these variants had been measured; all near enough."""
    return [
        Measured(variant=name.replace("_", "-"), samples_per_second=speed, radius_kept=1.0)
        for name, speed in speeds.items()
    ]


def chosen(found: list[Measured]) -> str:
    return calibrating._choose(found, None)[0].name


@pytest.fixture(autouse=True)
def _few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a variant is does not matter here; `here` alone is measured as it is in the service."""
    monkeypatch.setattr(calibrating, "TRIALS", 2)


@pytest.fixture(scope="module")
def here(shipped: EmbeddingModel) -> Calibration:
    return calibrate(shipped, SIGMA)


def test_the_fastest_is_chosen_and_the_reason_says_by_how_much() -> None:
    found = measured(eager=100, folded=120, openvino_bfloat16=250, openvino_int8=300)
    assert chosen(found) == "openvino-int8"
    assert "3.00x" in calibrating._choose(found, None)[1]


def test_a_variant_farther_from_the_textbook_has_to_be_worth_it() -> None:
    assert chosen(measured(eager=100, folded=100 * WORTHWHILE - 1)) == "eager"
    assert chosen(measured(eager=100, folded=100 * WORTHWHILE + 1)) == "folded"


def test_a_variant_that_is_another_model_is_not_chosen_however_fast() -> None:
    for kept in (0.99 * KEPT, float("nan")):
        far = Measured(variant="openvino-int8", samples_per_second=900, radius_kept=kept)
        assert chosen([*measured(eager=100), far]) == "eager"


def test_a_variant_that_cannot_run_here_is_passed_over() -> None:
    assert chosen([*measured(eager=100), Measured(variant="openvino-int8", unavailable="no")]) == "eager"


def test_all_variants_are_measured_or_say_why_not(here: Calibration) -> None:
    assert [one.variant for one in here.measured] == [variant.name for variant in VARIANTS]
    for one in here.measured:
        assert (one.samples_per_second is None) == (one.unavailable is not None)
    runs = {one.variant: one for one in here.measured if one.unavailable is None}
    assert {"eager", "folded", "channels-last", "torch-bfloat16"} <= set(runs)
    assert here.variant in runs
    distance, bias, largest = (
        getattr(runs["torch-bfloat16"], name) for name in ("mean_distance", "bias", "largest_distance")
    )
    assert 0 < bias < distance < largest < 0.05
    assert runs["eager"].radius_kept == 1
    assert abs((runs["torch-bfloat16"].radius_kept or 0) - 1) < 1 - KEPT
    assert here.batch in BATCHES


def test_what_is_chosen_runs_and_has_its_own_digest(here: Calibration, shipped: EmbeddingModel) -> None:
    embeddings = here.build(shipped)(np.zeros((here.batch * CHUNK, *shipped.input_shape), np.float32))

    assert embeddings.shape == (here.batch * CHUNK, shipped.dimension)
    assert here.digest == BY_NAME[here.variant].digest(shipped)


def test_a_choice_is_kept(shipped: EmbeddingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "folder" / "calibration.json"
    made = calibrated(shipped, SIGMA, None, record)
    monkeypatch.setattr(calibrating, "calibrate", lambda *_: pytest.fail("measured again"))

    assert calibrated(shipped, SIGMA, None, record) == made


@pytest.mark.parametrize(
    "change",
    [{"machine": "another"}, {"batch": 0}, {"digest": "sha256:00"}, {"variant": "gone"}, {"more": 1}, None],
    ids=["machine", "batch", "digest", "variant", "field", "damaged"],
)
def test_a_choice_made_elsewhere_or_for_something_else_is_made_anew(
    change: dict[str, object] | None, here: Calibration, shipped: EmbeddingModel, tmp_path: Path
) -> None:
    record = tmp_path / "calibration.json"
    kept = json.loads(here.model_dump_json())
    record.write_text("{" if change is None else json.dumps(kept | change))

    made = calibrated(shipped, SIGMA, "folded", record)

    assert (made.variant, made.machine) == ("folded", machine())
    assert Calibration.model_validate_json(record.read_bytes()) == made


def test_a_variant_that_is_asked_for_is_taken(
    here: Calibration, shipped: EmbeddingModel, tmp_path: Path
) -> None:
    record = tmp_path / "calibration.json"
    record.write_text(here.model_dump_json())

    asked = calibrated(shipped, SIGMA, "eager", record)
    assert asked.variant == "eager"
    assert "RETRIEVALGUARD_VARIANT" in asked.reason
    # Asked for no more, all are measured: one that was asked for is no measured choice.
    assert len(calibrated(shipped, SIGMA, None, record).measured) == len(VARIANTS)


@pytest.mark.parametrize(
    ("wanted", "message"), [("fastest", "there is: eager, folded"), ("broken", "no such chip")]
)
def test_a_variant_that_is_not_there_is_refused(
    wanted: str, message: str, shipped: EmbeddingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: EmbeddingModel) -> str:
        raise calibrating.VariantUnavailable("no such chip")

    monkeypatch.setitem(BY_NAME, "broken", Variant("broken", refuse, lambda model, batch: model))
    with pytest.raises(VariantError, match=message):
        calibrated(shipped, SIGMA, wanted, tmp_path / "calibration.json")


def test_a_batch_in_which_rows_come_out_otherwise_is_not_taken(shipped: EmbeddingModel) -> None:
    images = calibrating._noisy_images(shipped, SIGMA)

    def build(model: EmbeddingModel, batch: int) -> "calibrating.ForwardPass":
        off = np.float32(0 if batch == CHUNK else 1e-7)
        return lambda given: given.reshape(len(given), -1) + off

    odd = Variant("odd", lambda model: "odd", build)

    batch, why = calibrating._batch(shipped, odd, images)
    assert batch == 1
    assert "best of 1" in why


def test_a_batch_in_which_the_place_within_a_chunk_matters_is_not_taken(shipped: EmbeddingModel) -> None:
    images = calibrating._noisy_images(shipped, SIGMA)

    def build(model: EmbeddingModel, batch: int) -> "calibrating.ForwardPass":
        def forward(given: Images) -> NDArray[np.float32]:
            found: NDArray[np.float32] = given.reshape(len(given), -1).copy()
            if batch > CHUNK:  # otherwise in the first rows of each chunk, as alone
                found.reshape(-1, CHUNK, found.shape[1])[:, :7] += np.float32(1e-6)
            else:
                found[:7] += np.float32(1e-6)
            return found

        return forward

    batch, _ = calibrating._batch(shipped, Variant("odd", lambda model: "odd", build), images)
    assert batch == 1


def test_a_variant_in_which_the_place_within_a_chunk_matters_is_refused(
    shipped: EmbeddingModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(model: EmbeddingModel, batch: int) -> "calibrating.ForwardPass":
        def forward(given: Images) -> NDArray[np.float32]:
            found = model(given)
            found[-1] += np.float32(1e-6)  # a row left over from groups of more
            return found

        return forward

    odd = Variant("odd", lambda model: "odd", build)
    monkeypatch.setitem(BY_NAME, "odd", odd)
    monkeypatch.setattr(calibrating, "VARIANTS", (VARIANTS[0], odd))
    found = calibrate(shipped, SIGMA)
    assert found.variant == "eager"
    assert [one.unavailable for one in found.measured] == [
        None,
        "a row comes out otherwise in another place of its batch",
    ]
    with pytest.raises(VariantError, match="odd cannot run here: a row comes out otherwise"):
        calibrated(shipped, SIGMA, "odd", tmp_path / "calibration.json")
    monkeypatch.setattr(calibrating, "VARIANTS", (odd,))
    with pytest.raises(VariantError, match=r"no way to run the network .* odd: a row comes out otherwise"):
        calibrate(shipped, SIGMA)


def test_a_fixed_choice_measures_nothing(shipped: EmbeddingModel) -> None:
    fixed = Calibration.fixed(shipped, "folded", 4)

    assert (fixed.variant, fixed.batch, fixed.measured) == ("folded", 4, ())
    assert fixed.digest == BY_NAME["folded"].digest(shipped)


def test_a_runtime_that_fails_to_compile_is_passed_over(
    shipped: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: EmbeddingModel, batch: int) -> "calibrating.ForwardPass":
        raise RuntimeError("no kernel for this")

    broken = Variant("openvino-int8", lambda model: "int8", fail)
    others = [variant for variant in VARIANTS if variant.name != broken.name]
    monkeypatch.setattr(calibrating, "VARIANTS", (*others, broken))

    found = calibrate(shipped, SIGMA)
    reasons = {one.variant: one.unavailable for one in found.measured}
    assert reasons["openvino-int8"] == "no kernel for this"
    assert found.variant != broken.name


def test_a_record_is_written_whole(shipped: EmbeddingModel, tmp_path: Path) -> None:
    calibrated(shipped, SIGMA, "eager", tmp_path / "calibration.json")
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
