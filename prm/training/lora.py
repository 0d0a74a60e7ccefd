"""LoRA adapters through peft: added, chosen, merged.

Contract: `add_adapters` gives a network in which only adapters are trained; they start as the identity, each
from its own draw. `use_adapter` makes one of them the active one and keeps all of them trainable. `merged` is
a copy of the plain language model with one adapter added into its weights; `restore_frozen` comes before.

Source: Hu et al. (arXiv 2106.09685). peft is optional: `MissingPrerequisiteError` names the command.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from prm.training.config import TrainConfig
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.seeds import derive


def adapter_name(index: int) -> str:
    """Name of the adapter in peft and in checkpoints."""
    return f"member-{index}"


def add_adapters(model: Any, config: TrainConfig) -> Any:
    """The model wrapped by peft, with `config.adapters` adapters; `model` is changed in place."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingPrerequisiteError("LoRA needs peft: pip install peft") from error
    targets: Any = config.lora_targets
    if targets != "all-linear":
        targets = [name.strip() for name in targets.split(",")]
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,  # type: ignore[arg-type]
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    network: Any = None
    with torch.random.fork_rng([]), warnings.catch_warnings():
        # peft 0.21 asks transformers 5.24 for a property under its old name; nothing a user could mend
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        for index in range(config.adapters):
            torch.manual_seed(derive(config.seed, "adapter", index) % 2**63)
            if network is None:
                network = _first(model, lora, config)
            else:
                network.add_adapter(adapter_name(index), copy.deepcopy(lora))
    use_adapter(network, 0)
    return network


def _first(model: Any, lora: Any, config: TrainConfig) -> Any:
    from peft import get_peft_model

    try:
        return get_peft_model(model, lora, adapter_name=adapter_name(0))
    except ValueError as error:  # no module of such a name
        raise UsageError(f"lora_targets={config.lora_targets!r}: {error}") from error


def use_adapter(network: Any, index: int) -> None:
    """Make one adapter the active one."""
    network.set_adapter(adapter_name(index))


def restore_frozen(network: Any, base: str, dtype: torch.dtype) -> None:
    """Give weights that are not trained the values that they have in the model `base`, in the type `dtype`.

    A frozen base may be held in a narrower type while it runs; what is written should not lose by that.
    """
    stored: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, use_safetensors=True, trust_remote_code=False
    ).state_dict()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad and ".lora_" not in name:
                key = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
                parameter.data = stored[key].to(parameter.device)


def merged(network: Any, index: int) -> Any:
    """A copy of the language model with adapter `index` merged into its weights."""
    return copy.deepcopy(network).merge_and_unload(adapter_names=[adapter_name(index)])
