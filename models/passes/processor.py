"""Which processor this is: small numbers are multiplied and added otherwise on another one."""

import functools
import platform
from pathlib import Path

_KIND = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
_FLAGS = ("flags", "Features")
_VECTOR = ("amx", "avx", "sve", "sme", "asimd", "bf16", "i8mm")


@functools.cache
def processor() -> str:
    """Its model, and the vector instructions that this process may use."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = (line.partition(":") for line in first.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    kind = [fields[name] for name in _KIND if name in fields]
    flags = sorted({flag for name in _FLAGS for flag in fields.get(name, "").split()})
    vector = [flag for flag in flags if flag.startswith(_VECTOR)]
    return " ".join([platform.machine(), *kind, *vector])
