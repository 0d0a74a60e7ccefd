"""Open a checkpoint with vLLM: which of its classes runs it, and what of the checkpoint it may see.

Contract: two tokens of a causal model become a classifier of one row inside vLLM (architecture
``...ForSequenceClassification``, `classifier_from_token` [negative, positive], `method` from_2_way_softmax:
the row is the difference of the two of lm_head). Qwen's process-reward class is native in vLLM and reads
all positions of a text, of which those of the tags are taken here, by where they were put and not by their
id (vLLM's own STEP pooling goes by a fixed id, and gives no rows where the tokenizer has another). Every
other head is applied here to the last hidden state, which vLLM gives as an embedding without normalisation.
That is also the default for Qwen's checkpoints, since only the last position reads the prefix cache;
the back end `vllm-native` asks for vLLM's own class.

vLLM loads every tensor of a folder and fails on one that its class does not know, so a head is kept from it:
the folder is mirrored by links, with a copy of the files that hold a head, without it.

Sources: vLLM 0.32, `model_executor/models/adapters.py` and `qwen2_rm.py`; Qwen3-Reranker's model card for
the two-way softmax.
"""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.checkpoint import Card
from prm.conventions import Convention, TwoTokens, bind
from prm.scoring.reading import Reading
from prm.scoring.vllm import Numbers, Read, VLLMScorer
from tasks.errors import UsageError
from treesearch.engines.vllm_client import VLLMClient

if TYPE_CHECKING:
    from prm.heads.linear import Head
    from prm.registry import ScorerSettings

_BODY = ("model.", "layers.", "embed_tokens.", "norm.", "lm_head.")
"""Beginnings of the names of tensors that are not a head."""
_CACHED: Mapping[str, Any] = {"enable_prefix_caching": True}
_ALL = json.dumps({"tok_pooling_type": "ALL"})
_NATIVE = "Qwen2ForProcessRewardModel"
_CAUSAL = {"mistral": "MistralForCausalLM", "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def open_published(
    model: str,
    convention: Convention,
    settings: ScorerSettings,
    *,
    expected: Mapping[str, int] | None = None,
) -> VLLMScorer:
    """A scorer over a published checkpoint; `expected` are ids for tests (see `bind`).

    With `settings.backend` vllm-native by vLLM's own class: the convention must have one
    (`prm.registry.has_native_class`).
    """
    from treesearch.engines.hf_load import model_folder

    folder = model_folder(model)
    bound = bind(convention, _tokenizer(folder), expected=expected)
    reading = _reading(convention, settings)
    if settings.backend == "vllm-native":
        client = _client(str(folder), settings, {"architectures": [_NATIVE]}, {}, pooler=_ALL)
        return VLLMScorer(client, bound, reading, read=Read.TOKENS)
    if isinstance(convention.readout, TwoTokens):
        words = [convention.readout.negative, convention.readout.positive]
        pieces = bound.tokens.tokenizer.convert_ids_to_tokens([bound.ids[word.text] for word in words])
        overrides = {
            "architectures": [_causal(folder).replace("CausalLM", "SequenceClassification")],
            "classifier_from_token": list(pieces),
            "method": "from_2_way_softmax",
        }
        return VLLMScorer(
            _client(str(folder), settings, overrides, _CACHED), bound, reading, read=Read.CLASSIFY
        )
    from prm.heads.linear import build_head
    from prm.heads.weights import Weights

    head = build_head(convention.readout, Weights(folder), bound.ids)
    return _hidden(folder, head, settings, lambda client, **how: VLLMScorer(client, bound, reading, **how))


def open_own(folder: Path, card: Card, convention: Convention, settings: ScorerSettings) -> VLLMScorer:
    """A scorer over a folder of this toolkit's trainer; `convention` is the layout that the card names."""
    from prm.scoring.open import own_head, with_head

    convention = with_head(convention, card.head)
    bound = bind(convention, _tokenizer(folder))
    head = own_head(folder, card, convention, bound.ids)
    reading = _reading(convention, settings, card)
    return _hidden(folder, head, settings, lambda client, **how: VLLMScorer(client, bound, reading, **how))


def _hidden(
    folder: Path, head: Head, settings: ScorerSettings, scorer: Callable[..., VLLMScorer]
) -> VLLMScorer:
    """A scorer that applies `head` here to the hidden states of a mirrored folder."""
    mirror = Path(tempfile.mkdtemp(prefix="prm-vllm-"))

    def clean() -> None:
        shutil.rmtree(mirror, ignore_errors=True)

    try:
        mirror_folder(folder, mirror)
        client = _client(
            str(mirror), settings, {"architectures": [_causal(folder)]}, {"convert": "embed", **_CACHED}
        )
    except BaseException:
        clean()
        raise
    return scorer(client, read=Read.HIDDEN, head=_applied(head), on_close=clean)


def _applied(head: Head) -> Callable[[Sequence[float]], Numbers]:
    import torch

    def apply(hidden: Sequence[float]) -> Numbers:
        with torch.inference_mode():
            return tuple(head(torch.tensor([list(hidden)]))[0].tolist())

    return apply


def mirror_folder(folder: Path, mirror: Path) -> None:
    """Links to the files of a folder; files that hold a head are copied without it, or left out if empty."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (mirror / file.name).symlink_to(file.resolve())
            continue
        with safe_open(str(file), framework="pt") as opened:
            kept = [name for name in opened.keys() if name.startswith(_BODY)]  # noqa: SIM118
            if len(kept) == len(list(opened.keys())):
                (mirror / file.name).symlink_to(file.resolve())
            elif kept:
                save_file({name: opened.get_tensor(name) for name in kept}, str(mirror / file.name))


def _client(
    model: str,
    settings: ScorerSettings,
    overrides: Mapping[str, Any],
    more: Mapping[str, Any],
    *,
    pooler: str = "",
) -> VLLMClient:
    """vLLM over a folder, as a pooling model with overrides of its config."""
    defaults: dict[str, Any] = {"dtype": settings.dtype, "runner": "pooling", **more}
    if settings.max_context:
        defaults["max_model_len"] = settings.max_context
    args = shlex.join(
        ["--hf-overrides", json.dumps(overrides), *(["--pooler-config", pooler] if pooler else [])]
    )
    return VLLMClient.open(model, args=f"{args} {settings.engine_args}", defaults=defaults, pooling=True)


def _reading(convention: Convention, settings: ScorerSettings, card: Card | None = None) -> Reading:
    return Reading(
        convention=convention,
        combine=settings.combine,  # pyright: ignore[reportArgumentType] - checked by ScorerSettings
        uncertainty=settings.uncertainty,
        calibration=None if card is None else card.calibration,
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)


def _causal(folder: Path) -> str:
    """vLLM's class for the backbone as a causal model."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in config.get("architectures") or ():
        if str(name).endswith("ForCausalLM"):
            return str(name)
    kind = str(config.get("model_type"))
    if kind not in _CAUSAL:
        raise UsageError(
            f"{str(folder)!r} is of the kind {kind!r}, which is not served with vLLM here (valid: "
            f"{', '.join(_CAUSAL)}); use backend=transformers"
        )
    return _CAUSAL[kind]
