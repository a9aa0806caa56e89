"""The Host header: a web page that has its own name resolve to this machine must not reach the service.

A browser that was led here by such a name says so in `Host`; the page could read whatever is answered.
"""

from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import HostNotAllowed
from service.http.probes import route_path
from service.http.problems import problem_response
from service.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
ANY = "*"
# An orchestrator asks with the address of the container as Host. They tell nothing worth reading.
EXEMPT = ("/livez", "/readyz")


def allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """The hosts of the settings; by default the loopback names, or any if others can reach the service."""
    return settings.allowed_hosts or (LOOPBACK_NAMES if is_loopback(settings.host) else (ANY,))


def is_loopback(host: str) -> bool:
    """Whether who listens on `host` is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_name(header: str) -> str:
    """The name in a Host header, in lower case and without the port."""
    host = header.lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


class Hosts:
    """Answers requests for hosts that are not `allowed` with a problem; `*.example.com` is all below it."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._any = ANY in allowed
        self._names = {name.lower() for name in allowed}
        self._endings = tuple(name[1:].lower() for name in allowed if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or self._any or route_path(scope) in EXEMPT or self._allows(scope):
            await self._app(scope, receive, send)
            return
        refusal = HostNotAllowed(
            "the Host header names a host that this service does not answer for: add it to"
            " RETRIEVALGUARD_ALLOWED_HOSTS"
        )
        await problem_response(refusal)(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        name = host_name(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
        return name in self._names or name.endswith(self._endings)
