"""Noise is a keyed function: one key, one stream; normal within a stream, unrelated between streams.

And it lies with the pixels on a grid on which float32 adds exactly: the sum tells no more than x + σz does.
"""

import itertools
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from models import CHUNK, KeyedNoise, Purpose
from models.noise import grid_step, input_digest, length_prefixed, on_grid
from tests.models import elsewhere as other_process
from tests.models.elsewhere import SECRET


def draw(
    secret: bytes = SECRET,
    model: str = "sha256:model",
    sigma: float = 0.25,
    purpose: Purpose = "query",
    digest: bytes = b"input",
    chunk: int = 3,
    shape: tuple[int, ...] = (CHUNK, 2, 5),
) -> NDArray[np.float32]:
    out = np.full(shape, np.nan, np.float32)
    KeyedNoise(secret, model, sigma).fill(out, purpose, digest, chunk)
    return out


def test_another_process_draws_the_same_numbers(elsewhere: dict[str, NDArray[np.generic]]) -> None:
    assert np.array_equal(elsewhere["noise"], other_process.noise())
    assert np.array_equal(elsewhere["noise"], draw())


def test_the_order_of_drawing_does_not_matter() -> None:
    noise = KeyedNoise(SECRET, "sha256:model", 0.25)
    drawn = {}
    for chunk in (5, 3, 0, 3):
        drawn[chunk] = np.empty((CHUNK, 2, 5), np.float32)
        noise.fill(drawn[chunk], "query", b"input", chunk)

    for chunk, values in drawn.items():
        assert np.array_equal(values, draw(chunk=chunk))


