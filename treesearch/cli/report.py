"""What a run says before and after: its header, one question's solution, the summary, the failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treesearch.cli.solution import answer_path
from treesearch.cli.terminal import one_line, say, tell

if TYPE_CHECKING:
    from treesearch.run.config import RunConfig
    from treesearch.run.plan import Plan
    from treesearch.tree import Tree

_SHOWN_FAILURES = 5
_ORACLE = "oracle: the search read the gold answers; an upper bound, not a result"


def show_header(plan: Plan, folder: Path | None) -> None:
    """What is solved, with what, under which budget, and what the model's card says; on standard error."""
    config = plan.resolved.config
    if config.question is not None:
        what = f"1 {config.task} question"
    else:
        source = Path(config.data).name if config.data else "shipped with the package"
        count = len(plan.problems)
        what = f"{count} {config.task} problem{'' if count == 1 else 's'} ({source})"
    value = config.value or plan.algorithm.default_value
    changed = "".join(f", {key}={given}" for key, given in config.settings.items())
    tell(f"{what}: {config.algorithm}, value {value}{changed}")
    tell(f"model {config.policy} ({config.engine}), {_limits(config)} a problem, seed {config.seed}")
    if plan.note:
        tell(f"note: {one_line(plan.note)}")
    if folder is not None:
        tell(f"run {folder}")


def _limits(config: RunConfig) -> str:
    limits = {
        "tokens": config.budget_tokens,
        "calls": config.budget_calls,
        "nodes": config.budget_nodes,
        "seconds": config.budget_seconds,
    }
    given = [f"{limit:,} {name}" for name, limit in limits.items() if limit is not None]
    return f"at most {' and '.join(given)}" if given else "no budget"


def solution(tree: Tree, answer: str | None) -> list[str]:
    """The steps that lead to `answer`; empty where nothing was finished."""
    found = answer_path(tree, answer)
    if found is None:
        return []
    steps = [step.text.rstrip("\n") for step in tree.path(found.node)]
    return steps + found.tail.rstrip("\n").split("\n") if found.tail else steps


def show_solution(row: dict[str, Any], steps: Sequence[str]) -> None:
    """One question's steps and answer."""
    for step in steps:
        say(step)
    if row["answer"] is None:
        say(f"no answer was found ({row['stop_reason']}); give it a larger budget")
    else:
        checked = f" ({row['verdict']})" if row["verdict"] in ("correct", "incorrect") else ""
        say(f"answer: {row['answer']}{checked}")
    say()


def show_summary(summary: dict[str, Any]) -> None:
    """Accuracy with its interval, tokens by role, speed, and where the run is."""
    usage = summary["usage"]
    if summary["accuracy"] is None:
        say(f"accuracy  unknown: no reference answers ({summary['n_problems']} searched)")
    else:
        low, high = summary["accuracy_ci95"]
        counts = f"{summary['n_correct']} of {summary['n_problems']}"
        say(f"accuracy  {summary['accuracy']:.1%} ({counts}; 95 % interval {low:.1%} to {high:.1%})")
    if summary["oracle"]:
        say(_ORACLE)
    say(
        f"tokens    {usage['generated_tokens']:,} generated, {usage['value_tokens']:,} for values, "
        f"{usage['prompt_tokens']:,} of prompts"
    )
    if summary.get("n_cancelled"):
        wrote = f"the engine wrote {summary['engine_tokens']:,} tokens in all"
        say(f"cancelled {summary['n_cancelled']:,} requests in flight; {wrote}")
    _show_retries(summary.get("engine") or {})
    say(f"calls     {usage['calls']:,} for {usage['nodes']:,} nodes")
    if summary["tokens_per_second"] is not None:
        say(f"speed     {summary['tokens_per_second']:,.0f} tokens/s in {summary['seconds']:,.1f} s")
    if summary["run"] is not None:
        say(f"run       {summary['run']}")


def _show_retries(engine: Mapping[str, int]) -> None:
    """What attempts cost that an engine had to make again, where there are such."""
    if engine.get("retries"):
        known = engine["failed_tokens"] + engine["failed_prompt_tokens"]
        unknown = f"; {engine['unmetered']:,} did not say what they cost" if engine["unmetered"] else ""
        say(
            f"retries   {engine['retries']:,} attempts made again; failed ones cost {known:,} tokens{unknown}"
        )


def show_failures(rows: Sequence[dict[str, Any]]) -> None:
    """The problems that ended with an error, the first of them by name; on standard error."""
    failed = [row for row in rows if row.get("error")]
    for row in failed[:_SHOWN_FAILURES]:
        tell(f"failed: {row['id']}: {one_line(row['error'], 200)}")
    if len(failed) > _SHOWN_FAILURES:
        tell(f"failed: {len(failed) - _SHOWN_FAILURES} more; `search show RUN` lists them")
