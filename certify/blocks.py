"""When bets are chosen anew, and for how many samples: both depend on positions alone."""

# Without a horizon, bets on the block that starts at a sample are planned for so many times as many samples,
# but for no fewer than `SHORTEST`.
AHEAD, SHORTEST = 4, 1000


def blocks(selected: int, n: int) -> list[tuple[int, int]]:
    """Where bets are chosen anew: each block is as long as all before it. n only cuts the last one short.

    So the bets on the first samples are the same however many follow: what was certified stays certified.
    """
    found = []
    first = selected
    while first < n:
        found.append((first, min(2 * first, n)))
        first *= 2
    return found


def planned_for(first: int, selected: int, horizon: int | None) -> int:
    """On how many samples the bets from sample `first` on are planned to be made, all blocks together.

    With a horizon they win most at that number of samples, and may have nothing to show before. Without one
    they are about as good as they can be at every number: a plan is of some use from a quarter of its samples
    on. Any choice is valid that no sample has a say in.
    """
    if horizon is None:
        horizon = max(SHORTEST, AHEAD * first)
    return max(horizon - selected, 1)
