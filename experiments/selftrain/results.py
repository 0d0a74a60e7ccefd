"""What the cells say: accuracy of each arm with its interval, paired comparisons, pass@k, tokens.

Problems are the units; the seeds of an arm are averaged within a problem. The base is one cell, compared with
every seed. p values are of the exact sign-flip test, adjusted over an arm's comparisons by Holm's method. An
arm is compared twice: with the policy that the gate leaves, and with the one trained last, whatever the gate
said of it, since published loops have no gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from treesearch.comparison.statistics import difference_interval, holm, mean_interval, paired_p

MAIN = "revisions"


def pass_at(k: int, right: int, samples: int) -> float:
    """Chance that one of `k` of the samples is right (Chen et al. 2021, unbiased)."""
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def summarise(cells: Sequence[Mapping[str, Any]], *, samples: int) -> dict[str, Any]:
    """The result of finished cells, as JSON data."""
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for cell in sorted(cells, key=lambda one: (one["arm"], one["seed"])):
        arms.setdefault(cell["arm"], []).append(cell)
    shown = {name: _arm(group, samples) for name, group in arms.items()}
    return {
        "arms": shown,
        f"{MAIN} less": _against_all(arms, "greedy"),
        f"{MAIN} less the last of": _against_all(arms, "last"),
    }


def _against_all(arms: Mapping[str, list[Mapping[str, Any]]], measured: str) -> dict[str, Any]:
    """The main arm less what was `measured` of each other that has it."""
    compared = {
        name: _compared(arms[MAIN], group, measured)
        for name, group in arms.items()
        if name != MAIN and MAIN in arms and all(measured in cell for cell in group)
    }
    for name, p in zip(compared, holm([each["p"] for each in compared.values()]), strict=True):
        compared[name]["p_adjusted"] = p
    return compared


def _arm(group: Sequence[Mapping[str, Any]], samples: int) -> dict[str, Any]:
    totals = [sum(rights) for rights in zip(*(cell["greedy"] for cell in group), strict=True)]
    means = [total / len(group) for total in totals]
    counts = [count for cell in group for count in cell["sampled"]]
    return {
        "seeds": [cell["seed"] for cell in group],
        "accuracy": sum(means) / len(means),
        "interval": mean_interval(means, per_problem=len(group)),
        "tokens_an_answer": round(sum(cell["greedy_tokens"] for cell in group) / len(group) / len(means), 1),
        "last_accuracy": [sum(cell["last"]) / len(cell["last"]) for cell in group if "last" in cell],
        "by_seed": [sum(cell["greedy"]) / len(cell["greedy"]) for cell in group],
        "pass@": {
            str(k): sum(pass_at(k, count, samples) for count in counts) / len(counts) for k in (1, 8, samples)
        },
        "by_iteration": [
            [next(iter(each["accuracy"].values())) for each in cell.get("iterations", ())] for cell in group
        ],
        "decisions": [[each["action"] for each in cell.get("iterations", ())[1:]] for cell in group],
        "searched_tokens": [_searched(cell) for cell in group],
        "tokens_per_s": _speeds(group),
    }


def _searched(cell: Mapping[str, Any]) -> int:
    return sum(each["costs"].get("search", {}).get("tokens", 0) for each in cell.get("iterations", ()))


def _speeds(group: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Tokens a second by stage, over all cells."""
    tokens: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for cell in group:
        for each in cell.get("iterations", ()):
            for stage, spent in each["costs"].items():
                tokens[stage] = tokens.get(stage, 0) + spent["tokens"]
                seconds[stage] = seconds.get(stage, 0) + spent["seconds"]
    return {
        stage: round(tokens[stage] / seconds[stage]) for stage in tokens if tokens[stage] and seconds[stage]
    }


def _compared(
    ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], measured: str
) -> dict[str, Any]:
    """Paired over problems and the seeds that both have; one cell stands beside every seed."""
    pairs = [
        (one["greedy"], other[measured])
        for one in ours
        for other in others
        if other["seed"] == one["seed"] or len(others) == 1
    ]
    count = len(pairs[0][0]) if pairs else 0
    differences = [sum(one[i] - other[i] for one, other in pairs) for i in range(count)]
    means = [each / len(pairs) for each in differences]
    return {
        "difference": sum(means) / len(means) if means else 0.0,
        "interval": difference_interval(means),
        "p": paired_p(differences),
        "seeds": len(pairs),
    }
