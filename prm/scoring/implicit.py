"""Step scores from the log-ratio of a model to its reference: implicit rewards and step-level Q-values.

    r(step) = beta * sum over the step's tokens of log pi(y_i | y_<i) - log pi_ref(y_i | y_<i)
    q_t     = r(step 1) + ... + r(step t)

Contract: that of `prm.scoring.base`, over two models with one tokenizer (`prm.scoring.logprobs`). With
`cumulative` the score of step t is q_t, else r(step t); steps tile the tokens behind the prompt, so the
steps' sum is the whole solution's log-ratio, and a model that is its own reference scores exactly 0
everywhere. Scores are unbounded unless the convention's activation says otherwise (`sigmoid`: the
probability that the cross-entropy loss trains). `score_ids` takes a policy's ids, as they are: an
end-of-text token counts.

`tokens` are those of both models. In this process a path that extends one scored before has its new tokens
run alone; over vLLM each request reads the whole path with both. A model that is its own reference (the same
object) is asked once; `readers` is 1 then, else 2. `max_context` is the smaller of the two contexts.

Sources: Yuan et al. (arXiv 2412.01981), equation 3; Zhai et al., step-level Q-values (arXiv 2409.09345),
where r of the last step ranks siblings. Deviation from the code of the latter: the log-probs are those of
each model, not a softmax of a difference of logits, and they are summed, not averaged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prm.checkpoint import Calibration, Card, sigmoid
from prm.conventions.base import Activation, Convention, LogRatio
from prm.conventions.bound import Bound, bind
from prm.scoring.base import StepScores
from tasks.errors import UsageError

if TYPE_CHECKING:
    from prm.registry import ScorerSettings
    from prm.scoring.logprobs import StepLogProbs

_STEP_Q = "step-dpo"
"""Head of `prm.training` whose pairs are continuations of one prefix, so that r of a step is its Q value."""
_PROBE = "Step 1: 12 + 7 = 19, so x is \\frac{3}{4}.\n\nStep 2: done — café.\n"


class ImplicitScorer:
    """`StepScorer` over a model and its reference; see the module. `owned` models are closed with it."""

    name = "implicit"

    def __init__(
        self,
        policy: StepLogProbs,
        reference: StepLogProbs,
        bound: Bound,
        *,
        calibration: Calibration | None = None,
        owned: bool = True,
    ) -> None:
        readout = bound.convention.readout
        if not isinstance(readout, LogRatio):
            raise UsageError(f"convention {bound.convention.name!r} is not read by a log-ratio")
        if policy.encode(_PROBE) != reference.encode(_PROBE):
            raise UsageError(
                f"{policy.model!r} and {reference.model!r} encode the same text differently; a log-ratio "
                "needs two models with one tokenizer"
            )
        self.bound, self.readout = bound, readout
        self._policy, self._reference, self._owned = policy, reference, owned
        self._asked = [policy] if policy is reference else [policy, reference]
        self.readers = len(self._asked)
        self._calibration = calibration
        self.max_context = min(policy.max_context, reference.max_context)

    def sizes(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Tokens of the head and of each step, as each of the `readers` reads them."""
        rendered = self.bound.render(question, steps)
        return (rendered.head, *(end - start for start, end in rendered.spans))

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution; `UsageError` for no steps, `EngineError` where a model fails."""
        rendered = self.bound.render(question, steps)
        ids = rendered.ids
        return await self.score_ids(ids[: rendered.head], [ids[start:end] for start, end in rendered.spans])

    async def score_ids(self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]) -> StepScores:
        """Score steps given as ids behind a prompt's ids; see the module."""
        if not steps_ids or not prompt_ids:
            raise UsageError(
                f"score_ids needs a prompt and steps, got {len(prompt_ids)} ids and {len(steps_ids)} steps"
            )
        replies = await asyncio.gather(*(model.sums(prompt_ids, steps_ids) for model in self._asked))
        scores, total = list[float](), 0.0
        for ours, theirs in zip(replies[0][0], replies[-1][0], strict=True):
            reward = self.readout.beta * (ours - theirs)
            total += reward
            scores.append(self._activated(total if self.readout.cumulative else reward))
        return StepScores(tuple(scores), sum(tokens for _, tokens in replies))

    async def close(self) -> None:
        """Free both models."""
        if self._owned:
            await asyncio.gather(self._policy.close(), self._reference.close())

    def _activated(self, value: float) -> float:
        score = sigmoid(value) if self.bound.convention.activation is Activation.SIGMOID else value
        return score if self._calibration is None else self._calibration(score)


def open_implicit(
    name: str, convention: Convention, settings: ScorerSettings, *, reference: str, card: Card | None
) -> ImplicitScorer:
    """A scorer over a model and its reference; `card` is that of a folder of this toolkit's trainer.

    A card's model scores the sigmoid of q_t with the beta that it was trained with, or of r(step t), its Q
    value, where its head is step-dpo. `settings.cumulative` decides otherwise. A model that is not there is
    an error before either is loaded: `UsageError` for a folder, `MissingPrerequisiteError` for a hub id.
    """
    from transformers import AutoTokenizer

    from treesearch.engines.hf_load import model_folder

    if not reference:
        raise UsageError(
            f"{name!r} scores by a log-ratio and needs the model that it was trained from; give "
            "reference=MODEL"
        )
    beta = settings.beta
    if card is not None:
        trained = card.trained.get("beta")
        beta = beta or (float(trained) if isinstance(trained, int | float) else 0.0)
        if not beta:
            raise UsageError(f"the card of {name!r} has no trained.beta; give beta=NUMBER")
        readout = LogRatio(beta=beta, cumulative=card.trained.get("head") != _STEP_Q)
        convention = replace(convention, readout=readout, activation=Activation.SIGMOID)
    elif beta and isinstance(convention.readout, LogRatio):
        convention = replace(convention, readout=replace(convention.readout, beta=beta))
    if settings.cumulative is not None and isinstance(convention.readout, LogRatio):
        convention = replace(convention, readout=replace(convention.readout, cumulative=settings.cumulative))
    folder, other = model_folder(name), model_folder(reference)
    bound = bind(convention, AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False))
    models = [_open(model, settings) for model in ((name,) if folder == other else (name, reference))]
    return ImplicitScorer(
        models[0], models[-1], bound, calibration=None if card is None else card.calibration
    )


def _open(model: str, settings: ScorerSettings) -> StepLogProbs:
    """The summed log-probs of a model, with the back end that the settings name."""
    from prm.scoring.generative import open_engine
    from prm.scoring.logprobs import EngineLogProbs, TreeLogProbs

    if settings.backend == "vllm":
        return EngineLogProbs(open_engine(model, settings))
    return TreeLogProbs.open(model, options=settings.options)
