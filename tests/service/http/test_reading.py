"""How long a body may take that is written away as it comes."""

import asyncio

import pytest
from starlette.types import Message

from service.errors import RequestTimeout
from service.http.reading import SLOWEST_UPLOAD, Bodies


async def is_read(size: int, count: int) -> bool:
    """Whether so many parts of `size` bytes are read that come every .3 s, where a second is the limit."""

    async def receive() -> Message:
        await asyncio.sleep(0.3)
        return {"type": "http.request", "body": bytes(size), "more_body": True}

    with Bodies(most=2**20, seconds=1).counted(receive, streamed=True) as body:
        try:
            for _ in range(count):
                await body()
        except RequestTimeout:
            return False
    return True


@pytest.mark.parametrize(("size", "whole"), [(1, False), (SLOWEST_UPLOAD, True)])
def test_an_upload_that_drips_is_cut_off(size: int, whole: bool) -> None:
    assert asyncio.run(is_read(size, 5)) is whole
