"""Reports of the benches as tables for people: a title, a header and rows of text.

Contract: `tables` takes a report of `prm.evaluation.bench.run_bench` and loses detail; the report is the
result. Shares are shown in percent with one decimal, None as a dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def tables(report: Mapping[str, Any]) -> list[Table]:
    """The tables of a report, most important first."""
    return _TABLES[report.get("bench", "rewardmath")](report)


def notes(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the tables must know besides: what was left out, what the model's authors use."""
    found: list[str] = []
    entry = next((each for each in report.values() if isinstance(each, Mapping)), {})
    if left_out := report.get("left_out", cast("Mapping[str, Any]", entry).get("left_out", 0)):
        what = "problems" if report.get("bench", "rewardmath") in ("rewardmath", "best-of-n") else "solutions"
        found.append(f"{left_out} {what} left out: longer than the model's context")
    if usual := report.get("usual"):
        figure = (
            f"average F1 {_percent(usual['average_f1'])} %"
            if "average_f1" in usual
            else f"PRMScore {_percent(usual['total']['prm_score'])} %"
        )
        found.append(f"at the threshold {_number(usual['value'], 2)} of {usual['source']}: {figure}")
    if how := report.get("usual_aggregate"):
        found.append(f"the aggregate that the model's authors use: {how}")
    return found


def _rewardmath(report: Mapping[str, Any]) -> list[Table]:
    rows = [
        [name, _number(entry and entry["accuracy"]), _number(entry and entry["mrr"])]
        for name, entry in report.items()
    ]
    return [("", ("aggregate", "accuracy %", "MRR %"), rows)]


def _processbench(report: Mapping[str, Any]) -> list[Table]:
    rows = [
        [name, _percent(part["f1"]), _percent(part["acc_err"]), _percent(part["acc_cor"]), _held_out(part)]
        for name, part in report["parts"].items()
    ]
    title = f"threshold {_number(report['threshold'], 4)}, chosen on {report['chosen_on'] or 'nothing'}; "
    title += f"average F1 {_percent(report['average_f1'])}"
    outcome = [
        [name, how, _percent(entry and entry["auroc"])]
        for name, part in report["parts"].items()
        for how, entry in (part["outcome"] or {}).items()
    ]
    return [
        (title, ("part", "F1 %", "wrong %", "right %", "held out"), rows),
        ("AUROC of solutions without a wrong step", ("part", "aggregate", "AUROC %"), outcome),
    ]


def _held_out(part: Mapping[str, Any]) -> str:
    return {True: "yes", False: "no", None: "-"}[part["held_out"]]


def _prmbench(report: Mapping[str, Any]) -> list[Table]:
    entries = {"total": report["total"]} | report["kinds"]
    rows = [
        [name, str(e["n"]), _percent(e["prm_score"]), _percent(e["f1"]), _percent(e["negative_f1"])]
        for name, e in entries.items()
    ]
    rows += [[name, "", _percent(value), "", ""] for name, value in report["groups"].items()]
    title = f"threshold {_number(report['threshold'], 4)}, chosen on {report['chosen_on']}"
    return [(title, ("kind", "n", "PRMScore %", "F1 %", "negative F1 %"), rows)]


def _best_of_n(report: Mapping[str, Any]) -> list[Table]:
    base = [
        [
            str(e["n"]),
            f"{e['tokens']:,.0f}",
            _percent(e["pass"]["accuracy"]),
            _percent(e["majority"]["accuracy"]),
        ]
        for e in report["baselines"]
    ]
    rows = [
        [
            name,
            str(e["n"]),
            f"{e['tokens']:,.0f}",
            _percent(e["best"]["accuracy"]),
            _percent(e["weighted_majority"]["accuracy"]),
            _percent(e["majority_at_equal_tokens"] and e["majority_at_equal_tokens"]["accuracy"]),
        ]
        for name, entry in report["aggregates"].items()
        if entry is not None
        for e in entry["curve"]
    ]
    header = ("aggregate", "n", "tokens", "best %", "weighted majority %", "majority at equal tokens %")
    parted = [
        [name, str(e["overoptimisation"]["peak_n"]), "yes" if e["overoptimisation"]["parted"] else "no"]
        for name, e in report["aggregates"].items()
        if e is not None
    ]
    return [
        ("", ("n", "tokens", "pass %", "majority %"), base),
        ("", header, rows),
        ("over-optimisation", ("aggregate", "best n", "accuracy falls while the score rises"), parted),
    ]


def _steps(report: Mapping[str, Any]) -> list[Table]:
    depths = [("all", report["steps"])]
    depths += [(f"{e['depth']}{'+' if e['or_more'] else ''}", e) for e in report["by_depth"]]
    rows = [[name, str(e["n"]), _percent(e["auroc"]), _number(e["ece"], 3)] for name, e in depths]
    whole = [[how, _percent(entry and entry["auroc"])] for how, entry in report["solutions"].items()]
    return [
        ("steps by depth", ("depth", "n", "AUROC %", "ECE"), rows),
        ("solutions", ("aggregate", "AUROC %"), whole),
    ]


def _canaries(report: Mapping[str, Any]) -> list[Table]:
    hows = list(report["content_free"])
    rows = [
        [e["name"], str(e["n"]), str(e["refused"]), *(_percent(e["aggregates"][how]["rate"]) for how in hows)]
        for e in report["canaries"]
    ]
    title = f"% of canaries at or above {_number(report['threshold'], 4)} (should be 0)"
    return [(title, ("canary", "n", "refused", *hows), rows)]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


_TABLES = {
    "rewardmath": _rewardmath,
    "processbench": _processbench,
    "prmbench": _prmbench,
    "best-of-n": _best_of_n,
    "steps": _steps,
    "canaries": _canaries,
}
