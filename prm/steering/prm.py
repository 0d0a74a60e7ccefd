"""A process-reward model as a value of tokens: the score as if the step ended with each candidate.

Contract: `PRMTokenValue.open` takes `embedded` or a folder that this toolkit's trainer wrote, of the
convention `steps`, whose vocabulary is the policy's; anything else is refused. V of a row and a candidate is
the model's score read at the candidate (members combined and calibrated as `prm.scoring.reading` does). The
candidates of a row go through the model together, each at the next position and blind to the others, in one
pass with the token written before; keys and values of the rows are kept.

An end-of-text candidate is scored as the line break that the convention puts at a step's end, or, where the
row ends with one already, as the row itself: such models have never read an end-of-text token.

Deviation: unless it was trained with `token_decay`, the model was trained to be read at the ends of steps,
not at every token; how well its scores within a step rank tokens is to be measured then, not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from prm.checkpoint import is_checkpoint, read_card
from prm.conventions import bind, find
from prm.conventions.bound import Bound
from prm.conventions.steps import BREAK
from prm.heads.linear import Head
from prm.registry import EMBEDDED, ScorerSettings, embedded_folder, scorer_hash
from prm.scoring.open import load_backbone, own_head, with_head
from prm.scoring.options import ScoringOptions
from prm.scoring.reading import Reading
from prm.steering.values import Ids, TokenValue, Watch
from tasks.errors import UsageError
from treesearch.engines.base import EngineError
from treesearch.engines.hf_cache import SlotCache
from treesearch.engines.hf_load import cache_argument, context_of


class PRMTokenValue(TokenValue):
    """See the module; made by `open`, or from a backbone in evaluation mode with its head."""

    def __init__(
        self, model: Any, head: Head, bound: Bound, reading: Reading, *, model_hash: str = ""
    ) -> None:
        self.model, self.head, self.reading = model, head.to(model.device), reading
        self.model_hash = model_hash
        self.max_context = context_of(model.config)
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self.tokenizer = bound.tokens.tokenizer
        self.ends = frozenset(int(token) for token in self.tokenizer.all_special_ids)
        (self.line_break,) = bound.tokens.after(BREAK)

    @classmethod
    def open(cls, folder: str, *, options: ScoringOptions | None = None) -> PRMTokenValue:
        """Load a folder; `UsageError` where it is not a model of the convention `steps` with a head."""
        path = embedded_folder() if folder == EMBEDDED else Path(folder).expanduser()
        if not is_checkpoint(path):
            raise UsageError(
                f"engine.value must be folders that `search prm train` wrote, got {folder!r}; published "
                "models are not read at every token"
            )
        card = read_card(path)
        if card.convention != "steps" or card.head.kind == "implicit":
            raise UsageError(
                f"steering needs a model of the convention 'steps' with a head of its own, {folder!r} has "
                f"{card.convention!r} and a head of kind {card.head.kind!r}"
            )
        model, tokenizer, _ = load_backbone(str(path), options or ScoringOptions())
        convention = with_head(find(card.convention), card.head)
        bound = bind(convention, tokenizer)
        head = own_head(path, card, convention, bound.ids)
        reading = Reading(convention=convention, calibration=card.calibration)
        return cls(model, head, bound, reading, model_hash=scorer_hash(str(path), ScorerSettings()))

    def begin(self, prompt: Ids, rows: int) -> Watch:
        """Watch copies of a prompt, which goes through the model once, less its last token."""
        return _PRMWatch(self, prompt, rows)

    def reads(self, candidates: int) -> int:
        """The token written before, and the candidates."""
        return 1 + candidates

    def closed(self, token: int) -> bool:
        """Whether a row whose last token this is ends with a line break."""
        return self.tokenizer.decode([token], clean_up_tokenization_spaces=False).endswith(BREAK)


class _PRMWatch(Watch):
    """Rows of one length: `held` tokens in the cache, and the `last` one of each row, which is not yet."""

    def __init__(self, value: PRMTokenValue, prompt: Ids, rows: int) -> None:
        self._value = value
        self._check(prompt)
        self._cache = SlotCache(max_rows=rows)
        self._cached: dict[str, Any] = {cache_argument(value.model): self._cache}
        self._held = len(prompt) - 1
        self._last = [prompt[-1]] * rows
        self._cache.reserve(rows=rows, length=len(prompt))
        if self._held:
            self._cache.expect_fresh(first=0, count=1, length=self._held)
            ids = torch.tensor([prompt[:-1]], device=value.model.device)
            value.model(input_ids=ids, use_cache=True, **self._cached)
            if rows > 1:
                others = list(range(1, rows))
                self._cache.copy_rows(source=[0] * len(others), target=others, length=self._held)

    def values(self, candidates: torch.Tensor) -> torch.Tensor:
        """One pass over the last token and the candidates of every row; see the module."""
        rows, width = candidates.shape
        asked: list[list[int]] = candidates.tolist()
        self._check([token for row in asked for token in row])
        value, device = self._value, candidates.device
        shown = [[value.line_break if token in value.ends else token for token in row] for row in asked]
        tokens = torch.tensor(
            [[last, *row] for last, row in zip(self._last, shown, strict=True)], device=device
        )
        hidden = self._forward(tokens)
        numbers: list[list[float]] = value.head(hidden.flatten(0, 1)).tolist()
        scores = [value.reading.score(value.reading.members(each)) for each in numbers]
        found = torch.tensor(scores, dtype=torch.float64, device=device).reshape(rows, width + 1)
        ended = torch.tensor(
            [
                [value.closed(last) and token in value.ends for token in row]
                for last, row in zip(self._last, asked, strict=True)
            ],
            device=device,
        )
        return torch.where(ended, found[:, :1], found[:, 1:])

    def write(self, tokens: Sequence[int]) -> None:
        self._held += 1
        self._last = list(tokens)

    def keep(self, rows: Sequence[int]) -> None:
        self._last = [self._last[row] for row in rows]
        self._cache.copy_rows(source=rows, target=range(len(rows)), length=self._held)

    def _forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states [rows, 1 + k, size]: all attend to the row, candidates to themselves besides."""
        (rows, width), device, model = tokens.shape, tokens.device, self._value.model
        span = self._held + width
        self._cache.reserve(rows=rows, length=span)
        slots = self._held + torch.arange(width, device=device)
        self._cache.expect_more(first=0, span=span, positions=slots.expand(rows, width))
        positions = self._held + (torch.arange(width, device=device) > 0).long()
        keys = torch.arange(span, device=device)
        seen = (keys <= self._held) | (keys == slots[:, None])
        mask = torch.zeros((rows, 1, width, span), dtype=model.dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(model.dtype).min)
        return model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions.expand(rows, width),
            use_cache=True,
            **self._cached,
        ).last_hidden_state

    def _check(self, tokens: Sequence[int]) -> None:
        if max(tokens) >= self._value.vocabulary:
            raise EngineError(
                f"token id {max(tokens)} is outside the value model's vocabulary of "
                f"{self._value.vocabulary}; steer with a model of the policy's own tokenizer"
            )
