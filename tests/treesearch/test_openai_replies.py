"""Replies of a server are believed only if they can be true; text stands for tokens without losing any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_server import break_reply
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UsageError
from treesearch.engines.address import choose_engine, is_url, server_url
from treesearch.engines.base import EngineError, FinishReason, SamplingParams
from treesearch.engines.http_retry import Rejected, Transient
from treesearch.engines.openai_api import Asked, Choice, read_reply, request_body
from treesearch.engines.openai_bill import Bill, salvaged
from treesearch.engines.openai_dialect import DIALECTS, refused_parameter, signed_dialect, without
from treesearch.engines.openai_scores import read_echo, read_ids
from treesearch.engines.openai_stream import read_stream
from treesearch.engines.text_tokenizer import END_ID, TextTokenizer, pieces_of

VLLM = DIALECTS["vllm"]
PARAMS = SamplingParams(max_tokens=8, stop=("\n",), stop_token_ids=(7,))


def asked(n: int = 2, **changes: Any) -> Asked:
    fields: dict[str, Any] = {"model": "m", "prompt": {"prompt": [5]}, "n": n, "params": PARAMS, "seed": 9}
    return Asked(**(fields | {"with_ids": True} | changes))


def choice(index: int = 0, ids: tuple[int, ...] = (11, 12, 13), **changes: Any) -> dict[str, Any]:
    logprobs = {"tokens": ["a"] * len(ids), "token_logprobs": [-0.5] * len(ids)}
    fields = {"index": index, "text": "aaa", "token_ids": list(ids), "logprobs": logprobs}
    return fields | {"finish_reason": "stop", "stop_reason": None} | changes


def reply(*choices: dict[str, Any], completion: int | None = None) -> dict[str, Any]:
    total = sum(len(c["token_ids"]) for c in choices) if completion is None else completion
    return {"usage": {"prompt_tokens": 4, "completion_tokens": total}, "choices": list(choices)}


def read(content: Any, n: int = 2, dialect: Any = VLLM, **changes: Any) -> tuple[list[Choice], Bill]:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_reply(data, dialect, asked(n, **changes))


def test_choices_come_in_the_order_of_their_indexes() -> None:
    choices, bill = read(reply(choice(1, (21,)), choice(0, (11, 12))))
    assert [found.token_ids for found in choices] == [(11, 12), (21,)]
    assert bill == Bill(prompt_tokens=4, completion_tokens=3)


@pytest.mark.parametrize(
    ("reason", "stopped_by", "finish"),
    [
        ("length", None, FinishReason.LENGTH),
        ("stop", None, FinishReason.END),
        ("stop", "\n", FinishReason.STOP),
        ("stop", 7, FinishReason.STOP),
        ("stop", 151645, FinishReason.END),
        ("eos_token", None, FinishReason.END),
        ("stop_sequence", None, FinishReason.STOP),
    ],
)
def test_the_finish_reason_is_the_servers_own_field(
    reason: str, stopped_by: Any, finish: FinishReason
) -> None:
    for dialect in (VLLM, DIALECTS["sglang"]):
        raw = choice(finish_reason=reason, stop_reason=stopped_by, matched_stop=stopped_by)
        assert read(reply(raw), 1, dialect)[0][0].finish is finish


@pytest.mark.parametrize("reason", [None, "abort", "error"])
def test_a_reply_that_was_cut_short_by_the_server_is_broken(reason: str | None) -> None:
    with pytest.raises(Transient, match="finish reason"):
        read(reply(choice(finish_reason=reason)), 1)


def test_a_reply_that_was_filtered_is_not_asked_for_again() -> None:
    with pytest.raises(Rejected, match="content_filter"):
        read(reply(choice(finish_reason="content_filter")), 1)
    with pytest.raises(Rejected, match=r"no token ids.*engine\.tokenizer=none"):
        read(reply(choice()) | {"choices": [choice() | {"token_ids": None}]}, 1)


@pytest.mark.parametrize(
    "found",
    [
        reply(choice(0)),
        reply(choice(0), choice(1), choice(2)),
        reply(choice(0), choice(0)),
        reply(choice(0), choice(2)),
        reply(choice(0), choice(1), completion=5),
        reply(choice(0), choice(1), completion=7),
        reply(choice(0), choice(1, tuple(range(9)))),
        reply(choice(0), choice(1, ())),
        reply(choice(0), choice(1, (-3,))),
        reply(choice(0), choice(1, text=5)),
        reply(choice(0), choice(1, logprobs={"tokens": ["a"], "token_logprobs": [-0.5]})),
        reply(choice(0), choice(1, logprobs={"tokens": ["a"], "token_logprobs": [-0.5, -1]})),
        reply(choice(0), choice(1, logprobs={"tokens": ["a"] * 3, "token_logprobs": [-0.5, 0.2, -1]})),
        reply(choice(0), choice(1, logprobs={"tokens": ["a"] * 3, "token_logprobs": [-0.5, None, -1]})),
        {"usage": {"prompt_tokens": 4, "completion_tokens": -6}, "choices": [choice(0), choice(1)]},
        {"usage": {"prompt_tokens": "4"}, "choices": [choice(0), choice(1)]},
        {"choices": "many"},
        {"error": {"message": "engine is dead"}},
        {},
        [],
        b"",
        b"null",
        b"<html>",
        b"\xff\xfe",
    ],
)
def test_a_reply_that_cannot_be_true_is_broken(found: Any) -> None:
    with pytest.raises(Transient, match="broken reply"):
        read(found)


@pytest.mark.parametrize("fault", ["nan", "positive", "usage", "duplicate", "fewer"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_broken_reply_says_what_it_cost(fault: str, n: int) -> None:
    whole = reply(*(choice(index) for index in range(n)))
    with pytest.raises(Transient) as caught:
        read(break_reply(whole, fault), n)
    assert (caught.value.prompt_tokens, caught.value.generated_tokens) == (4, 3 * n)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_a_torn_reply_is_broken_and_costs_what_it_still_shows(cut: int) -> None:
    whole = json.dumps(reply(choice(0), choice(1))).encode()
    torn = whole[: cut % len(whole)]
    with pytest.raises(Transient) as caught:
        read(torn)
    assert caught.value.generated_tokens in (None, 6)
    assert salvaged(torn).completion_tokens == caught.value.generated_tokens


def test_numbers_beyond_the_floats_are_no_log_probabilities() -> None:
    data = json.dumps(reply(choice(0))).replace("-0.5", "-1e999").encode()
    with pytest.raises(Transient, match="log-probability"):
        read(data, 1)


def test_a_tiny_positive_log_probability_is_rounding() -> None:
    raw = choice(logprobs={"tokens": ["a"] * 3, "token_logprobs": [1e-7, -0.5, 0]})
    assert read(reply(raw), 1)[0][0].logprobs == (0.0, -0.5, 0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "usage", "index", "text", "token_ids", "logprobs", "tokens"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, st.booleans())
def test_no_reply_fails_in_any_other_way(content: Any, chat: bool) -> None:
    prompt = {"messages": []} if chat else {"prompt": "a"}
    for found in (
        content,
        {"choices": content},
        {"choices": [content]},
        {"choices": [choice() | {"logprobs": content}]},
    ):
        with pytest.raises((Transient, EngineError)):
            read(json.dumps(found).encode(), 2, prompt=prompt, with_ids=False)


def test_a_request_says_everything_that_a_server_would_take_from_the_model() -> None:
    body = request_body(VLLM, asked(3))
    assert (body["n"], body["seed"], body["top_k"], body["top_p"]) == (3, 9, -1, 1.0)
    assert (body["repetition_penalty"], body["min_p"], body["temperature"]) == (1.0, 0.0, 1.0)
    assert body["return_token_ids"]
    assert body["include_stop_str_in_output"]
    plain = request_body(DIALECTS["openai"], asked(1, with_ids=False))
    assert set(plain) == {
        *("model", "prompt", "max_tokens", "temperature", "top_p", "seed", "logprobs", "stop"),
        "stop_token_ids",
    }
    assert "stop" not in request_body(DIALECTS["openai"], asked(1, with_ids=False, stream=True))


def test_seeds_fit_the_server() -> None:
    for dialect in DIALECTS.values():
        body = request_body(dialect, asked(1, seed=2**63 - 1, with_ids=False))
        assert 0 <= body["seed"] < 2**dialect.seed_bits


def test_what_a_server_refuses_by_name_is_left_out_if_requests_can_do_without() -> None:
    plain = DIALECTS["openai"]
    assert refused_parameter(plain, "", "Unsupported parameter: 'logprobs' is not supported") == "logprobs"
    assert refused_parameter(plain, "seed", "whatever") == "seed"
    assert refused_parameter(plain, "", "you ran out of 'money'") == ""
    assert without(plain, "n") is not None
    assert without(plain, "model") is None
    less = without(plain, "max_tokens")
    assert less is not None
    assert less.max_tokens == "max_completion_tokens"
    assert without(less, "max_tokens") is None
    neutral = without(VLLM, "min_p")
    assert neutral is not None
    assert "min_p" not in request_body(neutral, asked())


@pytest.mark.parametrize(
    ("owner", "server"), [("vllm", "vllm"), ("sglang", "sglang"), ("llamacpp", "llama.cpp")]
)
def test_servers_that_sign_their_models_are_known(owner: str, server: str) -> None:
    found = signed_dialect([{"id": "m", "owned_by": owner}])
    assert found is not None
    assert found.server == server
    assert signed_dialect([{"id": "m", "owned_by": "me"}, {}]) is None


# -- scoring ------------------------------------------------------------------------------------------------


def test_prompt_log_probabilities_are_those_of_the_ids() -> None:
    rows = [None, {"6": {"logprob": -0.25}}, {"7": {"logprob": -1.5}, "9": {"logprob": -0.1}}]
    content = {"choices": [{"prompt_logprobs": rows}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    scores, bill = read_ids(json.dumps(content).encode(), [5, 6, 7])
    assert scores == [0.0, -0.25, -1.5]
    assert bill.prompt_tokens == 3
    for ids in ([5, 6], [5, 6, 8]):
        with pytest.raises(Transient):
            read_ids(json.dumps(content).encode(), ids)


def test_an_echo_is_summed_over_pieces_and_a_token_counts_where_it_ends() -> None:
    logprobs = {"tokens": ["<s>", "ab", "cd", "e", "f!"], "token_logprobs": [None, -9, -1, -2, -4]}
    content = {"choices": [{"logprobs": logprobs}]}
    scores, _ = read_echo(json.dumps(content).encode(), ["abc", "de", "f"])
    assert scores == [-3.0, 0.0]
    with pytest.raises(Rejected, match="does not spell"):
        read_echo(json.dumps(content).encode(), ["xyz", "de"])


# -- streams ------------------------------------------------------------------------------------------------


def stream(
    *chunks: Any, split: int = 7, chat: bool = False, stop: tuple[str, ...] = ("\n",)
) -> tuple[Choice, Bill]:
    """Read a stream of these chunks, which arrive in pieces of `split` bytes."""
    lines = [
        chunk if isinstance(chunk, bytes) else b"data: " + json.dumps(chunk).encode() for chunk in chunks
    ]
    data = b"\n\n".join(lines) + b"\n\n"

    async def arriving() -> AsyncIterator[bytes]:
        for at in range(0, len(data), split):
            yield data[at : at + split]

    prompt = {"messages": []} if chat else {"prompt": "a"}
    wanted = asked(
        1, prompt=prompt, with_ids=False, stream=True, params=SamplingParams(max_tokens=20, stop=stop)
    )
    return asyncio.run(read_stream(arriving(), wanted))


def part(text: str, finish: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish} | changes]}


def test_a_stream_is_left_at_the_token_that_completes_a_stop_string() -> None:
    logprobs = {"tokens": ["a", "\nb", "c"], "token_logprobs": [-1, -2, -3]}
    found, bill = stream(part("a\nbc", logprobs=logprobs), part("never read"))
    assert (found.text, found.tokens, found.logprobs) == ("a\nb", (b"a", b"\nb"), (-1, -2))
    assert found.finish is FinishReason.STOP
    assert bill == Bill()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.text("ab<>/\u2028", max_size=14))
def test_a_stop_string_is_found_however_the_stream_is_cut(split: int, size: int, before: str) -> None:
    before = before.replace("</s>", "")
    text = before + "</s>" + "behind"
    chunks = [part(text[at : at + size]) for at in range(0, len(text), size)]
    found, _ = stream(*chunks, part("", "stop"), split=split, stop=("</s>",))
    assert found.finish is FinishReason.STOP
    assert found.text.startswith(before + "</s>")
    assert len(found.text) < len(before) + 4 + size
    assert found.chunks == -(-(len(before) + 4) // size)


@pytest.mark.parametrize(("reason", "finish"), [("stop", FinishReason.END), ("length", FinishReason.LENGTH)])
def test_a_stream_that_ends_by_itself_has_its_finish_reason_and_its_bill(
    reason: str, finish: FinishReason
) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    found, bill = stream(b": hello", part("a"), part("é"), part("", reason), usage, b"data: [DONE]")
    assert (found.text, found.finish, found.chunks) == ("aé", finish, 2)
    assert bill == Bill(prompt_tokens=3, completion_tokens=2)


def test_a_chat_is_streamed_as_deltas() -> None:
    chunks = [{"choices": [{"index": 0, "delta": d}]} for d in ({"role": "assistant"}, {"content": "hi"})]
    found, _ = stream(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, chat=True)
    assert (found.text, found.finish) == ("hi", FinishReason.END)


@pytest.mark.parametrize(
    "chunks",
    [
        [part("a")],
        [part("a"), b'data: {"choi'],
        [part("a"), {"error": {"message": "out of memory"}}],
        [part("a"), part("", "abort")],
        [part("a"), part("", "stop"), {"usage": {"completion_tokens": 900}}],
        [part("a"), part("", "stop", logprobs={"tokens": ["x"], "token_logprobs": [float("nan")]})],
        [*[part("a")] * 21, part("", "stop")],
    ],
)
def test_a_stream_that_breaks_off_or_cannot_be_true_is_broken(chunks: list[Any]) -> None:
    with pytest.raises(Transient, match="broken reply") as caught:
        stream(*chunks)
    assert caught.value.generated_tokens


# -- text as tokens -----------------------------------------------------------------------------------------

TEXT = st.text(max_size=30)


@settings(deadline=None)
@given(TEXT, st.integers(0, 40), st.booleans())
def test_a_text_becomes_as_many_ids_as_were_billed_and_reads_the_same(
    text: str, count: int, ended: bool
) -> None:
    ids = pieces_of(text, None, count, ended=ended)
    assert TextTokenizer().decode(ids) == text
    assert len(ids) == (count or bool(text))
    if ended and count > 1:
        assert ids[-1] == END_ID


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_the_servers_tokens_are_the_pieces_where_they_spell_the_text(
    tokens: list[bytes], ended: bool, hidden: bool
) -> None:
    whole = b"".join(tokens)
    try:
        text = whole.decode()
    except UnicodeDecodeError:
        text = ""
    if not text:
        return
    shown = tokens if hidden or not ended else [*tokens, b"</s>"]
    ids = pieces_of(text, shown, len(tokens) + ended, ended=ended)
    assert [TextTokenizer().decode([token]) for token in ids[: len(tokens)]] == [
        token.decode(errors="replace") for token in tokens
    ]
    assert (ids[-1] == END_ID) == ended
    assert len(ids) == len(tokens) + ended


def test_what_a_token_holds_behind_the_stop_string_is_left_out_with_the_text() -> None:
    ids = pieces_of("ab\n", [b"ab", b"\n\n"], 2, ended=False)
    assert [TextTokenizer().decode([token]) for token in ids] == ["ab", "\n"]


@settings(deadline=None)
@given(TEXT, TEXT)
def test_text_ids_join_as_texts_do_and_survive_json(first: str, second: str) -> None:
    tokenizer = TextTokenizer()
    ids = tokenizer.encode(first) + tokenizer.encode(second, special=True)
    assert tokenizer.decode(json.loads(json.dumps(ids))) == first + second
    assert tokenizer.chat([{"role": "user", "content": first}]) is None


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3), TEXT, TEXT)
def test_a_conversation_is_read_back_with_the_answer_so_far(
    contents: list[str], answer: str, more: str
) -> None:
    tokenizer = TextTokenizer(chat=True)
    messages = [{"role": "user", "content": content} for content in contents]
    last = {"role": "assistant", "content": answer}
    ids = tokenizer.chat([*messages, last])
    assert ids is not None
    assert tokenizer.conversation([*ids, *tokenizer.encode(more), END_ID]) == (messages, answer + more)
    assert tokenizer.conversation(tokenizer.encode("2 + 2?", special=True)) == (
        [{"role": "user", "content": "2 + 2?"}],
        "",
    )


# -- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("HTTPS://api.openai.com/v1", "https://api.openai.com/v1"),
        ("http://[::1]:8000/proxy/v1", "http://[::1]:8000/proxy/v1"),
    ],
)
def test_an_address_is_asked_without_a_slash_and_with_v1_by_default(text: str, address: str) -> None:
    assert server_url(text) == address
    assert (choose_engine("auto", text), choose_engine("scripted", text)) == ("openai", "scripted")


@pytest.mark.parametrize(
    "text",
    [
        "http://me:CANARY@host/v1",
        "http://CANARY@host/v1",
        "https://host/v1?api-key=CANARY",
        "https://host/v1#CANARY",
        "http://host:CANARY/v1",
        "http://",
        "http://[CANARY/v1",
    ],
)
def test_an_address_with_credentials_or_without_a_host_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        server_url(text)
    assert "CANARY" not in str(caught.value)


def test_names_of_models_are_no_addresses() -> None:
    for name in ("embedded", "./http", "Qwen/Qwen2.5-1.5B", "/models/http://x"):
        assert not is_url(name)
        assert choose_engine("auto", name) == "transformers"
