"""What this machine's processor can do. Light: it imports no heavy package."""

from __future__ import annotations

from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Processor features, as Linux names them on x86 and ARM."""


def cpu_has_bfloat16() -> bool:
    """Whether the processor has bfloat16 arithmetic; without, torch emulates it, tens of times slower."""
    return bool(_cpu_flags() & _BFLOAT16)


def _cpu_flags() -> set[str]:
    """Features of the first processor that Linux lists; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set[str]())
