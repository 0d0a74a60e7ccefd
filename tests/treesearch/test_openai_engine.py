"""The engine for OpenAI-compatible servers, against a fake one: what is asked, understood and counted."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_server import FAULTS, FakeServer

from tasks.base import Problem
from tasks.errors import MissingPrerequisiteError, UsageError
from tasks.math import MathTask
from treesearch.engines.base import EngineError, EngineUsage, FinishReason, Sample, SamplingParams
from treesearch.engines.http_client import HttpClient, whole
from treesearch.engines.http_retry import RetryPolicy
from treesearch.engines.openai import open_engine
from treesearch.engines.openai_dialect import DIALECTS
from treesearch.engines.openai_engine import OpenAIEngine, ServedModel
from treesearch.engines.scripted import CharTokenizer, ScriptedEngine
from treesearch.policies import open_policy
from treesearch.policy import Policy, PolicyConfig
from treesearch.seeds import derive

PROMPT = "Tom has 12 apples.\n"
FAST = {"backoff_s": 0.001, "timeout_s": 5.0}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def vllm() -> Iterator[FakeServer]:
    with FakeServer(kind="vllm") as server:
        yield server


def ids_engine(
    server: FakeServer, *, max_context: int = 0, timeout_s: float = 5.0, **policy: Any
) -> OpenAIEngine:
    """An engine that sends token ids."""
    client = HttpClient(
        server.url,
        policy=RetryPolicy(**({"base_s": 0.001} | policy)),
        timeout_s=timeout_s,
        usage=EngineUsage(),
    )
    served = ServedModel(name="toy", dialect=DIALECTS[server.kind], max_context=max_context)
    return OpenAIEngine(client, served, tokenizer=CharTokenizer())


def ask(engine: OpenAIEngine, n: int = 1, prompt: str = PROMPT, **params: Any) -> list[Sample]:
    ids = engine.tokenizer.encode(prompt, special=True)
    return asyncio.run(engine.sample(ids, n, SamplingParams(**({"max_tokens": 90} | params))))


# -- token ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize("stop", [(), ("\n",)])
def test_a_server_of_token_ids_gives_what_its_model_writes(kind: str, stop: tuple[str, ...]) -> None:
    with FakeServer(kind=kind) as server:
        engine = ids_engine(server)
        found = ask(engine, 3, seed=5, stop=stop)
        assert [s.finish for s in found] == [FinishReason.STOP if stop else FinishReason.END] * 3
        bodies = {body["seed"]: body for body in server.bodies}
        direct = ScriptedEngine()
        for sample, index in zip(found, range(3), strict=True):
            seed = server.bodies[0]["seed"] + index
            if kind == "sglang":
                seed = derive(5, "sample", index) % 2**31
                assert seed in bodies
            params = SamplingParams(max_tokens=90, seed=seed, stop=stop)
            expected = asyncio.run(direct.sample(CharTokenizer().encode(PROMPT), 1, params))[0]
            assert (sample.token_ids, sample.text) == (expected.token_ids, expected.text)
            assert sample.logprobs == expected.logprobs
        assert len(server.bodies) == (1 if kind == "vllm" else 3)
        assert all(body["prompt"] == CharTokenizer().encode(PROMPT) for body in server.bodies)


def test_neighbouring_seeds_share_no_sample(vllm: FakeServer) -> None:
    engine = ids_engine(vllm)
    for seed in range(20):
        ask(engine, 4, seed=seed)
    seeds = {body["seed"] + index for body in vllm.bodies for index in range(4)}
    assert len(seeds) == 80


def test_greedy_samples_are_requests_of_their_own_where_n_is_refused_for_them(vllm: FakeServer) -> None:
    engine = ids_engine(vllm)
    one, two = ask(engine, 2, temperature=0.0)
    assert one.token_ids == two.token_ids
    assert [body.get("n") for body in vllm.bodies] == [None, None]
    assert engine.usage.requests == 2


def test_max_tokens_is_cut_to_the_context_and_an_empty_prompt_begins_somewhere(vllm: FakeServer) -> None:
    engine = ids_engine(vllm, max_context=len(PROMPT) + 5)
    assert len(ask(engine)[0].token_ids) == 5
    assert ask(engine)[0].finish is FinishReason.LENGTH
    asyncio.run(engine.sample([], 1, SamplingParams(max_tokens=2)))
    assert vllm.bodies[-1]["prompt"] == [1]
    with pytest.raises(EngineError, match="no room in a context of 24"):
        ask(engine, prompt=PROMPT + "12345")


def test_log_probabilities_of_a_text_come_from_prompt_log_probabilities(vllm: FakeServer) -> None:
    engine = ids_engine(vllm, max_context=30)
    scores = asyncio.run(engine.logprobs(CharTokenizer().encode(PROMPT), CharTokenizer().encode("step")))
    assert scores == [-0.5] * 4
    assert (engine.usage.prompt_tokens, engine.usage.generated_tokens) == (len(PROMPT) + 4, 1)
    with pytest.raises(EngineError, match="more than a context of 30"):
        asyncio.run(engine.logprobs(CharTokenizer().encode(PROMPT), [9] * 11))
    with FakeServer(kind="sglang") as server, pytest.raises(EngineError, match=r"sglang.*cannot score"):
        asyncio.run(ids_engine(server).logprobs([9], [9]))


def test_what_a_server_cannot_do_is_a_usage_error(vllm: FakeServer) -> None:
    engine = open_engine(vllm.url, FAST)
    with pytest.raises(UsageError, match="self-certainty"):
        ask(engine, certainty=True)
    with pytest.raises(UsageError, match="token ids"):
        ask(engine, stop_token_ids=(3,))
    with pytest.raises(UsageError, match="at least 1"):
        ask(engine, 0)
    with FakeServer(kind="openai") as server, pytest.raises(UsageError, match="top_k"):
        ask(open_engine(server.url, FAST), top_k=5)
    assert not vllm.bodies


# -- text ---------------------------------------------------------------------------------------------------

KINDS = ["vllm", "sglang", "llama.cpp", "openai", "bare"]


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_server_gives_the_same_text_and_finish_reasons(kind: str, endpoint: str) -> None:
    def script(prompt: str, seed: int) -> str:
        return f"café 1\n\nstep {seed % 7}\n#### 3"

    with FakeServer(kind=kind, script=script, chunk=3) as server:
        engine = open_engine(server.url, {"endpoint": endpoint, **FAST})
        for stop, begin, finish in (
            (("\n\n",), "café 1\n\n", FinishReason.STOP),
            ((), "café 1\n\nstep", FinishReason.END),
            (("@",), "café 1\n\nstep", FinishReason.END),
        ):
            found = ask(engine, 2, stop=stop)
            for sample in found:
                assert sample.text.startswith(begin)
                assert (sample.text.endswith("#### 3")) == (finish is FinishReason.END)
                assert sample.finish is finish
                assert sample.text == engine.tokenizer.decode(sample.token_ids)
                assert len(sample.logprobs) == (0 if kind == "bare" else len(sample.token_ids))
                ended = sample.token_ids[-1] == engine.tokenizer.eos_token_id
                assert ended == (finish is FinishReason.END)
                if finish is FinishReason.END:
                    assert len(sample.token_ids) == len(sample.text) + 1
            again = ask(engine, 2, stop=stop)
            assert [s.token_ids for s in again] == [s.token_ids for s in found]
        short = ask(engine, 2, stop=("@",), max_tokens=4)
        assert [(s.text, len(s.token_ids), s.finish) for s in short] == [("café", 4, FinishReason.LENGTH)] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_text_usage_is_the_servers_bill_where_it_sends_one(kind: str) -> None:
    with FakeServer(kind=kind) as server:
        engine = open_engine(server.url, FAST)
        found = ask(engine, 4)
        assert len({sample.text for sample in found}) > 1
        server.wait_idle()
        assert engine.usage.requests == len(server.bills)
        assert engine.usage.prompt_tokens == server.total("good", "prompt")
        assert engine.usage.generated_tokens == server.total("good", "generated")
        assert engine.usage.unmetered == 0
        billed = sum(sample.prompt_tokens or 0 for sample in found)
        assert billed == len(PROMPT) * len([body for body in server.bodies if body["max_tokens"] == 90])


def test_a_stream_is_left_at_the_stop_string_and_the_server_stops_writing() -> None:
    def script(prompt: str, seed: int) -> str:
        return "one\n" + "never needed. " * 400

    with FakeServer(kind="llama.cpp", script=script) as server:
        engine = open_engine(server.url, FAST)
        found = ask(engine, 3, stop=("\n",), max_tokens=4000)
        assert [(s.text, len(s.token_ids), s.finish) for s in found] == [("one\n", 4, FinishReason.STOP)] * 3
        server.wait_idle()
        assert server.count("left") == 3
        assert engine.usage.generated_tokens == 12
        assert engine.usage.unmetered == 3


def test_text_prompts_and_their_steps_join_and_their_cost_is_the_servers(vllm: FakeServer) -> None:
    opened = asyncio.run(open_policy(vllm.url, MathTask(), engine_settings=FAST))
    policy = Policy(
        engine=opened.policy.engine, task=MathTask(), config=PolicyConfig(step_tokens=40, solution_tokens=200)
    )
    problem = Problem(id="p", question="How far?")

    async def walk() -> None:
        path: list[Any] = []
        for seed in range(3):
            reply = await policy.propose(problem, path, 2, max_tokens=40, seed=seed)
            assert reply.prompt_tokens == len("How far?\n") + sum(len(step.text) for step in path)
            path.append(reply.chains[0][0])
        assert vllm.bodies[-1]["prompt"] == "How far?\n" + "".join(step.text for step in path[:-1])
        whole = await policy.complete(problem, path, 1, max_tokens=80, seed=1)
        assert all(len(step.token_ids) == len(step.logprobs) for step in whole.chains[0])
        assert "".join(step.text for step in whole.chains[0]).endswith(f"#### {whole.chains[0][-1].answer}")

    asyncio.run(walk())


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_a_text_is_scored_by_its_echo(kind: str) -> None:
    with FakeServer(kind=kind) as server:
        engine = open_engine(server.url, FAST)
        encode = engine.tokenizer.encode
        assert asyncio.run(engine.logprobs(encode("ab"), encode("cde") + encode("f"))) == [-1.5, -0.5]
        assert asyncio.run(engine.logprobs(encode("ab"), [])) == []


@pytest.mark.parametrize("kind", ["llama.cpp", "bare"])
def test_a_server_without_echo_cannot_score_and_says_so(kind: str) -> None:
    with FakeServer(kind=kind) as server, pytest.raises(EngineError, match="cannot score a given text"):
        asyncio.run(open_engine(server.url, FAST).logprobs([1], [2]))


# -- chats --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "sent"), [("vllm", True), ("sglang", True), ("llama.cpp", False)])
def test_a_chat_goes_on_with_the_last_message(kind: str, sent: bool) -> None:
    with FakeServer(kind=kind, chat_only=kind == "llama.cpp") as server:
        engine = open_engine(server.url, {"endpoint": "chat", **FAST})
        policy = Policy(
            engine=engine, task=MathTask(), config=PolicyConfig(step_tokens=40, system="Be brief.")
        )
        problem = Problem(id="p", question="How far?")

        async def walk() -> None:
            first = await policy.propose(problem, (), 1, max_tokens=40, seed=0)
            await policy.propose(problem, first.chains[0], 1, max_tokens=40, seed=0)
            turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How far?"}]
            assert server.bodies[0]["messages"] == turns
            answer = {"role": "assistant", "content": first.chains[0][0].text}
            assert server.bodies[1]["messages"] == [*turns, answer]
            assert ("continue_final_message" in server.bodies[1]) == sent
            assert server.bodies[1].get("add_generation_prompt", False) is False
            assert "continue_final_message" not in server.bodies[0]

        asyncio.run(walk())


def test_a_server_that_cannot_go_on_with_an_answer_says_so_and_whole_solutions_work() -> None:
    with FakeServer(kind="openai", chat_only=True) as server:
        engine = open_engine(server.url, FAST)
        policy = Policy(engine=engine, task=MathTask(), config=PolicyConfig(solution_tokens=100))
        problem = Problem(id="p", question="How far?")

        async def walk() -> None:
            reply = await policy.complete(problem, (), 3, max_tokens=90, seed=0)
            assert all(chain[-1].finish is FinishReason.END for chain in reply.chains)
            with pytest.raises(UsageError, match=r"unfinished answer.*self-consistency"):
                await policy.propose(problem, reply.chains[0][:1], 1, max_tokens=40, seed=0)
            await engine.close()

        asyncio.run(walk())
        with pytest.raises(EngineError, match="cannot score"):
            asyncio.run(engine.logprobs([1], [2]))


# -- finding out --------------------------------------------------------------------------------------------


def test_servers_are_known_by_their_signature_or_by_a_probe(caplog: pytest.LogCaptureFixture) -> None:
    for kind in KINDS:
        caplog.clear()
        with FakeServer(kind=kind, max_model_len=777 if kind == "vllm" else None) as server:
            engine = open_engine(server.url, FAST)
            probed = kind in ("openai", "bare")
            assert engine.dialect.server == ("openai" if probed else kind)
            assert len(server.bodies) == probed
            assert engine.usage.requests == len(server.bills)
            assert engine.usage.generated_tokens == server.total("good", "generated")
            assert engine.max_context == (777 if kind == "vllm" else 1_000_000)
            assert engine.dialect.n == (kind in ("vllm", "openai"))
            assert (engine.dialect.logprobs is None) == (kind == "bare")
            told = [record.getMessage() for record in caplog.records if record.name.startswith("treesearch")]
            assert len(told) == (kind in ("vllm", "sglang", "bare"))
            ask(engine)
            ask(engine)
            assert len([r for r in caplog.records if r.name.startswith("treesearch")]) == len(told)


@pytest.mark.parametrize("refused", [("n",), ("logprobs",), ("seed",), ("n", "seed", "logprobs")])
def test_parameters_that_a_strict_server_refuses_are_left_out(refused: tuple[str, ...]) -> None:
    with FakeServer(kind="openai", refuses=refused) as server:
        engine = open_engine(server.url, FAST)
        found = ask(engine, 3)
        assert len(found) == 3
        assert not {"n", "seed", "logprobs"} & set(refused) & set(server.bodies[-1])
        assert len(server.bodies) - 1 - len(refused) == (3 if {"n", "logprobs"} & set(refused) else 1)


def test_a_newer_chat_server_is_asked_with_max_completion_tokens() -> None:
    with FakeServer(kind="openai", chat_only=True, refuses=("max_tokens",)) as server:
        with pytest.raises(UsageError, match="max_completion_tokens"):
            open_engine(server.url, FAST)  # the fake does not know the newer name either
        assert "max_completion_tokens" in server.bodies[-1]
        assert "max_tokens" not in server.bodies[-1]


def test_the_setting_server_overrides_what_it_says() -> None:
    with FakeServer(kind="vllm") as server:
        assert open_engine(server.url, {"server": "llama.cpp", **FAST}).dialect.server == "llama.cpp"
        with pytest.raises(UsageError, match=r"did you mean 'llama.cpp'"):
            open_engine(server.url, {"server": "lama.cpp"})


def test_the_model_is_the_only_one_or_the_one_that_was_named() -> None:
    with FakeServer(models=("toy", "other")) as server:
        with pytest.raises(UsageError, match="--model; it serves other, toy"):
            open_engine(server.url, FAST)
        with pytest.raises(UsageError, match="did you mean 'toy'"):
            open_engine(server.url, {"model": "toi"})
        engine = open_engine(server.url, {"model": "other", **FAST})
        assert (engine.model, engine.model_hash) == ("other", "served:other")
        ask(engine)
        assert server.bodies[-1]["model"] == "other"
    with FakeServer(models=()) as server, pytest.raises(UsageError, match="with --model"):
        open_engine(server.url, FAST)


def test_an_address_that_is_no_such_server_is_a_usage_error(vllm: FakeServer) -> None:
    with pytest.raises(UsageError, match="HTTP 404"):
        open_engine(vllm.url + "/elsewhere", {"model": "m", **FAST})
    with pytest.raises(UsageError, match="not the address"):
        open_engine("localhost:8000", {})


def test_a_tokenizer_is_taken_from_where_the_server_says_its_model_is(tmp_path: Any) -> None:
    pytest.importorskip("transformers")
    from treesearch.policies import embedded_folder

    with FakeServer(kind="vllm", root=str(embedded_folder())) as server:
        opened = asyncio.run(open_policy(server.url, MathTask(), engine_settings=FAST))
        engine = opened.policy.engine
        assert engine.tokenizer.decode(engine.tokenizer.encode("Tom has 12")) == "Tom has 12"
        assert len(engine.tokenizer.encode(PROMPT)) > 1
        assert opened.note.startswith("demonstration")
        assert opened.policy.config.step_tokens == 24
        text = open_engine(server.url, {"tokenizer": "none", **FAST})
        assert text.tokenizer_folder == ""
        with pytest.raises(MissingPrerequisiteError, match="could not be loaded"):
            open_engine(server.url, {"tokenizer": str(tmp_path), **FAST})
    with FakeServer(kind="llama.cpp") as server, pytest.raises(UsageError, match="of no use"):
        open_engine(server.url, {"tokenizer": str(embedded_folder()), **FAST})


# -- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_an_answer_that_will_not_change_is_not_asked_for_again(vllm: FakeServer, status: int) -> None:
    engine = ids_engine(vllm)
    vllm.statuses.append((status, {}))
    with pytest.raises(EngineError, match=f"HTTP {status} .*as the test wishes"):
        ask(engine)
    assert len(vllm.bodies) == 1
    assert engine.usage.retries == 0
    assert len(ask(engine)) == 1


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_an_answer_that_may_change_is_asked_for_again(vllm: FakeServer, status: int) -> None:
    engine = ids_engine(vllm)
    vllm.statuses += [(status, {}), (status, {"Retry-After": "0"})]
    assert len(ask(engine)) == 1
    assert (len(vllm.bodies), engine.usage.retries, engine.usage.requests) == (3, 2, 1)
    assert (engine.usage.failed_tokens, engine.usage.unmetered) == (0, 0)


def test_retry_after_is_waited_for(vllm: FakeServer) -> None:
    engine = ids_engine(vllm)
    vllm.statuses.append((429, {"Retry-After": "0.3"}))
    started = time.monotonic()
    ask(engine)
    assert time.monotonic() - started >= 0.3


def test_a_used_up_quota_is_not_load() -> None:
    body = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    with raw_server(b"HTTP/1.1 429 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as (url, count):
        with pytest.raises(EngineError, match=r"HTTP 429 .*exceeded your quota"):
            asyncio.run(HttpClient(url).ask("/models", None, whole))
        assert count == [1]


def test_a_redirect_is_not_followed_and_says_where_it_leads() -> None:
    answer = b"HTTP/1.1 307 X\r\nLocation: https://elsewhere/v1\r\nContent-Length: 0\r\n\r\n"
    with raw_server(answer) as (url, count), pytest.raises(EngineError, match=r"HTTP 307 .*elsewhere"):
        asyncio.run(HttpClient(url).ask("/models", None, whole))
    assert count == [1]


class raw_server:
    """A server that gives the same bytes to everybody and hangs up; and how many came."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.count = answer, [0]

    def __enter__(self) -> tuple[str, list[int]]:
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1", self.count

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                self.count[0] += 1
                connection.recv(65536)
                connection.sendall(self.answer)

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("n", [1, 3])
def test_each_fault_is_retried_and_counted_as_far_as_it_shows(fault: str, n: int) -> None:
    slow = fault == "drip"  # it costs the time-out, which an honest reply on a busy machine must not reach
    faults = ["", fault] if slow else ["", fault, "", fault, fault]
    with FakeServer(kind="vllm", first=[*faults]) as server, FakeServer(kind="vllm") as calm:
        engine, without = ids_engine(server, timeout_s=3.0 if slow else 10.0), ids_engine(calm)
        for seed in range(4):
            expected = [sample.token_ids for sample in ask(without, n, seed=seed)]
            assert [sample.token_ids for sample in ask(engine, n, seed=seed)] == expected
        assert server.met[fault] == faults.count(fault) == engine.usage.retries
        check_bill(engine.usage, server)


