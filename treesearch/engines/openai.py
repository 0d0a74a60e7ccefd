"""The engine for any OpenAI-compatible server: vLLM, SGLang, llama.cpp, TGI, api.openai.com.

Contract: that of `treesearch.engines.base`, over HTTP. `open_engine` finds out once what the server is, which
model it serves, what it takes and returns (`openai_dialect`) and where its tokenizer is; `OpenAIEngine` does
the rest. Nothing is downloaded but a tokenizer that was asked for by its hub id.

The API key comes from the environment variable that `key_env` names, and goes nowhere but into the requests.

Deviations from the base contract, where the server leaves no choice: `Sample.logprobs` is empty where there
are none; SGLang gives them at the sampling temperature unless it was told otherwise; an end-of-text token
that is billed and not shown has the log-probability 0; there is no `certainty`. `usage` counts what the
server billed, the probe included; for streams that were cut, prompts are an estimate of four bytes a token,
and `usage.unmetered` counts them and all attempts whose cost the server did not show.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tasks.errors import MissingPrerequisiteError, SearchError, UsageError
from treesearch.engines.base import EngineUsage, Tokenizer
from treesearch.engines.http_client import HttpClient
from treesearch.engines.http_retry import GaveUp, Rejected, RetryPolicy, Unreachable
from treesearch.engines.openai_dialect import DIALECTS, ServerName, signed_dialect
from treesearch.engines.openai_engine import OpenAIEngine, ServedModel
from treesearch.engines.openai_probe import EndpointName, choose_model, list_models, probe
from treesearch.settings import build

__all__ = ["OpenAIEngine", "OpenAIOptions", "open_engine"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_OPENING_ATTEMPTS = 3
_KEY_ENV = "OPENAI_API_KEY"


@dataclass(frozen=True, kw_only=True)
class OpenAIOptions:
    """Settings of the engine.

    `model`: which of the server's models; None where it serves one. `server`: what the server is; auto asks
    it. `endpoint`: auto is completions where the server has them. `tokenizer`: a folder or hub id; auto is
    the folder that the server loaded its model from, if it is on this machine; none sends text. `key_env`:
    the environment variable that holds the API key. `max_context`: most tokens of prompt and completion, 0
    for what the server says. `max_sequences`: most sequences in flight. `attempts`, `backoff_s` and
    `patience_s`: see `http_retry`. `timeout_s`: for an attempt as a whole.
    """

    model: str | None = None
    server: ServerName = "auto"
    endpoint: EndpointName = "auto"
    tokenizer: str = "auto"
    key_env: str = _KEY_ENV
    max_context: int = 0
    max_sequences: int = 256
    attempts: int = 8
    backoff_s: float = 0.5
    patience_s: float = 60.0
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if self.max_sequences < 1 or self.max_context < 0:
            raise UsageError(
                "max_sequences must be at least 1 and max_context at least 0, got "
                f"{self.max_sequences} and {self.max_context}"
            )
        if not self.timeout_s > 0:
            raise UsageError(f"timeout_s must be above 0, got {self.timeout_s}")
        self.retry_policy()

    def retry_policy(self) -> RetryPolicy:
        """The settings that the retry layer takes."""
        return RetryPolicy(attempts=self.attempts, base_s=self.backoff_s, patience_s=self.patience_s)


def open_engine(model: str, settings: dict[str, Any]) -> OpenAIEngine:
    """The engine for the server at the address `model`; `settings` of `OpenAIOptions`. Waits for the server.

    Raises `UsageError` for a wrong address, setting, key or model name, `MissingPrerequisiteError` where no
    server answers or the tokenizer cannot be loaded.
    """
    return _blocking(connect(model, build(OpenAIOptions, settings, what="engine")))


async def connect(url: str, options: OpenAIOptions) -> OpenAIEngine:
    """`open_engine` for code with an event loop."""
    usage, key = EngineUsage(), read_key(options.key_env)
    policy = options.retry_policy()
    opening = HttpClient(
        url,
        key=key,
        policy=replace(policy, attempts=min(policy.attempts, _OPENING_ATTEMPTS)),
        timeout_s=options.timeout_s,
        usage=usage,
    )
    try:
        served, root = await _find_out(opening, options)
    except (GaveUp, Rejected) as error:
        raise _cannot_open(error, opening.url, options.key_env) from error
    finally:
        await opening.close()
    tokenizer, folder = await asyncio.to_thread(find_tokenizer, options, served, root)
    _say_what_lacks(opening.url, served, text=tokenizer is None)
    client = HttpClient(
        url,
        key=key,
        policy=policy,
        timeout_s=options.timeout_s,
        most_in_flight=options.max_sequences,
        usage=usage,
    )
    return OpenAIEngine(client, replace(served, tokenizer_folder=folder), tokenizer=tokenizer)


def read_key(variable: str) -> str | None:
    """The key in an environment variable; None without one, `UsageError` for what cannot be a key."""
    key = os.environ.get(variable, "").strip()
    if not key:
        if variable != _KEY_ENV:
            raise UsageError(f"the environment variable {variable} (engine.key_env) is not set")
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"the environment variable {variable} holds blanks or control characters, so no key")
    return key


async def _find_out(client: HttpClient, options: OpenAIOptions) -> tuple[ServedModel, str]:
    """What is served, and the folder or name that the server loaded it from."""
    models = await list_models(client)
    dialect = signed_dialect(models) if options.server == "auto" else DIALECTS[options.server]
    name = choose_model(
        models, options.model, client.url, checked=dialect in (DIALECTS["vllm"], DIALECTS["sglang"])
    )
    card = next((model for model in models if model.get("id") == name), {})
    chat = options.endpoint == "chat"
    if dialect is None or dialect.server == "openai":
        dialect, chat = await probe(client, name, dialect or DIALECTS["openai"], options.endpoint)
    told = card.get("max_model_len")
    limits = [limit for limit in (options.max_context, told) if isinstance(limit, int) and limit > 0]
    served = ServedModel(name=name, dialect=dialect, chat=chat, max_context=min(limits, default=0))
    return served, str(card.get("root") or "")


def find_tokenizer(options: OpenAIOptions, served: ServedModel, root: str) -> tuple[Tokenizer | None, str]:
    """The tokenizer and its local folder (empty for a hub id); None and empty to send text."""
    if options.tokenizer == "none":
        return None, ""
    if options.tokenizer != "auto":
        if served.chat or not served.dialect.token_ids:
            how = "/chat/completions takes" if served.chat else f"the server ({served.dialect.server}) takes"
            raise UsageError(
                f"{how} and returns no token ids, so engine.tokenizer is of no use; leave it out"
            )
        return load_tokenizer(options.tokenizer)
    if served.chat or not served.dialect.token_ids or not _has_tokenizer(Path(root)):
        return None, ""
    try:
        return load_tokenizer(root)
    except MissingPrerequisiteError as error:
        _log.warning("%s", error)
        return None, ""


def _has_tokenizer(folder: Path) -> bool:
    return folder.is_absolute() and any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")
    )


def load_tokenizer(source: str) -> tuple[Tokenizer, str]:
    """The tokenizer of a folder or hub id, and the folder or nothing."""
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise MissingPrerequisiteError(
            f"the tokenizer of {source} needs {error.name}; run: pip install 'treesearch-toolkit[local]', or "
            "send text: --set engine.tokenizer=none"
        ) from error
    from treesearch.engines.hf_tokenizer import HFTokenizer

    folder = Path(source).expanduser()
    try:
        found = AutoTokenizer.from_pretrained(
            str(folder) if folder.is_dir() else source, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise MissingPrerequisiteError(
            f"the tokenizer of {source!r} could not be loaded: {error}; give a folder with tokenizer.json, "
            "or a hub id that `hf download ID` can fetch"
        ) from error
    return HFTokenizer(found), str(folder.absolute()) if folder.is_dir() else ""


def _say_what_lacks(url: str, served: ServedModel, *, text: bool) -> None:
    """Log, once an engine, what the server cannot do and what that means."""
    lacks: list[str] = []
    if text and served.dialect.token_ids and not served.chat:
        lacks.append(
            "no tokenizer at hand, so prompts are sent as text (--set engine.tokenizer=FOLDER or hub id)"
        )
    if served.dialect.server == "openai" and not served.dialect.n:
        lacks.append("it takes no n, so n samples are n requests")
    if served.dialect.logprobs is None:
        lacks.append("it gives no log-probabilities, so priors are equal and the value logprob is unknown")
    if lacks:
        _log.warning("%s: %s", url, "; ".join(lacks))


def _cannot_open(error: GaveUp | Rejected, url: str, key_env: str) -> SearchError:
    """The error for a server that the engine cannot be opened on."""
    if isinstance(error, Rejected):
        if error.status in (401, 403):
            return UsageError(f"{error}; the API key is read from the environment variable {key_env}")
        return UsageError(f"{error}; check the address and --model")
    if isinstance(error.last, Unreachable):
        return MissingPrerequisiteError(
            f"no server answers at {url} ({error.last}); start one, such as `vllm serve MODEL`, or check "
            "the address"
        )
    return error


def _blocking(job: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in a thread of its own, so that it works inside an event loop too."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, job).result()
