"""`search doctor`: what is installed and works here, and the command that mends each lack."""

from __future__ import annotations

import json
import os
import shlex
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import MissingPrerequisiteError
from treesearch.cli import options
from treesearch.cli.terminal import one_line, say, say_json
from treesearch.hardware import cpu_has_bfloat16

_OPTIONAL = {
    "torch": "running models in this process",
    "transformers": "running models in this process",
    "safetensors": "reading model weights",
    "vllm": "fast serving on GPUs; not needed for the shipped model",
}
_NEEDED = ("torch", "transformers", "safetensors")
_DEMONSTRATION = (
    "The embedded model is a demonstration model: it shows the toolkit at work on small problems and knows "
    "nothing else. For real work name your own with --policy FOLDER or --policy HUB-ID."
)
_MAX_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at. `mend` is the command or act that mends a lack, empty where nothing is wrong."""

    name: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The check as JSON data."""
        plain = {"name": self.name, "ok": self.ok, "needed": self.needed, "found": self.found}
        return plain | {"mend": self.mend or None} | self.facts


def doctor(as_json: options.Json = False) -> None:
    """Show what is installed and works here, and how to mend what does not."""
    checks = [_python(), *map(_package, _OPTIONAL), _hardware(), _embedded(), _grader(), _folder()]
    ok = all(check.ok for check in checks if check.needed)
    if as_json:
        names = {"ok": ok, "checks": [check.to_json() for check in checks]}
        say_json(names | {"note": _DEMONSTRATION})
        return
    for check in checks:
        mark = "ok  " if check.ok else "lack" if check.needed else "-   "
        say(f"{mark}  {check.name:12}  {one_line(check.found)}")
        if check.mend:
            say(f"{'':20}mend: {check.mend}")
    say()
    say(_DEMONSTRATION)
    say("Everything that the shipped model needs is here." if ok else "Something is lacking; see above.")


def _python() -> Check:
    import platform

    from treesearch.cli.app import package_version

    version = platform.python_version()
    facts = {"python": version, "version": package_version(), "platform": platform.platform()}
    found = f"{version} on {platform.system()} {platform.machine()}; treesearch-toolkit {facts['version']}"
    ok = sys.version_info >= (3, 11)
    mend = "" if ok else "install Python 3.11 or newer"
    return Check(name="python", ok=ok, found=found, mend=mend, facts=facts)


def _package(name: str) -> Check:
    import importlib.metadata
    import importlib.util

    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    there = bool(version) and importlib.util.find_spec(name) is not None
    install = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(_requirement(name))}"
    return Check(
        name=name,
        ok=there,
        found=version if there else f"not installed ({_OPTIONAL[name]})",
        mend="" if there else install,
        needed=name in _NEEDED,
        facts={"installed": there, "version": version or None},
    )


def _requirement(name: str) -> str:
    """What this distribution asks of a package, such as ``torch<2.14,>=2.6``; the bare name if nothing."""
    import importlib.metadata

    try:
        wanted = importlib.metadata.requires("treesearch-toolkit") or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    for line in wanted:
        requirement = line.partition(";")[0].strip()
        if requirement.startswith(name) and not requirement[len(name) :][:1].isalnum():
            return requirement
    return name


def _hardware() -> Check:
    """Processors, bfloat16 and CUDA. bfloat16 without hardware support works, and is slower."""
    cpus, native = os.cpu_count() or 1, cpu_has_bfloat16()
    cuda, detail, mend = _cuda()
    kind = "in hardware" if native else "emulated"
    found = f"{cpus} CPUs, bf16 {kind}; {detail}"
    facts = {"cpus": cpus, "cpu_bf16": native, "cuda": cuda}
    return Check(name="hardware", ok=not mend, found=found, mend=mend, needed=False, facts=facts)


def _cuda() -> tuple[list[str], str, str]:
    """GPU names, a description, and the mend if torch is there but broken."""
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        return [], "CUDA unknown without torch", ""
    try:
        import torch
    except (ImportError, OSError) as error:
        again = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall torch"
        return [], f"torch cannot be imported: {error}", again
    if not torch.cuda.is_available():
        return [], "no CUDA", ""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
    return gpus, f"CUDA: {', '.join(gpus)} {bf16} bf16", ""


def _embedded() -> Check:
    """The model that ships: there, its size and the number of its parameters."""
    from treesearch.policies import embedded_folder

    folder = embedded_folder()
    weights = sorted(folder.glob("*.safetensors"))
    ok = bool(weights) and (folder / "config.json").is_file()
    facts: dict[str, Any] = {"folder": str(folder), "bytes": None, "parameters": None}
    if not ok:
        mend = "install the package again from its wheel, or name a model of your own with --policy"
        return Check(name="embedded", ok=False, found=f"no model in {folder}", mend=mend, facts=facts)
    facts["bytes"] = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    counts = [parameters(file) for file in weights]
    size = f"{facts['bytes'] / 1e6:.1f} MB"
    known = [count for count in counts if count is not None]
    if len(known) == len(counts):
        facts["parameters"] = sum(known)
        size = f"{facts['parameters'] / 1e6:.2f} M parameters, {size}"
    return Check(name="embedded", ok=True, found=f"{size}, in {folder}", facts=facts)


def parameters(file: Path) -> int | None:
    """Number of parameters from the header of a safetensors file; None if it cannot be read."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, _MAX_HEADER)))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        return None
    total = 0
    for shape in shapes:
        count = 1
        for size in shape:
            count *= size
        total += count
    return total


def _grader() -> Check:
    """Whether the process for symbolic comparison can start."""
    from tasks.math import prewarm, shutdown

    started = time.perf_counter()
    try:
        prewarm()
    except (MissingPrerequisiteError, OSError) as error:
        install = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(_requirement('math-verify'))}"
        return Check(name="grader", ok=False, found=str(error), mend=install, facts={"start_s": None})
    finally:
        shutdown()
    taken = round(time.perf_counter() - started, 2)
    found = f"the process for symbolic comparison starts in {taken} s"
    return Check(name="grader", ok=True, found=found, facts={"start_s": taken})


def _folder() -> Check:
    """Whether a run can be written below the current folder."""
    import tempfile

    here = Path.cwd()
    facts = {"folder": str(here)}
    try:
        with tempfile.NamedTemporaryFile(dir=here, prefix=".search-doctor-"):
            pass
    except OSError as error:
        mend = "change to a folder of your own, or name one with --run"
        found = f"{here} is not writable ({error.strerror})"
        return Check(name="folder", ok=False, found=found, mend=mend, facts=facts)
    return Check(name="folder", ok=True, found=f"{here} is writable", facts=facts)
