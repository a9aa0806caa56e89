"""What pip was told about indexes, certificates and so on, in the words of uv, which reads none of it."""

import ast
import re

# In the words of uv's command line. pip takes several at a time, with spaces between.
OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}
VARIABLES = {"cert": "SSL_CERT_FILE", "timeout": "UV_HTTP_TIMEOUT", "default-timeout": "UV_HTTP_TIMEOUT"}
# These may be on or off.
FLAGS = {"no-index": "--no-index", "no-cache-dir": "--no-cache", "quiet": "--quiet"}
# Nothing of what is installed changes with these: exact versions leave nothing to a constraint.
WITHOUT_EFFECT = {
    "cache-dir", "constraint", "disable-pip-version-check", "no-input", "no-warn-script-location",
    "prefer-binary", "progress-bar", "require-virtualenv", "retries", "root-user-action",
}  # fmt: skip
# The sections that `pip install` reads, the last one first.
SECTIONS = (":env:", "install", "global")


def in_uv(listed: str) -> tuple[list[str], dict[str, str]] | None:
    """Options and environment variables of `uv pip install`; None if there is a setting that uv may not know.

    listed  what `pip config list` printed: a line SECTION.NAME='VALUE' for each setting
    """
    found = settings(listed)
    if found.keys() - {*OPTIONS, *VARIABLES, *FLAGS, *WITHOUT_EFFECT}:
        return None
    options = []
    for name, value in found.items():
        if name in OPTIONS:
            options += [f"{OPTIONS[name]}={word}" for word in value.split()]
        elif FLAGS.get(name) and not off(value):
            options.append(FLAGS[name])
    return options, {VARIABLES[name]: value for name, value in found.items() if name in VARIABLES}


def settings(listed: str) -> dict[str, str]:
    """The value of each setting that holds for `pip install`."""
    lines = filter(None, map(re.compile(r"(.+?)\.([^.=]+)=(.*)").fullmatch, listed.splitlines()))
    by_section: dict[str, dict[str, str]] = {}
    for line in lines:
        by_section.setdefault(line[1], {})[line[2]] = ast.literal_eval(line[3])
    found: dict[str, str] = {}
    for section in reversed(SECTIONS):
        found |= by_section.get(section, {})
    return {name: value for name, value in found.items() if value.strip()}


def off(value: str) -> bool:
    """Whether a flag of pip with this value is not set."""
    return value.strip().lower() in ("", "0", "false", "no", "off")
