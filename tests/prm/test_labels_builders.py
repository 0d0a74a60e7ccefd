"""Monte-Carlo and OmegaPRM builders: exact in toy worlds, resumable, within their completions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labels_worlds import (
    DEPTH,
    PROBLEM,
    CountingEngine,
    PlannedCompleter,
    output,
    step,
    toy_policy,
    truth,
)

from prm.labels.builder import Output, Progress
from prm.labels.completer import Outcome, PolicyCompleter, Steps
from prm.labels.montecarlo import MonteCarlo, distinct_prefixes, estimate, label_monte_carlo
from prm.labels.omega import Omega, OmegaTree, State, label_omega
from prm.labels.record import StepRecord
from prm.labels.store import read_records
from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.policy import Policy

PROBLEMS = [Problem(id=f"toy{i}", question=f"Letters {i}?", gold="yes", task="toy") for i in range(3)]


def close(out: Output) -> None:
    out.file.close()


def monte_carlo(
    path: Path, problems: Sequence[Problem] = PROBLEMS, policy: Policy | None = None, **settings: Any
) -> tuple[list[StepRecord], Progress]:
    out = output(path, policy or toy_policy(), total=len(problems))
    try:
        progress = asyncio.run(label_monte_carlo(problems, out, MonteCarlo(**settings)))
    finally:
        close(out)
    return read_records(path), progress


def test_the_estimate_is_unbiased_for_every_prefix_by_exact_enumeration() -> None:
    n, complete = 3000, PolicyCompleter(policy=toy_policy(), problem=PROBLEM)
    for letters in ("", "a", "b", "aa", "ab", "bb", "aaa", "aba", "abb"):
        path = tuple(step(f"{letter}\n") for letter in letters)
        right, total = asyncio.run(estimate(complete, path, n, seed=7))
        chance = truth(letters)
        spread = math.sqrt(chance * (1 - chance) / n)
        assert total == n
        assert abs(right / n - chance) <= 4 * spread, letters


def test_every_distinct_prefix_is_completed_and_finished_steps_are_graded_as_they_stand(
    tmp_path: Path,
) -> None:
    found, progress = monte_carlo(tmp_path / "r.jsonl", PROBLEMS[:1], completions=50, solutions=4)
    (question,) = (each for each in found if each.step is None)
    assert found[-1] == question
    assert (question.completions, question.right) == (4, sum(e.right for e in found if e.finished))
    assert len({each.path for each in found}) == len(found)
    for each in found:
        assert each.grader == "toy/1"
        assert (each.finished, each.completions) in ((True, 1), (False, 50), (False, 4))
        assert each.finished == (len(each.path) == DEPTH)
        letters = [text.strip() for text in each.path]
        if each.finished:
            assert each.right == truth(letters)
            assert each.shortest == (0 if each.right else None)
        elif each.step is not None:
            assert each.right / 50 == pytest.approx(truth(letters), abs=0.25)
            assert each.shortest in (None, DEPTH - len(letters))
        assert len(each.step_ids or ()) == len(each.path)
        assert each.prompt_ids
    assert progress.records == len(found)
    assert progress.completions == 50 * sum(not e.finished and e.step is not None for e in found) + 4
    assert progress.tokens > 0


def test_the_same_seed_gives_the_same_records_whatever_the_concurrency(tmp_path: Path) -> None:
    ones, _ = monte_carlo(tmp_path / "a.jsonl", concurrency=1)
    many, _ = monte_carlo(tmp_path / "b.jsonl", concurrency=8)
    other, _ = monte_carlo(tmp_path / "c.jsonl", seed=1)
    key = repr
    assert sorted(ones, key=key) == sorted(many, key=key)
    assert sorted(ones, key=key) != sorted(other, key=key)


def test_labelling_goes_on_after_any_kill_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    whole, _ = monte_carlo(tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines), 4):
        path = tmp_path / f"cut{cut}.jsonl"
        path.write_bytes(b"".join(lines[:cut]) + lines[cut][:7])
        engine = CountingEngine()
        again, _ = monte_carlo(path, policy=toy_policy(engine))
        assert sorted(again, key=repr) == sorted(whole, key=repr)
        assert len({each.key for each in again}) == len(again)
        there = {each.key for each in whole[:cut]}
        for each in whole:
            prompt = each.question + "\n" + "".join(each.path)
            if each.key in there and each.step is not None:
                assert prompt not in engine.asked
    engine = CountingEngine()
    monte_carlo(tmp_path / "whole.jsonl", policy=toy_policy(engine))
    assert engine.asked == {}


def test_a_problem_that_fails_is_reported_and_the_others_are_labelled(tmp_path: Path) -> None:
    policy = toy_policy(CountingEngine(poison="Letters 1"))
    ungraded = Problem(id="nogold", question="Letters 9?", task="toy")
    found, progress = monte_carlo(tmp_path / "r.jsonl", [*PROBLEMS, ungraded], policy)
    assert {each.problem for each in found} == {"toy0", "toy2"}
    assert progress.failed["toy1"] == "EngineError: poisoned"
    assert "problem 'nogold' has no answer to grade against" in progress.failed["nogold"]
    assert progress.done == 4


def test_the_reason_of_a_problem_that_fails_at_its_steps_is_the_one_of_the_first(tmp_path: Path) -> None:
    policy = toy_policy(CountingEngine(poison="a\n"))
    found, progress = monte_carlo(tmp_path / "r.jsonl", PROBLEMS[:1], policy, solutions=8)
    assert progress.failed == {"toy0": "EngineError: poisoned"}
    assert all(each.step is not None for each in found)


def test_a_display_that_fails_is_raised_as_it_is(tmp_path: Path) -> None:
    out = output(tmp_path / "r.jsonl", toy_policy())
    out.on_change = fail
    with pytest.raises(RuntimeError, match="no terminal"):
        asyncio.run(label_omega([PROBLEM], out, Omega(searches=1)))
    close(out)


def fail(progress: Progress) -> None:
    raise RuntimeError("no terminal")


def test_given_solutions_are_labelled_in_place_of_sampled_ones(tmp_path: Path) -> None:
    out = output(tmp_path / "r.jsonl", toy_policy())
    chains = [(step("a\n"), step("a\n")), (step("a\n"), step("b\n"))]
    asyncio.run(label_monte_carlo([PROBLEM], out, MonteCarlo(completions=5), given={"toy": chains}))
    close(out)
    assert sorted((each.path, each.completions) for each in out.file.records) == [
        ((), 5),
        (("a\n",), 5),
        (("a\n", "a\n"), 5),
        (("a\n", "b\n"), 5),
    ]


def test_a_prefix_without_room_for_a_token_has_no_completions(tmp_path: Path) -> None:
    out = output(tmp_path / "r.jsonl", toy_policy())
    asyncio.run(label_monte_carlo([PROBLEM], out, MonteCarlo(), given={"toy": [(step("x" * 60),)]}))
    close(out)
    assert [(e.completions, e.right) for e in out.file.records if e.step is not None] == [(0, 0)]


def test_prefixes_of_equal_text_are_one_and_a_finished_one_wins() -> None:
    chains = [(step("a"), step("b")), (step("a"), step("b", end=True)), (step("a"),)]
    assert distinct_prefixes(chains) == [(step("a"),), (step("a"), step("b", end=True))]


@pytest.mark.parametrize(
    "bad", [{"completions": 0}, {"solutions": 0}, {"concurrency": 0}, {"temperature": -1}]
)
def test_settings_that_can_not_be_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        MonteCarlo(**bad)


# OmegaPRM


@given(st.integers(1, 40).flatmap(lambda m: st.tuples(st.just(m), st.integers(0, m - 1))), st.integers(2, 5))
def test_the_search_names_the_exact_step_within_log2_probes(case: tuple[int, int], k: int) -> None:
    length, error = case
    planned = PlannedCompleter(tuple(f"s{i}" for i in range(length)), error)
    tree = OmegaTree(complete=planned, settings=Omega(completions=k, searches=1))
    asyncio.run(tree.run())
    (found,) = tree.errors
    assert found.index == error
    assert [each.text for each in found.wrong] == [f"s{i}" for i in range(error + 1)]
    assert tree.completions - k <= math.ceil(math.log2(length)) * k
    assert len(planned.sampled) - 1 <= math.ceil(math.log2(length))


def test_probed_prefixes_are_kept_and_searching_again_reuses_them() -> None:
    planned = PlannedCompleter(tuple(f"s{i}" for i in range(16)), 5)
    tree = OmegaTree(complete=planned, settings=Omega(completions=3, searches=12))
    asyncio.run(tree.run())
    assert {error.index for error in tree.errors} == {5}
    assert len(planned.sampled) == len(tree.states)  # nothing is sampled twice
    assert tree.completions == 3 * len(tree.states)


def test_a_roll_out_is_never_searched_twice_and_an_empty_pool_ends_it() -> None:
    planned = PlannedCompleter(("s0", "s1"), 0)
    tree = OmegaTree(complete=planned, settings=Omega(completions=4, searches=50))
    asyncio.run(tree.run())
    assert len(tree.errors) == 3  # the three wrong roll-outs of the question
    assert tree.states[()].searched == {1, 2, 3}
    assert tree.select() is None
    for only in (0, 4):

        async def same(path: Steps, n: int, *, seed: int, only: int = only) -> list[Outcome]:
            return [Outcome((step("s"),), index < only, 1) for index in range(n)]

        sure = OmegaTree(complete=same, settings=Omega(completions=4))
        asyncio.run(sure.run())
        assert (sure.errors, sure.completions) == ([], 4)


def test_a_search_stops_before_it_passes_the_completions_it_may_take() -> None:
    planned = PlannedCompleter(tuple(f"s{i}" for i in range(30)), 17)
    tree = OmegaTree(complete=planned, settings=Omega(completions=3, max_completions=10))
    asyncio.run(tree.run())
    assert tree.completions == 9
    assert tree.errors == []
    with pytest.raises(UsageError, match="at least 8"):
        Omega(max_completions=7)
    with pytest.raises(UsageError, match="alpha and beta"):
        Omega(alpha=0)


def test_a_tree_that_was_searched_goes_on_as_if_it_had_never_stopped() -> None:
    def planned() -> PlannedCompleter:
        return PlannedCompleter(tuple(f"s{i}" for i in range(12)), 7)

    whole = OmegaTree(complete=planned(), settings=Omega(searches=6))
    asyncio.run(whole.run())
    first = OmegaTree(complete=planned(), settings=Omega(searches=2))
    asyncio.run(first.run())
    rest = OmegaTree(
        complete=planned(),
        settings=Omega(searches=6),
        states=first.states,
        errors=first.errors,
        completions=first.completions,
    )
    asyncio.run(rest.run())
    assert rest.errors == whole.errors
    assert list(rest.states) == list(whole.states)


@given(st.floats(0.05, 0.9), st.floats(0.01, 0.09), st.integers(1, 900), st.integers(1, 300))
def test_q_falls_with_failure_and_with_length_and_u_with_visits(
    mc: float, more: float, tokens: int, extra: int
) -> None:
    settings = Omega()
    assert settings.q(mc + more, tokens) > settings.q(mc, tokens)
    assert settings.q(mc, tokens + extra) < settings.q(mc, tokens)
    assert settings.q(mc, tokens) == pytest.approx(0.5 ** (1 - mc) * 0.9 ** (tokens / 500))
    assert settings.u(2, 9) == pytest.approx(0.125 * 3 / 3)
    assert settings.u(extra + 1, 9) < settings.u(extra, 9)


def test_the_pool_holds_wrong_roll_outs_of_unsure_states_and_the_largest_sum_wins() -> None:
    def state(name: str, rights: list[bool], tokens: int, visits: int = 0) -> State:
        outcomes = [Outcome((step("x"),), right, tokens) for right in rights]
        return State(path=(step(name),), outcomes=outcomes, visits=visits)

    tree = OmegaTree(complete=PlannedCompleter(("x",), 0), settings=Omega())
    tree.states = {
        ("hopeless",): state("hopeless", [False, False], 1),
        ("sure",): state("sure", [True, True], 1),
        ("low",): state("low", [True, False, False, False], 10),
        ("high",): state("high", [True, True, True, False], 10),
        ("long",): state("long", [True, True, True, False], 400),
    }
    chosen = tree.select()
    assert chosen is not None
    assert (chosen[0].path[0].text, chosen[1]) == ("high", 3)
    tree.states[("high",)].visits = 30
    tree.states[("high",)].searched.add(3)
    chosen = tree.select()
    assert chosen is not None
    assert chosen[0].path[0].text == "long"


def test_omega_records_hold_every_state_the_question_last_and_resume_skips_problems(tmp_path: Path) -> None:
    path, engine = tmp_path / "o.jsonl", CountingEngine()
    out = output(path, toy_policy(engine), source="omega", total=3)
    progress = asyncio.run(label_omega(PROBLEMS, out, Omega(completions=6, searches=4)))
    close(out)
    found = read_records(path)
    assert not progress.failed
    assert sum(each.step is None for each in found) == 3
    assert len({each.key for each in found}) == len(found)
    for each in found:
        letters = [text.strip() for text in each.path]
        if each.finished:
            assert (each.completions, each.right, truth(letters)) == (1, 0, 0)
        else:
            assert each.completions == 6
            assert each.right == 0 or truth(letters) > 0
    asked, again = dict(engine.asked), output(path, toy_policy(engine), source="omega", total=3)
    asyncio.run(label_omega(PROBLEMS, again, Omega(completions=6, searches=4)))
    close(again)
    assert engine.asked == asked
    assert read_records(path) == found
