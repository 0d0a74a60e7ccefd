"""DVTS: independent subtrees that each keep the best step; one subtree is beam search of width 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import SCENARIOS, KnownValue, Scenario, UnrulyEngine, run, search

from tasks.errors import UsageError
from treesearch.algorithms.beam import Beam
from treesearch.algorithms.dvts import DVTS
from treesearch.budget import Budget
from treesearch.engines.base import Sample, SamplingParams
from treesearch.events import StopReason
from treesearch.tree import ROOT, Node, Tree

MANY = Budget(tokens=100_000)


@dataclass(kw_only=True)
class SeedlessEngine(UnrulyEngine):
    """Samples of a prompt depend on the prompt and their number alone, whatever the request's seed."""

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        return await super().sample(prompt_ids, n, replace(params, seed=len(prompt_ids)))


def texts_below(tree: Tree, head: Node) -> list[tuple[str, bool]]:
    """Every path of a subtree and whether it was closed, in the order of adding."""
    return [
        (tree.text(node.id), node.closed)
        for node in tree.nodes
        if any(above.id == head.id for above in tree.lineage(node.id))
    ]


def heads(tree: Tree) -> list[Node]:
    return [child for child in tree.children(ROOT) if not child.closed]


@pytest.mark.parametrize("scenario", ["log-probability", "roll-outs that vote", "verifier on countdown"])
def test_one_subtree_is_beam_search_of_width_one(scenario: str) -> None:
    world = SCENARIOS[scenario]
    shapes: list[list[tuple[str, int, float | None]]] = []
    for algorithm in (DVTS(n=3, beam_width=3), Beam(beam_width=1, expansion=3)):
        tree = world.tree(MANY)
        run(algorithm, tree, world.policy(SeedlessEngine()), world.value_for(algorithm))
        shapes.append([(tree.text(node.id), node.parent, node.value) for node in tree.nodes])
    assert shapes[0] == shapes[1]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    subtrees=st.integers(1, 5),
    more=st.integers(1, 4),
    in_flight=st.integers(1, 9),
    scenario=st.sampled_from(["log-probability", "no value", "graded roll-outs on countdown"]),
)
def test_what_a_subtree_holds_does_not_depend_on_the_others(
    seed: int, subtrees: int, more: int, in_flight: int, scenario: str
) -> None:
    few, many = (
        search(
            SCENARIOS[scenario],
            DVTS(n=2 * count, beam_width=2, gate=2.0, in_flight=in_flight if count == subtrees else 4),
            MANY,
            seed=seed,
        )[0]
        for count in (subtrees, subtrees + more)
    )
    for lone, beside in zip(heads(few), heads(many), strict=False):
        assert texts_below(few, lone) == texts_below(many, beside)
    assert (len(heads(few)), len(heads(many))) == (subtrees, subtrees + more)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), budget=st.integers(1, 3000), in_flight=st.integers(1, 6))
def test_every_expansion_keeps_the_best_child_open_and_closes_the_rest(
    seed: int, budget: int, in_flight: int
) -> None:
    scenario = SCENARIOS["log-probability"]
    tree, _, _ = search(
        scenario, DVTS(n=12, beam_width=3, in_flight=in_flight), Budget(tokens=budget), seed=seed
    )
    for node in tree.nodes[1:]:
        children = tree.children(node.id)
        kept = [child for child in children if not child.closed]
        assert len(kept) == bool(children)
        assert all(kept[0].value >= child.value for child in children)  # type: ignore[operator]
        assert not (node.closed and children)
    assert len(heads(tree)) == tree.root.expansions <= 4


def test_equal_first_steps_are_two_subtrees() -> None:
    same = Scenario(name="same", script=lambda prompt, seed: "one\n" if "one" not in prompt else "#### 3")
    tree, _, _ = search(same, DVTS(n=6, beam_width=2), MANY)
    assert tree.stop is StopReason.COMPLETED
    assert [node.step.text for node in heads(tree) if node.step] == ["one\n"] * 3
    assert sum(1 for _ in tree.leaves()) == 3


def test_the_step_of_highest_path_value_is_followed() -> None:
    steps = {"a\n": 0.2, "b\n": 0.9, "c\n": 0.5}

    def script(prompt: str, seed: int) -> str:
        return "abc"[seed % 3] + "\n" if prompt.count("\n") < 4 else "#### 1"

    value = KnownValue(of=lambda text: steps.get(text[-2:], 1.0))
    tree, _, _ = search(Scenario(name="steps", script=script, value=value), DVTS(n=16, beam_width=16), MANY)
    leaf = next(tree.leaves())
    assert tree.text(leaf.id) == "b\nb\nb\n#### 1"


def test_without_n_subtrees_are_begun_until_the_budget_is_spent() -> None:
    tree, _, engine = search(SCENARIOS["no value"], DVTS(n=None), Budget(tokens=3000))
    assert tree.stop is StopReason.BUDGET_TOKENS
    assert tree.usage.tokens == engine.usage.generated_tokens == 3000
    assert len(heads(tree)) > 4


@pytest.mark.parametrize("wrong", [{"n": 6}, {"n": 0}, {"beam_width": 0}, {"num_iterations": 0}], ids=str)
def test_a_wrong_setting_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DVTS(**wrong)  # type: ignore[arg-type]


def test_no_path_is_expanded_more_often_than_num_iterations() -> None:
    endless = Scenario(name="endless", script=lambda prompt, seed: "on\n")
    tree, _, _ = search(endless, DVTS(n=2, beam_width=2, num_iterations=5), MANY)
    assert max(node.depth for node in tree.nodes) == 5
    assert tree.stop is StopReason.COMPLETED
