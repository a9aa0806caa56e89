"""What is checked before torch is loaded, so that a mistake is told at once and not after half a minute.

Nothing here needs more than the standard library, and nothing is left behind but the data folder.
"""

import errno
import os
import socket
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

PLOTS = (".png", ".svg", ".pdf")
_MANIFEST = "manifest.json"


class CheckError(Exception):
    """The command cannot succeed; the message names what is in the way, and the way out."""


def check_service() -> None:
    """`CheckError` if only the client is installed."""
    missing = [name for name in ("torch", "faiss", "fastapi") if find_spec(name) is None]
    if missing:
        raise CheckError(
            f"this installation lacks {', '.join(missing)}: it can ask a service (retrieve --url), and be one"
            " only after pip install 'retrievalguard[cpu]', or [gpu]"
        )


def check_client() -> None:
    """`CheckError` if the client is not installed."""
    if find_spec("httpx") is None:
        raise CheckError("asking a service needs the extra `client`: pip install 'retrievalguard[client]'")


def check_traces() -> None:
    """`CheckError` if what makes traces is not installed."""
    try:
        found = find_spec("opentelemetry.sdk.trace")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise CheckError(
            "RETRIEVALGUARD_TRACES_URL needs the extra `otel`: pip install 'retrievalguard[otel]'"
        )


def check_postgres() -> None:
    """`CheckError` if what connects to PostgreSQL is not installed."""
    if find_spec("psycopg") is None:
        raise CheckError(
            "DATABASE_URL needs the extra `postgres`: pip install 'retrievalguard[cpu,postgres]'"
        )


def check_ray(what: str) -> None:
    """`CheckError` if Ray, which `what` needs, is not installed."""
    if find_spec("ray") is None:
        raise CheckError(f"{what} needs the extra `cluster`: pip install 'retrievalguard[cpu,cluster]'")


def check_data_folder(folder: Path) -> None:
    """Make the data folder if it is not there; `CheckError` if nothing can be written into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CheckError(
            f"the data folder {folder} cannot be made ({error.strerror}): choose another by"
            " RETRIEVALGUARD_DATA_DIR"
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise CheckError(
            f"the data folder {folder} is not writable for this user: change its owner or rights, or choose"
            " another by RETRIEVALGUARD_DATA_DIR"
        )


def check_model(model: str, option: str = "RETRIEVALGUARD_MODEL") -> None:
    """`CheckError` if `model`, of an `option`, neither ships with the project nor is a folder of one."""
    spec = find_spec("models")  # which does not import it
    shipped = Path(spec.origin if spec and spec.origin else ".").with_name("pretrained")
    if not any((folder / _MANIFEST).is_file() for folder in (shipped / model, Path(model))):
        names = ", ".join(sorted(found.name for found in shipped.iterdir() if found.is_dir()))
        raise CheckError(
            f"{option}: {model} is neither a model that ships with the project ({names}) nor a"
            f" folder with a {_MANIFEST}, as `retrievalguard train` writes it"
        )


def check_output(path: Path, option: str, suffixes: tuple[str, ...] = ()) -> None:
    """`CheckError` if the file `path` of an `option` cannot be written, or has none of `suffixes`."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise CheckError(f"{option}: {path} ends in none of {', '.join(suffixes)}")
    if path.is_dir():
        raise CheckError(f"{option}: {path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise CheckError(f"{option}: there is no folder {path.parent}: make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CheckError(f"{option}: {path} is not writable for this user")


def check_output_folder(path: Path, option: str) -> None:
    """`CheckError` if the folder `path` of an `option` can be neither made nor written into."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise CheckError(f"{option}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CheckError(f"{option}: {there} is not writable for this user")


def check_new_folder(path: Path, option: str) -> None:
    """`CheckError` if the folder `path` of an `option` cannot be made, or holds something already."""
    check_output_folder(path, option)
    if path.exists() and any(path.iterdir()):
        raise CheckError(f"{option}: {path} is not empty: name a new folder")


def listening(host: str, port: int, setting: str = "RETRIEVALGUARD_PORT") -> list[socket.socket]:
    """A socket for each address of `host`, bound to `port`, nobody else's from now on; 0: a free one.

    All have the same port, which `setting` names in what is said of it. They do not listen yet: until the
    service is ready, connections are refused. Raises `CheckError` when the port is taken, or `host` is not of
    this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise CheckError(f"RETRIEVALGUARD_HOST: {host} is no address of this machine ({error})") from error
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        place = (address[0], sockets[0].getsockname()[1] if sockets else port, *address[2:])
        try:
            sockets.append(_bound(family, kind, protocol, place))
        except OSError as error:
            # A name may have an address that this machine does not speak, such as ::1 for localhost.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                _close(sockets)
                raise CheckError(_refusal(host, port, setting, error)) from error
            refused = error
    if not sockets:
        raise CheckError(_refusal(host, port, setting, refused or OSError(errno.EADDRNOTAVAIL, "no address")))
    return sockets


def check_keys_file(keys: Path) -> None:
    """`CheckError` if the file of keys that was named is not there: perhaps a secret was not mounted."""
    if not keys.is_file():
        raise CheckError(
            f"RETRIEVALGUARD_KEYS_FILE: there is no file {keys}: mount it, or make it with `retrievalguard"
            " keys create`"
        )


def check_guarded(sockets: list[socket.socket], keys: Path) -> None:
    """`CheckError` if other machines can reach one of `sockets`, and no key was ever made."""
    exposed = [found.getsockname()[0] for found in sockets if not _is_loopback(found)]
    if exposed and not keys.is_file():
        _close(sockets)
        raise CheckError(
            f"other machines can reach {exposed[0]}, and there is no key yet: make one with `retrievalguard"
            " keys create NAME --scope retrieve`, or say RETRIEVALGUARD_OPEN_TO_ALL=true if whoever reaches"
            " the service may do everything"
        )


def _is_loopback(found: socket.socket) -> bool:
    return ip_address(found.getsockname()[0]).is_loopback


def _bound(family: int, kind: int, protocol: int, place: tuple[object, ...]) -> socket.socket:
    found = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:  # as asyncio: 0.0.0.0 and :: may be two services
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            found.bind(place)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Perhaps only connections that are over hold the port. Not at first: two services that start
            # together and both reuse the port would both have it, until one of them listens.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(place)
    except BaseException:
        found.close()
        raise
    return found


def _close(sockets: list[socket.socket]) -> None:
    for found in sockets:
        found.close()


def _refusal(host: str, port: int, setting: str, error: OSError) -> str:
    way_out = {
        errno.EADDRINUSE: f"another process has it: end that one, or choose another {setting}",
        errno.EACCES: f"choose a {setting} of 1024 or above",
        errno.EADDRNOTAVAIL: "RETRIEVALGUARD_HOST is no address of this machine",
    }.get(error.errno or 0, f"choose another RETRIEVALGUARD_HOST or {setting}")
    return f"cannot listen on {host} port {port} ({error.strerror}): {way_out}"
