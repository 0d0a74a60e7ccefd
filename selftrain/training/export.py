"""From trained weights to a model folder that every engine loads.

Contract: `model/` is an ordinary Hugging Face folder: weights in the type that the base is stored in, the
base's tokenizer and generation settings, and its `treesearch.json` card where it has one, so that a search
with it works as with the base. Where the model was taught longer solutions than the card lets it write, the
card's `solution_tokens` is raised to the longest. With LoRA the adapter is merged in (unless `merge_lora` is
off, when there is no `model/`), and kept as it was trained in `adapter/`, in peft's own format. A folder is
written beside and takes its name at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from prm.training.lora import adapter_name, merged, restore_frozen
from selftrain.training.policy import PackedPolicy
from selftrain.training.sharding import whole
from treesearch.atomic import write_json
from treesearch.engines.hf_load import load
from treesearch.policies import CARD, policy_config, read_card

MODEL = "model"
ADAPTER = "adapter"


def round_weights(policy: PackedPolicy, base: str) -> None:
    """Round fully trained weights to the type that they are stored in: what is measured is then written."""
    if policy.config.lora_rank:
        return
    dtype = stored_dtype(base)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.copy_(parameter.to(dtype))


def export(
    policy: PackedPolicy, tokenizer: Any, *, base: str, out: Path, longest: int, writes: bool
) -> list[str]:
    """Write the folders, if this process `writes`; all processes call it. Returns the folders' names.

    `longest` is the number of tokens of the longest solution that was imitated.
    """
    config = policy.config
    names = ([MODEL] if config.merge_lora or not config.lora_rank else []) + [ADAPTER] * bool(
        config.lora_rank
    )
    gathered = _gather(policy, writes=writes) if config.shard == "fsdp" else None
    if not writes:
        return names
    if config.lora_rank:
        _replace(out / ADAPTER, lambda folder: _save_adapter(policy.network, folder))
    if MODEL in names:
        model = _model(policy, base, gathered).to(stored_dtype(base))

        def save(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            _write_card(base, folder, longest)

        _replace(out / MODEL, save)
    return names


def stored_dtype(base: str) -> torch.dtype:
    """The type that the weights of a model folder or hub id are stored in."""
    named = transformers.AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    if named is None or isinstance(named, torch.dtype):
        return named or torch.float32
    return getattr(torch, str(named).removeprefix("torch."))


def _model(policy: PackedPolicy, base: str, gathered: dict[str, torch.Tensor] | None) -> Any:
    """The plain language model with the trained weights."""
    if gathered is not None:
        model, _ = load(base, device="cpu", dtype="float32")
        model.load_state_dict(gathered)
        return model
    if not policy.config.lora_rank:
        return policy.language_model
    restore_frozen(policy.network, base, stored_dtype(base))
    return merged(policy.network, 0)


def _gather(policy: PackedPolicy, *, writes: bool) -> dict[str, torch.Tensor]:
    """Whole weights on the CPU of the process that `writes`."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in policy.language_model.state_dict().items():
        one = whole(tensor)
        if writes:
            found[name] = one.cpu()
    return found


def _write_card(base: str, folder: Path, longest: int) -> None:
    """The base's card, with room for solutions of `longest` tokens."""
    if longest > policy_config(base, {})[0].solution_tokens:
        write_json(folder / CARD, read_card(base) | {"solution_tokens": longest})
    elif (Path(base) / CARD).is_file():
        shutil.copyfile(Path(base) / CARD, folder / CARD)


def _save_adapter(network: Any, folder: Path) -> None:
    """peft writes an adapter into a folder of its name; here it is the only one."""
    network.save_pretrained(folder)
    named = folder / adapter_name(0)
    for file in named.iterdir():
        file.rename(folder / file.name)
    named.rmdir()


def _replace(folder: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a folder beside, and give it the name at once; an older one goes."""
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
