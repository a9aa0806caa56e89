"""The client that waits."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
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


class Client:
    """A service at `url`. Safe to share between threads; `close` it, or use it in a `with`.

    key      an API key, where the service asks for one
    timeout  seconds that one try may take
    retry    seconds, from its beginning, within which a request that is refused for now is sent again, after
             what `Retry-After` says; 0: never

    Methods raise `ClientError`.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 60, retry: float = 30) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/v1", timeout=timeout, headers=headers)
        self._retry = retry

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def retrieve(self, image: Image, **options: Unpack[Options]) -> Answer:
        """The nearest neighbour of an image and its certificate.

        image  a path, the bytes of a file, a PIL image, or floats (C, H, W): the exact input of the model
        """
        return self._send(calls.retrieve(image, options))

    def stream(self, image: Image, **options: Unpack[Options]) -> Iterator[AnswerRound | Answer]:
        """The answer as it grows: rounds, and last the answer. Who stops listening ends the query."""
        call = calls.retrieve(image, options)
        patience = Patience(self._retry)
        while True:
            try:
                with closing(self._events(call)) as events:
                    yield from events
                return
            except (NotNow, httpx.ConnectError) as error:
                time.sleep(patience.pause(error, repeatable=call.repeatable))
            except httpx.TransportError as error:  # some rounds may have been told
                raise NoConnection(f"the answer was cut off: {error or type(error).__name__}") from error

    def batch(self, images: Iterable[Image], **options: Unpack[Options]) -> list[Answer | ServiceProblem]:
        """The answers to many images with the same options, in their order; where one failed, its problem.

        The service bounds how many may be sent at once.
        """
        return self._send(calls.batch(images, options))

    def attack(self, image: Image, size: float, **options: Unpack[Options]) -> AnswerAttack:
        """Try to have another answer to an image by a change of its input of at most `size` (l2).

        A service refuses this (`Forbidden`) unless it is set to allow it. Else as `retrieve`.
        """
        return self._send(calls.attack(image, size, options))

    def gallery(self) -> GallerySummary:
        """Size, version and labels of the gallery."""
        return self._send(calls.gallery())

    def items(self, label: str | None = None, *, gallery: str | None = None) -> Iterator[GalleryItem]:
        """All items, or those with a label or of a named `gallery`, in the order of addition.

        Page by page, as they are asked for.
        """
        cursor = None
        while True:
            page = self._send(calls.items(label, cursor, gallery))
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def item(self, item_id: str, *, gallery: str | None = None) -> GalleryItem:
        """An item; `MissingItem` if there is none, or none in this named `gallery`."""
        return self._send(calls.item(item_id, gallery))

    def item_image(self, item_id: str, *, gallery: str | None = None) -> bytes:
        """The image file of an item, as it was added."""
        return self._send(calls.item_image(item_id, gallery))

    def add(
        self, image: Image, *, item_id: str, label: str, metadata: Mapping[str, Any] | None = None
    ) -> ItemChange:
        """Add an item; when this returns it is durable, and the next query finds it."""
        return self._send(calls.add(image, item_id, label, metadata))

    def put(
        self, image: Image, *, item_id: str, label: str, metadata: Mapping[str, Any] | None = None
    ) -> ItemChange:
        """Add an item, or put it in place of the one with its id."""
        return self._send(calls.put(image, item_id, label, metadata))

    def revise(
        self, item_id: str, *, label: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> ItemChange:
        """Give an item another label, other metadata, or both."""
        return self._send(calls.revise(item_id, label, metadata))

    def delete(self, item_id: str) -> None:
        """Delete an item."""
        self._send(calls.delete(item_id))

    def start_job(self, archive: Archive, *, prefix: str = "", replace: bool = False) -> GalleryJob:
        """Add what a zip or tar file holds: a folder of images for each label, or a table beside its images.

        It returns when the file was sent; `job` tells how far it is.
        """
        return self._send(calls.start_job(archive, prefix, replace=replace))

    def jobs(self) -> list[GalleryJob]:
        """All jobs, the newest first."""
        return (self._send(calls.jobs())).jobs

    def job(self, job_id: str) -> GalleryJob:
        """How far a job is, and at the end what was refused."""
        return self._send(calls.job(job_id))

    def cancel_job(self, job_id: str) -> GalleryJob:
        """Cancel a job, or forget one that has ended; what it stored stays."""
        return self._send(calls.cancel_job(job_id))

    def galleries(self) -> dict[str, dict[str, Any]]:
        """The filters of all named galleries, by name; `default` is all items."""
        return self._send(calls.galleries())

    def put_gallery(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Give a filter a name, or a name another filter: what matches it is in this gallery."""
        self._send(calls.put_gallery(name, wanted))

    def delete_gallery(self, name: str) -> None:
        """Take a name away; the items stay."""
        self._send(calls.delete_gallery(name))

    def _send(self, call: Call[Result]) -> Result:
        patience = Patience(self._retry)
        while True:
            try:
                response = self._http.request(
                    call.method, call.path, params=call.params, content=call.content, headers=call.headers
                )
                return call.result(checked(response))
            except (NotNow, httpx.TransportError) as error:
                time.sleep(patience.pause(error, repeatable=call.repeatable))

    def _events(self, call: Call[Answer]) -> Generator[AnswerRound | Answer, None, None]:
        headers = {**call.headers, "Accept": "text/event-stream"}
        with self._http.stream(
            call.method, call.path, params=call.params, content=call.content, headers=headers
        ) as response:
            if not response.is_success:
                response.read()
            checked(response)
            events = Events()
            for line in response.iter_lines():
                event = events.of(line)
                if event is not None:
                    yield event
        if not events.whole:
            raise NoConnection("the stream ended before the answer")