DIFFERENT = {
    "secret": draw(secret=SECRET + b"!"),
    "secret, one bit": draw(secret=bytes([SECRET[0] ^ 1]) + SECRET[1:]),
    "model": draw(model="sha256:modeL"),
    "sigma": draw(sigma=0.5),
    "sigma, one unit in the last place": draw(sigma=float(np.nextafter(0.25, 1))),
    "purpose": draw(purpose="gallery"),
    "input": draw(digest=b"inpus"),
    "chunk": draw(chunk=4),
    "chunk, one high bit": draw(chunk=3 + 2**63),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_all_that_a_stream_is_keyed_by_changes_it(what: str) -> None:
    here, there = draw().ravel(), DIFFERENT[what].ravel()

    # Of 2560 pairs of float32 numbers a few may agree by chance; streams that share a key all would.
    assert np.count_nonzero(here == there) < 5
    assert abs(stats.pearsonr(here, there).statistic) < 5 / np.sqrt(here.size)


def test_no_two_streams_are_the_same() -> None:
    streams = [draw().tobytes(), *(stream.tobytes() for stream in DIFFERENT.values())]

    assert len(set(streams)) == len(streams)


@given(
    fields=st.lists(st.binary(max_size=12), max_size=4), other=st.lists(st.binary(max_size=12), max_size=4)
)
def test_two_lists_of_fields_are_never_the_same_bytes(fields: list[bytes], other: list[bytes]) -> None:
    assert (length_prefixed(*fields) == length_prefixed(*other)) == (fields == other)


@given(content=st.binary(max_size=30), data=st.data())
def test_moving_the_border_between_fields_changes_the_bytes(content: bytes, data: st.DataObject) -> None:
    cut, other = (data.draw(st.integers(0, len(content))) for _ in range(2))

    same = length_prefixed(content[:cut], content[cut:]) == length_prefixed(content[:other], content[other:])

    assert same == (cut == other)


def test_a_field_that_looks_like_a_length_and_a_field_is_not_read_as_one() -> None:
    inner = struct.pack(">Q", 1) + b"a"

    assert length_prefixed(inner, b"b") != length_prefixed(b"", b"a", b"b")
    assert length_prefixed(length_prefixed(b"a", b"b")) != length_prefixed(b"a", b"b")


def test_the_end_of_the_model_digest_is_not_the_start_of_the_input_digest() -> None:
    packed = struct.pack(">d", 0.25)

    assert not np.array_equal(
        draw(model="model", digest=b"xyz"), draw(model="model" + packed[:2].decode("latin-1"), digest=b"yz")
    )
    assert not np.array_equal(draw(digest=b"ab", chunk=0), draw(digest=b"ab" + bytes(8), chunk=0))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        KeyedNoise(b"x" * 15, "sha256:model", 0.25)

    KeyedNoise(b"x" * 16, "sha256:model", 0.25)


# --- the distribution: the secret is fixed, so these are the same numbers every time

CHUNKS = 32
PIXELS = (CHUNK, 1, 8, 8)


@pytest.fixture(scope="module")
def numbers() -> NDArray[np.float64]:
    """(CHUNKS, 8192): 262,144 numbers of consecutive chunks of one input, in units of σ."""
    drawn = [draw(sigma=0.25, chunk=chunk, shape=PIXELS).ravel() for chunk in range(CHUNKS)]
    return np.array(drawn, dtype=np.float64) / 0.25


def test_the_noise_is_standard_normal(numbers: NDArray[np.float64]) -> None:
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 0.01
    # The control: the test sees a deviation of 2 % in σ.
    assert stats.kstest(1.02 * numbers.ravel(), "norm").pvalue < 1e-4


def test_its_moments_are_those_of_a_standard_normal(numbers: NDArray[np.float64]) -> None:
    count = numbers.size

    # Standard errors of the k-th raw moment: sqrt(Var Z^k / n), Var = 1, 2, 15, 96.
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert abs(np.mean(numbers**power) - moment) < 4 * np.sqrt(variance / count)


def test_the_tails_are_those_of_a_standard_normal(numbers: NDArray[np.float64]) -> None:
    for deviations in (2, 3, 4):
        for tail in (numbers > deviations, numbers < -deviations):
            expected = numbers.size * stats.norm.sf(deviations)
            assert abs(tail.sum() - expected) < 4 * np.sqrt(expected) + 1


def test_every_chunk_and_every_pixel_has_the_same_distribution(numbers: NDArray[np.float64]) -> None:
    by_pixel = numbers.reshape(-1, 64)

    assert np.abs(numbers.mean(axis=1)).max() < 5 / np.sqrt(numbers.shape[1])
    assert np.abs(by_pixel.mean(axis=0)).max() < 5 / np.sqrt(len(by_pixel))
    assert np.abs(by_pixel.var(axis=0) - 1).max() < 5 * np.sqrt(2 / len(by_pixel))


def test_chunks_are_unrelated(numbers: NDArray[np.float64]) -> None:
    size = numbers.shape[1]
    between = np.asarray(np.corrcoef(numbers))[np.triu_indices(CHUNKS, 1)]

    assert np.abs(between).max() < 5 / np.sqrt(size)
    for one, other in itertools.pairwise(numbers):  # nor is one the continuation of another
        assert np.abs(np.correlate(other[:2000], one[-2100:], "valid")).max() < 6 * np.sqrt(2000)
    assert len(np.unique(numbers.astype(np.float32)[:, :8].copy().view("V32"))) == CHUNKS


def test_pixels_are_unrelated(numbers: NDArray[np.float64]) -> None:
    by_pixel = numbers.reshape(-1, 64)
    between = np.asarray(np.corrcoef(by_pixel.T))[np.triu_indices(64, 1)]

    assert np.abs(between).max() < 5 / np.sqrt(len(by_pixel))


def test_squares_of_chunks_are_unrelated_too(numbers: NDArray[np.float64]) -> None:
    between = np.asarray(np.corrcoef(numbers**2))[np.triu_indices(CHUNKS, 1)]

    assert np.abs(between).max() < 5 / np.sqrt(numbers.shape[1])


# --- the grid

SIGMAS = [0.01, 0.25, 1.0, 1.5, 5.0]
# Four times the noise of a chunk of digits: 32,768 numbers.
MANY = (4 * CHUNK, 1, 8, 8)

seeded = settings(deadline=None, derandomize=True, database=None)


def images(seed: int, sigma: float) -> NDArray[np.float32]:
    """(20, 1, 8, 8) on the grid of `sigma`: random pixels, 8-bit ones, black and white."""
    rng = np.random.default_rng(seed)
    drawn = [rng.random((9, 1, 8, 8)), rng.integers(0, 256, (9, 1, 8, 8)) / 255]
    ends = [np.zeros((1, 1, 8, 8)), np.ones((1, 1, 8, 8))]
    return on_grid(np.concatenate(drawn + ends).astype(np.float32), sigma)


@pytest.mark.parametrize(
    ("sigma", "step"),
    [(1e-6, 20), (0.01, 20), (0.25, 20), (1.0, 20), (1.0001, 19), (1.5, 19), (2.0, 19), (5.0, 17), (8.0, 17)],
)
def test_the_step_is_a_power_of_two_that_grows_with_sigma(sigma: float, step: int) -> None:
    assert grid_step(sigma) == 2.0**-step


@pytest.mark.parametrize("sigma", SIGMAS)
def test_every_number_is_a_whole_number_of_steps(sigma: float) -> None:
    noise = draw(sigma=sigma, shape=MANY).astype(np.float64) / grid_step(sigma)

    assert np.array_equal(noise, np.rint(noise))
    # No other grid: steps of every parity occur, and many of them.
    assert set(np.unique(noise % 8)) == set(range(8))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_float32_adds_image_and_noise_exactly(sigma: float) -> None:
    noise = draw(sigma=sigma, shape=MANY)
    for image in images(1, sigma):
        total = image + noise
        assert total.dtype == np.float32
        assert np.array_equal(total.astype(np.float64), image.astype(np.float64) + noise.astype(np.float64))
    # The control: an image off the grid is rounded.
    off = np.random.default_rng(2).random((1, 8, 8), np.float32)
    assert not np.array_equal((off + noise).astype(np.float64), off.astype(np.float64) + noise)


@pytest.mark.parametrize("sigma", [*SIGMAS, 2.0, 2.5, 64.0])
@pytest.mark.parametrize("deviations", [-15.0, -9.0, 9.0, 14.99, 15.0])
def test_that_holds_for_noise_farther_out_than_any_that_will_be_drawn(
    sigma: float, deviations: float
) -> None:
    step = grid_step(sigma)
    exact = np.rint(deviations * sigma / step) * step + np.arange(-64, 65) * step
    noise = exact[np.abs(exact) <= 15 * sigma].astype(np.float32)

    for pixel in (0.0, step, 0.5 - step, 0.5, 1 - step, 1.0):
        assert np.array_equal(
            (np.float32(pixel) + noise).astype(np.float64), pixel + noise.astype(np.float64)
        )


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_low_bits_of_the_sum_do_not_tell_the_image(sigma: float) -> None:
    noise, step = draw(sigma=sigma, shape=MANY), grid_step(sigma)

    for image in images(3, sigma):
        total = (image + noise).astype(np.float64)
        # What was added is what comes out again, whatever it was added to; nothing is left below a step.
        assert np.array_equal(total - image, noise)
        assert np.array_equal(total / step, np.rint(total / step))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_noise_on_the_grid_is_still_normal(sigma: float) -> None:
    noise = draw(sigma=sigma, chunk=1, shape=MANY).ravel().astype(np.float64) / sigma

    assert stats.kstest(noise, "norm").pvalue > 0.01
    assert stats.kstest(1.06 * noise, "norm").pvalue < 0.001


@given(
    pixels=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    sigma=st.sampled_from(SIGMAS),
)
@seeded
def test_a_pixel_moves_to_the_grid_by_at_most_half_a_step(pixels: list[float], sigma: float) -> None:
    image, step = np.array(pixels, np.float32), grid_step(sigma)

    moved = on_grid(image, sigma)

    assert moved.dtype == np.float32
    assert np.abs(moved.astype(np.float64) - image).max() <= step / 2
    assert np.array_equal(moved / step, np.rint(moved / step))
    assert ((moved >= 0) & (moved <= 1)).all()
    assert np.array_equal(on_grid(moved, sigma), moved)


@given(
    pixels=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    sigma=st.sampled_from(SIGMAS),
)
@seeded
def test_a_pixel_given_in_float64_moves_by_at_most_half_a_step_too(pixels: list[float], sigma: float) -> None:
    image, step = np.array(pixels), grid_step(sigma)

    moved = on_grid(image, sigma)

    assert moved.dtype == np.float32
    for pixel, point in zip(pixels, moved.tolist(), strict=True):
        assert abs(Fraction(point) - Fraction(pixel)) <= Fraction(step) / 2


def test_rounded_to_float32_first_it_would_move_farther() -> None:
    """The control: beside 1/2, float32 is as fine as 2^-24, a sixteenth of a step."""
    step = grid_step(0.25)
    image = np.array([(2**19 + 1.5) * step - step / 40])  # below the middle by less than float32 can tell

    def move(given: NDArray[np.floating]) -> float:
        return float(np.abs(on_grid(given, 0.25).astype(np.float64) - image)[0] / step)

    assert move(image) == pytest.approx(0.475)
    assert move(image.astype(np.float32)) == pytest.approx(0.525)


def test_8_bit_pixels_stay_apart_on_the_grid() -> None:
    grey = (np.arange(256) / 255).astype(np.float32)

    for sigma in SIGMAS:
        assert len(np.unique(on_grid(grey, sigma))) == 256


# --- the digest of an input


def test_minus_zero_is_zero() -> None:
    image = np.array([[[0.0, 0.5], [1.0, 0.0]]], np.float32)
    negative = image.copy()
    negative[image == 0] = -0.0
    assert np.signbit(negative).sum() == 2

    assert input_digest(negative) == input_digest(image)


def test_the_same_bytes_in_another_shape_are_another_input() -> None:
    pixels = np.arange(64, dtype=np.float32)
    shapes = [(1, 8, 8), (1, 4, 16), (1, 16, 4), (2, 4, 8), (1, 1, 64), (8, 8), (64,), (1, 8, 8, 1)]

    assert len({input_digest(pixels.reshape(shape)) for shape in shapes}) == len(shapes)


def test_the_last_bit_of_any_pixel_counts() -> None:
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    digests = {input_digest(image)}
    for at in np.ndindex(image.shape):
        changed = image.copy()
        changed[at] = np.nextafter(image[at], np.float32(2))
        digests.add(input_digest(changed))

    assert len(digests) == 65


def test_only_the_values_count_not_the_layout() -> None:
    image = np.random.default_rng(0).random((3, 8, 6), np.float32)
    strided = np.asfortranarray(image)
    big_endian = image.astype(">f4")

    assert input_digest(strided) == input_digest(image)
    assert input_digest(big_endian) == input_digest(image)


def test_reading_the_digest_leaves_the_image_alone() -> None:
    image = np.array([[[-0.0]]], np.float32)
    image.setflags(write=False)

    input_digest(image)

    assert np.signbit(image).all()
