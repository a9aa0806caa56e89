"""The same question twice: answers that are kept, and answers that are being worked out at this moment."""

import hashlib
import struct
import time

import numba
import numpy
import scipy

import certify
import index
import models
import service
from index import FAISS_VERSION
from models.code import code_digest
from models.noise import input_digest, length_prefixed
from service.cache.answers import AnswerCache
from service.errors import Abandoned, RateLimited
from service.retrieval.answer import RetrieveResponse, timing
from service.retrieval.answering import Answering, Question
from service.retrieval.looks import check_wanted
from service.traffic.single_flight import SingleFlight

LIBRARIES = (
    f"numpy {numpy.__version__}",
    f"scipy {scipy.__version__}",
    f"numba {numba.__version__}",
    f"faiss {FAISS_VERSION}",
)
# A certificate from before a mistake was mended must not be served as one of today's.
CODE = code_digest(certify, index, models, service, libraries=LIBRARIES)


def answer_key(
    *, model_digest: str, sigma: float, input_digest: bytes, gallery_digest: str, layout: str, terms: bytes
) -> bytes:
    """The digest of all that an answer depends on; `terms`: options and limits, as the caller writes them.

    The gallery's digest rather than its version: replicas may have other galleries of the same version. And
    its layout: bets depend on how it is put into clusters, and two layouts are two askings.
    """
    fields = length_prefixed(
        b"retrievalguard answer 3",
        CODE,
        model_digest.encode(),
        struct.pack(">d", sigma),
        input_digest,
        gallery_digest.encode(),
        layout.encode(),
        terms,
    )
    return hashlib.sha256(fields).digest()


class Repeats:
    """Answers each question once: from the cache, from whoever is at work on it, or by working it out."""

    def __init__(self, answering: Answering, answers: AnswerCache) -> None:
        self._answering, self._answers = answering, answers
        # Each answer lands with the question that led to it: everybody else gets it as a repetition.
        self._flights = SingleFlight[bytes, tuple[Question, RetrieveResponse]]((Abandoned, RateLimited))

    def answer(self, question: Question) -> RetrieveResponse:
        """The answer to `question`; raises what `Answering.answer` raises."""
        key = self._key(question)
        kept = self._answers.get(key)
        if kept is not None:
            return self._again(RetrieveResponse.model_validate_json(kept), question, waited=False)
        try:
            if question.watched:  # its rounds, its deadline: nobody else's
                return self._work(key, question)
            leader, found = self._flights.do(
                key, lambda: (question, self._work(key, question)), lambda: check_wanted(question.stop)
            )
        except Abandoned:
            self._answering.metrics.abandoned.inc()
            raise
        return found if leader is question else self._again(found, question, waited=True)

    def _key(self, question: Question) -> bytes:
        """A deadline is not part of it: it only cuts an answer short, and such an answer is not kept."""
        query, answering = question.query, self._answering
        chosen = query.options.model_dump_json(exclude={"deadline_ms"})
        terms = f"{chosen} {query.terms} {query.samples} {query.min_gain!r}"
        return answer_key(
            model_digest=answering.smoothed.digest,
            sigma=answering.smoothed.sigma,
            input_digest=input_digest(query.image),
            gallery_digest=question.snapshot.digest,
            layout=question.snapshot.layout,
            terms=terms.encode(),
        )

    def _work(self, key: bytes, question: Question) -> RetrieveResponse:
        found = self._answering.answer(question)
        if (
            question.stop.remaining is None and found.complete
        ):  # else a longer deadline may give a larger radius
            self._answers.set(key, found.model_dump_json().encode())
        return found

    def _again(self, found: RetrieveResponse, question: Question, *, waited: bool) -> RetrieveResponse:
        """An answer for a gallery of the same content, whose version may be another.

        All that this question cost itself is its decoding, and waiting if another was at work on the same.
        """
        self._answering.metrics.cache.labels("hit").inc()
        total = time.perf_counter() - question.started
        gallery = found.gallery.model_copy(update={"version": question.snapshot.version})
        nothing = dict.fromkeys(("sample", "search", "certify"), 0.0)
        waiting = total - question.decoding if waited else 0.0
        spent = timing(nothing | {"decode": question.decoding, "queue": waiting, "total": total})
        return found.model_copy(update={"cache": "hit", "gallery": gallery, "timing_ms": spent})
