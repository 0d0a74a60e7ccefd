"""Canaries: keys byte for byte, a yes-sayer caught, refusals counted apart, our own verifier unmoved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from evaluation_worlds import TableScorer, solution

from prm.evaluation.canaries import CANARIES, MASTER_KEYS, Target, evaluate, wrong_solutions
from prm.evaluation.scoring import score_all
from prm.scoring.base import StepScores
from tasks.base import Problem, Verdict
from tasks.errors import UsageError
from tasks.math import MathTask
from treesearch.engines.base import EngineError

WRONG = [solution(0, name="a"), solution(2, name="b", problem="other")]


def run(scorer: Any, **more: Any) -> dict[str, Any]:
    return asyncio.run(evaluate(WRONG, scorer, **more))


def entry(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in report["canaries"] if each["name"] == name)


def test_the_ten_keys_arrive_byte_for_byte_and_names_are_unique() -> None:
    scorer = TableScorer(lambda question, steps: [0.1] * len(steps))
    run(scorer)
    sent = {steps for _, steps in scorer.calls}
    assert len(MASTER_KEYS) == 10
    assert {(key,) for key in MASTER_KEYS} <= sent
    assert MASTER_KEYS[0] == " "
    assert [key.encode() for key in MASTER_KEYS[7:9]] == [b"\xe8\xa7\xa3", "かいせつ".encode()]
    names = [canary.name for canary in CANARIES]
    assert len(set(names)) == len(names)


def test_a_scorer_that_says_yes_to_everything_is_caught_everywhere_and_a_no_nowhere() -> None:
    yes = run(TableScorer(lambda question, steps: [1.0] * len(steps)))
    no = run(TableScorer(lambda question, steps: [0.0] * len(steps)))
    json.dumps(yes, allow_nan=False)
    for each in yes["canaries"]:
        assert {a["rate"] for a in each["aggregates"].values()} == {1.0}, each["name"]
        assert {a["lifted"] for a in each["aggregates"].values()} <= {0, None}  # none was below before
    for each in no["canaries"]:
        assert {a["rate"] for a in each["aggregates"].values()} == {0.0}, each["name"]
    assert len(yes["content_free"]) == 7
    assert yes["content_free"]["min"]["mean_rate"] == 1
    assert no["content_free"]["max"]["worst_rate"] == 0


def test_padding_lifts_a_mean_and_not_a_minimum() -> None:
    def padded(question: str, steps: Sequence[str]) -> list[float]:
        return [0.95 if "carefully" in step else 0.2 for step in steps]

    found = entry(run(TableScorer(padded)), "500 steps of padding")
    assert found["aggregates"]["mean"] | {"rate_ci95": None} == {
        "accepted": 2,
        "rate": 1.0,
        "rate_ci95": None,
        "lifted": 2,
    }
    assert found["aggregates"]["min"]["accepted"] == 0
    assert found["aggregates"]["min"]["lifted"] == 0
    assert found["aggregates"]["mean_logit"]["accepted"] == 2


def test_a_refused_canary_is_no_acceptance_and_no_rejection() -> None:
    class Strict(TableScorer):
        async def score(self, question: str, steps: Sequence[str]) -> StepScores:
            if not "".join(steps).strip():
                raise UsageError("an empty step")
            return await super().score(question, steps)

    found = run(Strict(lambda question, steps: [1.0] * len(steps)))
    assert (entry(found, "empty")["n"], entry(found, "empty")["refused"]) == (0, 2)
    assert entry(found, "empty")["aggregates"]["min"]["rate"] is None
    assert entry(found, "key '.'")["refused"] == 0


def test_a_scorer_that_fails_on_plain_solutions_fails_the_bench() -> None:
    class Dead(TableScorer):
        async def score(self, question: str, steps: Sequence[str]) -> StepScores:
            raise EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        run(Dead(lambda question, steps: []))
    with pytest.raises(UsageError, match="no wrong solution"):
        asyncio.run(evaluate([], Dead(lambda question, steps: [])))


def test_a_scorer_that_breaks_its_contract_is_an_error_and_not_a_figure() -> None:
    for bad, message in (([0.5], "gave 1 scores for 2 steps"), ([0.5, float("nan")], "must be finite")):
        scorer = TableScorer(lambda question, steps, bad=bad: bad)
        with pytest.raises(EngineError, match=message):
            asyncio.run(score_all(scorer, [("q", ["a", "b"])]))


def test_the_first_failure_in_order_is_raised_and_what_comes_behind_is_cancelled() -> None:
    class Fails(TableScorer):
        async def score(self, question: str, steps: Sequence[str]) -> StepScores:
            await asyncio.sleep({"a": 0.02, "b": 0.01}.get(question, 30))
            raise EngineError(f"{question} failed")

    solutions = [(question, ["s"]) for question in "abcd"]
    with pytest.raises(EngineError, match="a failed"):
        asyncio.run(asyncio.wait_for(score_all(Fails(lambda question, steps: []), solutions), 10))


def test_a_display_that_fails_fails_the_scoring() -> None:
    scorer = TableScorer(lambda question, steps: [0.5])
    with pytest.raises(ZeroDivisionError):
        asyncio.run(score_all(scorer, [("q", ["a"])], on_done=lambda count: divmod(count, 0)))


def test_only_wrong_solutions_with_a_wrong_answer_are_taken() -> None:
    every = [solution(-1, right=True), solution(0, right=True), solution(0), solution(-1)]
    assert wrong_solutions(every) == [every[2]]


def test_no_canary_is_right_for_the_rule_based_verifier() -> None:
    task, problem = MathTask(), Problem(id="p", question="What is 2+2?", gold="4")
    target = Target(problem.question, ("2+2=5", "so the answer is \\boxed{5}"))
    for canary in CANARIES:
        if canary.name == "question echo":
            continue  # grading reads the question's own numbers: it is not an answer in any rule
        found = task.extract("\n".join(canary.make(target)))
        assert task.grade(problem, found.text if found else None).verdict is not Verdict.CORRECT, canary.name
