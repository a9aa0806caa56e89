"""The client for programs that do other things meanwhile: `blocking`, with `await`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self, TypeVar, Unpack

import httpx

from retrievalguard.client import calls
from retrievalguard.client.answers import (
    Answer,
    AnswerAttack,
    AnswerRound,
    GalleryItem,
    GalleryJob,
    GallerySummary,
    ItemChange,
)
from retrievalguard.client.calls import Archive, Call, Events, Image, Options, checked
from retrievalguard.client.patience import Patience
from retrievalguard.client.refusals import NoConnection, NotNow, ServiceProblem

Result = TypeVar("Result")


class AsyncClient:
    """A service at `url`. Safe to share between tasks; `close` it, or use it in an `async with`.

    key      an API key, where the service asks for one
    timeout  seconds that one try may take
    retry    seconds, from its beginning, within which a request that is refused for now is sent again, after
             what `Retry-After` says; 0: never

    Methods raise `ClientError`.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 60, retry: float = 30) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(base_url=f"{url.rstrip('/')}/v1", timeout=timeout, headers=headers)
        self._retry = retry

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def retrieve(self, image: Image, **options: Unpack[Options]) -> Answer:
        """The nearest neighbour of an image and its certificate.

        image  a path, the bytes of a file, a PIL image, or floats (C, H, W): the exact input of the model
        """
        return await self._send(calls.retrieve(image, options))

    async def stream(self, image: Image, **options: Unpack[Options]) -> AsyncIterator[AnswerRound | Answer]:
        """The answer as it grows: rounds, and last the answer. Who stops listening ends the query."""
        call = calls.retrieve(image, options)
        patience = Patience(self._retry)
        while True:
            try:
                async with aclosing(self._events(call)) as events:
                    async for event in events:
                        yield event
                return
            except (NotNow, httpx.ConnectError) as error:
                await asyncio.sleep(patience.pause(error, repeatable=call.repeatable))
            except httpx.TransportError as error:  # some rounds may have been told
                raise NoConnection(f"the answer was cut off: {error or type(error).__name__}") from error

    async def batch(
        self, images: Iterable[Image], **options: Unpack[Options]
    ) -> list[Answer | ServiceProblem]:
        """The answers to many images with the same options, in their order; where one failed, its problem.

        The service bounds how many may be sent at once.
        """
        return await self._send(calls.batch(images, options))

    async def attack(self, image: Image, size: float, **options: Unpack[Options]) -> AnswerAttack:
        """Try to have another answer to an image by a change of its input of at most `size` (l2).

        A service refuses this (`Forbidden`) unless it is set to allow it. Else as `retrieve`.
        """
        return await self._send(calls.attack(image, size, options))

    async def gallery(self) -> GallerySummary:
        """Size, version and labels of the gallery."""
        return await self._send(calls.gallery())

    async def items(
        self, label: str | None = None, *, gallery: str | None = None
    ) -> AsyncIterator[GalleryItem]:
        """All items, or those with a label or of a named `gallery`, in the order of addition.

        Page by page, as they are asked for.
        """
        cursor = None
        while True:
            page = await self._send(calls.items(label, cursor, gallery))
            for item in page.items:
                yield item
            cursor = page.next
            if cursor is None:
                return

    async def item(self, item_id: str, *, gallery: str | None = None) -> GalleryItem:
        """An item; `MissingItem` if there is none, or none in this named `gallery`."""
        return await self._send(calls.item(item_id, gallery))

    async def item_image(self, item_id: str, *, gallery: str | None = None) -> bytes:
        """The image file of an item, as it was added."""
        return await self._send(calls.item_image(item_id, gallery))

    async def add(
        self, image: Image, *, item_id: str, label: str, metadata: Mapping[str, Any] | None = None
    ) -> ItemChange:
        """Add an item; when this returns it is durable, and the next query finds it."""
        return await self._send(calls.add(image, item_id, label, metadata))

    async def put(
        self, image: Image, *, item_id: str, label: str, metadata: Mapping[str, Any] | None = None
    ) -> ItemChange:
        """Add an item, or put it in place of the one with its id."""
        return await self._send(calls.put(image, item_id, label, metadata))

    async def revise(
        self, item_id: str, *, label: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> ItemChange:
        """Give an item another label, other metadata, or both."""
        return await self._send(calls.revise(item_id, label, metadata))

    async def delete(self, item_id: str) -> None:
        """Delete an item."""
        await self._send(calls.delete(item_id))

    async def start_job(self, archive: Archive, *, prefix: str = "", replace: bool = False) -> GalleryJob:
        """Add what a zip or tar file holds: a folder of images for each label, or a table beside its images.

        It returns when the file was sent; `job` tells how far it is.
        """
        return await self._send(calls.start_job(archive, prefix, replace=replace))

    async def jobs(self) -> list[GalleryJob]:
        """All jobs, the newest first."""
        return (await self._send(calls.jobs())).jobs

    async def job(self, job_id: str) -> GalleryJob:
        """How far a job is, and at the end what was refused."""
        return await self._send(calls.job(job_id))

    async def cancel_job(self, job_id: str) -> GalleryJob:
        """Cancel a job, or forget one that has ended; what it stored stays."""
        return await self._send(calls.cancel_job(job_id))

    async def galleries(self) -> dict[str, dict[str, Any]]:
        """The filters of all named galleries, by name; `default` is all items."""
        return await self._send(calls.galleries())

    async def put_gallery(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Give a filter a name, or a name another filter: what matches it is in this gallery."""
        await self._send(calls.put_gallery(name, wanted))

    async def delete_gallery(self, name: str) -> None:
        """Take a name away; the items stay."""
        await self._send(calls.delete_gallery(name))

    async def _send(self, call: Call[Result]) -> Result:
        patience = Patience(self._retry)
        while True:
            try:
                response = await self._http.request(
                    call.method, call.path, params=call.params, content=call.content, headers=call.headers
                )
                return call.result(checked(response))
            except (NotNow, httpx.TransportError) as error:
                await asyncio.sleep(patience.pause(error, repeatable=call.repeatable))

    async def _events(self, call: Call[Answer]) -> AsyncGenerator[AnswerRound | Answer, None]:
        headers = {**call.headers, "Accept": "text/event-stream"}
        async with self._http.stream(
            call.method, call.path, params=call.params, content=call.content, headers=headers
        ) as response:
            if not response.is_success:
                await response.aread()
            checked(response)
            events = Events()
            async for line in response.aiter_lines():
                event = events.of(line)
                if event is not None:
                    yield event
        if not events.whole:
            raise NoConnection("the stream ended before the answer")
