"""Open a checkpoint with the transformers back end: backbone, head, tokenizer and convention, put together.

Contract: `open_published` takes a published family's checkpoint, a folder or hub id; `open_own` a folder that
this toolkit's trainer wrote (`prm.checkpoint`). Safetensors only, never code from the model's repository. A
tokenizer whose ids are not the family's is refused, and so is a head that the checkpoint does not have.

It does not choose between families: that is `prm.registry`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging
from transformers.utils.hub import cached_file

from prm.checkpoint import Card, HeadCard
from prm.conventions import Convention, bind
from prm.conventions.base import Activation, Classes, LinearValue, TwoTokens, VocabularyMean
from prm.heads.linear import Head, build_head
from prm.heads.weights import HeldWeights, Weights
from prm.scoring.adapters import Adapter, find_adapter, load_merged
from prm.scoring.options import ScoringOptions
from prm.scoring.reading import Combine, Reading
from prm.scoring.transformers import TransformersScorer
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.hf_load import check_folder, choose_device, choose_dtype


def open_published(
    model: str,
    convention: Convention,
    *,
    options: ScoringOptions,
    combine: Combine = "mean",
    uncertainty: float = 0.5,
    expected: Mapping[str, int] | None = None,
) -> TransformersScorer:
    """A scorer over a published checkpoint, or a LoRA adapter over one, which is merged in memory.

    `expected` are ids for tests (see `bind`).
    """
    adapter = find_adapter(model)
    if adapter is None:
        backbone, tokenizer, folder = load_backbone(model, options)
        weights = Weights(folder)
    else:
        backbone, tokenizer, weights = _load_adapted(adapter, convention, options)
    bound = bind(convention, tokenizer, expected=expected)
    head = build_head(convention.readout, weights, bound.ids)
    reading = Reading(convention=convention, combine=combine, uncertainty=uncertainty)
    return TransformersScorer(backbone, head, bound, reading, options=options)


def open_own(
    folder: Path,
    card: Card,
    convention: Convention,
    *,
    options: ScoringOptions,
    combine: Combine = "mean",
    uncertainty: float = 0.5,
    expected: Mapping[str, int] | None = None,
) -> TransformersScorer:
    """A scorer over a folder with a card; `convention` is the layout that the card names."""
    backbone, tokenizer, _ = load_backbone(str(folder), options)
    convention = with_head(convention, card.head)
    bound = bind(convention, tokenizer, expected=expected)
    head = own_head(folder, card, convention, bound.ids)
    reading = Reading(
        convention=convention, combine=combine, uncertainty=uncertainty, calibration=card.calibration
    )
    return TransformersScorer(backbone, head, bound, reading, options=options)


def _load_adapted(
    adapter: Adapter, convention: Convention, options: ScoringOptions
) -> tuple[Any, Any, Weights]:
    """Backbone, tokenizer and tensors for the head of an adapter merged into its base, in memory."""
    if not isinstance(convention.readout, TwoTokens | VocabularyMean):
        raise UsageError(
            f"{adapter.name!r} is a LoRA adapter over {adapter.base!r}, and the family {convention.name!r} "
            "has a head outside of the language model, which adapters are not read for; merge it into a "
            "folder with the head's tensors"
        )
    model, tokenizer = load_merged(adapter, device=options.device, dtype=options.dtype)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if "layers." not in name}
    return model.base_model, tokenizer, HeldWeights(adapter.folder, tensors)


def with_head(convention: Convention, head: HeadCard) -> Convention:
    """The layout of a convention, read by a head of our own."""
    if head.kind == "classes":
        return replace(convention, readout=Classes(layers=("head",)), activation=Activation.SOFTMAX)
    if head.kind == "value" or (head.kind == "two-token" and head.file is not None):
        return replace(convention, readout=LinearValue(layer="head"), activation=Activation.SIGMOID)
    if head.kind == "two-token" and not isinstance(convention.readout, TwoTokens):
        raise UsageError(
            f"a two-token head without a file needs a convention that names two tokens; {convention.name!r} "
            "does not"
        )
    return convention


def own_head(folder: Path, card: Card, convention: Convention, ids: Mapping[str, int]) -> Head:
    """The head of a folder with a card; `UsageError` where its shape is not the card's."""
    weights = Weights(folder) if card.head.file is None else Weights(folder, only=card.head.file)
    head = build_head(convention.readout, weights, ids)
    if head.outputs != card.head.rows:
        raise UsageError(
            f"the head of {str(folder)!r} has {head.outputs} rows, its card says {card.head.rows} "
            f"({card.head.kind}, {card.head.outputs} outputs)"
        )
    return head


def load_backbone(model: str, options: ScoringOptions) -> tuple[Any, Any, Path]:
    """Backbone without lm_head on its device, tokenizer, and the folder of the weights."""
    place = choose_device(options.device)
    kind = choose_dtype(options.dtype, place)
    path = Path(model).expanduser()
    if path.is_dir() or model.startswith((".", "/", "~")):
        check_folder(path)
        model = str(path)
        logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        with _quiet():
            loaded, report = AutoModel.from_pretrained(
                model, dtype=kind, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except (OSError, ValueError) as error:
        raise MissingPrerequisiteError(
            f"model {model!r} could not be loaded: {' '.join(str(error).split())}; give a folder with "
            "config.json, tokenizer files and *.safetensors, or a hub id that `hf download ID` can fetch"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UsageError(
            f"the weights of {model!r} lack {len(missing)} tensors of {type(loaded).__name__} "
            f"({', '.join(missing[:3])}); its scores would be random, so it is not loaded"
        )
    folder = path if path.is_dir() else Path(cached_file(model, "config.json") or "").parent
    return loaded.to(place).eval(), tokenizer, folder


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Let `transformers` report errors only: heads that it does not know are read here."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
