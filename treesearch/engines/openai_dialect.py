"""What each kind of OpenAI-compatible server takes beyond the common ground, and what its replies tell.

A `Dialect` is found out once, when the engine opens: from the `owned_by` of ``GET /models`` (vLLM, SGLang and
llama.cpp sign it), else by a probe of one token with everything that a server may lack (`without` takes out
what it lacks), else by the setting `engine.server`. Unknown fields are never sent on the chance: strict
servers refuse a request for them.

Sources: vLLM `entrypoints/openai/completion/protocol.py`, SGLang `srt/entrypoints/openai/protocol.py`,
llama.cpp `tools/server`, the OpenAI API reference.

Sampling settings that a server would take from the model's generation config are sent with their neutral
values, so that a model samples the same in every engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

ServerName = Literal["auto", "vllm", "sglang", "llama.cpp", "openai"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a server takes and tells.

    `token_ids`: prompts and replies as token ids. `n`: several seeded samples in one request. `logprobs`:
    the number to ask for the sampled token's log-probability with, None where there are none. `seed_bits`:
    seeds are below two to that power; 0, and none is sent. `stop_field`: the field of a choice that says what
    stopped it; empty where the server does not tell. `top_k_off`: the `top_k` that is off, None where there
    is no `top_k`. `sampling`: fields of every request. `continues`: fields that make a chat reply go on with
    the last message, None where it cannot. `max_tokens`: what the field is called in chats. `scores`: how
    log-probabilities of a given text are had.
    """

    server: str
    token_ids: bool = False
    n: bool = False
    logprobs: int | None = 1
    seed_bits: int = 31
    stop_field: str = ""
    top_k_off: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    continues: Mapping[str, Any] | None = None
    max_tokens: str = "max_tokens"
    scores: Literal["prompt_logprobs", "echo"] | None = None

    @property
    def tells_stop(self) -> bool:
        """Whether a reply says if a stop string or the end of the text ended it."""
        return bool(self.stop_field)


_CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
_NEUTRAL = {"min_p": 0.0, "repetition_penalty": 1.0, "skip_special_tokens": True}
DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(
        server="vllm",
        token_ids=True,
        n=True,
        logprobs=0,
        seed_bits=62,  # the server adds the index of the sample
        stop_field="stop_reason",
        top_k_off=-1,
        sampling=_NEUTRAL | {"include_stop_str_in_output": True},
        continues=_CONTINUE,
        scores="prompt_logprobs",
    ),
    # SGLang gives all n samples of a request the same seed, so that each needs a request of its own.
    "sglang": Dialect(
        server="sglang",
        token_ids=True,
        logprobs=0,
        stop_field="matched_stop",
        top_k_off=-1,
        sampling=_NEUTRAL | {"no_stop_trim": True},
        continues=_CONTINUE,
    ),
    "llama.cpp": Dialect(
        server="llama.cpp",
        top_k_off=0,
        sampling={"min_p": 0.0, "repeat_penalty": 1.0, "typical_p": 1.0, "n_probs": 1},
        continues={},
    ),
    "openai": Dialect(server="openai", n=True, scores="echo"),
}
_SIGNATURES = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}


def signed_dialect(models: Sequence[Mapping[str, Any]]) -> Dialect | None:
    """The dialect of the server that listed `models`, where it signs them."""
    for model in models:
        name = _SIGNATURES.get(str(model.get("owned_by", "")).lower())
        if name is not None:
            return DIALECTS[name]
    return None


def without(dialect: Dialect, parameter: str) -> Dialect | None:
    """The dialect less a parameter that the server refused; None where requests cannot do without it."""
    if parameter == "n" and dialect.n:
        return replace(dialect, n=False)
    if parameter in ("logprobs", "top_logprobs") and dialect.logprobs is not None:
        return replace(dialect, logprobs=None)
    if parameter == "seed" and dialect.seed_bits:
        return replace(dialect, seed_bits=0)
    if parameter == "max_tokens" and dialect.max_tokens == "max_tokens":
        return replace(dialect, max_tokens="max_completion_tokens")
    if parameter in dialect.sampling:
        kept = {name: value for name, value in dialect.sampling.items() if name != parameter}
        return replace(dialect, sampling=kept)
    return None


def refused_parameter(dialect: Dialect, parameter: str, message: str) -> str:
    """The optional parameter that a refusal is about: the one that it names, or the one that it quotes."""
    if parameter:
        return parameter
    optional = ("logprobs", "seed", "max_tokens", *dialect.sampling, "n")
    return next((name for name in optional if f"'{name}'" in message or f"`{name}`" in message), "")
