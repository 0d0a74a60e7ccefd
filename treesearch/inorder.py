"""Works in flight on one tree, settled in the order in which they were issued.

This is what makes a search with several works in flight repeatable: a plan looks at the tree (pending
visits included) and names the next work; its requests run beside those of earlier works; but its events
enter the tree only after those of every earlier work, whatever order the replies come in. Each issue and
each settlement is an event, so a tree folded from any prefix of its journal goes on exactly as the
uninterrupted search did: works in flight are asked for again with the same seeds, then planning goes on.

A plan's work is issued when its full cost fits the budget. While it does not fit and works are in flight,
the loop waits for what they give back; when nothing is in flight, the work gets what is left, and the search
ends when that is nothing, or too little to write a token with. Waiting happens inside one tree only; other
trees keep the engine busy.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from treesearch.budget import Cost, Usage
from treesearch.events import Added, Cancelled, Event, Issued, Settled, Stopped, StopReason
from treesearch.tree import Tree


@dataclass(frozen=True, slots=True)
class Work:
    """The next piece of work: expand or sample from `node`, for at most `cost`."""

    node: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a work took, and the events it leads to, computed when it is its turn to enter the tree.

    Nodes are counted from the events, not from `usage`.
    """

    usage: Usage
    events: Callable[[Tree], list[Event]]


Plan = Callable[[Tree], Work | list[Event] | StopReason | None]
"""The next work, or events that ask for no request and are committed at once; None to wait for works in
flight (nothing to do meanwhile); a reason to stop."""
Perform = Callable[[Tree, Issued], Awaitable[Outcome]]
Halt = Callable[[Tree], StopReason | None]
"""A reason to stop at once, asked for after every settlement: works in flight are cancelled."""


def _never(_: Tree) -> StopReason | None:
    """The halt of a search that waits for its works."""


async def run_in_order(
    tree: Tree, plan: Plan, perform: Perform, *, in_flight: int = 1, halt: Halt = _never
) -> StopReason:
    """Search until the plan, the budget or `halt` ends it; commits and returns the reason.

    Works that a halt cancels leave nothing in the tree but their number, so that the tree does not depend on
    how far they came: what the engine wrote for them is in the engine's own count only.

    An exception of `perform` cancels the other works and is raised; they stay issued in the tree and are
    asked for again when the search is taken up.
    """
    window: deque[tuple[Issued, Awaitable[Outcome]]] = deque()
    try:
        for issued in list(tree.in_flight.values()):
            window.append((issued, _start(perform, tree, issued, in_flight)))
        while True:
            if (halted := halt(tree)) is not None:
                if window:
                    tree.commit([Cancelled(issued.work) for issued, _ in window])
                tree.commit([Stopped(halted)])
                return halted
            reason = _fill(tree, plan, perform, window, in_flight)
            if not window:
                # Planning found nothing to do and nothing is under way.
                reason = reason or StopReason.EXHAUSTED
                tree.commit([Stopped(reason)])
                return reason
            issued, job = window.popleft()
            outcome = await job
            events = outcome.events(tree)
            added = len([event for event in events if type(event) is Added])
            tree.commit([Settled(issued.work, outcome.usage.with_nodes(added)), *events])
    finally:
        await _abandon([job for _, job in window])


async def _abandon(jobs: Sequence[Awaitable[Outcome]]) -> None:
    """Cancel what is still under way and wait until it has let go of the engine."""
    tasks = [job for job in jobs if isinstance(job, asyncio.Task)]
    for task in tasks:
        task.cancel()
    for job in jobs:
        if inspect.iscoroutine(job):
            job.close()
    await asyncio.gather(*tasks, return_exceptions=True)


def _fill(
    tree: Tree,
    plan: Plan,
    perform: Perform,
    window: deque[tuple[Issued, Awaitable[Outcome]]],
    in_flight: int,
) -> StopReason | None:
    """Issue works until the window is full; returns why nothing more can be issued, if so."""
    while len(window) < in_flight:
        if (spent := tree.meter.spent()) is not None:
            return StopReason(f"budget_{spent}")
        planned = plan(tree)
        if planned is None or isinstance(planned, StopReason):
            return planned
        if isinstance(planned, list):
            tree.commit(planned)
            continue
        cost = planned.cost
        if not tree.meter.fits(cost):
            if window:
                return None
            cost = tree.meter.most(cost)
            if cost.tokens < planned.cost.least:
                return StopReason.BUDGET_TOKENS
        issued = Issued(tree.works, planned.node, cost)
        tree.commit([issued])
        window.append((issued, _start(perform, tree, issued, in_flight)))
    return None


def _start(perform: Perform, tree: Tree, issued: Issued, in_flight: int) -> Awaitable[Outcome]:
    """A task that runs at once, or, where works go one by one, the coroutine itself: it is awaited next."""
    job = perform(tree, issued)
    return job if in_flight == 1 else asyncio.ensure_future(job)
