"""Small worlds that the tests search: problems, scripts, engines that misbehave on purpose, and ways to run.

Everything is deterministic. A `Scenario` is a task, a script for the engine and a value source; `SCENARIOS`
are those under which every algorithm has to keep its contract, and `VARIANTS` are settings of algorithms
that take other paths through their code than the defaults do.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

from tasks.base import Problem, Task
from tasks.countdown import format_step, parse_step
from tasks.countdown.task import CountdownTask, puzzle_problem
from tasks.math import MathTask
from treesearch.algorithms.base import Algorithm
from treesearch.budget import Budget, Cost, Meter, Usage
from treesearch.engines.base import Sample, SamplingParams
from treesearch.engines.scripted import Script, ScriptedEngine, walk_script
from treesearch.events import Event, StopReason, from_json, to_json
from treesearch.export import tree_to_json
from treesearch.policy import Policy, PolicyConfig
from treesearch.registry import find, names
from treesearch.tree import Tree
from treesearch.values.base import Path, Score, Scores, Value
from treesearch.values.free import LogProb, NoValue, SelfCertainty, Verifier
from treesearch.values.rollout import RollOutValue

ALGORITHMS = names("algorithm")
WALK = Problem(id="walk", question="How far?", gold="3")
PUZZLE = puzzle_problem(id="puzzle", numbers=[2, 3, 5, 7], target=24)


def countdown_script(prompt: str, seed: int) -> str:
    """Random legal play from the numbers that the prompt's last step leaves."""
    rng = random.Random(seed)
    question, *lines = prompt.splitlines()
    state = sorted(Fraction(word) for word in question.rstrip(".").split("from")[1].split())
    for line in lines:
        move = parse_step(line)
        if move is None:
            return ""
        state = sorted(move.left_over)
    written: list[str] = []
    while len(state) > 1:
        left, right = rng.sample(state, 2)
        op = rng.choice("+-*/" if right else "+-*")
        value = {"+": left + right, "-": left - right, "*": left * right}.get(op)
        value = left / right if value is None else value
        state.remove(left)
        state.remove(right)
        state = sorted([*state, value])
        written.append(format_step(left, op, right, state))
    return "\n".join(written)


@dataclass(kw_only=True)
class UnrulyEngine(ScriptedEngine):
    """Answers in a seeded random order, counts who is waiting, and calls `on_request` with each number."""

    disorder: int | None = None
    """Seed of the order; None answers at once."""
    longest_s: float = 0.0
    """Real seconds to wait at most; with 0 a request waits a few turns of the event loop."""
    on_request: Callable[[int], None] = lambda _: None
    active: int = 0
    widths: list[int] = field(default_factory=list[int])
    prompts: list[str] = field(default_factory=list[str])

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        number = len(self.widths)
        self.widths.append(n)
        self.prompts.append(self.tokenizer.decode(prompt_ids))
        self.active += 1
        try:
            self.on_request(number)
            if self.disorder is not None:
                wait = random.Random(f"{self.disorder}:{number}")
                if self.longest_s:
                    await asyncio.sleep(wait.uniform(0, self.longest_s))
                for _ in range(wait.randint(0, 6)):
                    await asyncio.sleep(0)
            return await super().sample(prompt_ids, n, params)
        finally:
            self.active -= 1


