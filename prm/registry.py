"""Process-reward models by name: a checkpoint, however it was published, as a `StepScorer`.

    scorer = open_scorer("Qwen/Qwen2.5-Math-PRM-7B", {"device": "cuda"})
    scores = await scorer.score("What is 1 + 1?", ["1 + 1 is 2."])

Contract: a name is ``embedded`` (the model that ships with the package), a folder that this toolkit's trainer
wrote, or a published family's checkpoint, a folder or hub id. The folder of a training run stands for what
the run wrote: its model, or its models as one ensemble (`prm.scoring.members`). Of a published checkpoint the
convention is `family`, else it is told by the checkpoint's name or an architecture that only one family has;
nothing is guessed. A LoRA adapter over one is merged in memory (`prm.scoring.adapters`). Settings are those
of `ScorerSettings` (`prm.scoring.settings`); an unknown one names the nearest, and one that the way the model
is read has no use for is refused. Model libraries are imported when a model is opened, not before.

It does not choose thresholds or aggregates: the convention names the usual ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from prm.checkpoint import Card, is_checkpoint, read_card
from prm.conventions import Classes, Convention, LogRatio, Verdict, detect, find, names
from prm.scoring.base import StepScorer
from prm.scoring.settings import NATIVE, Reads, ScorerSettings, refuse_unused
from prm.scoring.state_dict import check_converted
from prm.trained import models_of
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.settings import build

EMBEDDED = "embedded"


def embedded_folder() -> Path:
    """Folder of the process-reward model that ships with the package."""
    return Path(str(resources.files("prm") / "models" / "embedded"))


def open_scorer(name: str, settings: Mapping[str, Any] | None = None) -> StepScorer:
    """The model behind a name; see the module.

    Raises `UsageError` for a wrong setting or a checkpoint that does not fit its family,
    `MissingPrerequisiteError` for a model or package that is not there.
    """
    given = build(ScorerSettings, settings or {}, what="prm")
    folder = embedded_folder() if name == EMBEDDED else Path(name).expanduser()
    if name == EMBEDDED and not is_checkpoint(folder):
        raise MissingPrerequisiteError(
            f"no model ships at {str(folder)!r} with this installation; train one with `search prm train`, "
            "or give a folder or hub id"
        )
    models = models_of(folder)
    if len(models) > 1:
        return _open_members(models, given)
    folder = models[0] if models else folder
    if is_checkpoint(folder):
        return _open_own(folder, read_card(folder), given)
    if not folder.is_dir():
        _check_hub_id(name, given)
    convention = find(given.family) if given.family else detect(name, _config(folder))
    return _open_published(name, convention, given)


def _check_hub_id(name: str, settings: ScorerSettings) -> None:
    """Refuse what is no folder here and can be nothing on the hub, or does not tell its family."""
    from treesearch.engines.hf_load import check_folder, is_path

    if is_path(name):
        check_folder(Path(name).expanduser())
    if settings.family:
        return
    try:
        detect(name, {})
    except UsageError as error:
        raise UsageError(
            f"there is no folder {name!r}, and as a hub id it does not say what family it is of; check the "
            f"path, or give family=NAME, one of: {', '.join(names())}"
        ) from error


def scorer_hash(name: str, settings: ScorerSettings) -> str:
    """Hash of what gives the scores of an open model, wherever it lies.

    That of its weights (`treesearch.engines.hf_load.weights_hash`); of a folder that this toolkit's trainer
    wrote, with how its card reads them (calibration included); of a log-ratio, with the reference's weights;
    of a training run, that of its model, or of all its models; of a LoRA adapter, with the base's weights.
    """
    from prm.scoring.adapters import find_adapter
    from treesearch.engines.hf_load import weights_hash

    folder = embedded_folder() if name == EMBEDDED else Path(name).expanduser()
    if models := models_of(folder):
        return _joined([scorer_hash(str(model), settings) for model in models])
    card = read_card(folder) if is_checkpoint(folder) else None
    adapter = find_adapter(name) if card is None else None
    if adapter is not None:
        return _joined([weights_hash(adapter.base), adapter.hash])
    parts = [weights_hash(name if card is None else str(folder))]
    reference = settings.reference or (card.reference if card is not None else None)
    if reference:
        parts.append(weights_hash(reference))
    if card is not None:
        parts.append(json.dumps(card.reading(), sort_keys=True))
    return _joined(parts)


def _joined(hashes: Sequence[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def open_uncalibrated(folder: Path, settings: Mapping[str, Any] | None = None) -> StepScorer:
    """A folder that this toolkit's trainer wrote, its scores before calibration; raises as `open_scorer`."""
    given = build(ScorerSettings, settings or {}, what="prm")
    return _open_own(folder, replace(read_card(folder), calibration=None), given)


