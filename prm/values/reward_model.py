"""`prm`: a process-reward or Q-value model as the value of a path; `embedded`: the one that ships.

The model is opened by `prm.registry.open_scorer` when the search begins, once a process for all searches with
the same settings. It scores every step of a path; `aggregate` makes one value of them. A model that this
toolkit trained on the policy's own tokens reads the ids as the policy wrote them; any other gets the steps as
text, in the layout of its convention.

Contract: that of `treesearch.values.base`. What it counts depends on the path alone, never on what a cache
holds, so that a search repeats itself after a kill: the tokens of steps that are new are value tokens, the
question and the known steps are prompt tokens, and scoring a group of siblings is one call. What two models
read (a log-ratio) counts twice. Of models that write about a step (generative judges) what they wrote about
new steps and the verdict words are value tokens, the prompts for it prompt tokens. A path that the grant does
not cover has no value, and neither has one without text or longer than the model's context (of a model that
writes, what it wrote until it had no room is counted).

It does not calibrate (`prm.calibration` does, and the model's folder keeps it).
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from prm.aggregates import Aggregate, aggregate
from prm.registry import EMBEDDED, ScorerSettings, open_scorer, scorer_hash
from prm.scoring.base import NoRoomError, StepScorer, StepScores, convention_of
from tasks.base import Problem
from tasks.errors import UsageError, unknown_name
from treesearch.budget import Cost, Usage
from treesearch.events import Step, rounded
from treesearch.policy import Policy
from treesearch.together import together
from treesearch.values.base import Path, Score, Scores, Value

CONVENTION = "convention"
"""The aggregate that the model's convention names: its authors' usual one."""
_FINITE = (CONVENTION, *(how.value for how in Aggregate if how is not Aggregate.MEAN_LOGIT))
_MARGIN, _MARGIN_SHARE = 8, 0.5
"""Tokens that text may take beyond the policy's own, another tokenizer reading it."""

_open: dict[tuple[Any, ...], StepScorer] = {}
_opening = threading.Lock()


def _opened(name: str, settings: dict[str, Any]) -> StepScorer:
    """The model of a name and settings, opened by the first who asks; searches that begin together wait."""
    key = (name, *settings.values())
    with _opening:
        if key not in _open:
            _open[key] = open_scorer(name, settings)
        return _open[key]


@dataclass(frozen=True, kw_only=True)
class PRMValue(ScorerSettings, Value):
    """Step scores of a process-reward or Q-value model.

    `prm` is a folder or hub id; `aggregate` makes the path's value of its steps' scores, `convention` as the
    model's authors do. The other settings are those of `prm.registry.ScorerSettings`.
    """

    name: ClassVar[str] = "prm"
    prm: str = ""
    aggregate: str = CONVENTION

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aggregate not in _FINITE:
            raise unknown_name("value of value.aggregate", self.aggregate, _FINITE)
        if not self.prm:
            raise UsageError(f"the value {self.name!r} needs a model: --set value.prm=FOLDER_OR_HUB_ID")

    def oracle(self, policy: Policy) -> bool:
        """No: the model reads question and steps."""
        del policy
        return False

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """The new tokens of `n` paths, in one call."""
        return Cost(tokens=n * (policy.room(path, whole=finished) + 1), calls=1)

    async def load(self, policy: Policy) -> LoadedPRM:
        """Open the model, or take it from an earlier search of this process."""
        settings = {each.name: getattr(self, each.name) for each in fields(ScorerSettings)}
        scorer = _open.get((self.prm, *settings.values()))
        if scorer is None:
            scorer = await asyncio.to_thread(_opened, self.prm, settings)
        return LoadedPRM(settings=self, scorer=scorer, policy=policy)

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """`UsageError`: the model is not open. Algorithms get what `load` returns."""
        del policy, problem, paths, grant, seed, known
        raise UsageError(f"the value {self.name!r} holds no model yet: score with `await value.load(policy)`")


@dataclass(frozen=True, kw_only=True)
class EmbeddedPRM(PRMValue):
    """The process-reward model that ships: it reads what the embedded policy writes."""

    name: ClassVar[str] = EMBEDDED
    prm: str = EMBEDDED
    aggregate: str = Aggregate.LAST.value


@dataclass(frozen=True)
class _Job:
    """A path to be scored: what the scorer is asked, how many of its steps are known, the most it takes."""

    request: Any
    known: int
    most: Usage


