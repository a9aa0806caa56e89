"""What Ray and all that it starts finds in the environment: set by the command alone, before Ray is imported.

Nothing is sent to Ray's makers. Who has the token of a Ray may run anything in it: on one machine it is made
for each start, kept in the data folder, where an update finds it, and forgotten at the end.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What the proxies of Serve put in front of themselves (`retrievalguard.cluster.gate`).
IMPORT_PATH = "retrievalguard.cluster.gate:middlewares"
# Nothing is sent to Ray's makers; and what runs in it is for queries: by Ray's default that comes after
# everything else that the machine does.
OURS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
# A machine that is gone is given up after 5 checks that fail: before that nothing takes its place. One that
# refuses connections fails each at once, one that is silent (no power, no network) after the timeout: that is
# 5 and 15 seconds, where Ray's own defaults make it 15 and a minute.
GIVEN_UP = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}
# Machines that are joined need these where Ray is started (docs/operations.md).
EVERYWHERE = OURS | GIVEN_UP | {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": IMPORT_PATH}
# By default the command leaves out lines of replicas' logs that are like one of the last 5 seconds.
WHOLE_LOG = {"RAY_DEDUP_LOGS": "0"}
# How often Ray is started: on a busy machine its processes take longer than the time that it gives them.
STARTS = 4


@contextmanager
def for_own_ray(data: Path) -> Iterator[None]:
    """For a Ray that is started here, with a token of its own in the folder `data`."""
    token = data / "ray-token"
    token.unlink(missing_ok=True)
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    os.environ.update(EVERYWHERE | WHOLE_LOG | _with(token))
    try:
        yield
    finally:
        token.unlink(missing_ok=True)


def for_shards() -> None:
    """For a Ray of shards alone: the one that RAY_ADDRESS names, or one that is started for this process.

    That has a token, too, which is in the environment of its processes alone.
    """
    for name, value in OURS.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" not in os.environ and not _has_token():
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@contextmanager
def for_joined_ray(data: Path) -> Iterator[None]:
    """For one that runs: with its token if it was started here, unless the environment names another."""
    token = data / "ray-token"
    own = token.is_file() and not _has_token()
    os.environ.update(EVERYWHERE | WHOLE_LOG | (_with(token) if own else {}))
    yield


def _has_token() -> bool:
    return any(name.startswith("RAY_AUTH_") for name in os.environ)


def _with(token: Path) -> dict[str, str]:
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
