"""Step scores from a model that writes about steps: GenPRM, ThinkPRM.

Contract: that of `prm.scoring.base`, over any `Engine`. For each step the model writes `samples` analyses,
each up to its stop; behind each the verdict's place is put, and the score of the sample is
p(positive) / (p(positive) + p(negative)) of the two words there, the mean log-prob of a word of several
tokens. The score of the step is the mean of its samples. What was asked before (the same question and steps)
is remembered, `_KEPT` steps of it, so that a path that grows asks for its new step alone; the seed of a step
follows from its text, so that a repeated score is the same.

The prompt is the engine's chat template around question, steps and earlier analyses, which stay text: a
control token spelled in one of them neither ends its turn nor begins another.

`tokens` are those that the model wrote and read for this request; `written` and `prompted` tell them apart
for each step, remembered or not. A verdict is read by two prompts of its own, and its words count as written.
The convention's module names sources and deviations; nothing that the model writes is run.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from prm.conventions.base import Convention, Verdict
from prm.conventions.templates import Judged
from prm.conventions.tokens import Tokens
from prm.scoring.base import NoRoomError, StepScores
from tasks.errors import UsageError
from treesearch.engines.base import Engine, Sample, SamplingParams
from treesearch.seeds import derive

if TYPE_CHECKING:
    from prm.registry import ScorerSettings

_KEPT = 4096


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """How verdicts are sampled. `max_tokens` is the most of one analysis; `temperature` 0 is greedy."""

    samples: int = 1
    max_tokens: int = 2048
    temperature: float = 0.6
    top_p: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class _Judgement:
    """What was found about one step: the answer that later steps see, a score a sample, and its tokens.

    No scores where prompt, analysis and verdict do not fit the context.
    """

    answer: str
    scores: tuple[float, ...]
    written: int
    prompted: int


class GenerativeScorer:
    """`StepScorer` over an engine; see the module. `owned` engines are closed with it."""

    name = "generative"

    def __init__(
        self,
        engine: Engine,
        convention: Convention,
        *,
        options: JudgeOptions | None = None,
        owned: bool = True,
    ) -> None:
        if not isinstance(convention.template, Judged) or not isinstance(convention.readout, Verdict):
            raise UsageError(f"convention {convention.name!r} is not that of a generative judge")
        tokenizer: Any = getattr(engine.tokenizer, "wrapped", None)
        if tokenizer is None or not tokenizer.chat_template:
            raise UsageError(
                f"{engine.model!r} has no chat template, which a generative judge is asked through"
            )
        self.convention = convention
        self.options = options or JudgeOptions()
        self._engine, self._tokens, self._owned = engine, Tokens(tokenizer), owned
        self._template, self._readout = convention.template, convention.readout
        self._words = [self._tokens.text(word) for word in (self._readout.positive, self._readout.negative)]
        self._known: OrderedDict[tuple[str, ...], _Judgement] = OrderedDict()

    @property
    def written_at_most(self) -> int:
        """The most that `StepScores.written` of a step can be."""
        return self.options.samples * (self.options.max_tokens + sum(map(len, self._words)))

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution.

        `UsageError` for no steps, `EngineError` where the model fails, `NoRoomError` for a step that does not
        fit its context.
        """
        if not steps:
            raise UsageError("no steps to score: give at least one")
        cleaned = [self.convention.splitter.clean(step) for step in steps]
        keys = [(question, *cleaned[: number + 1]) for number in range(len(cleaned))]
        spent = [0]
        if self._template.later:  # later steps see the earlier answers
            found = list[_Judgement]()
            for key in keys:
                found.append(await self._judge(key, found, spent))
                if not found[-1].scores:
                    break
        else:
            found = await asyncio.gather(*(self._judge(key, (), spent) for key in keys))
        written, prompted = tuple(each.written for each in found), tuple(each.prompted for each in found)
        for number, each in enumerate(found, start=1):
            if not each.scores:
                raise NoRoomError(
                    f"{self._engine.model!r} has a context of {self._engine.max_context} tokens, which step "
                    f"{number} of {len(keys)} does not fit with what is written about it; score a shorter "
                    "solution, or give a smaller max_tokens",
                    StepScores(scores=(), tokens=spent[0], written=written, prompted=prompted),
                )
        return StepScores(
            scores=tuple(sum(each.scores) / len(each.scores) for each in found),
            tokens=spent[0],
            members=tuple(each.scores for each in found) if self.options.samples > 1 else (),
            written=written,
            prompted=prompted,
        )

    async def close(self) -> None:
        """Free the engine."""
        if self._owned:
            await self._engine.close()

    async def _judge(
        self, key: tuple[str, ...], earlier: Sequence[_Judgement], spent: list[int]
    ) -> _Judgement:
        """The judgement of the last step of `key`, a question and its steps."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        opening = self._template.opening.replace("{n}", str(len(key) - 1))
        prompt = self._prompt(self._messages(key, earlier), opening)
        judgement = await self._written(key, prompt, opening)
        spent[0] += judgement.written + judgement.prompted
        self._known[key] = judgement
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return judgement

    async def _written(self, key: tuple[str, ...], prompt: list[int], opening: str) -> _Judgement:
        """The judgement that the model writes behind `prompt`."""
        words = sum(map(len, self._words))
        room = self._engine.max_context - len(prompt) - len(self._tokens.message(self._verdict_place)) - words
        if room < 1:
            return _Judgement(answer="", scores=(), written=0, prompted=0)
        params = SamplingParams(
            max_tokens=min(self.options.max_tokens, room),
            temperature=self.options.temperature,
            top_p=self.options.top_p,
            stop=self._template.stop,
            seed=derive(self.options.seed, "judge", *key),
        )
        samples = await self._engine.sample(prompt, self.options.samples, params)
        written = sum(len(sample.token_ids) for sample in samples)
        texts = [self._cut(sample) for sample in samples]
        ends = [[*prompt, *self._tokens.message(text + self._verdict_place)] for text in texts]
        if max(map(len, ends)) + words > self._engine.max_context:  # encoded again, text may be longer
            return _Judgement(answer="", scores=(), written=written, prompted=len(prompt))
        scores = await asyncio.gather(*map(self._verdict, ends))
        return _Judgement(
            answer=opening + texts[0] + self._ending(scores[0]),
            scores=tuple(scores),
            written=written + len(samples) * words,
            prompted=len(prompt) + len(self._words) * sum(map(len, ends)),
        )

    @property
    def _verdict_place(self) -> str:
        """What stands between an analysis and its verdict."""
        return self._template.close + self._template.verdict

    def _prompt(self, messages: Sequence[dict[str, str]], opening: str) -> list[int]:
        """Ids of the conversation and the beginning of its answer."""
        first, *frames = self._tokens.chat_frames([each["role"] for each in messages], reply=True)
        frames[-1] += opening
        ids = self._tokens.control(first)
        for message, frame in zip(messages, frames, strict=True):
            ids += [*self._tokens.message(message["content"]), *self._tokens.control(frame)]
        return ids

    def _messages(self, key: tuple[str, ...], earlier: Sequence[_Judgement]) -> list[dict[str, str]]:
        """The conversation that asks about the last step."""
        question, steps, template = key[0], key[1:], self._template
        system = [{"role": "system", "content": template.system}] if template.system else []
        numbered = [
            template.numbered.replace("{n}", str(number)).replace("{step}", step)
            for number, step in enumerate(steps, start=1)
        ]
        parts = {"{question}": question, "{step}": steps[0], "{solution}": "\n".join(numbered)}
        turns = [{"role": "user", "content": _filled(template.user, parts)}]
        for step, judged in zip(steps[1:], earlier, strict=False):
            turns.append({"role": "assistant", "content": judged.answer})
            turns.append({"role": "user", "content": _filled(template.later, {"{step}": step})})
        return system + turns

    def _cut(self, sample: Sample) -> str:
        """What the model wrote, up to the first stop string."""
        places = [at for at in (sample.text.find(stop) for stop in self._template.stop) if at >= 0]
        return sample.text[: min(places)] if places else sample.text

    def _ending(self, score: float) -> str:
        """What stands behind an analysis that later steps see."""
        word = self._readout.positive if score >= 0.5 else self._readout.negative
        return f"{self._verdict_place}{word}{self._template.after}"

    async def _verdict(self, before: Sequence[int]) -> float:
        """Probability of the positive word behind `before`, normalised over the two."""
        logprobs = await asyncio.gather(*(self._engine.logprobs(before, word) for word in self._words))
        positive, negative = (sum(each) / len(each) for each in logprobs)
        return 1 / (1 + math.exp(min(700.0, negative - positive)))


def _filled(text: str, parts: dict[str, str]) -> str:
    """`text` with each name replaced once; a name inside of a question or step stays as it is."""
    found: list[str] = []
    while text:
        places = {name: at for name in parts if (at := text.find(name)) >= 0}
        if not places:
            break
        name = min(places, key=lambda each: places[each])
        found += [text[: places[name]], parts[name]]
        text = text[places[name] + len(name) :]
    return "".join([*found, text])


def open_judge(name: str, convention: Convention, settings: ScorerSettings) -> GenerativeScorer:
    """A generative judge over an engine of the settings' back end."""
    options = JudgeOptions(
        samples=settings.samples,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
    )
    return GenerativeScorer(open_engine(name, settings), convention, options=options)


def open_engine(name: str, settings: ScorerSettings) -> Engine:
    """An engine over a causal language model, with the back end that the settings name."""
    from treesearch.registry import find

    given: dict[str, Any] = {"dtype": settings.dtype, "max_context": settings.max_context}
    if settings.backend == "vllm":
        given["args"] = settings.engine_args
    else:
        if settings.max_context:  # the engine takes the smaller of the two
            from transformers import AutoConfig

            from prm.scoring.backbone import context_within
            from treesearch.engines.hf_load import model_folder

            config = AutoConfig.from_pretrained(str(model_folder(name)), trust_remote_code=False)
            context_within(config, settings.max_context)
        options = asdict(settings.options)
        given |= {"device": options["device"], "threads": options["threads"]}
        given["prefix_cache_mb"] = options["cache_mb"]
    return find("engine", settings.backend)(name, given)
