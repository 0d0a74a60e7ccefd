"""Runs of the loop with a scripted engine and a tiny model: what is decided, taken over, refused, redone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loop_worlds import ScriptedEvaluator, World, make_world, put, write_problems

from selftrain.builders import open_builder
from selftrain.data.record import TrainingTree
from selftrain.loop import LoopConfig, Parts, RunStatus, from_json, resume, run, status
from selftrain.loop.context import StageError
from selftrain.loop.events import read_events
from selftrain.loop.gate import Action
from selftrain.loop.layout import stage_folder
from selftrain.loop.manifest import read_manifest
from tasks.errors import DataError, UsageError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """These answers are graded in the process; starting the worker takes seconds."""
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


def evaluator(*right: int, task: str = "count") -> ScriptedEvaluator:
    return ScriptedEvaluator(answers=[{task: count} for count in right])


def go(world: World, out: Path, *right: int, parts: Parts | None = None, **changes: Any) -> RunStatus:
    """A run whose evaluations give so many right answers of 40, base first."""
    given = replace(parts or Parts(), evaluate=evaluator(*right)) if right else parts
    return run(world.config(**changes), out, parts=given)


def decided(found: RunStatus) -> list[str]:
    return [each.action for each in found.iterations if each.iteration]


def counts(folder: Path, event: str) -> Counter[str]:
    return Counter(
        f"{each['iteration']}/{each['stage']}" for each in read_events(folder) if each["event"] == event
    )


def bases(folder: Path, iterations: int) -> list[str]:
    """What each iteration's training started from, by hash."""
    found = [read_manifest(stage_folder(folder, number, "train")) for number in range(1, iterations + 1)]
    return [manifest.identity.inputs["base"] for manifest in found if manifest]


def models(folder: Path, iterations: int) -> list[str]:
    found = [read_manifest(stage_folder(folder, number, "train")) for number in range(1, iterations + 1)]
    return [manifest.outputs["model"].hash for manifest in found if manifest]


