"""Best-of-N by exact expectation: against enumeration, with oracles and anti-oracles, at equal tokens."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from evaluation_worlds import TableScorer, write_lines
from hypothesis import given
from hypothesis import strategies as st

from prm.evaluation.bench import run_bench
from prm.evaluation.best_of_n import Candidate, SampledProblem, evaluate, read_sampled, score_sampled
from prm.evaluation.subsets import (
    best_of_n,
    is_exact,
    majority,
    pass_at_n,
    weighted_majority,
    weights,
)
from tasks.errors import DataError, UsageError
from treesearch.run.config import resolve
from treesearch.run.session import run_problems

samples = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["r", "x", "y", None])), min_size=1, max_size=8
)


def subsets(m: int, n: int) -> list[tuple[int, ...]]:
    return list(combinations(range(m), n))


def brute_best(scores: Sequence[float], gold: Sequence[float], n: int) -> float:
    total = 0.0
    for subset in subsets(len(scores), n):
        most = max(scores[i] for i in subset)
        winners = [gold[i] for i in subset if scores[i] == most]
        total += sum(winners) / len(winners)
    return total / math.comb(len(scores), n)


def brute_vote(answers: Sequence[str | None], votes: Sequence[float], n: int) -> float:
    total = 0.0
    for subset in subsets(len(answers), n):
        sums: Counter[str] = Counter()
        heads: Counter[str] = Counter()
        for i in subset:
            if answers[i] is not None:
                sums[str(answers[i])] += votes[i]  # type: ignore[assignment]
                heads[str(answers[i])] += 1
        if not heads:
            continue
        found = sums if max(sums.values()) > 0 else heads
        winners = [a for a in found if found[a] == max(found.values())]
        total += ("r" in winners) / len(winners)
    return total / math.comb(len(answers), n)


@given(samples, st.data())
def test_every_figure_equals_the_mean_over_all_subsets(
    found: list[tuple[int, str | None]], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(found)))
    scores, answers = [float(score) for score, _ in found], [answer for _, answer in found]
    right = [answer == "r" for answer in answers]
    assert best_of_n(scores, [float(r) for r in right], n) == pytest.approx(brute_best(scores, right, n))
    assert majority(answers, right, n) == pytest.approx(brute_vote(answers, [1.0] * len(found), n))
    assert weighted_majority(answers, right, scores, n) == pytest.approx(brute_vote(answers, scores, n))
    some = sum(any(right[i] for i in subset) for subset in subsets(len(found), n))
    assert pass_at_n(right, n) == pytest.approx(some / math.comb(len(found), n))


@given(st.integers(1, 60), st.data())
def test_the_weights_are_chances_that_sum_to_one(m: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, m))
    found = weights(m, n)
    assert sum(found) == pytest.approx(1)
    assert found == sorted(found)
    assert all(weight == 0 for weight in found[: n - 1])


@given(samples)
def test_one_sample_is_the_mean_whatever_the_rule(found: list[tuple[int, str | None]]) -> None:
    right = [answer == "r" for _, answer in found]
    mean = sum(right) / len(right)
    assert best_of_n([float(s) for s, _ in found], [float(r) for r in right], 1) == pytest.approx(mean)
    assert majority([a for _, a in found], right, 1) == pytest.approx(mean)
    assert pass_at_n(right, 1) == pytest.approx(mean)


def test_an_oracle_equals_pass_at_n_and_an_anti_oracle_all_of_n() -> None:
    right = [True] * 3 + [False] * 7
    gold = [float(r) for r in right]
    for n in range(1, 11):
        assert best_of_n(gold, gold, n) == pytest.approx(pass_at_n(right, n))
        all_right = math.comb(3, n) / math.comb(10, n)
        assert best_of_n([-g for g in gold], gold, n) == pytest.approx(all_right)


def test_shuffled_scores_choose_no_better_than_chance() -> None:
    rng = random.Random(0)
    right = [float(i < 8) for i in range(32)]
    found = [best_of_n([rng.random() for _ in right], right, 8) for _ in range(2000)]
    assert sum(found) / len(found) == pytest.approx(0.25, abs=0.02)


def test_windows_of_neighbours_are_unbiased_where_subsets_are_too_many() -> None:
    rng, m, n = random.Random(1), 24, 12
    assert not is_exact(m, n)
    total, wanted = 0.0, 0.0
    for _ in range(300):
        answers = [rng.choice(["r", "x", "y"]) for _ in range(m)]
        right = [a == "r" for a in answers]
        total += weighted_majority(answers, right, [1.0] * m, n)
        wanted += majority(answers, right, n)
    assert total / 300 == pytest.approx(wanted / 300, abs=0.03)


def test_n_outside_of_the_samples_and_ragged_lists_are_errors() -> None:
    for n in (0, 3):
        with pytest.raises(UsageError, match=f"from 1 to the number of samples, 2, got {n}"):
            pass_at_n([True, False], n)
    with pytest.raises(UsageError, match="same length"):
        best_of_n([0.5], [1.0, 0.0], 1)


def candidate(right: bool, score: float, *, scored: int = 0) -> Candidate:
    return Candidate(
        scores=(score, score), right=right, answer="r" if right else "x", tokens=100, scored_tokens=scored
    )


def world(*, scored: int = 0, flip: bool = False) -> list[SampledProblem]:
    """Three problems of eight samples; a score of 0.9 is on right ones, or with `flip` on wrong ones."""
    return [
        SampledProblem(
            id=f"{i}",
            question="q",
            candidates=tuple(
                candidate(right, 0.9 if right != flip else 0.1, scored=scored)
                for right in [True] * (i + 1) + [False] * (7 - i)
            ),
        )
        for i in range(3)
    ]


def test_the_report_brackets_the_model_between_majority_and_pass() -> None:
    found = evaluate(world())
    json.dumps(found, allow_nan=False)
    assert [entry["n"] for entry in found["baselines"]] == [1, 2, 4, 8]
    for base, entry in zip(found["baselines"], found["aggregates"]["min"]["curve"], strict=True):
        assert entry["best"]["accuracy"] == pytest.approx(base["pass"]["accuracy"])
        assert base["majority"]["accuracy"] <= base["pass"]["accuracy"] + 1e-12
        assert entry["tokens"] == base["tokens"]
    wrong = evaluate(world(flip=True))["aggregates"]["min"]["curve"]
    assert wrong[-1]["best"]["accuracy"] == 0
    assert set(found["aggregates"]) == {
        "min", "product", "geometric_mean", "mean", "mean_logit", "last", "max",
    }  # fmt: skip


def test_scoring_is_paid_for_and_majority_gets_the_same_tokens() -> None:
    curve = evaluate(world(scored=100))["aggregates"]["mean"]["curve"]
    assert [(entry["n"], entry["tokens"], entry["equal_n"]) for entry in curve] == [
        (1, 200, 2),
        (2, 400, 4),
        (4, 800, 8),
        (8, 1600, 16),
    ]
    assert curve[2]["majority_at_equal_tokens"] == evaluate(world())["baselines"][3]["majority"]
    assert curve[3]["majority_at_equal_tokens"] is None
    assert curve[3]["best_minus_majority_at_equal_tokens"] is None


def test_over_optimisation_is_seen_where_the_score_rises_and_the_answers_get_worse() -> None:
    def hacked(i: int) -> SampledProblem:
        good = [candidate(True, 0.5 + 0.01 * (j % 4)) for j in range(10)]
        bad = [candidate(False, 0.3) for _ in range(5)]
        return SampledProblem(id=f"{i}", question="q", candidates=(*good, *bad, candidate(False, 0.99)))

    found = evaluate([hacked(i) for i in range(20)])["aggregates"]["min"]["overoptimisation"]
    scores = [point["score"] for point in found["curve"]]
    assert scores == sorted(scores)
    assert found["curve"][-1]["accuracy"] == 0
    assert found["peak_n"] < 16
    assert found["parted"]
    assert found["curve"][2]["kl"] == pytest.approx(math.log(4) - 3 / 4)
    assert not evaluate(world())["aggregates"]["min"]["overoptimisation"]["parted"]


def row(**more: object) -> dict[str, object]:
    sample = {"right": True, "answer": "4", "tokens": 7, "steps": ["a", "b"], "scores": [0.5, 1]}
    return {"id": "p", "question": "q", "samples": [sample | more]}


def test_samples_are_read_with_scores_or_with_steps_to_score(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "s.jsonl", [row()])
    (scored,), (plain,) = read_sampled(file, scored=True), read_sampled(file, scored=False)
    assert scored.candidates[0].scores == (0.5, 1.0)
    assert plain.candidates[0].scores == ()
    (done,) = asyncio.run(score_sampled([plain], TableScorer(lambda question, steps: [0.25] * len(steps))))
    assert done.candidates[0].scores == (0.25, 0.25)
    assert done.candidates[0].scored_tokens == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"right": 1}, ":1: 'right' must be true or false, got 1"),
        ({"answer": 4}, ":1: 'answer' must be text or null"),
        ({"scores": []}, ":1: 'scores' must be a non-empty list"),
        ({"tokens": -1}, ":1: 'tokens' must be a whole number at least 0"),
    ],
)
def test_a_broken_sample_is_named_with_its_line(
    tmp_path: Path, more: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_sampled(write_lines(tmp_path / "s.jsonl", [row(**more)]), scored=True)


def test_an_id_that_occurs_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "s.jsonl", [row(), row() | {"id": "r"}, row(right=False)])
    with pytest.raises(DataError, match=r"s\.jsonl:3: the id 'p' occurs twice"):
        read_sampled(file, scored=True)
    with pytest.raises(UsageError, match="two problems have the same id"):
        evaluate(world() + world()[:1])


@pytest.mark.parametrize("algorithm", ["self-consistency", "mcts"])
def test_the_samples_of_a_run_are_evaluated_if_they_are_independent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)
    problems = write_lines(
        tmp_path / "p.jsonl", [{"question": f"Walk {i}?", "answer": "2"} for i in range(4)]
    )
    config = {
        "data": str(problems),
        "policy": "scripted",
        "engine": "scripted",
        "algorithm": algorithm,
        "budget_tokens": 3000,
        "settings": {"n": 6} if algorithm == "self-consistency" else {},
    }
    asyncio.run(run_problems(resolve(config), tmp_path / "run"))
    scorer = TableScorer(lambda question, steps: [0.9 if "#### 2" in steps[-1] else 0.1] * len(steps))
    bench = run_bench("best-of-n", [tmp_path / "run"], scorer=scorer)
    if algorithm == "mcts":
        with pytest.raises(UsageError, match="no independent samples; take one of self-consistency or"):
            asyncio.run(bench)
        return
    found = asyncio.run(bench)
    assert found["n_problems"] == 4
    assert [entry["n"] for entry in found["baselines"]] == [1, 2, 4, 6]
    assert found["aggregates"]["last"]["curve"][-1]["best"] == found["baselines"][-1]["pass"]
    assert found["tokens_per_sample"] > 0
