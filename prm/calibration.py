"""Calibration: a monotone map from a model's score to a probability, fitted on problems held out from
training.

Contract: scores are in [0, 1] (the members' mean probability), labels in [0, 1]: verdicts, or shares of right
completions. Both fits give a `prm.checkpoint.Calibration`, which scoring applies, and never turn the order of
two scores around. Platt's map has two numbers and is the one for few labels; the isotonic one has no shape
but "rising", needs about a thousand labels, and its steps tie scores that were different.

`platt`: ``sigmoid(a logit(s) + b)`` with the least cross-entropy to the labels, by Newton's method with
Platt's smoothed targets (Platt 1999, section 2.2: ``(n+ + 1) / (n+ + 2)`` and ``1 / (n- + 2)``, here an equal
pull on soft labels) and a >= 0. `isotonic`: least squares among rising maps, by pooling adjacent violators
(Ayer et al. 1955; for scores: Zadrozny and Elkan 2002).

Numpy only: both are a few lines, and scikit-learn would bring scipy and joblib into every installation for
them.

It does not split data: the trainer fits on one half of the held-out problems and reports on the other.
Expected calibration error: `prm.evaluation.calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from prm.checkpoint import Calibration
from tasks.errors import DataError, unknown_name

Floats = NDArray[np.float64]

_EDGE = 1e-6
"""Scores are cut to [1e-6, 1 - 1e-6] before their logit is taken, as scoring does."""
_STEPS = 100


def fit(kind: str, scores: Sequence[float], labels: Sequence[float]) -> Calibration:
    """The calibration `kind` (platt or isotonic) of scores to labels; see the module for errors."""
    return find_fit(kind)(scores, labels)


def find_fit(kind: str) -> Callable[[Sequence[float], Sequence[float]], Calibration]:
    """The fit of that name; `UsageError` for an unknown one."""
    fits = {"platt": fit_platt, "isotonic": fit_isotonic}
    if kind not in fits:
        raise unknown_name("kind of calibration", kind, list(fits))
    return fits[kind]


def fit_platt(scores: Sequence[float], labels: Sequence[float]) -> Calibration:
    """Two numbers a >= 0 and b; `DataError` without scores, or where lengths or ranges do not fit."""
    values, targets = _checked(scores, labels)
    inner = np.clip(values, _EDGE, 1 - _EDGE)
    logits = np.log(inner / (1 - inner))
    right = float(targets.sum())
    wrong = len(targets) - right
    smooth = targets * (right + 1) / (right + 2) + (1 - targets) / (wrong + 2)
    design = np.stack((logits, np.ones_like(logits)), axis=1)
    found = _newton(design, smooth)
    if found[0] < 0:  # the scores are worse than chance: the best rising map of them is a constant
        found = np.array([0.0, _newton(design[:, 1:], smooth)[0]])
    return Calibration(kind="platt", a=float(found[0]), b=float(found[1]))


def fit_isotonic(scores: Sequence[float], labels: Sequence[float]) -> Calibration:
    """The rising map as points (x, y): two for each pooled block, at its least and its greatest score."""
    values, targets = _checked(scores, labels)
    x, place = np.unique(values, return_inverse=True)
    weight = np.bincount(place).astype(np.float64)
    mean = np.bincount(place, weights=targets) / weight
    blocks: list[tuple[float, float, int, int]] = []  # mean, weight, first and last place
    for index in range(len(x)):
        level, mass, first = float(mean[index]), float(weight[index]), index
        while blocks and blocks[-1][0] >= level:
            before, more, first, _ = blocks.pop()
            level = (before * more + level * mass) / (more + mass)
            mass += more
        blocks.append((level, mass, first, index))
    points = [
        (float(x[end]), level) for level, _, first, last in blocks for end in dict.fromkeys((first, last))
    ]
    return Calibration(kind="isotonic", x=tuple(p[0] for p in points), y=tuple(p[1] for p in points))


def _newton(design: Floats, targets: Floats) -> Floats:
    """Weights of a logistic regression by damped Newton steps: the loss falls at each of them."""
    weights = np.zeros(design.shape[1])
    if design.shape[1] == 2:
        weights[0] = 1.0
    loss = _cross_entropy(design @ weights, targets)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(design @ weights)))
        gradient = design.T @ (p - targets)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(design.shape[1])
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (new := _cross_entropy(design @ (weights - size * step), targets)) > loss and size > 1e-10:
            size /= 2
        if loss - new < 1e-12 * len(targets):
            break
        weights, loss = weights - size * step, new
    return weights


def _cross_entropy(logits: Floats, targets: Floats) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _checked(scores: Sequence[float], labels: Sequence[float]) -> tuple[Floats, Floats]:
    values, targets = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if len(values) != len(targets) or not len(values):
        raise DataError(f"a calibration needs a label for each score, got {len(values)} and {len(targets)}")
    for name, found in (("scores", values), ("labels", targets)):
        if not ((found >= 0) & (found <= 1)).all():
            raise DataError(f"{name} to calibrate on must be in [0, 1]")
    return values, targets