def check_bill(usage: EngineUsage, server: FakeServer) -> None:
    """The engine counted what the server billed, to the token."""
    server.wait_idle()
    assert usage.requests == server.count("good")
    assert usage.prompt_tokens == server.total("good", "prompt")
    assert usage.generated_tokens == server.total("good", "generated")
    assert usage.failed_prompt_tokens == server.total("shown", "prompt")
    assert usage.failed_tokens == server.total("shown", "generated")
    assert usage.unmetered == server.count("hidden") + server.count("unsent")
    assert usage.retries == len(server.bills) - server.count("good")


def test_a_reply_that_stays_broken_is_an_error_that_says_how() -> None:
    with FakeServer(kind="vllm", fault_rate=1.0, faults=("nan",)) as server:
        engine = ids_engine(server, attempts=3)
        with pytest.raises(EngineError, match=r"gave up after 3 attempts.*NaN in place of a number"):
            ask(engine)
        assert (engine.usage.requests, engine.usage.retries, engine.usage.generated_tokens) == (1, 2, 0)
        assert engine.usage.failed_tokens == server.total("shown", "generated") > 0


def test_no_server_at_all_is_a_missing_prerequisite_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(MissingPrerequisiteError, match=f"no server answers at http://127.0.0.1:{port}/v1"):
        open_engine(f"http://127.0.0.1:{port}", {})
    assert time.monotonic() - started < 5