@dataclass(frozen=True, kw_only=True)
class KnownValue(Value):
    """A value source with a table: `of` maps the text of a path to its value."""

    name = "known"
    of: Callable[[str], float | None]

    def oracle(self, policy: Policy) -> bool:
        return False

    def cost(self, policy: Policy, path: Sequence[Any], n: int, *, finished: bool = False) -> Cost:
        return Cost()

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        return Scores(tuple(Score(self.of("".join(step.text for step in path))) for path in paths), Usage())


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A problem, the script of the policy, and the value source (None: the algorithm's default)."""

    name: str
    task: Task = field(default_factory=MathTask)
    problem: Problem = WALK
    script: Script = walk_script
    value: Value | None = None
    certainty: bool = False

    def policy(self, engine: ScriptedEngine | None = None) -> Policy:
        """A policy with small steps on `engine`, which plays this scenario's script."""
        engine = engine or UnrulyEngine()
        engine.script = self.script
        config = PolicyConfig(step_tokens=40, solution_tokens=110, certainty=self.certainty)
        return Policy(engine=engine, task=self.task, config=config)

    def value_for(self, algorithm: Algorithm) -> Value:
        """The value source, or the algorithm's default."""
        return self.value or find("value", algorithm.default_value)()

    def tree(self, budget: Budget | None = None, *, seed: int = 0) -> Tree:
        """A tree with nothing in it yet."""
        return Tree(problem=self.problem, seed=seed, meter=Meter(budget=budget or Budget()))


_COUNTDOWN: dict[str, Any] = {"task": CountdownTask(), "problem": PUZZLE, "script": countdown_script}
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="default value"),
        Scenario(name="no value", value=NoValue()),
        Scenario(name="log-probability", value=LogProb()),
        Scenario(name="self-certainty", value=SelfCertainty(), certainty=True),
        Scenario(name="roll-outs that vote", value=RollOutValue(judge="vote", n=3)),
        Scenario(name="graded roll-outs on countdown", value=RollOutValue(n=2), **_COUNTDOWN),
        Scenario(name="verifier on countdown", value=Verifier(), **_COUNTDOWN),
    )
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "best-of-n": [{"n": None}, {"n": 3}],
    "self-consistency": [{"n": None}, {"answer": "borda"}],
    "adaptive-self-consistency": [
        {"n": None, "speculate": True, "threshold": 0.9},
        {"stop": "dirichlet", "n": 12, "speculate": True, "threshold": 0.8},
        {"stop": "window", "window": 2, "answer": "borda"},
    ],
    "dvts": [{"n": None}, {"n": 6, "beam_width": 2, "aggregate": "mean", "num_iterations": 3}],
    "beam": [{"rounds": None}, {"beam_width": 2, "expansion": 2, "rounds": 3, "aggregate": "min"}],
    "best-first": [{"max_solutions": None, "expansion": 2}, {"max_solutions": 5, "aggregate": "product"}],
    "mcts": [
        {"selection": "uct", "c": 0.7, "backup": "max", "width": 2},
        {"simulations": 9, "backup": "weighted", "max_depth": 2},
        {"widening": 0.5, "width": 1, "rollout_steps": 2, "rollout_width": 2},
        {"width": 2, "max_children": 2},
    ],
    "rest-mcts": [{"rollout_width": 2, "alpha": 0.3}, {"gate": None, "rollout_steps": 4}],
}


def variants(name: str, *, in_flight: int | None = None) -> list[Algorithm]:
    """The algorithm with its defaults and with each variant; `in_flight` where it has that setting."""
    cls = find("algorithm", name)
    has = any(entry.name == "in_flight" for entry in fields(cls))
    more = {"in_flight": in_flight} if has and in_flight is not None else {}
    return [cls(**(settings | more)) for settings in ({}, *VARIANTS.get(name, []))]


def record_events(tree: Tree) -> list[list[Event]]:
    """A list that grows with every record committed to `tree`; records go through JSON, as in a journal."""
    records: list[list[Event]] = []

    def keep(record: Sequence[Event]) -> None:
        rows = json.loads(json.dumps([to_json(event) for event in record], allow_nan=False))
        records.append([from_json(row) for row in rows])

    tree.sink = keep
    return records


def run(algorithm: Algorithm, tree: Tree, policy: Policy, value: Value) -> StopReason:
    """Search to the end, in an event loop of its own."""
    return asyncio.run(_call(algorithm, tree, policy, value))


async def _call(algorithm: Algorithm, tree: Tree, policy: Policy, value: Value) -> StopReason:
    return await algorithm(tree, policy, value)


def search(
    scenario: Scenario, algorithm: Algorithm, budget: Budget, *, seed: int = 0, **engine: Any
) -> tuple[Tree, list[list[Event]], UnrulyEngine]:
    """A searched tree, its records and its engine."""
    tree = scenario.tree(budget, seed=seed)
    records = record_events(tree)
    unruly = UnrulyEngine(**engine)
    run(algorithm, tree, scenario.policy(unruly), scenario.value_for(algorithm))
    return tree, records, unruly


def tree_bytes(tree: Tree) -> bytes:
    """All that a tree holds, as bytes."""
    return json.dumps(tree_to_json(tree), ensure_ascii=False).encode()
