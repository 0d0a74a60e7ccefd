"""`judge`: how verdicts, critiques and grades become values, and what cannot be read."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_worlds import (
    PATHS,
    Meta,
    by_digit,
    grading,
    opened,
    shown,
    verdict_script,
)
from values_worlds import ReadingEngine, done, policy_for, score, values

from prm.scoring.base import StepScores
from prm.values.judge import Judge
from prm.values.judge_bench import share
from prm.values.judge_grades import voted
from prm.values.judge_parse import read_grades, verdict_start
from prm.values.judge_prompt import neutral
from treesearch.budget import Cost, Usage
from treesearch.engines.scripted import mix

# -- verdict ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(yes=st.floats(-30, 0), no=st.floats(-30, 0))
def test_the_verdict_is_p_yes_over_p_yes_plus_p_no_over_all_tokens_of_the_words(
    yes: float, no: float
) -> None:
    engine = ReadingEngine(logprob=lambda _, word: yes / 4 if word == " yes" else no / 3)
    (got,) = values(score(Judge(), [done("3")], policy_for(engine)))
    assert got == pytest.approx(math.exp(yes) / (math.exp(yes) + math.exp(no)), abs=1e-6)


def test_a_verdict_is_two_requests_behind_a_fixed_question_and_nothing_is_written() -> None:
    engine = ReadingEngine()
    got = score(Judge(), [done("3")], policy_for(engine))
    (prompt, yes), (same, no) = engine.read
    assert (yes, no) == (" yes", " no")
    assert prompt == same
    assert prompt.endswith("\n\nVerdict:")
    assert engine.usage.requests == 0
    assert got.usage == Usage(value_tokens=7, prompt_tokens=2 * len(prompt), calls=2)


def test_words_of_probability_zero_give_no_value() -> None:
    assert share(-math.inf, -math.inf) is None
    assert share(-math.inf, -1.0) == 0.0
    engine = ReadingEngine(logprob=lambda prompt, word: -math.inf)
    assert values(score(Judge(), [done("3")], policy_for(engine))) == [None]


def test_the_words_can_be_chosen_and_follow_the_marker_as_its_go_on() -> None:
    engine = ReadingEngine()
    score(Judge(positive="correct", negative="wrong"), [done("3")], policy_for(engine))
    assert [word for _, word in engine.read] == [" correct", " wrong"]


def test_a_question_that_does_not_fit_the_context_has_no_value_costs_nothing_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judge = opened(ReadingEngine(max_context=100))
    got = score(judge, [done("3")])
    assert (values(got), got.usage, judge.tally.too_long) == ([None], Usage(), 1)
    assert "a judge's prompt has" in caplog.text
    asyncio.run(judge.close())
    assert "0 of 0 judgements held no readable verdict, 1 prompts were beyond its context" in caplog.text


# -- critique -----------------------------------------------------------------------------------------


def test_a_critique_is_read_at_its_last_verdict_line_and_unreadable_ones_are_left_out() -> None:
    engine = ReadingEngine(script=verdict_script, logprob=lambda prompt, _: -0.01 * (mix(len(prompt)) % 50))
    judge = opened(engine, mode="critique", k=9, max_tokens=90)
    got = score(judge, [done("3")], seed=1)
    prompts = {prompt for prompt, _ in engine.read}
    assert all(prompt.endswith("\nVerdict:") and "Bye" not in prompt for prompt in prompts)
    assert all(prompt.count("they say") == 1 for prompt in prompts)
    parsed = len(engine.read) // 2
    assert 0 < parsed < 9
    assert judge.tally.judgements == 9
    assert judge.tally.unparsed == 9 - parsed
    each = [
        share(4 * engine.logprob(prompt, " yes"), 3 * engine.logprob(prompt, " no"))
        for prompt, word in engine.read
        if word == " yes"
    ]
    assert values(got) == [
        pytest.approx(statistics.fmean(value for value in each if value is not None), abs=1e-6)
    ]
    assert got.usage.calls == 1 + 2 * parsed == engine.usage.requests + len(engine.read)
    assert got.usage.value_tokens == engine.usage.generated_tokens + 7 * parsed


def test_a_critique_without_any_verdict_is_none_and_not_zero() -> None:
    judge = opened(ReadingEngine(script=lambda prompt, seed: "no idea"), mode="critique", k=2)
    assert values(score(judge, [done("3")])) == [None]
    assert judge.tally.unparsed == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Verdict: yes", "Verdict: yes"),
        ("Verdict: no\nthen\n  **Verdict**: Yes.", "  **Verdict**: Yes."),
        ("it says 'Verdict: yes' here", None),
        ("Verdict: yes\nVerdict: who knows", None),
        ("Verdict: yesterday", None),
        ("verdict - yes", None),
        ("", None),
    ],
)
def test_the_last_verdict_line_counts_even_where_it_cannot_be_read(text: str, found: str | None) -> None:
    start = verdict_start(text, "yes", "no")
    assert (None if start is None else text[start:]) == found


# -- grades -------------------------------------------------------------------------------------------


def test_grades_follow_the_solutions_through_every_shuffle_and_are_brought_to_zero_and_one() -> None:
    engine = ReadingEngine(script=grading(by_digit))
    got = score(opened(engine, mode="grades", k=4), PATHS)
    assert values(got) == [pytest.approx((2 * digit - 1) / 9, abs=1e-6) for digit in (1, 2, 3, 4)]
    orders = {tuple(shown(prompt)) for prompt in engine.prompts}
    assert len(engine.prompts) == 4
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1
    assert got.usage.calls == engine.usage.requests == 4
    assert got.usage.value_tokens == engine.usage.generated_tokens
    assert got.usage.prompt_tokens == engine.usage.prompt_tokens


def test_a_judge_that_only_likes_the_first_place_sees_no_difference_in_the_end() -> None:
    engine = ReadingEngine(script=grading(lambda place, text: 10 - 3 * place))
    alone = values(score(opened(engine, mode="grades"), PATHS))
    assert len(set(alone)) == 4
    many = values(score(opened(engine, mode="grades", k=400), PATHS))
    assert max(many) - min(many) < 0.12  # type: ignore[type-var, operator]
    assert statistics.fmean(many) == pytest.approx((5.5 - 1) / 9, abs=1e-6)  # type: ignore[type-var]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 10), min_size=3, max_size=3), min_size=1, max_size=6))
def test_a_vote_sums_the_grades_of_each_path(grades: list[list[int]]) -> None:
    got = voted(grades, 3)
    for index, value in enumerate(got):
        total = sum(row[index] for row in grades)
        assert value == pytest.approx((total / len(grades) - 1) / 9, abs=1e-6)
        assert value is not None
        assert 0 <= value <= 1
    assert voted([], 3) == [None] * 3


def test_judgements_without_a_readable_last_line_are_left_out_and_counted() -> None:
    def script(prompt: str, seed: int) -> str:
        return grading(by_digit)(prompt, seed) if seed % 2 else "Scores: all fine"

    judge = opened(ReadingEngine(script=script), mode="grades", k=10)
    assert values(score(judge, PATHS, seed=3)) == values(
        score(opened(ReadingEngine(script=grading(by_digit)), mode="grades"), PATHS)
    )
    assert judge.tally.judgements == 10
    assert 0 < judge.tally.unparsed < 10
    mute = opened(ReadingEngine(script=lambda prompt, seed: "hm"), mode="grades", k=3)
    assert values(score(mute, PATHS)) == [None] * 4
    assert mute.tally.unparsed == 3


@pytest.mark.parametrize(
    ("text", "cut", "grades"),
    [
        ("Scores: 1, 10, 5", False, (1, 10, 5)),
        ("**Scores:** [1 2 3].", False, (1, 2, 3)),
        ("scores: 9, 9, 9\nno,\nScores: 1, 2, 3\n", False, (1, 2, 3)),
        ("Scores: 1, 2, 3\nScores: best of all", False, None),
        ("Scores: 1, 2", False, None),
        ("Scores: 1, 2, 3, 4", False, None),
        ("Scores: 0, 2, 3", False, None),
        ("Scores: 1, 2, 11", False, None),
        ("Scores: 1, 2, 3.5", False, None),
        ("Scores: 1, 2, -3", False, None),
        ("Scores: 7/10, 3/10, 2/10", False, None),
        ("Scores: s1, s2, s3", False, None),
        ("my scores: 1, 2, 3", False, None),
        ("Scores: 5, 5, 1", True, None),  # the last one may have been a 10
        ("Scores: 5, 5, 1\n", True, (5, 5, 1)),
        ("", False, None),
    ],
)
def test_only_the_last_line_of_exactly_as_many_whole_numbers_is_read(
    text: str, cut: bool, grades: tuple[int, ...] | None
) -> None:
    assert read_grades(text, 3, cut=cut) == grades


@settings(deadline=None)
@given(st.text(alphabet="Scoresverdict: 019,\n*./yn", max_size=80), st.booleans())
def test_no_reply_is_an_error(text: str, cut: bool) -> None:
    grades = read_grades(text, 2, cut=cut)
    assert grades is None or all(1 <= grade <= 10 for grade in grades)
    verdict_start(text, "yes", "no")


def test_reading_is_linear_in_a_reply_however_hostile() -> None:
    import time

    started = time.process_time()
    for piece in ("Scores: ", "Scores: 1, ", ":", "*", "Verdict:::", "1 ", " \n"):
        text = piece * 40_000
        read_grades(text, 3, cut=False)
        verdict_start(text, "yes", "no")
        neutral(text)
    assert time.process_time() - started < 3


def test_more_paths_than_fit_one_prompt_are_judged_in_groups() -> None:
    engine = ReadingEngine(script=grading(by_digit))
    judge = opened(engine, mode="grades", k=2, group=3)
    got = score(judge, PATHS)
    assert sorted(len(shown(prompt)) for prompt in engine.prompts) == [1, 1, 3, 3]
    assert values(got)[3] == pytest.approx(7 / 9, abs=1e-6)
    assert judge.cost(policy_for(), (), 4) == Cost(tokens=4 * 512, calls=4)


# -- the scalar model that chooses among judgements ---------------------------------------------------


def test_only_the_judgements_that_the_scalar_model_likes_best_vote() -> None:
    engine, meta = ReadingEngine(script=grading(by_digit, noise=1)), Meta()
    judge = opened(engine, ranked_by=meta, mode="grades", k=6, k_meta=2, meta="m")
    got = score(judge, PATHS, seed=2)
    assert len(meta.asked) == 6
    ranked = sorted(meta.asked, key=lambda each: -int(each[1].split("Scores: ")[1].split(",")[0]))[:2]
    grades: list[dict[str, int]] = []
    for prompt, text in ranked:
        numbers = map(int, text.split("Scores: ")[1].split(","))
        grades.append(dict(zip(shown(prompt), numbers, strict=True)))
    keys = sorted(grades[0], key=lambda text: text.strip()[-1])
    wanted = [(sum(row[key] for row in grades) / 2 - 1) / 9 for key in keys]
    assert values(got) == [pytest.approx(value, abs=1e-6) for value in wanted]
    read = sum(len(prompt) + len(text) for prompt, text in meta.asked)
    written = engine.usage.generated_tokens
    assert got.usage == Usage(
        value_tokens=2 * written, prompt_tokens=engine.usage.prompt_tokens + read - written, calls=12
    )


class Remembering(Meta):
    """Reads nothing that it has read before, and says what a whole reading is."""

    readers = 2

    def sizes(self, question: str, steps: Sequence[str]) -> list[int]:
        return [len(question), *map(len, steps)]

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        known = (question, steps[0]) in self.asked
        found = await super().score(question, steps)
        return replace(found, tokens=0 if known else self.readers * found.tokens)


def test_what_the_scalar_model_remembers_changes_no_count() -> None:
    meta = Remembering()
    given: dict[str, Any] = {"ranked_by": meta, "mode": "grades", "k": 6, "k_meta": 2, "meta": "m"}
    first, again = (
        score(opened(ReadingEngine(script=grading(by_digit, noise=1)), **given), PATHS, seed=2)
        for _ in range(2)
    )
    assert again == first
    assert first.usage.prompt_tokens > sum(len(prompt) for prompt, _ in meta.asked[:6])


def test_keeping_all_judgements_is_plain_voting_and_asks_nobody() -> None:
    script, meta = grading(by_digit, noise=1), Meta()
    plain = values(score(opened(ReadingEngine(script=script), mode="grades", k=4), PATHS, seed=2))
    kept = opened(ReadingEngine(script=script), ranked_by=meta, mode="grades", k=4, k_meta=4, meta="m")
    assert values(score(kept, PATHS, seed=2)) == plain
    assert meta.asked == []
