"""What of a gallery that replicas share is one replica's own: its jobs and snapshots."""

import socket

from service.settings import Settings


def replica_name(settings: Settings) -> str | None:
    """What this replica is called, the name of its machine; None where there is no other."""
    return None if settings.database_url is None else socket.gethostname()


def elsewhere(replica: str | None) -> str:
    """What a client is told of a job or a snapshot that is not here, at the end of the sentence."""
    if replica is None:
        return ""
    return (
        f". This is replica {replica[:100]!r}, and each keeps its own: ask the `replica` that was named when"
        " it was made"
    )
