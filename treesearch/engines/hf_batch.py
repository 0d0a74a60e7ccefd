"""The running batch: samples being written, one row of the model's batch each.

Contract: `admit` takes samples of requests into free rows: each prompt is run once, less what the prefix
store holds, and its keys and values are copied to the request's other rows. Its last token is not run
there; it is a row's first input to `step`, which writes one token for every row and takes finished rows out
at once. Rows join and leave between steps; a row's tokens depend on its own state alone.
Samples without replacement are the exception: a request's rows are its beams (`hf_distinct`) and leave
together.

It does not queue, wait or deliver, and runs in one thread. After an exception call `reset`, which loses the
rows but nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from treesearch.engines.base import FinishReason, Sample
from treesearch.engines.hf_decoder import Decoder
from treesearch.engines.hf_prefix import PrefixStore, chain
from treesearch.engines.hf_rows import Rows, SampleRequest
from treesearch.engines.hf_sampling import sample_tokens
from treesearch.engines.hf_stops import END, MAYBE, PLAIN, STOP, StopTables

_PREFILL_TOKENS = 4096
"""Most tokens of prompts in one forward pass, padding included; a longer prompt runs alone."""
_PREFILL_WASTE = 1.5
"""Prompts run together while the longest is at most this many times the shortest, plus 16 tokens."""


@dataclass(eq=False, kw_only=True)
class _Leader:
    """The row that runs a request's prompt: it holds the first `held` tokens already."""

    request: SampleRequest
    numbers: range
    row: int = 0
    held: int = 0

    @property
    def missing(self) -> tuple[int, ...]:
        """Tokens of the prompt's body still to run."""
        return self.request.body[self.held :]


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What a step writes, an entry a row."""

    tokens: npt.NDArray[np.int64]
    logprobs: npt.NDArray[np.float32]
    certainties: npt.NDArray[np.float32] | None


class Batch:
    """At most `max_rows` rows over a decoder. `text` decodes the ids of a sample."""

    def __init__(
        self,
        decoder: Decoder,
        stops: StopTables,
        prefixes: PrefixStore,
        *,
        max_rows: int,
        max_context: int,
        text: Callable[[Sequence[int]], str],
    ) -> None:
        self.max_rows = max_rows
        self._max_context = max_context
        self._decoder = decoder
        self._stops = stops
        self._prefixes = prefixes
        self._text = text
        self._rows = Rows(max_rows=max_rows, vocabulary=decoder.vocabulary, device=decoder.device)

    def __len__(self) -> int:
        """Rows in use."""
        return self._rows.count

    @property
    def requests(self) -> list[SampleRequest]:
        """The requests that have a row, each once."""
        return list(dict.fromkeys(request for request, _ in self._rows.owners))

    def admit(self, joining: Sequence[tuple[SampleRequest, int]]) -> None:
        """Take the next `count` samples of each request in; there must be room for all of them."""
        start = self._rows.count
        leaders = [
            _Leader(request=request, numbers=range(request.admitted, request.admitted + count))
            for request, count in joining
        ]
        leaders = self._run_prompts(leaders)
        followers = [(leader, number) for leader in leaders for number in leader.numbers[1:]]
        behind = range(start + len(leaders), start + len(leaders) + len(followers))
        if followers:
            self._decoder.cache.reserve(rows=behind.stop, length=1)
            self._decoder.cache.copy_rows(
                source=[leader.row for leader, _ in followers],
                target=behind,
                length=max(len(leader.request.body) for leader, _ in followers),
            )
        for leader, number in (*((leader, leader.numbers[0]) for leader in leaders), *followers):
            params = leader.request.params
            table = self._stops.number(params.stop, params.stop_token_ids)
            self._rows.place(leader.request, number, table=table)
        for leader in leaders:
            leader.request.admitted = leader.numbers.stop

    def step(self) -> tuple[list[SampleRequest], int]:
        """One token for every row; the requests that this completes, and the tokens written."""
        rows = self._rows
        logits = self._decoder.decode(rows.used("input"), rows.used("held"))
        uniform = torch.from_numpy(rows.uniforms()).to(logits.device)
        tokens, logprobs, certainties = sample_tokens(logits, rows.plan(), uniform)
        step = _Step(
            tokens=tokens.cpu().numpy(),
            logprobs=logprobs.cpu().numpy(),
            certainties=None if certainties is None else certainties.cpu().numpy(),
        )
        idle = self._advance_beams(logits, step)
        rows.record(step.tokens, step.logprobs, step.certainties)
        codes = self._stops.classify(rows.used("table"), step.tokens)
        flagged = np.flatnonzero((codes != PLAIN) | (rows.used("made") >= rows.used("limit")))
        finished: dict[int, FinishReason] = {}
        for row in flagged.tolist():
            reason = None if row in idle else self._reason(row, int(codes[row]))
            if reason is not None:
                finished[row] = reason
        return self._finish(finished), len(step.tokens) - len(idle)

    def drop(self, requests: Sequence[SampleRequest]) -> None:
        """Take the rows of these requests out; what they have written is lost."""
        gone = set(requests)
        self._leave([row for row, (owner, _) in enumerate(self._rows.owners) if owner in gone])

    def reset(self) -> None:
        """Forget all rows, keys and values."""
        self._rows.close_gaps(range(self._rows.count))
        self._prefixes.clear()
        self._decoder.cache.clear()

    def _reason(self, row: int, code: int) -> FinishReason | None:
        """Why a row ends with its last token, None where it goes on."""
        if code == END:
            return FinishReason.END
        if code == STOP:
            return FinishReason.STOP
        if code == MAYBE and self._stops.completed(
            int(self._rows.state["table"][row]), self._rows.tokens(row)
        ):
            return FinishReason.STOP
        return (
            FinishReason.LENGTH if self._rows.state["made"][row] >= self._rows.state["limit"][row] else None
        )

    def _advance_beams(self, logits: torch.Tensor, step: _Step) -> set[int]:
        """Put the next tokens of beams into `step`, each in its row; the rows without a beam.

        A row that takes over another's beam gets its keys and values, all of them the same length.
        """
        idle: set[int] = set()
        for request, rows in self._rows.beams().items():
            assert request.beams is not None
            moves = request.beams.advance(logits[[rows[slot] for slot in request.beams.slots]])
            changed = [(rows[move.source], rows[move.slot]) for move in moves if move.source != move.slot]
            if changed:
                source, target = (list(part) for part in zip(*changed, strict=True))
                length = int(self._rows.state["held"][source[0]]) + 1
                self._decoder.cache.copy_rows(source=source, target=target, length=length)
                self._rows.copy(source=source, target=target)
                if step.certainties is not None:
                    step.certainties[target] = step.certainties[source]
            for move in moves:
                step.tokens[rows[move.slot]] = move.token
                step.logprobs[rows[move.slot]] = move.logprob
            idle |= set(rows.values()) - {rows[move.slot] for move in moves}
        return idle

    def _finish(self, finished: dict[int, FinishReason]) -> list[SampleRequest]:
        """Take finished rows out, give their samples to the requests, keep what may be asked again."""
        complete: dict[SampleRequest, None] = {}
        leaving: list[int] = []
        for row, reason in finished.items():
            request, number = self._rows.owners[row]
            sample = self._rows.sample(row, reason, self._text)
            self._keep(row, sample)
            if request.beams is None:
                request.samples[number] = sample
                leaving.append(row)
            else:
                request.beams.finish(number, sample)
            if request.complete:
                complete[request] = None
        for request in complete:
            if request.beams is not None:
                request.samples.update(enumerate(request.beams.samples()))
                leaving += self._rows.beams()[request].values()
        self._leave(leaving)
        return list(complete)

    def _keep(self, row: int, sample: Sample) -> None:
        """Put a row's keys and values into the prefix store, unless the text is at its end."""
        request, _ = self._rows.owners[row]
        held = int(self._rows.state["held"][row])
        if not self._prefixes.on or sample.finish is FinishReason.END or held + 2 > self._max_context:
            return
        token_ids = (*request.prompt, *sample.token_ids[:-1])
        hashes = chain(token_ids)
        if not self._prefixes.has(hashes[-1]):
            state = self._decoder.cache.snapshot(row, held)
            self._prefixes.put(token_ids, hashes, state, ends=(len(request.body), held))

    def _leave(self, leaving: Sequence[int]) -> None:
        """Remove rows and let the keys and values follow."""
        if not leaving:
            return
        moves = self._rows.close_gaps(leaving)
        if moves:
            length = max(int(self._rows.state["held"][target]) for _, target in moves)
            self._decoder.cache.copy_rows(
                source=[source for source, _ in moves], target=[target for _, target in moves], length=length
            )

    def _run_prompts(self, leaders: Sequence[_Leader]) -> list[_Leader]:
        """Put the leaders' prompts into the next rows; the leaders in the order of their rows."""
        states = [self._held_state(leader) for leader in leaders]
        order = sorted(range(len(leaders)), key=lambda i: (leaders[i].held > 0, len(leaders[i].missing)))
        placed = [leaders[i] for i in order]
        start = self._rows.count
        self._decoder.cache.reserve(
            rows=start + len(placed), length=max(len(leader.request.body) + 1 for leader in placed)
        )
        for row, i in enumerate(order, start=start):
            leaders[i].row = row
            state = states[i]
            if state is not None:
                self._decoder.cache.restore(row, state, leaders[i].held)
        for group in _groups(placed):
            parts = [leader.missing for leader in group]
            if group[0].held:
                self._decoder.extend(group[0].row, parts, [leader.held for leader in group])
            else:
                self._decoder.prefill(group[0].row, parts)
        return placed

    def _held_state(self, leader: _Leader) -> list[torch.Tensor] | None:
        """Keys and values that are at hand for a leader's prompt; notes in the leader how many tokens."""
        request = leader.request
        if not request.body:
            return None
        if request.admitted:
            for row, (owner, _) in enumerate(self._rows.owners):
                if owner is request:
                    leader.held = len(request.body)
                    return self._decoder.cache.snapshot(row, leader.held)
        if not self._prefixes.on:
            return None
        found = self._prefixes.find(request.body, chain(request.body))
        if found is None:
            return None
        leader.held = found.length
        return found.state


def _groups(leaders: Sequence[_Leader]) -> Iterator[list[_Leader]]:
    """Runs of neighbours that go through the model together: alike in having a beginning and in length."""
    group: list[_Leader] = []
    for leader in leaders:
        if not leader.missing:
            continue
        if group:
            shortest, size = len(group[0].missing), len(leader.missing)
            fits = (
                bool(group[0].held) == bool(leader.held)
                and size <= _PREFILL_WASTE * shortest + 16
                and size * (len(group) + 1) <= _PREFILL_TOKENS
            )
            if not fits:
                yield group
                group = []
        group.append(leader)
    if group:
        yield group