def _open_own(folder: Path, card: Card, settings: ScorerSettings) -> StepScorer:
    if settings.family and settings.family != card.convention:
        raise UsageError(
            f"{str(folder)!r} follows the convention {card.convention!r}, family={settings.family} was asked "
            "for; leave family out"
        )
    if settings.backend == NATIVE:
        raise _no_native_class(str(folder))
    convention = find(card.convention)
    refuse_unused(str(folder), "log-ratio" if card.head.kind == "implicit" else "head", settings)
    if card.head.kind == "implicit":
        return _open_implicit(str(folder), convention, settings, reference=card.reference or "", card=card)
    if settings.backend == "vllm":
        from prm.scoring.vllm_open import open_own as open_own_on_vllm

        return open_own_on_vllm(folder, card, convention, settings)
    from prm.scoring.open import open_own

    return open_own(
        folder,
        card,
        convention,
        options=settings.options,
        combine=settings.combine,  # pyright: ignore[reportArgumentType] - checked by ScorerSettings
        uncertainty=settings.uncertainty,
    )


def _open_members(models: Sequence[Path], settings: ScorerSettings) -> StepScorer:
    """The models of one training run as one scorer; members that are log-ratios have nothing to combine."""
    from prm.scoring.members import open_members

    cards = [read_card(model) for model in models]
    alone = replace(settings, combine=ScorerSettings.combine, uncertainty=ScorerSettings.uncertainty)
    return open_members(
        [
            partial(_open_own, model, card, alone if card.head.kind == "implicit" else settings)
            for model, card in zip(models, cards, strict=True)
        ],
        combine=settings.combine,  # pyright: ignore[reportArgumentType] - checked by ScorerSettings
        uncertainty=settings.uncertainty,
    )


def _open_published(name: str, convention: Convention, settings: ScorerSettings) -> StepScorer:
    refuse_unused(name, _reads(convention), settings)
    if settings.backend == NATIVE and not has_native_class(convention):
        raise _no_native_class(f"{name} ({convention.name})")
    check_converted(name, convention)
    if settings.backend != "transformers" or isinstance(convention.readout, LogRatio | Verdict):
        _refuse_adapter(name, convention, settings)
    if isinstance(convention.readout, LogRatio):
        return _open_implicit(name, convention, settings, reference="", card=None)
    if isinstance(convention.readout, Verdict):
        return _open_judge(name, convention, settings)
    if settings.backend != "transformers":
        from prm.scoring.vllm_open import open_published as open_published_on_vllm

        return open_published_on_vllm(name, convention, settings)
    from prm.scoring.open import open_published

    return open_published(
        name,
        convention,
        options=settings.options,
        combine=settings.combine,  # pyright: ignore[reportArgumentType] - checked by ScorerSettings
        uncertainty=settings.uncertainty,
    )


def _refuse_adapter(name: str, convention: Convention, settings: ScorerSettings) -> None:
    """Raise for a LoRA adapter where a whole model is needed."""
    from prm.scoring.adapters import find_adapter

    if (adapter := find_adapter(name)) is not None:
        vllm = settings.backend != "transformers"
        raise adapter.not_read(f"backend={settings.backend}" if vllm else f"the family {convention.name!r}")


def has_native_class(convention: Convention) -> bool:
    """Whether vLLM has a class for the family's head: two linear layers on classes, which is Qwen's."""
    return isinstance(convention.readout, Classes) and len(convention.readout.layers) == 2


def _no_native_class(what: str) -> UsageError:
    return UsageError(
        f"backend={NATIVE} is vLLM's own class for Qwen's process-reward models, which {what} is not; use "
        "backend=vllm"
    )


def _reads(convention: Convention) -> Reads:
    if isinstance(convention.readout, LogRatio):
        return "log-ratio"
    return "verdict" if isinstance(convention.readout, Verdict) else "head"


def _open_implicit(
    name: str, convention: Convention, settings: ScorerSettings, *, reference: str, card: Card | None
) -> StepScorer:
    from prm.scoring.implicit import open_implicit

    return open_implicit(name, convention, settings, reference=settings.reference or reference, card=card)


def _open_judge(name: str, convention: Convention, settings: ScorerSettings) -> StepScorer:
    from prm.scoring.generative import open_judge

    return open_judge(name, convention, settings)


def _config(folder: Path) -> dict[str, Any]:
    """The config of a folder; empty for a hub id, of which the name must say enough."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from error