def test_a_server_that_dies_fails_every_request_soon(vllm: FakeServer) -> None:
    engine = ids_engine(vllm, patience_s=0.2, base_s=0.01)
    ask(engine)
    vllm.__exit__()

    async def storm() -> list[BaseException | list[Sample]]:
        ids = CharTokenizer().encode(PROMPT)
        jobs = (engine.sample(ids, 1, SamplingParams(seed=seed)) for seed in range(200))
        return await asyncio.gather(*jobs, return_exceptions=True)

    started = time.monotonic()
    failures = asyncio.run(storm())
    assert time.monotonic() - started < 5
    assert all(isinstance(failure, EngineError) for failure in failures)
    with pytest.raises(EngineError, match="has not answered for"):
        ask(engine)


def test_cancelling_closes_the_connection_and_frees_the_server() -> None:
    with FakeServer(kind="vllm", latency_s=60.0) as server:
        engine = ids_engine(server, timeout_s=100.0)

        async def run() -> None:
            ids = CharTokenizer().encode(PROMPT)
            tasks = [
                asyncio.ensure_future(engine.sample(ids, 4, SamplingParams(seed=seed))) for seed in range(5)
            ]
            while server.busy < 5:
                await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            await asyncio.to_thread(server.wait_idle)

        asyncio.run(run())
        assert server.aborted == 5
        assert (engine.usage.requests, engine.usage.unmetered, engine.usage.generated_tokens) == (5, 5, 0)


