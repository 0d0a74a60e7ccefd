"""The tokenizer of a policy without its model: what builders need that put words of their own between steps.

Contract: `tokenizer_of` gives the tokenizer that the engine would use for a policy. Models in process have it
in their folder; for a server's model it is the folder that `engine.settings.tokenizer` names. `UsageError`
where it cannot be told.
"""

from __future__ import annotations

from selftrain.loop.sections import EnginePart
from tasks.errors import UsageError
from treesearch.engines.address import choose_engine
from treesearch.engines.base import Tokenizer
from treesearch.policies import resolve_model

_IN_PROCESS = ("transformers", "vllm", "steered")


def tokenizer_of(policy: str, engine: EnginePart) -> Tokenizer:
    """The tokenizer of `policy` under an engine; see the module."""
    name = choose_engine(engine.name, policy)
    if name == "scripted":
        from treesearch.engines.scripted import CharTokenizer

        return CharTokenizer()
    folder = engine.settings.get("tokenizer")
    if folder is None and name in _IN_PROCESS:
        folder = policy
    if folder is None:
        raise UsageError(
            f"the tokenizer of {policy!r} is not known: name its folder with engine.settings.tokenizer"
        )
    from transformers import AutoTokenizer

    from treesearch.engines.hf_tokenizer import HFTokenizer

    return HFTokenizer(AutoTokenizer.from_pretrained(resolve_model(str(folder)), trust_remote_code=False))
