"""OmegaPRM: the first wrong step by binary search, with roll-outs kept and searched again.

Contract: states are prefixes with k roll-outs each, MC(s) the share of right ones; s_0 is the question. The
pool holds (s, r) with 0 < MC(s) < 1 and r a wrong roll-out of s that was not searched yet. A search takes
the pair of largest Q + U,

    Q(s, r) = alpha^(1 - MC(s)) * beta^(len(r) / length),    U(s) = c_puct * sqrt(sum_i N(s_i)) / (1 + N(s)),

len(r) in tokens, and looks for the first wrong step of r: the middle prefix between one with MC > 0 and one
with MC = 0 is rolled out k times, and replaces the one it agrees with. With M steps in r that takes at most
ceil(log2 M) probes, so ceil(log2 M) * k completions; a prefix that is a state already costs nothing. Every
probe is a state from then on and its roll-outs are in the pool; N(s) + 1. It ends after `searches`, with the
pool empty, or before a probe that would pass `max_completions`.

Every state becomes a record, and so does the wrong end of a roll-out whose last step is the first wrong one.
What MC = 0 finds is a step after which k roll-outs failed; it is the first error as far as k can tell.

Source: Luo et al. 2024, arXiv 2406.06592, section 3.3 (k 8, alpha 0.5, beta 0.9, L 500, c_puct 0.125);
formulas as in openreasoner/openr. Deviation: searches of one problem run one after another, problems at
once; the records of a problem are written when its last search is done, so that a kill loses the problems in
flight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from prm.labels.builder import Output, Progress, build
from prm.labels.completer import Completer, Outcome, PolicyCompleter, Steps, texts
from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.seeds import derive

SOURCE = "omega"


@dataclass(frozen=True, kw_only=True)
class Omega:
    """Settings; see the module docstring. `concurrency` counts problems in flight."""

    completions: int = 8
    searches: int = 16
    max_completions: int | None = None
    alpha: float = 0.5
    beta: float = 0.9
    length: int = 500
    c_puct: float = 0.125
    temperature: float | None = None
    seed: int = 0
    concurrency: int = 64

    def __post_init__(self) -> None:
        for name in ("completions", "searches", "length", "concurrency"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (0 < self.alpha <= 1 and 0 < self.beta <= 1 and self.c_puct >= 0):
            raise UsageError(
                "alpha and beta must be in (0, 1] and c_puct at least 0, got "
                f"{self.alpha}, {self.beta} and {self.c_puct}"
            )
        if self.max_completions is not None and self.max_completions < self.completions:
            raise UsageError(
                f"max_completions must be at least {self.completions}, the completions of one state, "
                f"got {self.max_completions}"
            )

    def q(self, mc: float, tokens: int) -> float:
        """Q(s, r) for MC(s) in [0, 1] and the tokens of r; larger for promising s and short r."""
        return self.alpha ** (1 - mc) * self.beta ** (tokens / self.length)

    def u(self, visits: int, all_visits: int) -> float:
        """U(s) for N(s) and the sum of all states' N."""
        return self.c_puct * math.sqrt(all_visits) / (1 + visits)


@dataclass(kw_only=True)
class State:
    """A prefix with its roll-outs; `searched` are indices of those that were taken from the pool."""

    path: Steps
    outcomes: list[Outcome]
    visits: int = 0
    searched: set[int] = field(default_factory=set[int])

    @property
    def right(self) -> int:
        """How many roll-outs are right."""
        return sum(done.right for done in self.outcomes)

    @property
    def mc(self) -> float:
        """Share of right roll-outs; 0 without one."""
        return self.right / len(self.outcomes) if self.outcomes else 0.0


@dataclass(frozen=True, slots=True)
class FirstError:
    """A search's result: `wrong` is the path up to and with the first wrong step, `index` its last index.

    `probed` says whether `wrong` is a state; else it is the whole of a wrong roll-out.
    """

    wrong: Steps
    index: int
    probed: bool


