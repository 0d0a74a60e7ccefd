"""Labelling searched sets and training a reward model on the labels: `prm.labels` and `prm.training` in one.

Contract: `train_prm` labels each run of a job into ``OUT/labels/NAME.jsonl``, writes the rows or pairs that
the head learns from beside it, and trains into ``OUT/prm``; all of these go on with what is there. Problems
whose labelling failed are an error: what is learned must not depend on a server's hiccup.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.labels.config import METHODS, LabelConfig, refuse_unused
from prm.labels.derive import RULES
from prm.labels.session import prepare_labels, run_labels
from selftrain.loop.context import StageError
from selftrain.loop.manifest import Costs
from selftrain.loop.parts import PrmJob
from selftrain.loop.watch import Watch
from tasks.errors import UsageError, unknown_name
from treesearch.settings import build
from treesearch.threads import Stop, in_thread

if TYPE_CHECKING:
    from prm.training import TrainConfig

LABELS = (
    "completions",
    "solutions",
    "searches",
    "temperature",
    "gap",
    "once",
    "judge",
    "concurrency",
    "settings",
)
"""Settings of `prm.labels.session.LabelConfig` that a run may set."""
_OUT = "prm"


def check_labels(
    labels: dict[str, Any], *, method: str, rule: str | None, learned: str | None = None
) -> None:
    """Raise `UsageError` for a method, rule or setting of labelling that there is not, or that has no use.

    `learned` is "rows" or "pairs", None where it is not known.
    """
    if method not in METHODS:
        raise unknown_name("label method", method, METHODS)
    if method == "judge" and not labels.get("judge"):
        raise UsageError("prm.method judge needs a model that judges: set prm.labels.judge")
    if rule is not None and rule not in RULES:
        raise unknown_name("label rule", rule, RULES)
    for key in labels:
        if key not in LABELS:
            raise unknown_name("setting of labelling", key, LABELS)
    files = dict.fromkeys(("rows", "pairs") if learned is None else (learned,), _OUT)
    refuse_unused(LabelConfig(out=_OUT, run=_OUT, method=method, rule=rule, **files, **labels), method)


def learned_by(config: TrainConfig) -> str:
    """What the head of a configuration learns from: "rows" or "pairs"; `UsageError` for unused settings."""
    from prm.training.heads import head_of

    return "rows" if head_of(config).data == "steps" else "pairs"


async def train_prm(job: PrmJob, out: Path, watch: Watch) -> Costs:
    """Label and train; see the module."""
    from prm.training import TrainConfig

    config = build(TrainConfig, {"seed": job.seed % 2**31} | dict(job.settings), what="prm.settings")
    learned = learned_by(config)
    costs, files = Costs(), list[Path]()
    for name, run in job.runs.items():
        summary, file = await _label(job, name, run, out, learned)
        costs += Costs(generated_tokens=summary["tokens"], calls=summary["completions"])
        files.append(file)
    rows = _read(files, learned)

    def training(stop: Stop) -> Any:
        from prm.training import train

        return train(
            rows, base=job.base, out=out / _OUT, config=config, on_progress=watch.training, stop=stop
        )

    outcome = await in_thread(training)
    if not outcome.finished:
        raise StageError(f"training of the reward model stopped before its end; resume to go on in {out}")
    return costs + Costs(trained_tokens=int(outcome.summary["tokens"]))


async def _label(job: PrmJob, name: str, run: Path, out: Path, learned: str) -> tuple[dict[str, Any], Path]:
    """The summary of labelling one run, and the file of rows or pairs."""
    folder = out / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.{learned}.jsonl"
    given: dict[str, Any] = {"method": job.method, "rule": job.rule, "seed": job.seed, **job.labels}
    given |= {"out": str(folder / f"{name}.jsonl"), "run": str(run), learned: str(file)}
    plan = prepare_labels(LabelConfig(**given))
    summary = await run_labels(plan)
    if summary["n_failed"]:
        first = next(iter(summary["failed"].items()))
        raise StageError(
            f"{summary['n_failed']} problems of {name} could not be labelled ({first[0]}: {first[1]}); "
            "resuming tries them again"
        )
    return summary, file


def _read(files: Sequence[Path], learned: str) -> list[Any]:
    from prm.training import read_pairs, read_rows

    read = read_rows if learned == "rows" else read_pairs
    found: list[Any] = [row for file in files if file.stat().st_size for row in read(file)]
    if not found:
        raise UsageError(f"the trees gave no {learned} to train a reward model on; search more, or lower gap")
    return found
