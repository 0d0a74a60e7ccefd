"""Load a causal language model and its tokenizer for the in-process engine.

Contract: a local folder or a hub id, safetensors only, never code from the model's repository. Errors name
what is missing and the command that mends it. `check_model` refuses architectures that the slot cache cannot
serve (state-space layers, no position ids). `context_of` is the longest text for which every layer attends
to all of it: a sliding window narrower than the model's context bounds it. `weights_hash` is the SHA-256 over
the names and bytes of the safetensors files; beyond 1 GB in all, over their names and sizes, the index and
the config only, marked by the prefix ``index:``.

It does not quantise, shard or compile.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from tasks.errors import MissingPrerequisiteError, UsageError

_HASH_ALL_BYTES = 1_000_000_000
_FETCHED = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
_DOUBLES = ["consolidated*", "*/*"]
"""Files that hold the weights of others once more, and folders of other formats."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(model: str, *, device: str, dtype: str) -> tuple[Any, Any]:
    """The model, on its device and ready for inference, and its `transformers` tokenizer."""
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    if is_path(model):
        folder = Path(model).expanduser()
        check_folder(folder)
        model = str(folder)
        disable_progress_bar()  # reading a local file is quick; a download keeps its bar
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=kind, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise MissingPrerequisiteError(
            f"model {model!r} could not be loaded: {error}; give a folder with config.json, tokenizer files "
            "and *.safetensors, or a hub id that `hf download ID` can fetch"
        ) from error
    return loaded.to(place).eval(), tokenizer


def check_folder(folder: Path) -> None:
    """Raise unless `folder` has a config and safetensors."""
    if not folder.is_dir():
        raise UsageError(f"model folder {str(folder)!r} does not exist; check the path, or give a hub id")
    if not (folder / "config.json").is_file():
        raise UsageError(f"model folder {str(folder)!r} has no config.json; was it saved by save_pretrained?")
    if not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"model folder {str(folder)!r} has no *.safetensors; other formats are not loaded, so save it "
            "again with model.save_pretrained(FOLDER)"
        )


def choose_device(device: str) -> torch.device:
    """The torch device of a name; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}; give auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise MissingPrerequisiteError(
            f"device {device!r} asked for, but torch finds no CUDA; use device=cpu"
        )
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch type of a name.

    "auto" is bfloat16 on CUDA (float16 where it lacks that) and float32 elsewhere. On a CPU with bfloat16
    arithmetic bfloat16 is the faster one (about 2 times in reading prompts and 1.2 times in writing, for 4
    million parameters), but it rounds to 3 digits: of 24 seeded samples 1 came out the same alone and in a
    batch of 64, against 23 or 24 with float32. A repeatable search is worth more (experiments/engines).
    """
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if dtype not in _DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}; valid: auto, {', '.join(sorted(_DTYPES))}")
    return _DTYPES[dtype]


def cache_argument(model: Any) -> str:
    """Name of the argument that takes the keys and values; transformers renamed it by version 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def check_model(model: Any) -> None:
    """Raise unless slots of keys and values can serve the model."""
    name = type(model).__name__
    parameters = inspect.signature(model.forward).parameters
    needed = (cache_argument(model), "position_ids", "logits_to_keep")
    missing = [key for key in needed if key not in parameters]
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    other = sorted(kinds - {"full_attention", "sliding_attention"})
    if missing or other:
        why = (
            f"its forward pass takes no {', '.join(missing)}"
            if missing
            else f"it has {', '.join(other)} layers"
        )
        raise UsageError(f"{name} cannot run in the transformers engine: {why}")


def context_of(config: Any) -> int:
    """Most tokens of prompt and completion together."""
    context = int(config.max_position_embeddings)
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    return min(context, int(window)) if window and slides else context


def end_ids_of(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a text: the generation config's, the config's and the tokenizer's."""
    ends: set[int] = set()
    for source in (model.generation_config, model.config, tokenizer):
        found = getattr(source, "eos_token_id", None)
        ends.update(found if isinstance(found, Iterable) else () if found is None else (found,))
    return {int(token) for token in ends}


def model_folder(model: str) -> Path:
    """The folder of a model's files; those of a hub id are fetched, safetensors and texts only.

    Raises `UsageError` where a folder holds no model, `MissingPrerequisiteError` where a hub id is neither
    cached nor to be had.
    """
    if is_path(model):
        folder = Path(model).expanduser()
    else:
        try:
            folder = Path(snapshot_download(model, allow_patterns=_FETCHED, ignore_patterns=_DOUBLES))
        except (OSError, ValueError) as error:
            raise MissingPrerequisiteError(
                f"model {model!r} could not be loaded: {' '.join(str(error).split())}; give a folder, or a "
                "hub id that `hf download ID` can fetch"
            ) from error
    check_folder(folder)
    return folder


def weights_hash(model: str) -> str:
    """Hash of the weights of a folder or of a hub id; see the module. Raises as `model_folder` does."""
    folder = model_folder(model)
    files = sorted(folder.glob("*.safetensors"))
    sizes = [file.stat().st_size for file in files]
    digest = hashlib.sha256()
    if sum(sizes) > _HASH_ALL_BYTES:
        for file, size in zip(files, sizes, strict=True):
            digest.update(f"{file.name}:{size}\n".encode())
        for file in (folder / "config.json", folder / "model.safetensors.index.json"):
            digest.update(file.read_bytes() if file.is_file() else b"")
        return "index:" + digest.hexdigest()
    for file in files:
        digest.update(f"{file.name}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_path(model: str) -> bool:
    """Whether a model's name means a folder: it exists, or cannot be a hub id (ORGANISATION/NAME)."""
    return os.path.isdir(model) or model.startswith((".", "/", "~")) or model.count("/") > 1 or not model
