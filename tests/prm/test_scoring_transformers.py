"""The transformers back end: incremental scores, shared work, memory, failures, ensembles."""

from __future__ import annotations

import asyncio
import random as randoms
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prm_models import CONTEXT, HIDDEN, QUESTION, STEPS, byte_level, random, write_causal
from transformers import AutoModel, AutoTokenizer

from prm.checkpoint import Calibration, Card, HeadCard, read_card, write_checkpoint
from prm.registry import open_scorer
from prm.scoring.segments import SegmentStore
from tasks.errors import UsageError
from treesearch.engines.base import EngineError

TOLERANCE = 1e-5
SETTINGS = {"device": "cpu", "dtype": "float32", "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    tokenizer = byte_level(bos="<|begin_of_text|>")
    write_causal(made / "base", tokenizer)
    write_checkpoint(
        made / "prm",
        model=AutoModel.from_pretrained(made / "base"),
        tokenizer=tokenizer,
        card=Card(convention="steps", head=HeadCard(kind="value", outputs=3)),
        head={"head.weight": random(3, HIDDEN), "head.bias": random(3, seed=8)},
    )
    return made / "prm"


@pytest.fixture
def opened(folder):
    made = []

    def open_with(**settings):
        made.append(open_scorer(str(folder), {**SETTINGS, **settings}))
        return made[-1]

    yield open_with
    for scorer in made:
        asyncio.run(scorer.close())


def paths(count: int, depth: int, *, branch: int = 2, seed: int = 0) -> list[list[str]]:
    """Random paths of a tree, so that many share a beginning."""
    rng = randoms.Random(seed)
    return [
        [f"Step {level}: take {rng.randrange(branch)}.\n" for level in range(rng.randrange(1, depth + 1))]
        for _ in range(count)
    ]


@torch.no_grad()
def plainly(folder, question: str, steps: list[str]) -> list[list[float]]:
    """Sigmoids of the three heads at the last token of each step, from one pass over the whole text."""
    from safetensors.torch import load_file

    tokenizer, head = AutoTokenizer.from_pretrained(folder), load_file(folder / "head.safetensors")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids, positions = tokenizer.encode(question + "\n"), []
    for step in steps:
        ids = ids + tokenizer.encode(step, add_special_tokens=False)
        positions.append(len(ids) - 1)
    hidden = model(torch.tensor([ids])).last_hidden_state[0, positions]
    return (hidden @ head["head.weight"].T + head["head.bias"]).sigmoid().tolist()


def test_scores_are_the_mean_sigmoid_of_the_heads_at_the_last_tokens(opened, folder):
    steps = [f"{step}\n" for step in STEPS]
    found = asyncio.run(opened().score(QUESTION, steps))
    wanted = plainly(folder, QUESTION, steps)
    assert found.members == tuple(pytest.approx(each, abs=TOLERANCE) for each in wanted)
    assert found.scores == pytest.approx([sum(each) / 3 for each in wanted], abs=TOLERANCE)


def test_incremental_scores_equal_those_of_a_full_pass(opened):
    grown, full = opened(), opened(cache_mb=0)

    async def run():
        for path in paths(12, 6, seed=3):
            for depth in range(1, len(path) + 1):
                one, other = (
                    await grown.score(QUESTION, path[:depth]),
                    await full.score(QUESTION, path[:depth]),
                )
                assert one.scores == pytest.approx(other.scores, abs=TOLERANCE)
                assert other.tokens == sum(full.sizes(QUESTION, path[:depth]))
        assert full.store.held_bytes == 0

    asyncio.run(run())


def test_tokens_of_a_search_of_depth_16_grow_linearly_with_depth(opened):
    scorer, width = opened(), 4
    steps = [
        [f"Level {level:02d}, choice {c}: {level} + {c}.\n" for c in range(width)] for level in range(16)
    ]

    async def run():
        spent, path = [], list[str]()
        for level in range(16):
            found = await asyncio.gather(*(scorer.score(QUESTION, [*path, s]) for s in steps[level]))
            spent.append(sum(each.tokens for each in found))
            path.append(steps[level][0])
        return spent

    spent = asyncio.run(run())
    head, *first = scorer.sizes(QUESTION, [steps[0][0]])
    assert spent[0] == head + width * first[0]
    for level in range(1, 16):
        size = [scorer.sizes(QUESTION, [s])[1] for s in steps[level]]
        assert spent[level] == sum(size)
    assert sum(spent) == scorer.usage_tokens
    assert scorer.usage_tokens < 2 * head + 16 * width * max(size)


def test_solutions_that_arrive_together_share_what_they_have_in_common(opened):
    scorer, all_paths = opened(), paths(60, 7, seed=5)

    async def run():
        return await asyncio.gather(*(scorer.score(QUESTION, path) for path in all_paths))

    together = asyncio.run(run())
    distinct = {tuple(path[:depth]) for path in all_paths for depth in range(1, len(path) + 1)}
    head = scorer.sizes(QUESTION, ["x\n"])[0]
    assert sum(each.tokens for each in together) == head + sum(
        scorer.sizes(QUESTION, p)[-1] for p in distinct
    )
    alone = opened(cache_mb=0)

    async def one_by_one():
        return [await alone.score(QUESTION, path) for path in all_paths]

    for one, other in zip(together, asyncio.run(one_by_one()), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=TOLERANCE)


def test_long_and_short_solutions_in_one_batch_score_as_alone(opened):
    texts = [["x" * size + "\n", "and\n"] for size in (1, 3, 40, 45, 90, 160)]
    together, alone = opened(batch_tokens=64), opened(cache_mb=0)

    async def run():
        found = await asyncio.gather(*(together.score(f"Q{n}", steps) for n, steps in enumerate(texts)))
        for number, steps in enumerate(texts):
            wanted = await alone.score(f"Q{number}", steps)
            assert found[number].scores == pytest.approx(wanted.scores, abs=TOLERANCE)

    asyncio.run(run())


def test_a_score_that_is_asked_again_costs_nothing(opened):
    scorer = opened()

    async def run():
        first, again = await scorer.score(QUESTION, STEPS), await scorer.score(QUESTION, STEPS)
        assert again.scores == first.scores
        assert (first.tokens > 0, again.tokens) == (True, 0)

    asyncio.run(run())


def test_what_is_kept_stays_within_its_memory_and_is_still_right(opened):
    scorer = opened()
    scorer.store.limit_bytes = limit = 60_000
    reference = opened()

    async def run():
        for path in paths(40, 6, branch=3, seed=9):
            one, other = await scorer.score(QUESTION, path), await reference.score(QUESTION, path)
            assert one.scores == pytest.approx(other.scores, abs=TOLERANCE)
            assert scorer.store.held_bytes <= limit
        assert scorer.store.held_bytes > 0
        assert scorer.usage_tokens > reference.usage_tokens

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), max_size=30), st.integers(0, 12))
def test_the_store_never_forgets_a_beginning_before_what_hangs_on_it(all_paths, limit):
    store = SegmentStore(limit_bytes=limit * 4)
    for path in all_paths:
        ids = [(token,) for token in path]
        known = store.walk(ids)
        parent = known[-1] if known else store.root
        for each in ids[len(known) :]:
            parent = store.add(parent, each, torch.zeros(1), (float(each[0]),))
        assert [segment.numbers for segment in store.walk(ids)] == [(float(token),) for token in path]
        store.trim()
        reachable, stack = 0, [store.root]
        while stack:
            children = list(stack.pop().children.values())
            reachable += len(children)
            stack += children
        assert reachable == len(store) <= limit
        assert store.held_bytes == 4 * len(store)


