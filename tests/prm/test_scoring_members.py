"""A training run in place of a model: its model, or its models as one ensemble."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from training_worlds import base_model, run, separable_pairs, separable_rows

from prm.registry import ScorerSettings, open_scorer, scorer_hash
from prm.scoring.base import StepScores
from prm.scoring.members import MembersScorer, open_members
from tasks.errors import DataError, UsageError
from treesearch.cli import main

QUESTION, STEPS = "question 99", ("a1", "b2", "a3")
CPU = {"device": "cpu", "dtype": "float32", "threads": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three adapters of two heads each."""
    pytest.importorskip("peft")
    out = tmp_path_factory.mktemp("run")
    lora = {"adapters": 3, "members": 2, "lora_rank": 4, "learning_rate": 2e-2, "epochs": 2}
    run(separable_rows(60), base, out, **lora)
    return out


def found(name: Path, **settings: Any) -> StepScores:
    async def job() -> StepScores:
        scorer = open_scorer(str(name), CPU | settings)
        try:
            return await scorer.score(QUESTION, STEPS)
        finally:
            await scorer.close()

    return asyncio.run(job())


@pytest.mark.parametrize("combine", ["mean", "worst", "uncertain"])
def test_the_models_of_one_run_score_as_one_ensemble(trained: Path, combine: str) -> None:
    alone = [found(trained / f"model-{index}", combine=combine) for index in range(3)]
    together = found(trained, combine=combine)
    assert together.members == tuple(zip(*(each.scores for each in alone), strict=True))
    assert together.tokens == sum(each.tokens for each in alone)
    for score, members in zip(together.scores, together.members, strict=True):
        mean = sum(members) / 3
        variance = sum((member - mean) ** 2 for member in members) / 3
        wanted = {"mean": mean, "worst": min(members), "uncertain": mean - 0.5 * variance}[combine]
        assert score == pytest.approx(wanted)
        assert len(set(members)) == 3


def test_every_model_is_charged_in_a_search_and_ids_score_as_the_text_does(trained: Path) -> None:
    scorer: Any = open_scorer(str(trained), CPU)
    tokenizer = scorer.bound.tokens.tokenizer
    rendered = scorer.bound.render(QUESTION, STEPS)
    head, *ids = rendered.segments

    async def job() -> tuple[StepScores, StepScores]:
        try:
            return await scorer.score(QUESTION, STEPS), await scorer.score_ids(head, ids)
        finally:
            await scorer.close()

    text, by_ids = asyncio.run(job())
    assert by_ids.scores == text.scores
    assert scorer.readers == 3
    assert 3 * sum(scorer.sizes(QUESTION, STEPS)) == text.tokens
    assert scorer.max_context > 0
    assert tokenizer is not None


