"""Samples without replacement: the beams of one request, advanced together by one token at a time.

Contract: `n` draws from the sampling distribution (temperature, top-k and top-p applied token by token), none
twice, by stochastic beam search (Kool, van Hoof, Welling 2019, arXiv 1903.06059): the n completions of
greatest Gumbel-perturbed log-probability are such draws, in that order, and a prefix has the greatest
perturbed log-probability of its completions, so that a beam of n prefixes finds them all. Where the
distribution has fewer completions than n, so has the reply.

A beam sits in a slot, 0 .. n - 1, and all beams are equally long. `advance` takes the slots' logits and says
which slot holds which beam next; a beam that ends is handed to `finish` and competes on with those that are
written, so that it is a sample only once no beam is left. Noise comes from a generator of the request's seed
and the place of the token: the batch does not matter.

Tensors are of [beams, vocabulary]; no model, cache or row is known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from treesearch.engines.base import Sample, SamplingParams
from treesearch.engines.hf_sampling import kept, stream_key

_NONE = float("-inf")


@dataclass(frozen=True, slots=True)
class Move:
    """The beam in slot `source` goes on with `token` in slot `slot`; `logprob` is that at temperature 1."""

    slot: int
    source: int
    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class _Beam:
    """Log-probability of a prefix under the sampling distribution, and that perturbed."""

    logprob: float
    perturbed: float


class Beams:
    """The beams of a request for `n` different samples; one of them at the start, in slot 0."""

    def __init__(self, n: int, params: SamplingParams) -> None:
        self.n = n
        self.written = 0
        """Tokens of all beams so far, those that were given up included."""
        self._params = params
        self._made = 0
        self._live: dict[int, _Beam] = {0: _Beam(0.0, 0.0)}
        self._ended: list[tuple[float, Sample]] = []
        """Perturbed log-probabilities, falling, and what has them."""

    @property
    def slots(self) -> list[int]:
        """Slots of the beams that are being written, the most likely to stay first."""
        return sorted(self._live, key=lambda slot: -self._live[slot].perturbed)

    def advance(self, logits: torch.Tensor) -> list[Move]:
        """The next beams, from the logits [beams, vocabulary] of `slots` in their order."""
        slots = self.slots
        logp = torch.log_softmax(logits.float(), dim=-1)
        perturbed, sums = self._perturbed(slots, logp)
        best, places = perturbed.flatten().topk(min(self.n, perturbed.numel()))
        room = self._room(best.tolist())
        chosen = places[:room]
        sources = [slots[place // logp.shape[1]] for place in chosen.tolist()]
        found = zip(
            sources,
            (chosen % logp.shape[1]).tolist(),
            best[:room].tolist(),
            sums.flatten()[chosen].tolist(),
            logp.flatten()[chosen].tolist(),
            strict=True,
        )
        moves, beams = list[Move](), dict[int, _Beam]()
        free = iter(sorted(set(range(self.n)).difference(sources)))
        for source, token, score, total, logprob in found:
            slot = source if source not in beams else next(free)
            beams[slot] = _Beam(total, score)
            moves.append(Move(slot, source, token, logprob))
        if not moves:
            raise ValueError("the model's logits are not numbers")
        self._live = beams
        self._made += 1
        self.written += len(moves)
        return moves

    def finish(self, slot: int, sample: Sample) -> None:
        """The beam in `slot` has ended with its last token, as `sample`."""
        self._ended.append((self._live.pop(slot).perturbed, sample))
        self._ended.sort(key=lambda one: -one[0])

    @property
    def complete(self) -> bool:
        """Whether no beam is left that could still become a sample."""
        return not self._live

    def samples(self) -> list[Sample]:
        """The samples in the order of drawing; the first says what the request took."""
        first, *others = [sample for _, sample in self._ended]
        return [replace(first, generated_tokens=self.written), *others]

    def _room(self, best: list[float]) -> int:
        """How many of the scores `best`, falling, are among the n best with the ended beams'; drops of those
        what is not."""
        room = 0
        while room < len(best) and best[room] > _NONE:
            ahead = sum(score >= best[room] for score, _ in self._ended)
            if room + ahead >= self.n:
                break
            room += 1
        del self._ended[self.n - room :]
        return room

    def _perturbed(self, slots: list[int], logp: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Perturbed and plain log-probabilities [beams, vocabulary] of all ways to go on.

        The noise of a beam's children is drawn under the condition that the largest perturbed one is the
        beam's own (Kool et al., appendix B.3).
        """

        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64, device=logp.device)[:, None]

        params, beams = self._params, [self._live[slot] for slot in slots]
        scaled = torch.log_softmax(kept(logp / params.temperature, params.top_k, params.top_p), dim=-1)
        sums = column([beam.logprob for beam in beams]) + scaled.double()
        generator = torch.Generator(logp.device)
        generator.manual_seed(stream_key(params.seed, self._made) >> 1)
        exponential = torch.empty_like(sums).exponential_(generator=generator)
        free = sums - exponential.log()
        parent = column([beam.perturbed for beam in beams])
        gap = free - free.max(dim=-1, keepdim=True).values
        shift = parent - free + torch.log1p(-gap.exp())
        perturbed = parent - shift.clamp_min(0) - torch.log1p(torch.exp(-shift.abs()))
        return torch.where(scaled == _NONE, _NONE, perturbed), sums