class LoadedPRM(Value):
    """A `PRMValue` with its model; made by `PRMValue.load` for one policy."""

    def __init__(self, *, settings: PRMValue, scorer: StepScorer, policy: Policy) -> None:
        self.name = settings.name  # pyright: ignore[reportAttributeAccessIssue] - that of the settings
        self.settings = settings
        self.scorer: Any = scorer
        self._by_ids = reads_ids(scorer, policy)
        self._sizes = hasattr(scorer, "sizes")
        convention = convention_of(scorer)
        usual = Aggregate.LAST if convention is None else convention.aggregate
        self.aggregate = usual.value if settings.aggregate == CONVENTION else settings.aggregate
        self._readers: int = getattr(scorer, "readers", 1)
        self._writes = not self._by_ids and not self._sizes
        self._context: float = math.inf if self._writes else getattr(scorer, "max_context", math.inf)

    @property
    def model_hash(self) -> str:
        """That of `prm.registry.scorer_hash`."""
        return scorer_hash(self.settings.prm, self.settings)

    def oracle(self, policy: Policy) -> bool:
        """No: the model reads question and steps."""
        return self.settings.oracle(policy)

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """The new tokens of `n` paths, in one call; with another tokenizer, half as many more for safety."""
        room = policy.room(path, whole=finished)
        if self._by_ids:
            return Cost(tokens=n * self._readers * (room + 1), calls=1)
        if self._sizes:
            most = int(room * (1 + _MARGIN_SHARE)) + _MARGIN
            return Cost(tokens=n * self._readers * most, calls=1)
        return Cost(tokens=n * (room if finished else 1) * self.scorer.written_at_most, calls=1)

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Score the paths that the grant covers, all at once."""
        del seed
        left = grant.tokens if grant.calls else 0
        jobs: dict[int, _Job] = {}
        for index, path in enumerate(paths):
            job = self._job(policy, problem, path, known)
            if job is not None and job.most.value_tokens <= left:
                left -= job.most.value_tokens
                jobs[index] = job
        replies = await together([self._ask(job.request) for job in jobs.values()])
        values = dict(zip(jobs, replies, strict=True))
        usage = Usage(calls=1) if jobs else Usage()
        for job, reply in zip(jobs.values(), replies, strict=True):
            usage = usage + self._used(job, reply)
        return Scores(tuple(self._value(values.get(index)) for index in range(len(paths))), usage)

    def _job(self, policy: Policy, problem: Problem, path: Path, known: int) -> _Job | None:
        """What scoring a path is; None for one without text or longer than the model's context."""
        request = self._request(policy, problem, path)
        if request is None:
            return None
        known = sum(bool(step.text.strip()) for step in path[:known])
        if self._writes:
            most = (len(request[1]) - known) * self.scorer.written_at_most
            return _Job(request, known, Usage(value_tokens=most))
        first, *sizes = self._read(request)
        new, before = sum(sizes[known:]), first + sum(sizes[:known])
        if new + before > self._context:
            return None
        return _Job(
            request, known, Usage(value_tokens=self._readers * new, prompt_tokens=self._readers * before)
        )

    def _used(self, job: _Job, reply: StepScores) -> Usage:
        """What a job took: reading takes what was counted before, writing what was written."""
        if not self._writes:
            return job.most
        written, prompted = reply.written[job.known :], reply.prompted[job.known :]
        return Usage(value_tokens=sum(written), prompt_tokens=sum(prompted))

    def _request(self, policy: Policy, problem: Problem, path: Path) -> Any:
        """What the scorer is asked: ids of prompt and steps, or question and texts; None for no text."""
        steps = [step for step in path if step.text.strip()]
        if not steps:
            return None
        if self._by_ids:
            return tuple(policy.prompt_ids(problem)), tuple(step.token_ids for step in steps)
        return problem.question, tuple(step.text for step in steps)

    def _read(self, request: Any) -> Sequence[int]:
        """Tokens of the head and of each step, for one model."""
        head, steps = request
        if self._by_ids:
            return [len(head), *(len(ids) + 1 for ids in steps)]  # with the line break that a step may lack
        return self.scorer.sizes(head, steps)

    async def _ask(self, request: Any) -> StepScores:
        head, steps = request
        if self._by_ids:
            return await self.scorer.score_ids(head, steps)
        try:
            return await self.scorer.score(head, steps)
        except NoRoomError as error:
            return error.spent

    def _value(self, reply: StepScores | None) -> Score:
        if reply is None or not reply.scores:
            return Score(None)
        return Score(rounded(aggregate(reply.scores, self.aggregate)))


def reads_ids(scorer: Any, policy: Policy) -> bool:
    """Whether a scorer reads the ids that the policy writes: same vocabulary, same layout of a question."""
    bound = getattr(scorer, "bound", None)
    own: Any = getattr(policy.engine.tokenizer, "vocabulary", None)
    if bound is None or own is None or bound.convention.name != "steps":
        return False
    probe = Problem(id="", question="How much is 1 + 1?", task=policy.task.name)
    rendered = bound.render(probe.question, ["2"])
    return own() == bound.tokens.tokenizer.get_vocab() and (
        policy.prompt_ids(probe) == list(rendered.ids[: rendered.head])
    )
