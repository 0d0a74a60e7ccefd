"""ReST-MCTS*: the preset's settings, its value gate, and its roll-out blend by brute force."""

from __future__ import annotations

import pytest
from toy_worlds import WALK, KnownValue, Scenario, search

from treesearch.algorithms.mcts import MCTS
from treesearch.algorithms.rest_mcts import RestMCTS
from treesearch.budget import Budget
from treesearch.events import Added, Backed, BackupRule, Rolled, Scored


def test_the_preset_has_the_settings_of_the_authors_code() -> None:
    preset = RestMCTS()
    assert (preset.width, preset.alpha, preset.gate) == (3, 0.5, 0.9)
    assert preset.selection == "uct"
    assert 0.4 <= preset.c <= 0.7
    assert 0.8 <= preset.unvisited <= 1.0
    assert 1 <= preset.rollout_steps <= 3
    assert preset.backup is BackupRule.WEIGHTED
    assert preset.answer == "best"


def letters(prompt: str, seed: int) -> str:
    """Lines of one letter each, five of them, then the end."""
    depth = prompt.count("\n") - 1
    return "".join(f"{'abcd'[(seed >> i) % 4]}\n" for i in range(max(0, 5 - depth))) + "end"


def worth(text: str) -> float:
    """A value of a text that tells all texts of these tests apart."""
    number = 0
    for char in text:
        number = (number * 31 + ord(char)) % 9973
    return number / 9973


TOY = Scenario(name="letters", problem=WALK, script=letters, value=KnownValue(of=worth))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_the_return_blends_the_value_with_the_best_one_on_the_greedy_path(alpha: float) -> None:
    algorithm = RestMCTS(gate=2.0, rollout_steps=4, alpha=alpha)
    # The script ignores the seed below the root, so that the greedy path is known beforehand.
    fixed = Scenario(
        name="fixed",
        script=lambda prompt, seed: (
            f"{'abcd'[seed % 4]}\n" * 9
            if prompt.count("\n") == 1
            else "".join(f"{i}\n" for i in range(prompt.count("\n"), 4)) + "end"
        ),
        value=KnownValue(of=worth),
    )
    tree, records, _ = search(fixed, algorithm, Budget(calls=5), seed=1)
    best = max(tree.children(0), key=lambda node: worth(tree.text(node.id)))
    path, values = tree.text(best.id), []
    for more in ("2\n", "3\n", "end"):
        path += more
        values.append(worth(path))
    expected = (1 - alpha) * worth(tree.text(best.id)) + alpha * max(values)
    first = next(e for record in records for e in record if isinstance(e, Backed))
    assert (first.node, first.value) == (best.id, pytest.approx(expected, abs=1e-6))
    kept = [e for record in records for e in record if isinstance(e, Rolled)]
    assert [event.text for event in kept[:1]] == ["2\n3\nend"]
    assert kept[0].node == best.id
    assert kept[0].reward == pytest.approx(worth(path), abs=1e-6)


def test_only_the_best_new_child_is_visited_by_a_simulation() -> None:
    _, records, _ = search(TOY, RestMCTS(gate=2.0), Budget(calls=40), seed=5)
    nodes = 1
    for record in records:
        added = {nodes + i: e for i, e in enumerate(e for e in record if isinstance(e, Added))}
        scores = {e.node: e.value for e in record if isinstance(e, Scored)}
        nodes += len(added)
        if added:
            (back,) = [e for e in record if isinstance(e, Backed)]
            assert back.node == max(scores, key=lambda node: scores[node])


def test_a_finished_path_at_the_gate_ends_the_search_and_one_below_does_not() -> None:
    def of(text: str) -> float:
        return 0.9 if text.startswith("b") and text.endswith("end") else 0.89 if "end" in text else 0.95

    scenario = Scenario(name="gate", script=letters, value=KnownValue(of=of))
    tree, _, _ = search(scenario, RestMCTS(), Budget(tokens=20_000), seed=2)
    assert tree.stop == "solved"
    assert tree.best_finished == 0.9
    # An unfinished path of value 0.95 did not stop it.
    assert any(node.value == 0.95 for node in tree.nodes)


def test_without_roll_outs_and_with_mean_backup_the_preset_is_plain_mcts() -> None:
    settings = {"width": 3, "selection": "uct", "c": 0.5, "unvisited": 0.9, "gate": 0.9, "answer": "best"}
    plain = MCTS(backup=BackupRule.MEAN, **settings)  # type: ignore[arg-type]
    preset = RestMCTS(backup=BackupRule.MEAN, rollout_steps=0)
    ours, _, _ = search(TOY, preset, Budget(tokens=2000))
    theirs, _, _ = search(TOY, plain, Budget(tokens=2000))
    assert ours == theirs