@dataclass(kw_only=True)
class OmegaTree:
    """The states of one problem. `complete` is asked for roll-outs; `place` sets its seeds apart."""

    complete: Completer
    settings: Omega
    place: str = ""
    states: dict[tuple[str, ...], State] = field(default_factory=dict[tuple[str, ...], State])
    completions: int = 0
    errors: list[FirstError] = field(default_factory=list[FirstError])

    async def run(self) -> None:
        """Search until one of the limits; on a tree that was searched already, go on with it."""
        if await self.state(()) is None:
            return
        while len(self.errors) < self.settings.searches and (chosen := self.select()) is not None:
            state, index = chosen
            state.searched.add(index)
            found = await self.first_error(state, state.outcomes[index])
            state.visits += 1
            if found is None:
                return
            self.errors.append(found)

    async def state(self, path: Steps) -> State | None:
        """The state of a prefix, rolled out if it is new; None where that would pass the limit."""
        key, k = texts(path), self.settings.completions
        if key not in self.states:
            limit = self.settings.max_completions
            if limit is not None and self.completions + k > limit:
                return None
            seed = derive(self.settings.seed, SOURCE, self.place, len(path), "".join(key))
            outcomes = await self.complete(path, k, seed=seed)
            self.completions += len(outcomes)
            self.states[key] = State(path=path, outcomes=outcomes)
        return self.states[key]

    def select(self) -> tuple[State, int] | None:
        """The pair of largest Q + U in the pool, the earliest of equals; None if the pool is empty."""
        total = sum(state.visits for state in self.states.values())
        best: tuple[float, State, int] | None = None
        for state in self.states.values():
            if not 0 < state.mc < 1:
                continue
            bonus = self.settings.u(state.visits, total)
            for index, done in enumerate(state.outcomes):
                if done.right or index in state.searched or not done.steps:
                    continue
                score = self.settings.q(state.mc, done.tokens) + bonus
                if best is None or score > best[0]:
                    best = (score, state, index)
        return None if best is None else best[1:]

    async def first_error(self, state: State, rollout: Outcome) -> FirstError | None:
        """Binary search in a wrong roll-out of a state with MC > 0; None where the limit stopped it."""
        good, bad = 0, len(rollout.steps)
        while bad - good > 1:
            middle = (good + bad) // 2
            probe = await self.state((*state.path, *rollout.steps[:middle]))
            if probe is None:
                return None
            good, bad = (middle, bad) if probe.mc > 0 else (good, middle)
        wrong = (*state.path, *rollout.steps[:bad])
        return FirstError(wrong, len(wrong) - 1, texts(wrong) in self.states)


async def label_omega(problems: Sequence[Problem], output: Output, settings: Omega) -> Progress:
    """Search the first errors of `problems` and write the states as records, the question's own last."""

    async def one(problem: Problem) -> None:
        completer = PolicyCompleter(
            policy=output.policy,
            problem=problem,
            temperature=settings.temperature,
            on_tokens=output.progress.spend,
        )
        tree = OmegaTree(complete=completer, settings=settings, place=problem.id)
        await tree.run()
        _write(tree, problem, completer, output)

    return await build(problems, one, output, concurrency=settings.concurrency)


def _write(tree: OmegaTree, problem: Problem, completer: PolicyCompleter, output: Output) -> None:
    grader = completer.judge.grader
    ends = {texts(error.wrong): error.wrong for error in tree.errors if not error.probed}
    for key, path in ends.items():
        if key not in tree.states and not output.has(problem, path):
            output.write(problem, path, completions=1, right=0, grader=grader, finished=True)
    for state in reversed(tree.states.values()):  # the question, the first state, comes last
        if state.path and output.has(problem, state.path):
            continue
        lengths = [len(done.steps) for done in state.outcomes if done.right]
        output.write(
            problem,
            state.path,
            completions=len(state.outcomes),
            right=state.right,
            grader=grader,
            shortest=min(lengths, default=None),
        )
