"""Numbers are the inverse of the normal distribution at their bits, to within what the proof says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from models.noise import normal
from models.noise.make_table import error_bound
from models.noise.normal import ERROR, LARGEST_NUMBER, ROWS, fill, table
from tests.models.noise.textbook import RARE, RARE_KEY, approximate, bits_of, exact, key_of

SCALE, STEP = 2.0**18, 2.0**-20


def filled(key: bytes, count: int) -> NDArray[np.float32]:
    out = np.full(count, np.nan, np.float32)
    fill(out, np.frombuffer(key, "<u4"), SCALE, STEP)
    return out


def test_every_row_of_the_table_is_proved_to_be_as_near_as_is_said() -> None:
    with mpmath.workdps(40):
        for row, coefficients in enumerate(table()[:-1]):
            error, least = error_bound(row, coefficients)
            assert error <= ERROR * max(least, 1), row
    assert not table()[-1].any()  # p = 1/2


def test_the_proof_sees_a_last_bit() -> None:
    """The control: the next float64 of a constant, four of them, or a coefficient that is lost."""
    row = 90 * ROWS + 3
    wrong = table()[row].copy()
    wrong[0] = wrong[0] * (1 + 4 * 2.0**-52)
    with mpmath.workdps(40):
        assert error_bound(row, wrong)[0] > ERROR
        wrong = table()[row].copy()
        wrong[7] = 0
        assert error_bound(row, wrong)[0] > ERROR


def test_the_noise_that_is_known_is_that_of_the_textbook() -> None:
    key = b"".join(word.to_bytes(4, "little") for word in normal.KNOWN_KEY)
    assert (key, normal.KNOWN_SIGMA / normal.KNOWN_STEP) == (key_of(RARE_KEY), SCALE)
    known = filled(key, normal.KNOWN_COUNT)
    normal.check_known(known, "")
    for number in {*range(0, normal.KNOWN_COUNT, 37), RARE}:
        assert known[number] == np.float32(np.rint(approximate(key, number) * SCALE) * STEP)
    known[RARE] = np.nextafter(known[RARE], np.float32(0))
    with pytest.raises(RuntimeError, match="no certificate would hold: do this"):
        normal.check_known(known, "do this")


def test_code_that_was_compiled_of_another_version_is_refused(tmp_path: Path) -> None:
    """ChaCha20 was mended, and its caller, in a file that did not change, has the older code in its cache."""
    noise = tmp_path / "models" / "noise"
    shutil.copytree(
        Path(normal.__file__).parent, noise, ignore=shutil.ignore_patterns("__pycache__", "make_table.py")
    )
    (tmp_path / "models" / "__init__.py").touch()
    chacha = noise / "chacha.py"
    today = chacha.read_text()
    begin = "import numpy as np; from models.noise import normal; "

    def started(what: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", begin + what], cwd=tmp_path, env=os.environ | {"NUMBA_CACHE_DIR": ""},
            capture_output=True, text=True, timeout=120, check=False,
        ).stderr  # fmt: skip

    chacha.write_text(today.replace("range(20)", "range(8)"))
    assert not started("normal.fill(np.empty(9, np.float32), np.zeros(8, np.uint32), 1.0, 1.0)")
    chacha.write_text(today)
    assert "delete" in started("normal.check()")


@pytest.mark.parametrize("count", [1, 127, 128, 129, 1023, 1024, 1025, 2100])
def test_numbers_are_those_of_the_textbook_bit_for_bit(count: int) -> None:
    key = key_of(count)
    found = filled(key, count)
    for number in {0, count // 2, count - 1, min(130, count - 1)}:
        whole = np.rint(approximate(key, number) * SCALE)
        assert found[number] == np.float32(whole * STEP)


def test_a_number_far_out_is_of_more_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    key, tails = key_of(RARE_KEY), list[float]()
    transform = normal._transform

    def noted(y: NDArray[np.float64], *others: object) -> None:
        tails.extend(y)
        transform(y, *others)

    monkeypatch.setattr(normal, "_transform", noted)  # as Python sees it, so of the refined alone
    found = filled(key, RARE + 1)

    assert bits_of(key, RARE)[1] < 2**40
    assert tails == [float(bits_of(key, RARE)[1])]
    assert abs(found[RARE]) > 5.29 * SCALE * STEP
    assert found[RARE] == np.float32(np.rint(approximate(key, RARE) * SCALE) * STEP)
    # With 1/2 in the place of those bits it would have been another.
    plain = float(int(bits_of(key, RARE)[1])) + 0.5
    assert float(bits_of(key, RARE)[1]) != plain


def test_numbers_are_exact_but_for_the_error() -> None:
    with mpmath.workdps(40):
        for number in range(60):
            key = key_of(number)
            true = exact(key, number)
            assert abs(approximate(key, number) - true) <= ERROR * max(abs(true), 1)
        true = exact(key_of(RARE_KEY), RARE)
        assert abs(approximate(key_of(RARE_KEY), RARE) - true) <= ERROR * abs(true)


def test_no_number_is_beyond_the_largest() -> None:
    with mpmath.workdps(40):
        assert mpmath.ncdf(-LARGEST_NUMBER) < mpmath.mpf(2) ** -97
    assert abs(table()[0] @ (-1.0) ** np.arange(8)) < LARGEST_NUMBER


def test_numbers_do_not_depend_on_how_many_are_made() -> None:
    key = key_of(7)
    long = filled(key, 5000)
    for count in (1, 500, 1024, 1030, 4999):
        assert np.array_equal(filled(key, count), long[:count])


def test_a_damaged_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(normal.TABLE.read_bytes())
    content[-100] ^= 1
    (tmp_path / "table.npy").write_bytes(content)
    monkeypatch.setattr(normal, "TABLE", tmp_path / "table.npy")
    with pytest.raises(RuntimeError, match="changed or damaged"):
        table.__wrapped__()