def test_every_stage_runs_once_and_a_second_call_takes_all_of_them_over(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run(world.config(iterations=2), out)
    assert first.finished
    stages = ["search", "grade", "build", "train", "evaluate", "gate", "monitors"]
    assert list(first.iterations[1].stages) == list(first.iterations[2].stages) == stages
    assert list(first.iterations[0].stages) == ["decontaminate", "evaluate"]
    again = resume(out)
    assert again == first
    started = counts(out, "start")
    assert started == counts(out, "finish")
    assert set(started.values()) == {1}
    assert len(started) == 16
    seen = json.loads((stage_folder(out, 2, "monitors") / "monitors.json").read_text())
    assert seen["logprob.traces.after"] < 0 < seen["logprob.traces"]  # read again under the trained model


def test_two_runs_of_one_seed_have_the_same_hashes_and_those_of_another_seed_differ(
    world: World, tmp_path: Path
) -> None:
    one, two = go(world, tmp_path / "one"), go(world, tmp_path / "two")
    other = go(world, tmp_path / "other", seed=1)
    assert [each.stages for each in one.iterations] == [each.stages for each in two.iterations]
    assert one.iterations[1].stages["search"] != other.iterations[1].stages["search"]
    contents = [
        json.loads((tmp_path / name / "iterations" / "001" / "manifest.json").read_text())["hash"]
        for name in ("one", "two", "other")
    ]
    assert contents[0] == contents[1] != contents[2]


def test_a_manifest_holds_costs_by_role_versions_and_the_chain_of_hashes(
    world: World, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    found = go(world, out)
    searched = read_manifest(stage_folder(out, 1, "search"))
    graded = read_manifest(stage_folder(out, 1, "grade"))
    trained = read_manifest(stage_folder(out, 1, "train"))
    assert searched is not None
    assert graded is not None
    assert trained is not None
    assert graded.identity.inputs["trees/count"] == searched.outputs["trees/count"].hash
    assert searched.costs.generated_tokens > 100
    assert searched.costs.calls == 6
    assert trained.costs.trained_tokens > 0
    assert {"python", "torch", "transformers"} <= set(trained.versions)
    assert found.costs.generated_tokens == sum(each.costs.generated_tokens for each in found.iterations)


def test_a_promoted_model_searches_next_and_is_trained_further_if_asked(world: World, tmp_path: Path) -> None:
    for policy_from in ("base", "last"):
        out = tmp_path / policy_from
        found = go(world, out, 10, 30, 30, iterations=2, policy_from=policy_from)
        assert decided(found) == ["promote", "hold"]
        made, started = models(out, 2), bases(out, 2)
        searched = read_manifest(stage_folder(out, 2, "search"))
        assert searched is not None
        assert searched.identity.inputs["policy"] == made[0]
        assert started[1] == (made[0] if policy_from == "last" else started[0])
        assert found.policy == str(out / "iterations" / "001" / "train" / "policy" / "model")


def test_a_significant_fall_is_rolled_back_and_the_run_says_why(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = go(world, out, 30, 5, 30, iterations=2, policy_from="last")
    assert decided(found) == ["roll back", "hold"]
    assert "count fell from 75.0% to 12.5%" in found.iterations[1].reason
    assert found.policy == str(world.policy)
    assert bases(out, 2)[0] == bases(out, 2)[1]
    manifest = json.loads((out / "iterations" / "001" / "manifest.json").read_text())
    assert manifest["action"] == "roll back"
    assert "fell from" in manifest["reason"]
    gate = read_manifest(stage_folder(out, 2, "gate"))
    assert gate is not None
    assert gate.results["against"] == 0


def swapped(trees: Sequence[TrainingTree]) -> tuple[TrainingTree, ...]:
    """Pairs the wrong way round."""
    return tuple(
        replace(
            tree,
            pairs=tuple(replace(p, chosen=p.rejected, rejected=p.chosen) for p in tree.pairs),
        )
        for tree in trees
    )


def poisoned(name: str, settings: Mapping[str, Any]) -> Any:
    builder = open_builder(name, settings)

    def build(searched: Any) -> Any:
        built = builder(searched)
        return replace(built, trees=swapped(built.trees))

    return build


def test_an_iteration_of_swapped_pairs_is_rolled_back_when_its_model_falls(
    world: World, tmp_path: Path
) -> None:
    """With a scripted measurement; `test_loop_poison` has one with a model that really falls."""
    found = go(
        world,
        tmp_path / "run",
        20,
        2,
        parts=Parts(open_builder=poisoned),
        builder__name="outcome-dpo",
        train__settings={"objective": "dpo"},
    )
    assert decided(found) == [Action.ROLL_BACK.value]
    assert "fell" in found.iterations[1].reason


def test_a_held_out_problem_among_the_training_problems_stops_the_run_before_any_search(
    world: World, tmp_path: Path
) -> None:
    planted = tmp_path / "planted.jsonl"
    heldout = world.heldout.read_text().splitlines()
    planted.write_text(world.train.read_text() + heldout[2].replace("tools-2", "mine") + "\n")
    config = world.config(tasks__count__train__data=str(planted))
    with pytest.raises(DataError, match=r"mine.*tools-2|tools-2.*mine") as caught:
        run(config, tmp_path / "run")
    assert caught.value.exit_code == 2
    started = counts(tmp_path / "run", "start")
    assert started == {"0/decontaminate": 1}
    report = tmp_path / "run" / "iterations" / "000" / "decontaminate" / "report.json"
    assert json.loads(report.read_text())["clean"] is False


@pytest.mark.parametrize("mend", ["setting", "file"])
def test_a_run_that_an_overlap_stopped_takes_the_mend_in_its_folder(
    mend: str, world: World, tmp_path: Path
) -> None:
    planted, clean = tmp_path / "planted.jsonl", world.train.read_text()
    planted.write_text(clean + world.heldout.read_text().splitlines()[2].replace("tools-2", "mine") + "\n")
    changes: dict[str, Any] = {"tasks__count__train__data": str(planted)}
    with pytest.raises(DataError, match="on_overlap=drop"):
        run(world.config(**changes), tmp_path / "run")
    if mend == "setting":
        changes["decontamination__settings"] = {"on_overlap": "drop"}
    else:
        planted.write_text(clean)
    found = go(world, tmp_path / "run", 1, 1, **changes)
    assert found.finished
    with pytest.raises(UsageError, match="holds another run"):  # what is finished is not thrown away
        run(world.config(**changes, seed=7), tmp_path / "run")


def test_problems_of_a_later_test_are_kept_out_of_training_too_and_not_measured_on(
    world: World, tmp_path: Path
) -> None:
    later = write_problems(tmp_path / "later.jsonl", ("newts", "owls"), 4)
    planted = tmp_path / "planted.jsonl"
    shared = later.read_text().splitlines()[1]
    planted.write_text(world.train.read_text() + shared.replace(json.loads(shared)["id"], "mine") + "\n")
    changes = {"tasks__count__train__data": str(planted), "tasks__count__test": {"data": str(later)}}
    with pytest.raises(DataError, match=r"training 'mine' is count test"):
        run(world.config(**changes), tmp_path / "stopped")
    found = go(world, tmp_path / "run", 1, 1, decontamination__settings={"on_overlap": "drop"}, **changes)
    manifest = read_manifest(stage_folder(tmp_path / "run", 0, "decontaminate"))
    assert manifest is not None
    assert manifest.results["dropped"] == ["mine"]
    assert set(found.iterations[1].accuracy) == {"count"}


def test_overlapping_problems_may_be_dropped_instead(world: World, tmp_path: Path) -> None:
    planted = tmp_path / "planted.jsonl"
    planted.write_text(
        world.train.read_text() + world.heldout.read_text().splitlines()[2].replace("tools-2", "mine") + "\n"
    )
    changes: dict[str, Any] = {"decontamination__settings": {"on_overlap": "drop"}}
    go(world, tmp_path / "run", 1, 1, tasks__count__train__data=str(planted), **changes)
    manifest = read_manifest(stage_folder(tmp_path / "run", 0, "decontaminate"))
    assert manifest is not None
    assert manifest.results["dropped"] == ["mine"]
    searched = read_manifest(stage_folder(tmp_path / "run", 1, "search"))
    assert searched is not None
    assert searched.results["searched"] == 6


def test_other_problems_in_a_file_are_refused_until_the_first_stage_is_redone(
    world: World, tmp_path: Path
) -> None:
    data = write_problems(tmp_path / "mine.jsonl", ("ants", "bees"), 4)
    changes = {"tasks__count__train__data": str(data)}
    go(world, tmp_path / "run", 5, 5, **changes)
    write_problems(data, ("bees", "cats"), 4)
    with pytest.raises(UsageError, match=r"decontaminate.*input count/train was.*--redo 0/decontaminate"):
        go(world, tmp_path / "run", 5, 5, **changes)
    found = run(
        world.config(**changes),
        tmp_path / "run",
        parts=Parts(evaluate=evaluator(5, 5)),
        redo="0/decontaminate",
    )
    assert found.finished
    assert counts(tmp_path / "run", "finish")["1/search"] == 2


def test_another_configuration_is_refused_and_redo_does_the_changed_stage_and_those_behind_it(
    world: World, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    go(world, out, 5, 5)
    changed = {"train__settings__learning_rate": 0.001}
    with pytest.raises(UsageError, match=r"train\.settings\.learning_rate: None in the run, 0\.001 now"):
        go(world, out, 5, 5, **changed)
    run(world.config(**changed), out, parts=Parts(evaluate=evaluator(5)), redo="train")
    finished = counts(out, "finish")
    assert [finished[f"1/{name}"] for name in ("search", "build", "train", "evaluate", "gate")] == [
        1,
        1,
        2,
        2,
        2,
    ]
    assert counts(out, "redo")["1/train"] == 1


def test_redoing_too_late_a_stage_says_which_setting_an_earlier_one_was_made_with(
    world: World, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    go(world, out, 5, 5)
    with pytest.raises(
        UsageError, match=r"stage build of iteration 1: setting settings max_traces was None, is 1"
    ):
        run(world.config(builder__settings={"max_traces": 1}), out, redo="train")


def test_an_output_that_was_changed_by_hand_is_refused(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go(world, out, 5, 5)
    trees = stage_folder(out, 1, "build") / "trees.jsonl"
    trees.write_text(trees.read_text().splitlines()[0] + "\n")
    with pytest.raises(UsageError, match=r"trees\.jsonl is not what the stage wrote.*--redo 1/build"):
        resume(out, parts=Parts(evaluate=evaluator(5, 5)))
    resume(out, parts=Parts(evaluate=evaluator(5)), redo="build")
    assert counts(out, "finish")["1/grade"] == 1
    assert counts(out, "finish")["1/train"] == 2


def test_redoing_an_iteration_takes_the_later_ones_away(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go(world, out, 5, 5, 5, iterations=2)
    found = resume(out, parts=Parts(evaluate=evaluator(5, 30)), redo="1/gate")
    assert decided(found) == ["hold", "hold"]
    assert counts(out, "finish")["2/search"] == 2
    assert counts(out, "finish")["1/evaluate"] == 1


def test_more_iterations_go_on_and_fewer_are_refused(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go(world, out, 5, 30)
    found = run(world.config(iterations=2), out, parts=Parts(evaluate=evaluator(31)))
    assert decided(found) == ["promote", "hold"]
    assert counts(out, "finish")["1/search"] == 1
    with pytest.raises(UsageError, match="iterations: 2 in the run, 1 now"):
        run(world.config(iterations=1), out)


def test_a_folder_with_something_else_in_it_is_left_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds no run"):
        go(world, tmp_path)
    with pytest.raises(UsageError, match="not a self-training run"):
        status(tmp_path)
    with pytest.raises(UsageError, match="nothing to redo"):
        run(world.config(), tmp_path / "new", redo="train")


def test_problems_that_are_never_solved_are_left_out_after_a_while(world: World, tmp_path: Path) -> None:
    data = write_problems(tmp_path / "mine.jsonl", ("ants", "bees", "cats"), 4)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[1]["answer"] = "777"  # wrong gold: the script never says this
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes: dict[str, Any] = {"tasks__count__train__data": str(data), "iterations": 3}
    settings = {"n": 16, "policy.solution_tokens": 64}
    found = go(world, tmp_path / "run", 5, 5, 5, 5, quarantine__after=2, search__settings=settings, **changes)
    searched = [read_manifest(stage_folder(tmp_path / "run", number, "search")) for number in (1, 2, 3)]
    assert [manifest.results["searched"] for manifest in searched if manifest] == [4, 4, 3]
    assert found.quarantined == {"count": 1}


def test_the_problems_of_an_iteration_are_drawn_anew_in_each(world: World, tmp_path: Path) -> None:
    go(world, tmp_path / "run", 5, 5, 5, iterations=2, search__problems=3, seed=1)
    ids = [
        {
            json.loads(line)["id"]
            for line in (stage_folder(tmp_path / "run", number, "search") / "problems" / "count.jsonl")
            .read_text()
            .splitlines()
        }
        for number in (1, 2)
    ]
    assert [len(each) for each in ids] == [3, 3]
    assert ids[0] != ids[1]


def test_earlier_trees_are_built_from_too_but_not_those_of_a_rolled_back_iteration(
    world: World, tmp_path: Path
) -> None:
    def inputs(out: Path) -> set[str]:
        manifest = read_manifest(stage_folder(out, 3, "build"))
        return set(manifest.identity.inputs) if manifest else set()

    go(world, tmp_path / "run", 30, 30, 5, 30, iterations=3, builder__history=3)
    assert inputs(tmp_path / "run") == {"1/count", "grade/count"}


def test_a_builder_that_keeps_nothing_stops_the_run_and_says_why(world: World, tmp_path: Path) -> None:
    settings = {"min_value": 0.999999}
    why = r"4 dropped\.no_right \(problem: no right solution\), 2 dropped\.low_value \(solution: its value"
    with pytest.raises(DataError, match=f"'sft' kept nothing: {why}"):
        go(world, tmp_path / "run", 5, 5, builder__settings=settings)


def test_searches_that_fail_stop_the_stage_and_resuming_tries_them_again(
    world: World, tmp_path: Path
) -> None:
    faulty: dict[str, Any] = {
        "engine__settings": {"fault_rate": 0.6, "seed": 1},
        "search__settings": {"n": 24, "policy.solution_tokens": 64},
    }
    with pytest.raises(StageError, match=r"of 6 searches ended with an error \(count/animals") as caught:
        go(world, tmp_path / "run", 5, 5, **faulty)
    assert caught.value.exit_code == 3
    found = go(world, tmp_path / "some", 5, 5, search__max_failed=0.9, **faulty)
    manifest = read_manifest(stage_folder(tmp_path / "some", 1, "search"))
    assert manifest is not None
    assert 0 < len(manifest.results["failed"]) < 6
    assert found.finished


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"search__algorithm": "mtcs"}, "did you mean 'mcts'"),
        ({"search__settings": {"m": 4}}, "unknown setting of best-of-n"),
        ({"search__settings": {"engine.latency_s": 1}}, "engine.settings"),
        ({"builder__name": "sfd"}, "did you mean 'sft'"),
        ({"builder__settings": {"max_trace": 1}}, "did you mean 'max_traces'"),
        ({"builder__name": "upo"}, "needs uncertainty"),
        ({"train__settings": {"epoch": 1}}, "did you mean 'epochs'"),
        ({"decontamination__settings": {"on_overlp": "drop"}}, "did you mean 'on_overlap'"),
        ({"prm": {"labels": {"completion": 3}}}, "did you mean 'completions'"),
        ({"train": None, "prm": {}}, "nothing to compare"),
        ({"monitors": {"settings": {"kz": 3}}}, "did you mean 'ks'"),
        ({"policy": "http://localhost:1/v1"}, "cannot be trained here"),
        ({"policy": "./nowhere"}, "model folder 'nowhere' does not exist"),
        ({"engine__name": "nope"}, "unknown engine 'nope'"),
        ({"search__budget_tokens": 0}, "budget tokens must be positive"),
        ({"train__settings": {"objective": "dpo"}}, "learns from pairs, builder 'sft' makes traces"),
        ({"train__settings": {"gamma": 2.0}}, "has no use for gamma"),
        ({"train__settings": {"device": "tpu"}}, "device 'tpu'"),
        ({"tune": {"setting": "foo"}}, "unknown setting of builder sft 'foo'"),
        ({"tune": {"temperatures": [-1.0]}}, "temperatures must be above 0"),
        ({"prm": {"method": "magic"}}, "unknown label method 'magic'"),
        ({"prm": {"method": "judge"}}, "set prm.labels.judge"),
        ({"prm": {"rule": "magic"}}, "unknown label rule 'magic'"),
        ({"prm": {"settings": {"head": "magic"}}}, "head"),
        ({"prm": {"settings": {"zeta": 3.0}}}, "has no meaning for head"),
        ({"prm": {"base": "./nowhere"}}, "model folder 'nowhere' does not exist"),
        ({"prm": {"value": {"agregate": "last"}}}, "did you mean 'aggregate'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    world: World, tmp_path: Path, changes: Any, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        run(world.config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tasks_that_share_an_id_are_refused(world: World, tmp_path: Path) -> None:
    content = world.content()
    content["tasks"]["again"] = {"train": {"data": str(world.train)}}
    with pytest.raises(DataError, match="both have a training problem with the id 'animals-0'"):
        run(from_json(content), tmp_path / "run")


def config_of_two_tasks(world: World) -> LoopConfig:
    content = world.content()
    content["tasks"]["puzzles"] = {
        "task": "countdown",
        "train": {"generate": 2, "start": 5},
        "heldout": {"generate": 3},
    }
    return from_json(content)


def test_several_tasks_are_searched_trained_on_and_measured_together(world: World, tmp_path: Path) -> None:
    found = run(config_of_two_tasks(world), tmp_path / "run")
    assert set(found.iterations[1].accuracy) == {"count", "puzzles"}
    searched = read_manifest(stage_folder(tmp_path / "run", 1, "search"))
    assert searched is not None
    assert {"trees/count", "trees/puzzles"} <= set(searched.outputs)
    assert set(found.iterations[1].tasks) == {"count", "puzzles"}


def test_more_failures_may_be_allowed_when_a_run_goes_on(world: World, tmp_path: Path) -> None:
    faulty: dict[str, Any] = {
        "engine__settings": {"fault_rate": 0.6, "seed": 1},
        "search__settings": {"n": 24, "policy.solution_tokens": 64},
    }
    with pytest.raises(StageError, match=r"or set search\.max_failed"):
        go(world, tmp_path / "run", 5, 5, **faulty)
    assert go(world, tmp_path / "run", 5, 5, search__max_failed=0.9, **faulty).finished


def test_a_run_goes_on_where_the_files_of_its_problems_are_gone(world: World, tmp_path: Path) -> None:
    moved = tmp_path / "problems.jsonl"
    moved.write_bytes(world.train.read_bytes())
    content = put(world.content(), "tasks.count.train.data", str(moved))
    first = run(from_json(content), tmp_path / "run")
    moved.unlink()
    assert resume(tmp_path / "run") == first


def test_a_line_that_is_no_event_does_not_keep_a_run_from_going_on(world: World, tmp_path: Path) -> None:
    first = run(world.config(), tmp_path / "run")
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write("garbage\n[1]\n")
    with pytest.raises(UsageError, match="this run has no stage tune; iteration 1 has: search, grade, build"):
        resume(tmp_path / "run", redo="1/tune")
    again = resume(tmp_path / "run", redo="1/gate")
    assert again.iterations[1].stages.keys() == first.iterations[1].stages.keys()


@pytest.mark.parametrize(
    "content", ['{"mine": 1}', '{"schema": 1, "config": {}}', '{"schema": 1, "base": {}, "data": {}}']
)
def test_a_folder_of_something_else_stays_as_it_is(world: World, tmp_path: Path, content: str) -> None:
    out = tmp_path / "other"
    (out / "iterations" / "mine").mkdir(parents=True)
    (out / "iterations" / "mine" / "results.txt").write_text("kept")
    (out / "run.json").write_text(content)
    with pytest.raises(DataError, match=r"not of a self-training run|run\.json: damaged"):
        run(world.config(), out)
    assert {file.name for file in out.rglob("*")} == {"iterations", "mine", "results.txt", "run.json"}
    assert (out / "run.json").read_text() == content


def test_a_refused_folder_or_file_is_left_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and holds no run"):
        run(world.config(), tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match="is a file; a run needs a folder"):
        run(world.config(), tmp_path / "full" / "notes.txt")
