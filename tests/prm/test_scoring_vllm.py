"""What the vLLM back end asks for, with a stand-in for vLLM; the real one is tested in tests/vllm."""

from __future__ import annotations

import asyncio

import pytest
from prm_models import QUESTION, STEPS, byte_level, random, write_causal
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prm.checkpoint import sigmoid
from prm.conventions import bind, find
from prm.scoring.reading import Reading
from prm.scoring.vllm import Read, VLLMScorer
from prm.scoring.vllm_open import mirror_folder
from tasks.errors import UsageError
from treesearch.engines.base import EngineError

BLOCK = 8


class Client:
    """Gives the last id of a text as its number, and caches whole blocks as vLLM does."""

    max_context = 200

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.cached: set[tuple[int, ...]] = set()

    def check_ids(self, ids):
        return list(ids)

    async def close(self):
        self.asked.clear()


def scorer_over(client, monkeypatch, *, read=Read.CLASSIFY, rows=None, head=None):
    scorer = VLLMScorer(
        client, bind(find("steps"), byte_level()), Reading(convention=find("steps")), read=read, head=head
    )

    async def ask(ids):
        client.asked.append(list(ids))
        blocks = [tuple(ids[:end]) for end in range(BLOCK, len(ids), BLOCK)]
        hit = sum(block in client.cached for block in blocks)
        client.cached.update(blocks)
        values = [ids[-1] / 100] if rows is None else rows(ids)
        return values, len(ids) - hit * BLOCK

    monkeypatch.setattr(scorer, "_ask", ask)
    return scorer


def test_each_step_is_a_request_that_ends_where_it_is_scored_and_is_made_once(monkeypatch):
    client = Client()
    scorer = scorer_over(client, monkeypatch)
    rendered = scorer.bound.render(QUESTION, STEPS)

    async def run():
        first = await scorer.score(QUESTION, STEPS[:2])
        assert client.asked == [list(rendered.ids[: read + 1]) for read in rendered.reads[:2]]
        second = await scorer.score(QUESTION, STEPS)
        assert client.asked[2:] == [list(rendered.ids)]
        assert second.scores[:2] == first.scores
        assert second.scores == tuple(sigmoid(rendered.ids[read] / 100) for read in rendered.reads)
        assert second.tokens <= len(rendered.ids) - rendered.ends[1] + BLOCK
        assert (await scorer.score(QUESTION, STEPS)).tokens == 0
        assert scorer.usage_tokens == first.tokens + second.tokens

    asyncio.run(run())


def test_all_positions_come_from_one_request_and_are_taken_by_place(monkeypatch):
    client = Client()
    scorer = scorer_over(
        client, monkeypatch, read=Read.TOKENS, rows=lambda ids: [[n / 50] for n in range(len(ids))]
    )
    rendered = scorer.bound.render(QUESTION, STEPS)
    found = asyncio.run(scorer.score(QUESTION, STEPS))
    assert found.scores == tuple(sigmoid(read / 50) for read in rendered.reads)
    assert len(client.asked) == 1
    short = scorer_over(client, monkeypatch, read=Read.TOKENS, rows=lambda ids: [])
    with pytest.raises(EngineError, match=r"gave 0 rows for \d+ tokens"):
        asyncio.run(short.score(QUESTION, STEPS))


def test_a_head_is_applied_to_hidden_states_and_to_nothing_else(monkeypatch):
    scorer = scorer_over(Client(), monkeypatch, read=Read.HIDDEN, head=lambda hidden: (hidden[0], 0.0))
    found = asyncio.run(scorer.score(QUESTION, STEPS))
    assert [len(each) for each in found.members] == [2, 2, 2]
    for read, head in ((Read.HIDDEN, None), (Read.CLASSIFY, lambda hidden: (0.0,))):
        with pytest.raises(UsageError, match="a head goes with hidden states"):
            scorer_over(Client(), monkeypatch, read=read, head=head)


def test_a_text_longer_than_the_context_is_an_error(monkeypatch):
    with pytest.raises(EngineError, match="more than the context of 200"):
        asyncio.run(scorer_over(Client(), monkeypatch).score(QUESTION, ["x " * 200]))


def test_ids_score_as_the_text_does(monkeypatch):
    tokenizer = byte_level()
    scorer = scorer_over(Client(), monkeypatch)
    steps = [tokenizer.encode(f"{step}\n") for step in STEPS]
    found = asyncio.run(scorer.score_ids(tokenizer.encode(QUESTION + "\n"), steps))
    assert found.scores == asyncio.run(scorer.score(QUESTION, STEPS)).scores


def test_a_folder_is_mirrored_without_its_head(tmp_path):
    from prm_models import add_head

    folder = add_head(write_causal(tmp_path / "a", byte_level()), {"v_head.summary.weight": random(1, 64)})
    (tmp_path / "b").mkdir()
    mirror_folder(folder, tmp_path / "b")
    whole, kept = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert set(whole) - set(kept) == {"v_head.summary.weight"}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "b") is not None
    assert (tmp_path / "b" / "config.json").is_symlink()


@pytest.mark.parametrize(
    ("pooling", "option"),
    [
        (True, r"\(--set engine_args='...'; of the value of a search --set value.engine_args='...'\)"),
        (False, r"\(--engine-args '...'; of a model that scores steps --set engine_args='...'"),
    ],
)
def test_where_memory_is_short_the_advice_names_an_option_of_the_command(monkeypatch, pooling, option):
    from treesearch.engines import vllm_client

    class Args:
        disable_log_stats = True

        def create_engine_config(self):
            return None

    def full(module):
        raise RuntimeError(f"{module}: no memory")

    monkeypatch.setattr(vllm_client, "import_vllm", full)
    with pytest.raises(EngineError, match=f"--gpu-memory-utilization {option}"):
        asyncio.run(vllm_client._start(Args(), pooling))
