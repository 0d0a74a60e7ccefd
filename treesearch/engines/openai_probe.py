"""Finding out what a server serves and takes: its list of models, and a probe of one token.

The probe is for servers that do not sign their list. It asks for what they may lack (two samples,
log-probabilities, a seed) and leaves out, one by one, what the server refuses by name; what it ignores shows
in the reply. Completions are tried before chats. The probe is counted in the client's usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from tasks.errors import UsageError, unknown_name
from treesearch.engines.base import SamplingParams
from treesearch.engines.http_client import HttpClient, whole
from treesearch.engines.http_retry import Rejected
from treesearch.engines.openai_api import Asked, request_body
from treesearch.engines.openai_bill import MISSHAPEN, parse_json, read_bill
from treesearch.engines.openai_dialect import Dialect, refused_parameter, without

EndpointName = Literal["auto", "completions", "chat"]
_ENDPOINTS = {"auto": (False, True), "completions": (False,), "chat": (True,)}


async def list_models(client: HttpClient) -> list[dict[str, Any]]:
    """What the server says it serves; empty where it has no such list."""
    try:
        content = parse_json(await client.ask("/models", None, whole))
    except Rejected as error:
        if error.status in (404, 405):
            return []
        raise
    except ValueError as error:
        raise Rejected(
            f"{client.url}/models is no list of models ({error}); is the address right?"
        ) from error
    found = content.get("data")
    return [model for model in found if isinstance(model, dict)] if isinstance(found, list) else []


def choose_model(
    models: Sequence[Mapping[str, Any]], wanted: str | None, url: str, *, checked: bool = False
) -> str:
    """The name to ask for; `UsageError` where it is missing or, if `checked`, not among `models`."""
    names = [str(model["id"]) for model in models if "id" in model]
    if wanted is not None:
        if checked and names and wanted not in names:
            raise unknown_name(f"model of {url}", wanted, names)
        return wanted
    if len(names) == 1:
        return names[0]
    listed = f"; it serves {', '.join(sorted(names)[:20])}" if names else ""
    raise UsageError(f"name the model of {url} with --model{listed}")


async def probe(
    client: HttpClient, model: str, dialect: Dialect, endpoint: EndpointName
) -> tuple[Dialect, bool]:
    """What an unknown server takes, from a request of one token; and whether it is asked for chats."""
    refusal: Rejected | None = None
    for chat in _ENDPOINTS[endpoint]:
        try:
            return await _probe_endpoint(client, model, dialect, chat=chat), chat
        except Rejected as error:
            if error.status not in (404, 405):
                raise
            refusal = refusal or error
    raise refusal or Rejected(f"{client.url} has no endpoint for completions", status=404)


async def _probe_endpoint(client: HttpClient, model: str, dialect: Dialect, *, chat: bool) -> Dialect:
    """The dialect less what the endpoint refuses or leaves out."""
    text = "1 + 1 ="
    prompt = {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    while True:
        n = 2 if dialect.n else 1
        asked = Asked(model=model, prompt=prompt, n=n, params=SamplingParams(max_tokens=1), seed=0)
        client.usage.requests += 1
        try:
            reply = await client.ask(asked.path, request_body(dialect, asked), whole)
        except Rejected as error:
            named = refused_parameter(dialect, error.parameter, str(error))
            less = without(dialect, named) if error.status in (400, 422) else None
            if less is None:
                raise
            dialect = less
            continue
        return _learn(client, dialect, reply, n)


def _learn(client: HttpClient, dialect: Dialect, reply: bytes, n: int) -> Dialect:
    """The dialect less what the probe's reply leaves out; the probe is counted."""
    try:
        content = parse_json(reply)
        bill, choices = read_bill(content), content["choices"]
        shown = all(choice.get("logprobs") for choice in choices)
    except MISSHAPEN as error:
        raise Rejected(f"{client.url} does not answer as an OpenAI-compatible server ({error})") from error
    client.usage.prompt_tokens += bill.prompt_tokens or 0
    client.usage.generated_tokens += bill.completion_tokens or 0
    client.usage.unmetered += bill.prompt_tokens is None or bill.completion_tokens is None
    return replace(dialect, n=dialect.n and len(choices) == n, logprobs=dialect.logprobs if shown else None)
