"""The tree, the model, and the three ways to train on its pairs that the benchmark compares.

Each trainer has `model` and `gradient()`, which adds the gradient of the mean DPO loss over the pairs. Packed
is one row for the tree, Plain a loop over pairs, Trl the loss of its DPOTrainer. All take reference log-probs
as given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from selftrain.losses import dpo
from selftrain.packing import EdgeIndex, EdgeScorer, TokenTree, backward, pack, use_tree_attention

PROMPT, LEVELS, SIBLINGS, STEP = 200, 8, 4, 60
VOCABULARY = 2048
BETA = 0.1
Pair = tuple[int, int]


def make_model() -> LlamaForCausalLM:
    """A Llama of about five million weights in float32."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def make_tree() -> TokenTree:
    """The tree; the first sibling of each level is expanded, and stands for the best."""
    generator = torch.Generator().manual_seed(1)

    def text(tokens: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (tokens,), generator=generator).tolist())

    segments, parents, expanded = [text(PROMPT)], [-1], 0
    for _ in range(LEVELS):
        first = len(segments)
        segments += [text(STEP) for _ in range(SIBLINGS)]
        parents += [expanded] * SIBLINGS
        expanded = first
    return TokenTree(segments=tuple(segments), parents=tuple(parents))


def make_pairs(kind: str) -> list[Pair]:
    """(chosen, rejected) nodes, level by level."""
    levels = [range(1 + SIBLINGS * level, 1 + SIBLINGS * (level + 1)) for level in range(LEVELS)]
    if kind == "all":
        return [pair for level in levels for pair in combinations(level, 2)]
    return [(level[0], level[-1]) for level in levels]


class Packed:
    """One row for the tree, cut down to the nodes that the pairs name."""

    def __init__(self, tree: TokenTree, pairs: list[Pair], reference: Tensor, device: str) -> None:
        self.model = make_model().to(device)
        use_tree_attention(self.model, device)
        self._scorer = EdgeScorer(self.model)
        nodes = {node for pair in pairs for node in pair}
        self._batches = [one.to(device) for one in pack([tree], wanted=[nodes])]
        index = EdgeIndex([tree])
        self._sides = [
            index.edges((0, node) for node in side).to(device) for side in zip(*pairs, strict=True)
        ]
        self._reference = reference.to(device)

    def gradient(self) -> float:
        """Add the gradient of the mean loss; returns the loss."""

        def loss(sums: Tensor) -> Tensor:
            ratios = sums - self._reference
            return dpo(ratios[self._sides[0]], ratios[self._sides[1]], beta=BETA)

        return float(backward(self._scorer, self._batches, loss))


class Plain:
    """A loop over pairs: two rows of one length each, no padding, logits only of the last step."""

    def __init__(self, tree: TokenTree, pairs: list[Pair], reference: Tensor, device: str) -> None:
        self.model = make_model().to(device)
        self._rows = [
            torch.tensor([[t for one in tree.path(node) for t in tree.segments[one]] for node in pair]).to(
                device
            )
            for pair in pairs
        ]
        self._reference = [reference[list(pair)].to(device) for pair in pairs]

    def gradient(self) -> float:
        """Add the gradient of the mean loss; returns the loss."""
        total = 0.0
        for rows, reference in zip(self._rows, self._reference, strict=True):
            logits = self.model(input_ids=rows, use_cache=False, logits_to_keep=STEP + 1).logits[:, :-1]
            found = torch.log_softmax(logits.float(), -1).gather(-1, rows[:, -STEP:, None])[..., 0].sum(-1)
            ratios = found - reference
            loss = dpo(ratios[:1], ratios[1:], beta=BETA, total=len(self._rows))
            loss.backward()
            total += float(loss.detach())
        return total


class Trl:
    """DPOTrainer's own loss on ready ids, the pairs of one level a batch, so that nothing is padded."""

    def __init__(self, tree: TokenTree, pairs: list[Pair], reference: Tensor, device: str) -> None:
        self.model = make_model()
        self._trainer = _dpo_trainer(self.model, device)
        self.model.to(device)
        rows: dict[int, list[dict[str, Any]]] = {}
        for pair in pairs:
            above = tree.path(pair[0])[:-1]
            row = {
                "prompt_ids": [token for one in above for token in tree.segments[one]],
                "chosen_ids": list(tree.segments[pair[0]]),
                "rejected_ids": list(tree.segments[pair[1]]),
                "ref_chosen_logps": float(reference[pair[0]]),
                "ref_rejected_logps": float(reference[pair[1]]),
            }
            rows.setdefault(len(above), []).append(row)
        batches = [self._trainer.data_collator(level) for level in rows.values()]
        self._batches = [{k: v.to(device) for k, v in batch.items()} for batch in batches]

    def gradient(self) -> float:
        """Add the gradient of the mean loss; returns the loss."""
        total = 0.0
        for batch in self._batches:
            loss = self._trainer.compute_loss(self.model, batch) / len(self._batches)
            loss.backward()
            total += float(loss.detach())
        return total


def _dpo_trainer(model: Any, device: str) -> Any:
    """A DPOTrainer on made-up text; its batches are not used."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = {"<s>": 0, "</s>": 1, "<pad>": 2} | {f"w{number}": number for number in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        beta=BETA,
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        report_to="none",
        bf16=False,
        use_cpu=device == "cpu",
        disable_tqdm=True,
    )
    row = {"prompt": "w3 w4", "chosen": " w5", "rejected": " w6"}
    return DPOTrainer(model=model, args=config, train_dataset=Dataset.from_list([row]), processing_class=fast)


TRAINERS: dict[str, Callable[..., Any]] = {"packed": Packed, "plain": Plain, "trl": Trl}
