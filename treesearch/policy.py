"""The policy: an engine and a format that together propose steps for a path.

`propose` asks for `n` next steps of a path as one engine request; `complete` asks for `n` whole solutions
from a path, split into steps afterwards at token boundaries. A step that ended the text carries the answer
that the task found in the whole solution. Nothing here reads or changes a tree or counts a budget: the
caller passes `max_tokens` that fit, and takes the usage from the reply.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tasks.base import Problem, Task
from tasks.errors import UsageError
from treesearch.engines.base import Engine, FinishReason, Sample, SamplingParams, Tokenizer, tokens_each
from treesearch.events import DIGITS, Step, rounded
from treesearch.formats import Format, delimiter


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """How steps are sampled.

    `step_tokens` caps one step, `solution_tokens` a whole solution. `temperature` and `top_p` are those of
    sampling; greedy roll-outs override them. `delimiter` is a name of `treesearch.formats.delimiter`.
    `format` is `auto` (the model's chat template if it has one), `plain` or `chat`; `template` is the text of
    the plain format. `certainty` asks the engine for self-certainty. `distinct` samples the steps of an
    expansion without replacement, so that no two are equal; whole solutions and roll-outs stay independent.
    """

    step_tokens: int = 192
    solution_tokens: int = 1024
    temperature: float = 0.8
    top_p: float = 1.0
    top_k: int = 0
    delimiter: str = "line"
    format: str = "auto"
    template: str = "{question}\n"
    system: str | None = None
    certainty: bool = False
    distinct: bool = False

    def __post_init__(self) -> None:
        delimiter(self.delimiter)
        for name in ("step_tokens", "solution_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"policy.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise UsageError(
                "policy.temperature must be at least 0 and finite, top_p in (0, 1] and top_k at least 0; got "
                f"{self.temperature}, {self.top_p}, {self.top_k}"
            )
        if self.distinct and not self.temperature:
            raise UsageError("policy.distinct needs a policy.temperature above 0: greedy steps are all equal")
        if self.format not in ("auto", "plain", "chat"):
            raise UsageError(f"policy.format must be auto, plain or chat, got {self.format!r}")
        if "{question}" not in self.template:
            raise UsageError(f"policy.template must contain {{question}}, got {self.template!r}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What one engine request brought: one chain of steps a sample, and the tokens it took."""

    chains: tuple[tuple[Step, ...], ...]
    prompt_tokens: int
    generated_tokens: int


@dataclass(kw_only=True)
class Policy:
    """Proposes steps with `engine` for problems of `task`."""

    engine: Engine
    task: Task
    config: PolicyConfig = field(default_factory=PolicyConfig)

    def __post_init__(self) -> None:
        self._stop = delimiter(self.config.delimiter)
        self._format = Format(
            name=self.config.format,  # pyright: ignore[reportArgumentType] - checked by PolicyConfig
            template=self.config.template,
            system=self.config.system,
        )
        self._prompts: dict[tuple[str, str], tuple[int, ...]] = {}

    def prompt_ids(self, problem: Problem, path: Sequence[Step] = ()) -> list[int]:
        """Token ids of the question and of the path's steps."""
        key = (problem.id, problem.question)
        if key not in self._prompts:
            self._prompts[key] = tuple(self._format.prompt_ids(problem, self.task, self.engine.tokenizer))
        ids = list(self._prompts[key])
        for step in path:
            ids.extend(step.token_ids)
        return ids

    def room(self, path: Sequence[Step], *, whole: bool) -> int:
        """Most tokens that the next step, or with `whole` the rest of the solution, may take."""
        left = self.config.solution_tokens - sum(len(step.token_ids) for step in path)
        step = min(self._stop.tokens or self.config.step_tokens, self.config.step_tokens)
        return max(0, left if whole else min(left, step))

    @property
    def price(self) -> int:
        """Tokens of the budget that writing one token takes (`treesearch.engines.base.tokens_each`)."""
        return tokens_each(self.engine)

    async def propose(
        self, problem: Problem, path: Sequence[Step], n: int, *, max_tokens: int, seed: int
    ) -> Reply:
        """`n` next steps of `path` in one request (`distinct`: at most), each at most `max_tokens` tokens."""
        ids = self.prompt_ids(problem, path)
        params = replace(self._params(max_tokens, seed, stop=self._stop.stop), distinct=self.config.distinct)
        samples = await self.engine.sample(ids, n, params)
        prefix = "".join(step.text for step in path)
        chains = tuple((self._step(sample, prefix),) for sample in samples)
        return _reply(chains, ids, samples)

    async def complete(
        self,
        problem: Problem,
        path: Sequence[Step],
        n: int,
        *,
        max_tokens: int,
        seed: int,
        temperature: float | None = None,
    ) -> Reply:
        """`n` solutions that start with `path`, in one request, each at most `max_tokens` tokens more."""
        ids = self.prompt_ids(problem, path)
        params = self._params(max_tokens, seed, stop=(), temperature=temperature)
        samples = await self.engine.sample(ids, n, params)
        prefix = "".join(step.text for step in path)
        chains = tuple(self._split(sample, prefix) for sample in samples)
        return _reply(chains, ids, samples)

    def _params(
        self, max_tokens: int, seed: int, *, stop: tuple[str, ...], temperature: float | None = None
    ) -> SamplingParams:
        config = self.config
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=config.temperature if temperature is None else temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            stop=stop,
            seed=seed,
            certainty=config.certainty,
        )

    def _step(self, sample: Sample, prefix: str) -> Step:
        answer = vote = None
        if sample.finish is FinishReason.END:
            answer, vote = self._answer(prefix + sample.text)
        return _make_step(
            sample.text, sample.token_ids, sample.logprobs, sample.certainty, sample.finish, answer, vote
        )

    def _split(self, sample: Sample, prefix: str) -> tuple[Step, ...]:
        """The sample's steps: cut after the token that completes a delimiter, or every N tokens."""
        cuts = cut_points(sample.token_ids, self._stop.stop, self._stop.tokens, self.engine.tokenizer)
        answer = vote = None
        if sample.finish is FinishReason.END:
            answer, vote = self._answer(prefix + sample.text)
        steps: list[Step] = []
        for start, end, text in cuts:
            last = end == len(sample.token_ids)
            steps.append(
                _make_step(
                    text,
                    sample.token_ids[start:end],
                    sample.logprobs[start:end],
                    sample.certainty[start:end],
                    sample.finish if last else FinishReason.STOP,
                    answer if last else None,
                    vote if last else None,
                )
            )
        return tuple(steps)

    def _answer(self, solution: str) -> tuple[str | None, str | None]:
        found = self.task.extract(solution)
        return (None, None) if found is None else (found.text, self.task.canonical(found.text))