def test_ids_of_a_policy_score_as_the_text_does(opened):
    scorer, tokenizer = opened(), byte_level(bos="<|begin_of_text|>")
    prompt = tokenizer.encode(QUESTION + "\n")
    steps = [tokenizer.encode(f"{step}\n", add_special_tokens=False) for step in STEPS]
    steps[-1] = [
        *steps[-1][:-1],
        *([tokenizer.eos_token_id] if tokenizer.decode(steps[-1][-1]) == "\n" else []),
    ]

    async def run():
        wanted = await scorer.score(QUESTION, STEPS)
        scorer.store.clear()
        found = await scorer.score_ids(prompt, steps)
        assert found.scores == pytest.approx(wanted.scores, abs=TOLERANCE)
        assert found.tokens == wanted.tokens

    asyncio.run(run())


def test_an_empty_last_step_is_a_line_break(opened):
    scorer, tokenizer = opened(), byte_level()
    step = tokenizer.encode("7\n", add_special_tokens=False)

    async def run():
        found = await scorer.score_ids([5, 6], [step, [tokenizer.eos_token_id]])
        assert len(found.scores) == 2
        assert found.tokens == 2 + len(step) + 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"combine": "worst"}, lambda m: min(m)),
        ({"combine": "uncertain"}, lambda m: sum(m) / 3 - 0.5 * sum((x - sum(m) / 3) ** 2 for x in m) / 3),
        ({"combine": "uncertain", "uncertainty": "0"}, lambda m: sum(m) / 3),
    ],
)
def test_members_are_combined_as_asked(opened, settings, expected):
    found = asyncio.run(opened(**settings).score(QUESTION, STEPS))
    assert found.scores == pytest.approx([expected(each) for each in found.members], abs=1e-9)


