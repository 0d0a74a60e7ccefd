"""A fault-injecting OpenAI-compatible server, on the standard library alone, that knows what it billed.

It runs in a thread with an event loop of its own and plays a script (`treesearch.engines.scripted`): one
character is one token, the id of a character that of `CharTokenizer`. It speaks as several servers do
(`vllm`, `sglang`, `llama.cpp`, `openai` and `bare`, which knows neither n nor log-probabilities), and refuses
what the real one refuses. Faults are drawn from (seed, request, how often it came), so that a run meets the
same ones in whatever order its requests arrive.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from treesearch.engines.base import FinishReason, Sample, SamplingParams
from treesearch.engines.scripted import CharTokenizer, Script, ScriptedEngine, walk_script

BEFORE = ("429", "429 after", "500", "503", "reset")
"""Faults that strike before anything is written."""
SHOWN = ("usage", "duplicate", "nan", "positive", "fewer", "tail")
"""Broken replies that still show what they cost."""
HIDDEN = ("torn", "half", "drip")
"""Replies of which so little arrives that their cost is not shown."""
FAULTS = (*BEFORE, *SHOWN, *HIDDEN)
_COMMON = {"model", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "stream"}
_COMMON |= {"stream_options", "logprobs", "n", "echo"}
_KNOWN = {
    "openai": _COMMON,
    "bare": _COMMON,
    "llama.cpp": {*_COMMON, "top_k", "min_p", "repeat_penalty", "typical_p", "n_probs"},
    "sglang": {*_COMMON, "top_k", "min_p", "repetition_penalty", "skip_special_tokens", "no_stop_trim"},
    "vllm": {*_COMMON, "top_k", "min_p", "repetition_penalty", "skip_special_tokens"},
}
_CONTINUE = {"continue_final_message", "add_generation_prompt"}
_KNOWN["sglang"] |= {"return_token_ids", "stop_token_ids", *_CONTINUE}
_KNOWN["vllm"] |= {"return_token_ids", "stop_token_ids", "include_stop_str_in_output", "prompt_logprobs"}
_KNOWN["vllm"] |= _CONTINUE
_OWNER = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llamacpp", "openai": "system", "bare": "me"}


@dataclass(kw_only=True)
class Billed:
    """What one request cost. `outcome`: good, refused, shown, hidden (the cost of a failure), broken (a
    stream that ended early) or left.
    """

    prompt: int = 0
    generated: int = 0
    outcome: str = "good"


@dataclass(kw_only=True)
class FakeServer:
    """A context manager. `fault_rate` of the requests meet one of `faults`; `latency_s` is the longest wait.

    `statuses` are answers to give to the first requests for completions, before any fault is drawn.
    """

    kind: str = "vllm"
    script: Script = walk_script
    models: tuple[str, ...] = ("toy",)
    key: str = ""
    max_model_len: int | None = None
    root: str = ""
    chat_only: bool = False
    refuses: tuple[str, ...] = ()
    fault_rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    seed: int = 0
    latency_s: float = 0.0
    drip_s: float = 30.0
    chunk: int = 1
    """Characters in one chunk of a stream."""
    first: list[str] = field(default_factory=list)
    """Faults of the first requests, in place of drawn ones; an empty one is none."""
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bills: list[Billed] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    most_busy: int = 0
    aborted: int = 0

    def __enter__(self) -> FakeServer:
        self._came: Counter[str] = Counter()
        self._script = ScriptedEngine(script=self.script)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def total(self, outcome: str, what: str) -> int:
        """Tokens billed for requests with an outcome."""
        return sum(getattr(bill, what) for bill in self.bills if bill.outcome == outcome)

    def count(self, outcome: str) -> int:
        """Requests with an outcome."""
        return sum(bill.outcome == outcome for bill in self.bills)

    def wait_idle(self, *, seconds: float = 5.0) -> None:
        """Until nothing is being written any more."""
        deadline = time.monotonic() + seconds
        while self.busy:
            assert time.monotonic() < deadline, "the server still works on something"
            time.sleep(0.005)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        jobs: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            jobs.add(task)
            try:
                await self._connection(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                jobs.discard(task)
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for job in [*jobs]:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _read_head(reader):
            first, *lines = head.decode().split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            self.headers.append(headers)
            if self.key and headers.get("authorization") != f"Bearer {self.key}":
                await _answer(writer, 401, _error(f"Incorrect API key: {headers.get('authorization')}"))
            elif method == "GET":
                await self._get(writer, path)
            elif not await self._watched(reader, writer, path, json.loads(content)):
                return

    async def _get(self, writer: asyncio.StreamWriter, path: str) -> None:
        if path != "/v1/models":
            await _answer(writer, 404, _error("no such page"))
            return
        card = {"owned_by": _OWNER[self.kind], "root": self.root or None}
        card |= {"max_model_len": self.max_model_len} if self.max_model_len else {}
        await _answer(writer, 200, {"data": [{"id": name, **card} for name in self.models]})

    async def _watched(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]
    ) -> bool:
        """Answer while watching for a client that hangs up; whether the connection goes on."""
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        answer = asyncio.ensure_future(self._post(writer, path, body))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.aborted += 1
                return False
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            return answer.result()
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            self.busy -= 1

    async def _post(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> bool:
        chat = path.endswith("/chat/completions")
        self.bodies.append(body)
        name = json.dumps(body, sort_keys=True)
        self._came[name] += 1
        draw = random.Random(f"{self.seed}:{name}:{self._came[name]}")
        fault = draw.choice(self.faults) if draw.random() < self.fault_rate else ""
        if self.first:
            fault = self.first.pop(0)
        await asyncio.sleep(draw.uniform(0, self.latency_s))
        if self.statuses:
            status, headers = self.statuses.pop(0)
            self.bills.append(Billed(outcome="refused"))
            await _answer(writer, status, _error("as the test wishes"), headers)
            return True
        if refusal := self._refusal(path, body):
            await _answer(writer, *refusal)
            return True
        self.met[fault] += 1
        if fault in BEFORE:
            return await self._fail_before(writer, fault)
        prompt = self._prompt(body)
        samples = await self._samples(prompt, body)
        bill = Billed(prompt=len(prompt), generated=sum(len(s.token_ids) for s in samples))
        self.bills.append(bill)
        if body.get("stream"):
            return await self._stream(writer, body, samples, bill, chat=chat, broken=bool(fault))
        reply = self._reply(body, samples, bill, chat=chat)
        if body.get("prompt_logprobs") is not None:
            reply["choices"][0]["prompt_logprobs"] = [None] + [
                {str(i): {"logprob": -0.5}} for i in prompt[1:]
            ]
        return await self._send(writer, reply, bill, fault)

    def _refusal(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """What the real server would refuse."""
        if body["model"] not in self.models:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        if self.chat_only and not path.endswith("/chat/completions"):
            return 404, _error("This is a chat model and not supported in the v1/completions endpoint.")
        for name in body:
            if name not in _KNOWN[self.kind] or name in self.refuses:
                return 400, _error(f"Unrecognized request argument supplied: {name}", param=name)
        if self.kind == "vllm" and body.get("n", 1) > 1 and body["temperature"] == 0:
            return 400, _error("n must be 1 when using greedy sampling")
        if self.max_model_len and len(self._prompt(body)) > self.max_model_len:
            return 400, _error(f"This model's maximum context length is {self.max_model_len} tokens.")
        return None

    async def _fail_before(self, writer: asyncio.StreamWriter, fault: str) -> bool:
        self.bills.append(Billed(outcome="unsent" if fault == "reset" else "refused"))
        if fault == "reset":
            writer.transport.abort()
            return False
        headers = {"Retry-After": "0.01"} if fault == "429 after" else {}
        await _answer(writer, int(fault[:3]), _error("too much to do"), headers)
        return True

    def _prompt(self, body: dict[str, Any]) -> list[int]:
        """The prompt's ids. A chat is written as its messages' text, one a line, the last one left open."""
        if "messages" in body:
            text = "\n".join(message["content"] for message in body["messages"])
            text += "" if body["messages"][-1]["role"] == "assistant" else "\n"
            return CharTokenizer().encode(text)
        prompt = body["prompt"]
        return prompt if isinstance(prompt, list) else CharTokenizer().encode(prompt)

    async def _samples(self, prompt: list[int], body: dict[str, Any]) -> list[Sample]:
        if body.get("echo") and not body["max_tokens"]:
            return [Sample(token_ids=(), text="", logprobs=(), finish=FinishReason.LENGTH)]
        n = body.get("n", 1) if self.kind in ("vllm", "openai") else 1
        params = SamplingParams(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            stop=tuple(body.get("stop", ())),
            seed=body.get("seed", 0),
        )
        return await self._script.sample(prompt, n, params)

    def _choice(self, body: dict[str, Any], index: int, sample: Sample, *, chat: bool) -> dict[str, Any]:
        ended = sample.finish is FinishReason.END
        text, ids = sample.text, list(sample.token_ids)
        tokens = ["</s>" if i == 1 else chr(i - 8) for i in ids]
        logprobs = list(sample.logprobs)
        if body.get("echo"):
            shown = self._prompt(body)
            text, tokens = CharTokenizer().decode(shown), ["<s>"] + [chr(i - 8) for i in shown]
            logprobs = [None] + [-0.5] * len(shown)
        keeps = body.get("include_stop_str_in_output") or body.get("no_stop_trim")
        stop = next((s for s in body.get("stop", ()) if text.endswith(s)), "")
        if sample.finish is FinishReason.STOP and not keeps:
            text = text.removesuffix(stop)
        if self.kind in ("llama.cpp", "openai") and ended:
            tokens, logprobs = tokens[:-1], logprobs[:-1]  # these do not show the end of the text
        reason = "length" if sample.finish is FinishReason.LENGTH else "stop"
        choice: dict[str, Any] = {"index": index, "finish_reason": reason}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if self.kind != "bare" and body.get("logprobs") is not None and "logprobs" not in self.refuses:
            choice["logprobs"] = _logprobs(tokens, logprobs, chat=chat or self.kind == "llama.cpp")
        if body.get("return_token_ids"):
            choice["token_ids"] = ids
        if self.kind == "vllm":
            choice["stop_reason"] = stop or None
        if self.kind == "sglang":
            choice["matched_stop"] = 1 if ended else stop or None
        return choice

    def _reply(
        self, body: dict[str, Any], samples: list[Sample], bill: Billed, *, chat: bool
    ) -> dict[str, Any]:
        usage = {"prompt_tokens": bill.prompt, "completion_tokens": bill.generated}
        choices = [self._choice(body, i, sample, chat=chat) for i, sample in enumerate(samples)]
        return {"id": "x", "usage": usage, "choices": choices}

    async def _send(
        self, writer: asyncio.StreamWriter, reply: dict[str, Any], bill: Billed, fault: str
    ) -> bool:
        """Send a reply, broken as `fault` says; whether the connection goes on."""
        bill.outcome = "shown" if fault in SHOWN else "hidden" if fault in HIDDEN else "good"
        content = json.dumps(break_reply(reply, fault)).encode()
        if fault == "tail":
            content = content[:-5]
        if fault in ("half", "drip"):
            writer.write(_head(200, len(content)) + content[:9])
            await writer.drain()
            await asyncio.sleep(self.drip_s if fault == "drip" else 0)
            writer.transport.abort()
            return False
        if fault == "torn":
            content = content[:12]
        await _answer_bytes(writer, 200, content)
        return True

    async def _stream(
        self,
        writer: asyncio.StreamWriter,
        body: dict[str, Any],
        samples: list[Sample],
        bill: Billed,
        *,
        chat: bool,
        broken: bool,
    ) -> bool:
        """Stream the one sample, then close: the reply's length is not known before.

        A `broken` stream ends with its first chunk, and bills that alone.
        """
        bill.outcome = "broken" if broken else "left"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        if broken:
            bill.generated = min(1, len(samples[0].text))
        async for number, chunk in _numbered(self._chunks(body, samples[0], bill, chat=chat)):
            if broken and number == bill.generated:
                return False
            writer.write(b": a comment\r\n" + b"data: " + chunk + b"\n\n")
            await writer.drain()
            await asyncio.sleep(0.001)
        bill.outcome = "good"
        return False

    async def _chunks(
        self, body: dict[str, Any], sample: Sample, bill: Billed, *, chat: bool
    ) -> AsyncIterator[bytes]:
        whole = self._choice(body, 0, sample, chat=chat)
        text = whole["message"]["content"] if chat else whole["text"]
        for at in range(0, len(text), self.chunk):
            piece = text[at : at + self.chunk]
            choice: dict[str, Any] = {"index": 0, "finish_reason": None}
            choice |= {"delta": {"content": piece}} if chat else {"text": piece}
            if "logprobs" in whole:
                logprobs = list(sample.logprobs[at : at + len(piece)])
                shown = _logprobs(list(piece), logprobs, chat="content" in whole["logprobs"])
                choice["logprobs"] = shown
            yield json.dumps({"choices": [choice]}, ensure_ascii=False).encode()
        end = {"index": 0, "finish_reason": whole["finish_reason"], "text": "", "delta": {}}
        yield json.dumps({"choices": [end]}).encode()
        usage = {"prompt_tokens": bill.prompt, "completion_tokens": bill.generated}
        if body.get("stream_options", {}).get("include_usage"):
            yield json.dumps({"choices": [], "usage": usage}).encode()
        yield b"[DONE]"


async def _numbered(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for chunk in chunks:
        yield number, chunk
        number += 1


def break_reply(reply: dict[str, Any], fault: str) -> dict[str, Any]:
    """The reply with a fault of its content; those of its transport are not made here."""
    choices = reply["choices"]
    last = dict(choices[-1])
    if fault == "usage":
        wrong = reply["usage"]["completion_tokens"] + 7
        return reply | {"usage": reply["usage"] | {"completion_tokens": wrong}}
    if fault == "duplicate":
        return reply | {
            "choices": [*choices[:-1], last | {"index": 0}, *([last] if len(choices) == 1 else [])]
        }
    if fault == "fewer":
        return reply | {"choices": choices[:-1]}
    if fault in ("nan", "positive"):
        values = last["logprobs"]["token_logprobs"]
        bad = float("nan") if fault == "nan" else 0.7
        return reply | {
            "choices": [
                *choices[:-1],
                last | {"logprobs": last["logprobs"] | {"token_logprobs": [bad, *values[1:]]}},
            ]
        }
    return reply


def _logprobs(tokens: list[str], values: list[Any], *, chat: bool) -> dict[str, Any]:
    if not chat:
        return {"tokens": tokens, "token_logprobs": values}
    pairs = zip(tokens, values, strict=True)
    return {"content": [{"token": t, "bytes": list(t.encode()), "logprob": v} for t, v in pairs]}


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    with suppress(asyncio.IncompleteReadError):
        return await reader.readuntil(b"\r\n\r\n")
    return b""


def _error(message: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "param": param, "code": None}}


def _head(status: int, length: int, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _answer(
    writer: asyncio.StreamWriter, status: int, content: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    await _answer_bytes(writer, status, json.dumps(content).encode(), headers)


async def _answer_bytes(
    writer: asyncio.StreamWriter, status: int, content: bytes, headers: dict[str, str] | None = None
) -> None:
    writer.write(_head(status, len(content), headers) + content)
    await writer.drain()
