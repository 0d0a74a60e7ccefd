"""Exploration and exploitation of one iteration: pass@K, Pass@K-S, best-of-K, Reward@K-S, diversity.

Contract: `exploration` gives a flat dict of means over queries. ``pass@K`` and ``pass@K-S`` say what the
policy can still find, ``best-of-K`` and ``reward@K-S`` whether the reward picks it. A figure for K takes the
queries that have K samples, and ``queries@K`` says how many; without one it is absent. `diversity` counts
different right solutions, different equations in them (Wu et al. 2024) and different answers.

Source: B-STaR (Zeng et al., arXiv 2412.17256, section 2.2). Deviation: exploitation ranks by the score alone,
unless asked otherwise; a reward with the grade in it ranks right ones first and only says pass@K again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from selftrain.monitors.samples import Query, RewardRule, reward
from selftrain.monitors.subsets import pass_at_k_s, reward_at_k_s

_EQUATION = re.compile(
    r"(?:[\d \t+\-*/()^×÷%$]|[.,](?=\d)){0,79}[\d)%][ \t]{0,9}=[ \t]{0,9}-?\$?\d+(?:[.,/]\d+)*"
)
_ITEM = re.compile(r"^[ \t]*\d+[.)][ \t]", re.MULTILINE)
_UNSAID = re.compile(r"[\s$,]")


def exploration(
    queries: Sequence[Query],
    *,
    ks: Sequence[int] = (1, 4, 16),
    s: int = 4,
    rule: RewardRule = "score",
    weight: float = 1.0,
) -> dict[str, float]:
    """The figures of the module for each K of `ks`, and for S = `s` where K > S > 1.

    Those of exploitation take the queries whose samples all have a reward under `rule`.
    """
    found: dict[str, float] = {"queries": len(queries)}
    for k in sorted(set(ks)):
        enough = [query for query in queries if len(query) >= k]
        found[f"queries@{k}"] = len(enough)
        ranked = [
            (query, rewards) for query in enough if (rewards := _rewards(query, rule, weight)) is not None
        ]
        for size in (1, s) if k > s > 1 else (1,):
            ending = f"{k}-{size}" if size > 1 else f"{k}"
            found |= _mean(f"pass@{ending}", (_passes(query, k, size) for query in enough))
            name = f"reward@{ending}" if size > 1 else f"best-of-{k}"
            picked = (
                reward_at_k_s(rewards, [one.right for one in query], k, size) for query, rewards in ranked
            )
            found |= _mean(name, picked)
    return found


def diversity(queries: Sequence[Query]) -> dict[str, float]:
    """Shares of different right solutions, of different equations in them, and the number of answers.

    ``right`` is the share of right samples, ``solved`` that of queries with one. ``distinct`` and
    ``distinct_equations`` are means over queries with a right solution (with an equation), in (0, 1].
    ``answers`` is the mean number of different answers of a query.
    """
    samples = [one for query in queries for one in query]
    right = [[one.text for one in query if one.right] for query in queries]
    right = [texts for texts in right if texts]
    said = [[found for text in texts for found in equations(text)] for texts in right]
    return (
        _mean("right", (float(one.right) for one in samples))
        | _mean("solved", (float(any(one.right for one in query)) for query in queries))
        | _mean("distinct", (len(set(texts)) / len(texts) for texts in right))
        | _mean("distinct_equations", (len(set(found)) / len(found) for found in said if found))
        | _mean(
            "answers", (len({one.answer for one in query if one.answer is not None}) for query in queries)
        )
    )


def equations(text: str) -> list[str]:
    """Calculations such as ``3 + 5 = 8`` in the order of the text, without blanks, commas and dollar signs.

    They do not go over the end of a line or a sentence, and the numbers of a list are no part of them. Of a
    left side longer than 80 characters the last 80 count, so that no text takes long to read.
    """
    return [_UNSAID.sub("", found) for found in _EQUATION.findall(_ITEM.sub("", text))]


def _passes(query: Query, k: int, s: int) -> float:
    return pass_at_k_s([one.text for one in query if one.right], len(query), k, s)


def _rewards(query: Query, rule: RewardRule, weight: float) -> list[float] | None:
    found = [reward(one, rule, weight=weight) for one in query]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


def _mean(name: str, values: Iterable[float]) -> dict[str, float]:
    """The mean under its name; nothing where there are no values."""
    found = list(values)
    return {name: math.fsum(found) / len(found)} if found else {}