def test_requests_from_two_threads_share_one_scorer(opened):
    scorer, found = opened(), {}

    def ask(number: int) -> None:
        found[number] = asyncio.run(scorer.score(f"{QUESTION} {number}", STEPS)).scores

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, scores in found.items():
        assert asyncio.run(scorer.score(f"{QUESTION} {number}", STEPS)).scores == scores
    assert len(found) == 4


def test_a_cancelled_request_leaves_and_others_go_on(opened):
    scorer = opened()

    async def run():
        tasks = [asyncio.ensure_future(scorer.score(f"Q{n}", STEPS)) for n in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False] * 15

    asyncio.run(run())


def test_a_failing_batch_is_an_error_and_the_next_one_runs(opened, monkeypatch):
    scorer = opened()
    run = scorer._batch.run

    def fail(paths):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(scorer._batch, "run", fail)
    with pytest.raises(EngineError, match=r"failed on a batch of 1 solutions.*out of memory.*batch_tokens"):
        asyncio.run(scorer.score(QUESTION, STEPS))
    monkeypatch.setattr(scorer._batch, "run", run)
    assert len(asyncio.run(scorer.score(QUESTION, STEPS)).scores) == 3


def test_what_does_not_fit_or_is_no_id_is_an_error(opened):
    scorer = opened()
    with pytest.raises(EngineError, match=f"more than the context of {CONTEXT}"):
        asyncio.run(scorer.score(QUESTION, ["x " * CONTEXT]))
    with pytest.raises(EngineError, match="token id 99999 is outside"):
        asyncio.run(scorer.score_ids([5], [[99999]]))
    with pytest.raises(UsageError, match="no steps"):
        asyncio.run(scorer.score(QUESTION, []))
    with pytest.raises(UsageError, match="0 steps"):
        asyncio.run(scorer.score_ids([5], []))


def test_a_pass_that_fails_gives_back_what_is_kept(opened, monkeypatch):
    scorer = opened()
    asyncio.run(scorer.score(QUESTION, STEPS))
    assert scorer.store.held_bytes > 0
    run, calls = scorer._batch._backbone.run, []

    def fail_later(rows):
        calls.append(rows)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return run(rows)

    monkeypatch.setattr(scorer._batch._backbone, "run", fail_later)
    paths = [scorer.bound.render("Another?", [step]).segments for step in STEPS]
    with torch.inference_mode(), pytest.raises(RuntimeError, match="out of memory"):
        scorer._batch.run(paths)  # the second pass, of what hangs below the shared question, fails
    assert scorer.store.held_bytes == len(scorer.store) == 0
    assert len(asyncio.run(scorer.score("Another?", STEPS)).scores) == 3


def test_a_closed_scorer_says_so(opened):
    scorer = opened()
    asyncio.run(scorer.close())
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(scorer.score(QUESTION, STEPS))


def test_a_calibrated_folder_gives_calibrated_scores(folder, tmp_path):
    base = read_card(folder)
    calibration = Calibration(kind="platt", a=2.0, b=-0.5)
    from safetensors.torch import load_file

    write_checkpoint(
        tmp_path / "prm",
        model=AutoModel.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        card=Card(convention="steps", head=base.head, calibration=calibration),
        head=load_file(folder / "head.safetensors"),
    )

    async def run():
        raw, mapped = open_scorer(str(folder), SETTINGS), open_scorer(str(tmp_path / "prm"), SETTINGS)
        one, other = await raw.score(QUESTION, STEPS), await mapped.score(QUESTION, STEPS)
        await raw.close()
        await mapped.close()
        assert other.scores == pytest.approx([calibration(score) for score in one.scores], abs=1e-9)
        assert other.members == one.members

    asyncio.run(run())
