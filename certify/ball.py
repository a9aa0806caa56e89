"""Confidence region of a vector mean, for the methods that bound g itself: `paper` and `bisector`."""

import numpy as np


def mean_ball(n: int, alpha: float, norm_bound: float = 1.0) -> float:
    """Radius e with ||mean of n samples - expectation|| <= e, for vectors of norm <= `norm_bound`.

    McDiarmid on the norm of the deviation, dimension-free: replacing one sample moves it by at most
    2 F / n, and its expectation is at most F / sqrt(n). So e = F (1/sqrt(n) + sqrt(2 ln(1/alpha) / n)).
    """
    return float(norm_bound * (1 / np.sqrt(n) + np.sqrt(2 * np.log(1 / alpha) / n)))
