"""What may go wrong, as one tree: by what a caller can do about it.

ClientError
├── NoConnection           the service was not reached, or the answer was cut off
└── ServiceProblem         it answered with a problem document (RFC 9457)
    ├── BadInput           4xx: send something else; `errors` names the options
    ├── Forbidden          401, 403: a key is needed, or one that may do more
    ├── MissingItem        404
    ├── ConflictingChange  409, 412: the gallery is not what the request took it to be
    ├── NotNow             408, 429, 503: come back after `retry_after` seconds
    └── ServiceBroken      5xx: its log tells why
"""

from typing import Any

import httpx

_PREFIX = "urn:retrievalguard:problem:"


class ClientError(Exception):
    """The root of all errors of a client."""


class NoConnection(ClientError):
    """The service was not reached, or its answer was cut off."""


class ServiceProblem(ClientError):
    """The service answered with a problem.

    `kind` is the stable type without its prefix, such as `image-damaged`; `errors` lists what is wrong with
    which option; `request_id` is in the log of the service.
    """

    def __init__(self, status: int, document: dict[str, Any], request_id: str | None = None) -> None:
        super().__init__(str(document.get("detail", f"the service answered {status}")))
        self.status, self.document, self.request_id = status, document, request_id
        self.kind = str(document.get("type", "")).removeprefix(_PREFIX)
        self.errors: list[dict[str, str]] = document.get("errors", [])


class BadInput(ServiceProblem):
    """What was sent cannot be answered."""


class Forbidden(ServiceProblem):
    """A key is needed, or one that may do more."""


class MissingItem(ServiceProblem):
    """There is no such item, or no such route."""


class ConflictingChange(ServiceProblem):
    """The gallery is not what the request took it to be."""


class NotNow(ServiceProblem):
    """The service has too much to do, or ends: come back after `retry_after` seconds."""

    retry_after: float = 1.0


class ServiceBroken(ServiceProblem):
    """The fault is the service's; its log tells why, under `request_id`."""


_BY_STATUS: dict[int, type[ServiceProblem]] = {
    401: Forbidden,
    403: Forbidden,
    404: MissingItem,
    408: NotNow,
    409: ConflictingChange,
    412: ConflictingChange,
    429: NotNow,
    503: NotNow,
}


def problem_of(response: httpx.Response) -> ServiceProblem:
    """The error that a response with a status of 400 or above, whose body was read, stands for."""
    try:
        document = response.json()
    except ValueError:  # a proxy's own page
        document = {}
    found = problem(response.status_code, document if isinstance(document, dict) else {})
    found.request_id = response.headers.get("x-request-id")
    if isinstance(found, NotNow):
        found.retry_after = _seconds(response.headers.get("retry-after"))
    return found


def problem(status: int, document: dict[str, Any]) -> ServiceProblem:
    """The error that a problem document stands for."""
    other = BadInput if status < 500 else ServiceBroken
    return _BY_STATUS.get(status, other)(status, document)


def _seconds(given: str | None) -> float:
    return float(given) if given is not None and given.isdecimal() else NotNow.retry_after
