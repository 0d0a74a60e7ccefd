"""Manifests: what a stage read, made and cost, and the hash that says it is the same.

Contract: a stage is done when its `manifest.json` is there. Its `hash` is over the stage's name, iteration,
inputs, settings, seed, outputs and results: a run that was killed and resumed has the same hashes as one that
was not. Costs, seconds, versions and the times in them are beside it and differ. The inputs of a stage are
hashes of the outputs before it, so the hashes form a chain: `differences` says where a manifest and what the
stage would do now part.

`results` hold what the stage found out, as plain data; `outputs` name what it wrote, with one content hash
each, and `files` the bytes on disk that stand for it, relative to the stage's folder. Written by atomic
replace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from selftrain.loop.hashing import data_hash, file_hash, files_hash, model_files
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json

FILE = "manifest.json"
SCHEMA = 1
_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a stage took. Tokens by role: written, read as prompts, scored, and gone through in training.

    `seconds` are wall time, those of parts that were interrupted included; a kill loses its part.
    """

    generated_tokens: int = 0
    prompt_tokens: int = 0
    value_tokens: int = 0
    trained_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Costs) -> Costs:
        mine, theirs = asdict(self), asdict(other)
        return Costs(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, kw_only=True)
class Output:
    """Something a stage wrote: its content `hash`, and the files that hold it with theirs."""

    hash: str
    files: Mapping[str, str]


def file_output(folder: Path, name: str) -> Output:
    """The file `name` of a stage's folder, known by its bytes."""
    found = file_hash(folder / name)
    return Output(hash=found, files={name: found})


def model_output(folder: Path, name: str) -> Output:
    """The model folder `name` of a stage's folder, known by weights and tokenizer."""
    hashes = {file.name: file_hash(file) for file in model_files(folder / name)}
    if not hashes:
        raise DataError(f"{folder / name} holds no model")
    return Output(hash=files_hash(hashes), files={f"{name}/{key}": value for key, value in hashes.items()})


@dataclass(frozen=True, kw_only=True)
class Done:
    """What the work of a stage hands back."""

    outputs: Mapping[str, Output] = field(default_factory=dict[str, Output])
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    costs: Costs = Costs()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a stage is going to do: everything that its outcome depends on."""

    stage: str
    iteration: int
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A stage that is done. See the module."""

    identity: Identity
    outputs: Mapping[str, Output]
    results: Mapping[str, Any]
    costs: Costs
    versions: Mapping[str, str]

    @property
    def hash(self) -> str:
        """The hash that is compared; see the module."""
        outputs = {name: output.hash for name, output in self.outputs.items()}
        return data_hash(
            {"schema": SCHEMA, **asdict(self.identity), "outputs": outputs, "results": dict(self.results)}
        )

    def to_json(self) -> dict[str, Any]:
        """The content of ``manifest.json``."""
        return {
            "schema": SCHEMA,
            **asdict(self.identity),
            "outputs": {name: asdict(output) for name, output in self.outputs.items()},
            "results": dict(self.results),
            "hash": self.hash,
            "costs": asdict(self.costs),
            "versions": dict(self.versions),
        }

    def differences(self, now: Identity) -> list[str]:
        """How what the stage read and was told differs from `now`, one readable line each."""
        found: list[str] = []
        _compare(self.identity.inputs, now.inputs, "input", found)
        _compare(self.identity.settings, now.settings, "setting", found)
        _compare({"seed": self.identity.seed}, {"seed": now.seed}, "", found)
        return found

    def damaged(self, folder: Path) -> list[str]:
        """Files of the outputs that are gone or are not what the stage wrote."""
        found: list[str] = []
        for output in self.outputs.values():
            for name, wanted in output.files.items():
                path = folder / name
                if not path.is_file():
                    found.append(f"{path} is gone")
                elif file_hash(path) != wanted:
                    found.append(f"{path} is not what the stage wrote")
        return found


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], what: str, found: list[str]) -> None:
    for key in {**old, **new}:
        first, second = old.get(key), new.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            _compare(
                cast("Mapping[str, Any]", first), cast("Mapping[str, Any]", second), f"{what} {key}", found
            )
        elif plain(first) != plain(second):
            shown = f"was {str(first)[:_SHOWN]}, is {str(second)[:_SHOWN]} now"
            found.append(f"{what} {key} {shown}".strip())


def plain(content: Any) -> Any:
    """`content` as it comes back from JSON."""
    return json.loads(json.dumps(content))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Say that the stage in `folder` is done."""
    write_json(folder / FILE, manifest.to_json())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder; None while it is not done, `DataError` if it does not check."""
    content = read_json(folder / FILE)
    if content is None:
        return None
    try:
        manifest = Manifest(
            identity=Identity(
                **{name: content[name] for name in ("stage", "iteration", "inputs", "settings", "seed")}
            ),
            outputs={name: Output(**output) for name, output in content["outputs"].items()},
            results=content["results"],
            costs=Costs(**content["costs"]),
            versions=content["versions"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / FILE}: damaged ({type(error).__name__}: {error})") from error
    if manifest.hash != content["hash"]:
        raise DataError(f"{folder / FILE}: was changed by hand (its hash is not that of its content)")
    return manifest


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is no file; `DataError` if it is damaged or of another schema."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise UsageError(f"{path}: schema {content['schema']}; this version reads schema {SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    return content
