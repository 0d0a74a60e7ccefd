"""A value model that was published as a state dict, as a folder that is opened by name (ReST-MCTS*).

    base_model.*            the causal language model
    LN.weight, LN.bias      the linear layer over its logits; a "module." in front of all names is taken off

Contract: `convert` writes what `save_pretrained` writes of the language model, the base's tokenizer, and the
layer in a safetensors file beside it. Every tensor must have a place and every place a tensor. The caller
reads the published file, since its format can hold code: `torch.load(file, weights_only=True)` runs none.

Source: THUDM/ReST-MCTS, `models/value_models.py` (`torch.save(model.state_dict(), file)`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prm.conventions.base import Convention, VocabularyValue
from tasks.errors import UsageError

_BASE, _WRAPPED = "base_model.", "module."


def check_converted(model: str, convention: Convention) -> None:
    """Raise `UsageError` with the steps where a folder lacks what `convert` writes."""
    readout, folder = convention.readout, Path(model).expanduser()
    if not isinstance(readout, VocabularyValue) or not folder.is_dir():
        return
    from prm.heads.weights import Weights

    whole = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    if whole and f"{readout.layer}.weight" in Weights(folder):
        return
    command = (
        "import torch; from prm.scoring.state_dict import convert; "
        "convert(torch.load('FILE.pt', map_location='cpu', weights_only=True), base='BASE', out='CONVERTED')"
    )
    raise UsageError(
        f"{model!r} lacks the backbone as save_pretrained writes it, or the layer {readout.layer!r}: the "
        f'family {convention.name!r} publishes a state dict, so run once: python -c "{command}" (BASE: the '
        "folder or hub id of the model that it was trained from), and give CONVERTED with "
        f"family={convention.name}"
    )


def convert(state: Mapping[str, Any], *, base: str, out: str, layer: str = "LN", dtype: str = "auto") -> None:
    """Write a state dict (tensors by name) as a folder `out`; `base` gives config and tokenizer.

    `dtype` is that of the folder's backbone, auto the state dict's own. `UsageError` for a state dict without
    the layer, or that does not fit the base, and for a folder that holds something.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from treesearch.engines.hf_load import model_folder

    folder = Path(out).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{out} is there and not empty; give another folder")
    body, head = _parted(state, layer)
    where = str(model_folder(base))
    kind = next(iter(body.values())).dtype if dtype == "auto" else getattr(torch, dtype)
    model: Any = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(where, trust_remote_code=False), dtype=kind
    )
    try:
        model.load_state_dict(body)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
        raise UsageError(f"the state dict does not fit {base!r}: {why}") from error
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(where, trust_remote_code=False).save_pretrained(folder)
    tensors = {name: tensor.float().contiguous() for name, tensor in head.items()}
    save_file(tensors, str(folder / f"{layer}.safetensors"))


def _parted(state: Mapping[str, Any], layer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of the language model, by their names in it, and those of the layer."""
    named = {name.removeprefix(_WRAPPED): tensor for name, tensor in state.items()}
    body = {name.removeprefix(_BASE): each for name, each in named.items() if name.startswith(_BASE)}
    head = {name: named[name] for name in (f"{layer}.weight", f"{layer}.bias") if name in named}
    strange = [name for name in named if not name.startswith(_BASE) and name not in head]
    if strange or len(head) < 2 or not body:
        why = f"it has {strange[0]}" if strange else f"it has {', '.join(head) or 'neither'} alone"
        raise UsageError(
            f"the state dict must have {_BASE}*, {layer}.weight and {layer}.bias, and nothing else: {why}"
        )
    return body, head