def _reply(chains: tuple[tuple[Step, ...], ...], ids: Sequence[int], samples: Sequence[Sample]) -> Reply:
    """The chains of a request for `ids`, and what it cost."""
    return Reply(
        chains,
        prompt_tokens=_billed((sample.prompt_tokens for sample in samples), len(ids)),
        generated_tokens=_billed(
            (sample.generated_tokens for sample in samples), sum(len(sample.token_ids) for sample in samples)
        ),
    )


def _billed(counts: Iterable[int | None], own: int) -> int:
    """What a request cost: the back end's own counts, else that of the ids."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else own


def cut_points(
    token_ids: Sequence[int], stops: Sequence[str], every: int, tokenizer: Tokenizer
) -> list[tuple[int, int, str]]:
    """Cut a completion into steps: (start, end, text) in tokens, tiling it exactly.

    A step ends with the token that completes one of `stops`, or after `every` tokens (0: no such limit). An
    empty completion (the model's context was full) is one empty step.
    """
    if not token_ids:
        return [(0, 0, "")]
    cuts: list[tuple[int, int, str]] = []
    start, text = 0, ""
    for end in range(1, len(token_ids) + 1):
        text = tokenizer.decode(token_ids[start:end])
        if any(stop in text for stop in stops) or (every and end - start == every):
            cuts.append((start, end, text))
            start, text = end, ""
    if start < len(token_ids):
        only_end = not text and cuts
        if only_end:  # nothing but the end-of-text token is left: it belongs to the last step
            first, _, before = cuts.pop()
            cuts.append((first, len(token_ids), before))
        else:
            cuts.append((start, len(token_ids), text))
    return cuts


def _make_step(
    text: str,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    certainty: Sequence[float],
    finish: FinishReason,
    answer: str | None,
    vote: str | None,
) -> Step:
    mean = rounded(sum(certainty) / len(certainty)) if certainty else None
    kept = tuple([round(value, DIGITS) for value in logprobs])
    return Step(text, tuple(token_ids), kept, finish, mean, answer, vote)


def normalised_logprob(steps: Sequence[Step]) -> float:
    """Mean log-probability of the tokens of `steps`, in nats (at most 0; 0 without tokens)."""
    count, total = 0, 0.0
    for step in steps:
        count += len(step.logprobs)
        total += sum(step.logprobs)
    return total / count if count else 0.0


def priors(steps: Sequence[Step]) -> list[float]:
    """Prior of each sibling: exp of its normalised log-prob, over the siblings' sum (equal if that is 0)."""
    weights = [math.exp(sum(s.logprobs) / len(s.logprobs)) if s.logprobs else 1.0 for s in steps]
    total = sum(weights)
    return [weight / total if total else 1.0 / len(weights) for weight in weights]
