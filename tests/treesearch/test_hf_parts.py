"""Sampling, stop strings and the tokenizer adapter of the in-process engine, each on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import byte_level_tokenizer, word_tokenizer

from treesearch.engines.hf_sampling import SamplingPlan, sample_tokens, stream_key, uniforms
from treesearch.engines.hf_stops import StopTables
from treesearch.engines.hf_tokenizer import HFTokenizer


def test_certainty_stays_finite_for_a_distribution_with_zeros():
    logits = torch.tensor([[0.0, -1e9, -1e9, -1e9]])
    _, _, certainty = sample_tokens(logits, plan_of(1, certainty=True), torch.tensor([0.5]))
    assert certainty is not None
    tiny = -math.log(torch.finfo(torch.float32).tiny)
    assert float(certainty[0]) == pytest.approx(-math.log(4) + tiny * 3 / 4, rel=1e-5)


def plan_of(rows: int, *, t: float = 1.0, k: int = 0, p: float = 1.0, v: int = 4, certainty: bool = False):
    return SamplingPlan.of(
        temperature=np.full(rows, t, dtype=np.float32),
        top_k=np.full(rows, k),
        top_p=np.full(rows, p, dtype=np.float32),
        certainty=certainty,
        vocabulary=v,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("vocabulary", [20, 700])
@pytest.mark.parametrize(
    ("k", "p"), [(0, 1.0), (5, 1.0), (0, 0.6), (0, 0.999), (12, 0.7), (300, 0.9), (1, 1.0)]
)
@pytest.mark.parametrize("t", [0.5, 1.7])
def test_a_draw_inverts_the_distribution_that_top_k_and_top_p_leave(vocabulary, k, p, t):
    generator = torch.Generator().manual_seed(vocabulary + k)
    logits = torch.randn(40, vocabulary, generator=generator) * 2
    uniform = torch.rand(40, generator=generator)
    tokens, chosen, _ = sample_tokens(logits, plan_of(40, t=t, k=k, p=p, v=vocabulary), uniform)
    for row in range(40):
        probs = torch.softmax(logits[row].double() / t, dim=-1).numpy()
        order = np.argsort(-probs, kind="stable") if (k or p < 1) else np.arange(vocabulary)
        kept = probs[order][: k or None]
        kept = kept[np.cumsum(kept) - kept < p * kept.sum()]
        edges = np.cumsum(kept) / kept.sum()
        at = int(np.searchsorted(edges, float(uniform[row]), side="right"))
        assert int(tokens[row]) == order[at] or np.abs(edges - float(uniform[row])).min() < 1e-5
        assert float(chosen[row]) == pytest.approx(float(torch.log_softmax(logits[row], -1)[tokens[row]]))


def test_random_numbers_are_uniform_and_differ_by_seed_sample_and_token():
    keys = np.array([stream_key(seed, sample) for seed in range(50) for sample in range(20)], dtype=np.uint64)
    drawn = np.stack([uniforms(keys, np.full(1000, token)) for token in range(20)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert len(np.unique(drawn)) > 0.995 * drawn.size
    assert np.abs(np.histogram(drawn, 20)[0] - 1000).max() < 160
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 0.1


def test_a_token_with_text_after_the_stop_string_is_kept_whole():
    tokenizer = HFTokenizer(word_tokenizer())
    table = StopTables(tokenizer, vocabulary=10, end_ids=[1])
    number = table.number(("a",), ())
    assert table.classify(np.array([number] * 3), np.array([2, 4, 1])).tolist() == [2, 1, 4]
    assert table.completed(number, [4, 2])


def test_stop_strings_of_several_bytes_per_character_and_of_a_space_are_found():
    tokenizer = HFTokenizer(word_tokenizer())
    table = StopTables(tokenizer, vocabulary=10, end_ids=[])
    accent, space, newline = (table.number((stop,), ()) for stop in ("é", " ", "b\n"))
    assert table.classify(np.array([accent]), np.array([8])).tolist() == [2]
    assert table.completed(accent, [3, 7, 8])
    assert not table.completed(accent, [3, 7])
    assert table.completed(space, [3, 2])
    assert not table.completed(space, [3, 3])
    assert table.completed(newline, [4, 9])
    assert not table.completed(newline, [4, 3, 9])


def test_a_tokenizer_round_trips_and_adds_special_tokens_only_if_asked():
    tokenizer = HFTokenizer(byte_level_tokenizer())
    text = " 12 + 7 = 19 — café\n\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("a", special=True) == [0, *tokenizer.encode("a")]
    assert tokenizer.decode([0, *tokenizer.encode("a"), 1]) == "a"
    assert tokenizer.eos_token_id == 1
    assert tokenizer.chat([{"role": "user", "content": "hi"}]) is None


def test_a_continuation_keeps_the_space_that_a_text_of_its_own_would_drop():
    tokenizer = HFTokenizer(word_tokenizer())
    assert tokenizer.decode([2, 4]) == "a b"
    assert tokenizer.continuation([2, 4]) == " a b"
    assert tokenizer.continuation([3, 4]) == "a b"


def test_a_chat_ends_with_the_assistants_header_or_its_open_message():
    tokenizer = HFTokenizer(byte_level_tokenizer(chat=True))
    user = {"role": "user", "content": "1 + 1?"}
    header = "<|user|>\n1 + 1?\n<|assistant|>\n"

    def text(*messages: dict[str, str]) -> str:
        return tokenizer.decode(tokenizer.chat(messages) or [])

    assert text(user) == header
    assert text(user, {"role": "assistant", "content": ""}) == header
    assert text(user, {"role": "assistant", "content": "It is"}) == header + "It is"
    assert text(user, {"role": "assistant", "content": "It is\n\n"}) == header + "It is\n\n"
