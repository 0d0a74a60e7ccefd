"""LoRA adapters in place of a checkpoint: found, merged into their base in memory, or into a folder.

    ADAPTER/adapter_config.json         peft's; "base_model_name_or_path" is the base, a folder or hub id
    ADAPTER/adapter_model.safetensors   the adapter's tensors

Contract: `find_adapter` tells an adapter from a whole checkpoint, for a folder or hub id. `load_merged` gives
the base with the adapter added to its weights. A tensor of the adapter that has no place in the base, or a
place without a tensor, is an error: its scores would not be those of the published model. `merge` writes a
folder that is opened as any other, also with vLLM. Safetensors only, never code from a repository.

Heads outside of a causal language model are not read from adapters. peft is optional.

Source: Hu et al. (arXiv 2106.09685).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DataError, MissingPrerequisiteError, UsageError

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA adapter: where its files are, and the base that its config names."""

    name: str
    folder: Path
    base: str

    @property
    def hash(self) -> str:
        """SHA-256 over its config and tensors; the base's is not in it."""
        digest = hashlib.sha256()
        for name in (CONFIG, TENSORS):
            digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()

    def not_read(self, how: str) -> UsageError:
        """What to do where an adapter cannot be read as it is."""
        command = f"from prm.scoring.adapters import merge; merge({self.name!r}, 'MERGED')"
        return UsageError(
            f"{self.name!r} is a LoRA adapter over {self.base!r}, which {how} reads merged only; run: "
            f'python -c "{command}", and give the folder MERGED with its family=NAME'
        )


def find_adapter(model: str) -> Adapter | None:
    """The adapter that a folder or hub id is; None where it is none, or has the weights of a whole model.

    `DataError` for a config that cannot be read, `UsageError` for one that names no base, for adapters that
    are not LoRA, and for tensors in another format.
    """
    from transformers.utils.hub import cached_file
    from transformers.utils.peft_utils import find_adapter_config_file

    local = Path(model).expanduser()
    if any(file.name != TENSORS for file in local.glob("*.safetensors")):
        return None
    found = find_adapter_config_file(str(local) if local.is_dir() else model)
    if found is None:
        return None
    path = Path(found)
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a JSON object ({error})") from error
    if config.get("peft_type") != "LORA":
        raise UsageError(f"{path}: peft_type is {config.get('peft_type')!r}; only LORA can be merged")
    base = config.get("base_model_name_or_path")
    if not base:
        raise UsageError(f"{path} names no base; write its folder or hub id as base_model_name_or_path")
    tensors = path.with_name(TENSORS)
    if not local.is_dir():
        tensors = Path(cached_file(model, TENSORS, _raise_exceptions_for_missing_entries=False) or tensors)
    if not tensors.is_file():
        raise UsageError(
            f"{model!r} has {CONFIG} but no {TENSORS}; other formats are not loaded, so save the adapter "
            "again with peft's save_pretrained(FOLDER)"
        )
    return Adapter(name=model, folder=tensors.parent, base=str(base))


def load_merged(adapter: Adapter, *, device: str, dtype: str) -> tuple[Any, Any]:
    """The causal language model with the adapter in its weights, on its device, and the tokenizer.

    The tokenizer is the adapter's where it has one, else the base's. Raises as `treesearch.engines.hf_load`
    does for the base.
    """
    try:
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingPrerequisiteError(
            f"{adapter.name!r} is a LoRA adapter, which needs peft: pip install 'treesearch-toolkit[train]'"
        ) from error
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    from treesearch.engines.hf_load import load

    model, tokenizer = load(adapter.base, device=device, dtype=dtype)
    config = PeftConfig.from_pretrained(str(adapter.folder))
    config.inference_mode = True
    try:
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5.24 for a property under its old name
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            network: Any = get_peft_model(model, config)
        report: Any = set_peft_model_state_dict(network, load_file(str(adapter.folder / TENSORS)))
    except (ValueError, RuntimeError) as error:  # no module of such a name, or of another shape
        raise _does_not_fit(adapter, " ".join(str(error).split())[:200]) from error
    missing = [name for name in report.missing_keys if ".lora_" in name or "modules_to_save" in name]
    for what, names in (("has no place in it", report.unexpected_keys), ("is not in the adapter", missing)):
        if names:
            raise _does_not_fit(adapter, f"{names[0]} {what}")
    if (adapter.folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(str(adapter.folder), trust_remote_code=False)
    return network.merge_and_unload().eval(), tokenizer


def merge(adapter: str, out: str, *, dtype: str = "auto") -> None:
    """Write the base with the adapter in its weights, and the tokenizer, into the folder `out`.

    On the CPU. `UsageError` for a name that is no adapter, and for a folder that holds something.
    """
    found = find_adapter(adapter)
    if found is None:
        raise UsageError(f"{adapter!r} is no adapter: it has no {CONFIG}, or the weights of a whole model")
    folder = Path(out).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{out} is there and not empty; give another folder")
    model, tokenizer = load_merged(found, device="cpu", dtype=dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _does_not_fit(adapter: Adapter, why: str) -> UsageError:
    return UsageError(f"the adapter {adapter.name!r} does not fit its base {adapter.base!r}: {why}")
