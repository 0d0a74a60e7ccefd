"""Judging siblings together: each gets grades from 1 to 10 in several judgements, and the grades are summed.

    S_i = sum_{j=1..k} S_ij,   value_i = (S_i / k - 1) / 9

over the k judgements that could be read (pointwise GRM with voting). Every judgement sees the paths in a
shuffled order of its own, so that a liking for a place in the prompt evens out. With a scalar model (`meta`)
only its `k_meta` best judgements vote; ``k_meta = k`` is plain voting.

Contract: paths are judged in groups of at most `group`, in order; a path's value depends on its group, as it
does in the paper. Judgements without a readable last line are left out and counted; a group without any
readable one has no values, and neither has one whose prompt does not fit the judge's context. Reading a
judgement again costs the scalar model's tokens: the judgement's own are value tokens, the rest prompt tokens.

Source: Inference-Time Scaling for Generalist Reward Modeling, SPCT (arXiv 2504.02495), section 4. Deviation:
the sum is brought to [0, 1] by the number of judgements, because values of a search must be of one range.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prm.scoring.base import StepScorer, StepScores
from prm.values.judge_bench import Bench, Price, rest
from prm.values.judge_parse import HIGHEST, LOWEST, read_grades
from prm.values.judge_prompt import grades_prompt
from tasks.base import Problem
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason
from treesearch.events import rounded
from treesearch.seeds import derive
from treesearch.together import together
from treesearch.values.base import Path, Score, Scores


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A judgement that could be read: `grades` in the order of the group's paths."""

    prompt: str
    text: str
    tokens: int
    grades: tuple[int, ...]


def grades_price(bench: Bench) -> Price:
    """What one judgement costs; with a scalar model it is read once more."""
    return Price(rate=bench.rate + 1, calls=2) if bench.meta is not None else Price(rate=bench.rate)


def grades_cost(bench: Bench, n: int) -> Cost:
    """The most that grading `n` paths takes."""
    settings = bench.settings
    one = grades_price(bench).most(settings.k, settings.max_tokens)
    groups = -(-n // settings.group)
    return Cost(tokens=groups * one.tokens, calls=groups * one.calls)


async def judge_by_grades(
    bench: Bench, problem: Problem, paths: Sequence[Path], grant: Cost, seed: int
) -> Scores:
    """Grade the paths, group by group."""
    price, settings, left = grades_price(bench), bench.settings, grant
    groups = [paths[at : at + settings.group] for at in range(0, len(paths), settings.group)]
    jobs = list[tuple[Sequence[Path], int, int]]()
    for group in groups:
        count, length = price.affordable(left, settings.k, settings.max_tokens)
        left = rest(left, price.most(count, length))
        jobs.append((group, count, length))
    replies = await together(
        [
            _grade(bench, problem, group, count, length, derive(seed, "group", index))
            for index, (group, count, length) in enumerate(jobs)
        ]
    )
    scores = tuple(score for group, _ in replies for score in group)
    return Scores(scores, sum((usage for _, usage in replies), Usage()))


async def _grade(
    bench: Bench, problem: Problem, group: Sequence[Path], count: int, length: int, seed: int
) -> tuple[list[Score], Usage]:
    """Scores of one group by `count` judgements."""
    replies = await together(
        [_judge(bench, problem, group, length, derive(seed, index)) for index in range(count)]
    )
    usage = sum((used for _, used in replies), Usage())
    read = [judgement for judgement, _ in replies if judgement is not None]
    kept, reading = await best_judgements(bench, read)
    return [Score(value) for value in voted([each.grades for each in kept], len(group))], usage + reading


async def _judge(
    bench: Bench, problem: Problem, group: Sequence[Path], length: int, seed: int
) -> tuple[Judgement | None, Usage]:
    """One judgement of the group in a shuffled order; None where it could not be read."""
    order = list(range(len(group)))
    random.Random(derive(seed, "order")).shuffle(order)
    prompt = grades_prompt(problem, [group[index] for index in order])
    samples, usage = await bench.write(prompt, 1, max_tokens=length, seed=seed)
    if not samples:
        return None, usage
    (sample,) = samples
    shown = read_grades(sample.text, len(group), cut=sample.finish is FinishReason.LENGTH)
    if shown is None:
        bench.tally.unparsed += 1
        return None, usage
    by_path = dict(zip(order, shown, strict=True))
    grades = tuple(by_path[index] for index in range(len(group)))
    return Judgement(prompt=prompt, text=sample.text, tokens=len(sample.token_ids), grades=grades), usage


async def best_judgements(bench: Bench, judgements: Sequence[Judgement]) -> tuple[list[Judgement], Usage]:
    """The `k_meta` judgements that the scalar model likes best, in their order; all without one.

    Not asked where there are no more than `k_meta`. Of equals the earlier ones are kept.
    """
    most, meta = bench.settings.k_meta, bench.meta
    if meta is None or len(judgements) <= most:
        return list(judgements), Usage()
    replies = await together([meta.score(each.prompt, [each.text]) for each in judgements])
    ranked = sorted(range(len(judgements)), key=lambda index: (-replies[index].scores[-1], index))
    tokens = sum(each.tokens for each in judgements)
    read = sum(map(partial(_read, meta), judgements, replies))
    usage = Usage(value_tokens=tokens, prompt_tokens=max(0, read - tokens), calls=len(judgements))
    return [judgements[index] for index in sorted(ranked[:most])], usage


def _read(meta: StepScorer, judgement: Judgement, reply: StepScores) -> int:
    """Tokens that the scalar model takes for a judgement, whatever of it a cache holds."""
    if reply.written:
        return sum(reply.written) + sum(reply.prompted)
    scorer: Any = meta
    if not hasattr(scorer, "sizes"):
        return reply.tokens
    sizes = scorer.sizes(judgement.prompt, [judgement.text])
    return int(getattr(scorer, "readers", 1)) * sum(sizes)


def voted(grades: Sequence[Sequence[int]], paths: int) -> list[float | None]:
    """``(S_i / k - 1) / 9`` of each path from k judgements' grades; None without any."""
    if not grades:
        return [None] * paths
    sums = [sum(row[index] for row in grades) for index in range(paths)]
    return [rounded((total / len(grades) - LOWEST) / (HIGHEST - LOWEST)) for total in sums]
