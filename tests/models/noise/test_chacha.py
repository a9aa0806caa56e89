"""ChaCha20 is the one of RFC 8439: the vectors of its appendix A.1, and a second program."""

import numpy as np
import pytest

from models.noise.chacha import keystream
from tests.models.noise.textbook import block

# Key, last word of the nonce, counter, block.
VECTORS = {
    "1": (
        bytes(32), 0, 0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    "2": (
        bytes(32), 0, 1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    "3": (
        bytes(31) + b"\1", 0, 1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    "4": (
        b"\0\xff" + bytes(30), 0, 2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
    "5": (
        bytes(32), 0x02000000, 0,
        "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
        "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
    ),
}  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_of_the_standard_come_out(vector: str) -> None:
    key, stream, counter, expected = VECTORS[vector]
    words = np.empty((16, 1), np.uint32)

    keystream(np.frombuffer(key, "<u4"), stream, counter, words)

    assert words.astype("<u4").tobytes().hex() == expected
    nonce = bytes(8) + stream.to_bytes(4, "little")
    assert block(key, counter, nonce) == words[:, 0].tolist()


def test_lanes_are_blocks_one_after_another() -> None:
    key = bytes(range(32))
    words = np.empty((16, 5), np.uint32)

    keystream(np.frombuffer(key, "<u4"), 0, 2**32 - 3, words)

    # The counter has 32 bits, as in the standard.
    for lane, counter in enumerate([2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1]):
        assert words[:, lane].tolist() == block(key, counter)
