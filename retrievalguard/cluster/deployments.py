"""The replicas as Ray starts them. What they are made of is loaded when they are, giving way to who answers.

So the command, which only says what is to be there, loads no network and none of the libraries for one.
"""

import importlib
import logging
import logging.config
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from retrievalguard.cluster.priority import give_way, giving_way
from retrievalguard.cluster.version import ClusterVersion
from service import logs
from service.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from retrievalguard.cluster.members import Member
    from retrievalguard.cluster.wire import Call, Reply

log = logging.getLogger("retrievalguard")


class SamplerReplica:
    """A sampler replica."""

    def __init__(self, settings: Settings, version: ClusterVersion) -> None:
        with _told_why_not(settings):
            member = _member(settings, version, "retrievalguard.cluster.sampler")
            from retrievalguard.cluster.sampler import Drawing

            self._drawing = Drawing(member)

    async def draw(self, call: "Call") -> "Reply":
        """Samples of chunks, sealed."""
        return await self._drawing.answer(call)


@serve.ingress()
class ApiReplica:
    """An API replica; `samplers`: the application of those that draw for it, at most `most`."""

    def __init__(
        self, settings: Settings, version: ClusterVersion, samplers: str | DeploymentHandle[Any], most: int
    ) -> None:
        with _told_why_not(settings):
            member = _member(settings, version, "retrievalguard.cluster.replica")
            from retrievalguard.cluster.replica import application

            self._app = application(settings, member, samplers, most)

    def __serve_build_asgi_app__(self) -> "FastAPI":
        return self._app


def first_version(settings: Settings) -> ClusterVersion:
    """What all replicas are to be built of, worked out on this machine; its process gives way for good."""
    give_way()
    _log(settings)
    from retrievalguard.cluster.members import Member
    from service.process import own_process

    own_process()
    return Member.first(settings).version


def _member(settings: Settings, version: ClusterVersion, module: str) -> "Member":
    """This machine as a member of the `version`; what its replica does is in `module`, loaded as well."""

    def load() -> "Member":
        importlib.import_module(module)
        from retrievalguard.cluster.members import Member
        from service.process import own_process

        own_process()
        return Member.of(settings, version)

    return giving_way(load)


@contextmanager
def _told_why_not(settings: Settings) -> Iterator[None]:
    """Have a replica log as the settings say, also why it does not start."""
    _log(settings)
    try:
        yield
    except Exception as error:
        log.error("a replica does not start: %s", error)
        raise


def _log(settings: Settings) -> None:
    logging.config.dictConfig(logs.configuration(logs.format_for(settings.log_format, sys.stderr)))
