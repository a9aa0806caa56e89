"""Who may change the gallery over HTTP, and on which condition of its headers.

A key with the scope for it is enough (`service.http.access`). Without one, told apart are a client on this
machine and one that comes through a proxy, and a program, or a web page of this service, and a web page of
somebody else, for which a browser asks.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request

from index import Condition, always
from service.errors import ChangesNotAllowed
from service.http.dependencies import Service
from service.http.hosts import ANY, LOOPBACK_NAMES, allowed_hosts, host_name
from service.retriever import Retriever
from service.settings import Settings

# Who sends one of these is a proxy, or speaks for one: the peer is not the client.
FORWARDED = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-server",
    "x-real-ip", "cf-connecting-ip", "true-client-ip",
)  # fmt: skip
SETTING = "RETRIEVALGUARD_GALLERY_WRITES"
_TAG = re.compile(r'(W/)?"([^"]*)"')


def _changing(request: Request, retriever: Service) -> Retriever:
    """The retriever, for who may change its gallery. Raises `ChangesNotAllowed`, before the body is read."""
    settings = retriever.settings
    if getattr(request.state, "key", None) is not None:
        return retriever
    if settings.gallery_writes == "off":
        raise ChangesNotAllowed(
            "the gallery is not changed over HTTP without a key: make one (`retrievalguard keys create`), or"
            f" set {SETTING}"
        )
    if settings.gallery_writes == "loopback" and not _on_this_machine(request):
        raise ChangesNotAllowed(
            f"the gallery is changed from this machine alone, and not through a proxy: see {SETTING}"
        )
    if not _meant(request, settings.cors_origins or ()):
        raise ChangesNotAllowed(
            "a web page of another origin cannot change the gallery: add the origin to"
            " RETRIEVALGUARD_CORS_ORIGINS"
        )
    if _from_a_page(request) and _any_name(request, settings):
        raise ChangesNotAllowed(
            "a web page may have its own name resolve to this service: name those by which it is asked in"
            " RETRIEVALGUARD_ALLOWED_HOSTS"
        )
    return retriever


Changing = Annotated[Retriever, Depends(_changing)]


def _on_this_machine(request: Request) -> bool:
    """Whether the client is on this machine, and asks by a name of it: another name may be a web page's."""
    if any(name in request.headers for name in FORWARDED) or request.client is None:
        return False
    try:
        peer = ip_address(request.client.host)
    except ValueError:
        return False
    return peer.is_loopback and host_name(request.headers.get("host", "")) in LOOPBACK_NAMES


def _meant(request: Request, origins: Sequence[str]) -> bool:
    """Whether who sent the request meant to: no browser sent it for a web page of another origin.

    Browsers say so in `Sec-Fetch-Site`; those that don't, in `Origin`. `*` among the allowed `origins` lets
    pages of others ask, and not change.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin in origins:
        return True
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def _from_a_page(request: Request) -> bool:
    """Whether a browser sent the request for a web page."""
    return "origin" in request.headers or "sec-fetch-site" in request.headers


def _any_name(request: Request, settings: Settings) -> bool:
    """Whether the service was asked by a name that it answers for because it answers for any."""
    known = host_name(request.headers.get("host", "")) in LOOPBACK_NAMES
    return not known and ANY in allowed_hosts(settings)


def condition(request: Request) -> Condition:
    """The condition of `If-Match` and `If-None-Match` (RFC 9110, 13.1): without either it always holds."""
    match, none_match = (_joined(request, name) for name in ("if-match", "if-none-match"))
    if match is None and none_match is None:
        return always

    def holds(there: str | None, wanted: str) -> bool:
        matches = match is None or _names(match, there, weak=False)
        return matches and (none_match is None or not _names(none_match, there, weak=True))

    return holds


def _joined(request: Request, name: str) -> str | None:
    found = request.headers.getlist(name)
    return ", ".join(found) if found else None


def _names(header: str, there: str | None, *, weak: bool) -> bool:
    """Whether a list of tags names the item that is `there`. What is no list of tags names nothing."""
    if there is None:
        return False
    if header.strip() == "*":
        return True
    return any(tag == there and (weak or not is_weak) for is_weak, tag in _TAG.findall(header))


def tag_header(tag: str) -> dict[str, str]:
    """The `ETag` of an item."""
    return {"ETag": f'"{tag}"'}