def test_the_command_scores_and_evaluates_with_an_ensemble(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for key, value in CPU.items() for part in ("--set", f"{key}={value}")]
    steps = [part for text in STEPS for part in ("--step", text)]
    assert main(["prm", "score", "--prm", str(trained), QUESTION, *steps, *settings, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == list(found(trained).scores)
    data = tmp_path / "rows.jsonl"
    row = {"id": "1", "prompt": QUESTION, "completions": list(STEPS), "labels": [True, False, True]}
    data.write_text(json.dumps(row) + "\n")
    bench = ["prm", "eval", "--bench", "steps", "--data", str(data), "--prm", str(trained), *settings]
    assert main([*bench, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"]["n"] == 3


def test_a_search_is_guided_by_the_models_of_a_run(trained: Path, tmp_path: Path) -> None:
    value = [f"value.prm={trained}", *(f"value.{key}={each}" for key, each in CPU.items())]
    settings = [part for each in [*value, "beam_width=1", "expansion=2"] for part in ("--set", each)]
    where = ["--task", "countdown", "--limit", "1", "--budget-tokens", "300", "--run", str(tmp_path / "run")]
    assert main(["solve", *where, "--algorithm", "beam", "--value", "prm", *settings]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert row["usage"]["value_tokens"] > 0
    assert row["usage"]["value_tokens"] % 3 == 0


def test_the_hash_of_a_run_is_that_of_its_models(trained: Path, tmp_path: Path) -> None:
    settings = ScorerSettings()
    hashes = {scorer_hash(str(trained / name), settings) for name in ("model-0", "model-1", "model-2")}
    assert len(hashes | {scorer_hash(str(trained), settings)}) == 4
    assert scorer_hash(str(trained), settings) == scorer_hash(f"{trained}/", settings)


def test_a_run_of_one_model_is_that_model(base: Path, tmp_path: Path) -> None:
    run(separable_rows(40), base, tmp_path, members=2, epochs=1)
    assert found(tmp_path) == found(tmp_path / "model")
    settings = ScorerSettings()
    assert scorer_hash(str(tmp_path), settings) == scorer_hash(str(tmp_path / "model"), settings)


def test_log_ratio_models_of_a_run_are_combined_too(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora = {"adapters": 2, "lora_rank": 2, "learning_rate": 2e-2, "epochs": 1}
    run(separable_pairs(40), base, tmp_path, head="step-dpo", beta=1.0, **lora)
    together = found(tmp_path, combine="worst")
    assert together.scores == tuple(map(min, together.members))
    scorer: Any = open_scorer(str(tmp_path), CPU)
    assert scorer.readers == 4
    asyncio.run(scorer.close())


def test_a_run_that_is_not_finished_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"base": {}, "data": {}, "config": {"head": "step"}}))
    with pytest.raises(UsageError, match=r"not finished.*search prm train --out"):
        open_scorer(str(tmp_path))
    (tmp_path / "summary.json").write_text(json.dumps({"models": ["model-0", "model-1"]}))
    with pytest.raises(DataError, match=r"summary\.json names the model .*model-0, which is not there"):
        open_scorer(str(tmp_path))
    (tmp_path / "run.json").write_text("no JSON")
    with pytest.raises(DataError, match=r"run\.json: not a JSON object"):
        open_scorer(str(tmp_path))


def test_the_run_of_a_search_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": "math"}}))
    with pytest.raises(UsageError, match="cannot tell which convention"):
        open_scorer(str(tmp_path))


def test_what_needs_one_model_names_those_of_the_run(trained: Path, tmp_path: Path) -> None:
    from prm.calibrate import calibrate

    data = tmp_path / "rows.jsonl"
    data.write_text("")
    with pytest.raises(DataError, match=r"give one of its models: .*model-0, .*model-1, .*model-2"):
        asyncio.run(calibrate(trained, data))


class Closing:
    """A model that is closed, or fails to."""

    def __init__(self, bound: Any, closed: list[Any], *, fails: bool = False) -> None:
        self.bound, self.max_context, self.closed, self.fails = bound, 9, closed, fails

    async def close(self) -> None:
        self.closed.append(self)
        if self.fails:
            raise RuntimeError("it does not close")


def bound_to(convention: str, template: str | None = None) -> Any:
    from prm_models import byte_level

    from prm.conventions import bind, find

    return bind(find(convention), byte_level(template=template))


def test_models_that_read_a_text_differently_are_refused_and_closed() -> None:
    closed: list[Any] = []
    one, other = Closing(bound_to("steps"), closed), Closing(bound_to("reasoneval"), closed)
    with pytest.raises(UsageError, match="'steps', model 2 'reasoneval'"):
        open_members([lambda: one, lambda: other])
    assert closed == [one, other]
    with pytest.raises(UsageError, match="got none"):
        MembersScorer([])


def test_all_models_are_closed_also_where_one_fails() -> None:
    closed: list[Any] = []
    scorer = MembersScorer(
        [Closing(bound_to("steps"), closed, fails=True), Closing(bound_to("steps"), closed)]
    )
    with pytest.raises(RuntimeError, match="does not close"):
        asyncio.run(scorer.close())
    assert len(closed) == 2
