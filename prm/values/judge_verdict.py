"""Judging paths one by one: the probability of the positive verdict, at once or behind a written critique.

`verdict` asks for one word and reads its probability: two log-prob requests a path, nothing is written.
`critique` samples `k` checks of the steps in one request, cuts each at its last verdict line and reads the
probability there; the value is the mean over the judgements that had such a line.

Contract: each path is judged by itself, the first ones that the grant covers. A path whose prompt does not
fit the judge's context, or of which no judgement could be read, has no value.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.values.judge_bench import Bench, Price, rest
from prm.values.judge_parse import verdict_start
from prm.values.judge_prompt import VERDICT, critique_prompt, verdict_prompt
from tasks.base import Problem
from treesearch.budget import Cost, Usage
from treesearch.engines.base import Sample
from treesearch.events import rounded
from treesearch.seeds import derive
from treesearch.together import together
from treesearch.values.base import Path, Score, Scores


def verdict_cost(bench: Bench, n: int) -> Cost:
    """The most that the verdicts of `n` paths take."""
    return Cost(tokens=n * bench.reading.tokens, calls=n * bench.reading.calls)


async def judge_by_verdict(bench: Bench, problem: Problem, paths: Sequence[Path], grant: Cost) -> Scores:
    """Read one verdict a path."""
    each, words = bench.reading, bench.settings
    covered = min(len(paths), grant.tokens // each.tokens, grant.calls // each.calls)
    prompts = [
        verdict_prompt(problem, path, positive=words.positive, negative=words.negative)
        for path in paths[: max(0, covered)]
    ]
    replies = await together([bench.probability(prompt, VERDICT) for prompt in prompts])
    values = [None if value is None else rounded(value) for value, _ in replies]
    values += [None] * (len(paths) - len(values))
    return Scores(tuple(map(Score, values)), sum((usage for _, usage in replies), Usage()))


def critique_price(bench: Bench) -> Price:
    """What one critique costs: what it writes and its verdict; those of a path are one request."""
    return Price(rate=bench.rate, extra=bench.reading.tokens, calls=bench.reading.calls, once=1)


def critique_cost(bench: Bench, n: int) -> Cost:
    """The most that the critiques of `n` paths take."""
    one = critique_price(bench).most(bench.settings.k, bench.settings.max_tokens)
    return Cost(tokens=n * one.tokens, calls=n * one.calls)


async def judge_by_critique(
    bench: Bench, problem: Problem, paths: Sequence[Path], grant: Cost, seed: int
) -> Scores:
    """Mean verdict of the critiques of each path."""
    price, settings, left = critique_price(bench), bench.settings, grant
    plans: list[tuple[int, int]] = []
    for _ in paths:
        count, length = price.affordable(left, settings.k, settings.max_tokens)
        plans.append((count, length))
        left = rest(left, price.most(count, length))
    jobs = [
        _criticise(bench, problem, path, count, length, derive(seed, "critique", index))
        for index, (path, (count, length)) in enumerate(zip(paths, plans, strict=True))
    ]
    replies = await together(jobs)
    return Scores(tuple(score for score, _ in replies), sum((usage for _, usage in replies), Usage()))


async def _criticise(
    bench: Bench, problem: Problem, path: Path, count: int, length: int, seed: int
) -> tuple[Score, Usage]:
    if not count:
        return Score(None), Usage()
    settings = bench.settings
    prompt = critique_prompt(problem, path, positive=settings.positive, negative=settings.negative)
    samples, usage = await bench.write(prompt, count, max_tokens=length, seed=seed)
    readings = await together([_read(bench, prompt, sample) for sample in samples])
    values = [value for value, _ in readings if value is not None]
    usage = sum((each for _, each in readings), usage)
    return Score(rounded(sum(values) / len(values)) if values else None), usage


async def _read(bench: Bench, prompt: str, sample: Sample) -> tuple[float | None, Usage]:
    """The verdict of one critique, read where its last verdict line begins."""
    start = verdict_start(sample.text, bench.settings.positive, bench.settings.negative)
    if start is None:
        bench.tally.unparsed += 1
        return None, Usage()
    return await bench.probability(prompt, sample.text[:start] + VERDICT)
