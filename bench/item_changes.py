"""Changes of an item, as clients make them while what they talk to is killed (`kills`, `cluster.kills`)."""

import random
from collections.abc import Sequence

import httpx

# What an item is: its label, and the number of its image; None: there is none.
Known = tuple[str, int] | None


def next_state(there: Known, images: int, chance: random.Random) -> Known:
    """What to make of an item that is as `there`: another one, gone, or with another label alone."""
    label, image = f"new {chance.randrange(10**6)}", chance.randrange(images)
    if there is None:
        return label, image
    return chance.choice([None, (label, image), (label, there[1])])


def send(
    client: httpx.Client, id_: str, there: Known, wanted: Known, images: Sequence[bytes]
) -> httpx.Response:
    """The answer to a change of an item that is as `there` to what is `wanted`."""
    path = f"/gallery/items/{id_}"
    if wanted is None:
        return client.delete(path)
    label, image = wanted
    if there is not None and there[1] == image:
        return client.patch(path, json={"label": label})
    return client.put(path, params={"label": label}, content=images[image])