def test_one_failed_sample_of_several_requests_cancels_the_others() -> None:
    with FakeServer(kind="sglang", latency_s=0.5) as server:
        engine = ids_engine(server)
        server.statuses.append((400, {}))
        with pytest.raises(EngineError, match="HTTP 400"):
            ask(engine, 6)
        server.wait_idle()
        assert server.aborted > 0


def test_no_more_sequences_are_in_flight_than_the_setting_allows() -> None:
    with FakeServer(kind="vllm", latency_s=0.01) as server:
        engine = open_engine(server.url, {"max_sequences": 6, **FAST})

        async def run() -> None:
            ids = engine.tokenizer.encode(PROMPT)
            await asyncio.gather(*(engine.sample(ids, 2, SamplingParams(seed=seed)) for seed in range(30)))
            await engine.close()

        asyncio.run(run())
        assert server.most_busy <= 3


def test_one_engine_serves_several_event_loops_at_once(vllm: FakeServer) -> None:
    engine = ids_engine(vllm)
    expected = [ask(engine, seed=seed)[0].token_ids for seed in range(4)]
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: ask(engine, seed=seed)[0].token_ids}))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [found[seed] for seed in range(4)] == expected


# -- the key ------------------------------------------------------------------------------------------------

CANARY = "sk-CANARY-0123456789"


def test_the_key_comes_from_the_environment_and_goes_into_the_header_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY + "\n")
    with FakeServer(kind="openai", key=CANARY) as server:
        engine = open_engine(server.url, FAST)
        ask(engine)
        assert {headers["authorization"] for headers in server.headers} == {f"Bearer {CANARY}"}
        assert CANARY not in repr(vars(engine))
    assert CANARY not in caplog.text


def test_no_message_repeats_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    with FakeServer(kind="openai", key="another") as server:
        with pytest.raises(UsageError) as caught:
            open_engine(server.url, {"key_env": "MY_KEY", **FAST})
        assert "HTTP 401" in str(caught.value)
        assert "MY_KEY" in str(caught.value)
        assert "Bearer ***" in str(caught.value)  # the server repeated the key, the message does not
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_variable_that_holds_no_key_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(UsageError, match="MY_KEY") as caught:
        open_engine("http://127.0.0.1:9", {"key_env": "MY_KEY"})
    assert not value or value not in str(caught.value)
