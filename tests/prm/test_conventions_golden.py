"""Each convention against a plain re-computation of what its published code does, on a tiny random model.

The re-computation tokenises the whole text at once, finds positions by tag, and runs the model on the whole
sequence without any cache. Ids are derived from the tiny tokenizer and given as the expected ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from prm_models import (
    CHATML,
    HIDDEN,
    LLAMA3,
    QUESTION,
    STEPS,
    add_head,
    byte_level,
    random,
    sentence_pieces,
    write_causal,
)
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from prm.conventions import bind, find
from prm.scoring.open import open_published
from prm.scoring.options import ScoringOptions

TOLERANCE = 1e-5
OPTIONS = ScoringOptions(device="cpu", dtype="float32", threads=1)


@dataclass
class Plainly:
    """A model run on whole sequences: its last hidden states and logits, and the folder's tensors."""

    folder: Path
    tensors: dict[str, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        self.tensors = {}
        for file in self.folder.glob("*.safetensors"):
            self.tensors |= load_file(str(file))

    @torch.no_grad()
    def hidden(self, ids: Sequence[int]) -> torch.Tensor:
        return self.model.model(torch.tensor([list(ids)])).last_hidden_state[0]

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        return self.model(torch.tensor([list(ids)])).logits[0]

    def linear(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        out = hidden @ self.tensors[f"{name}.weight"].T
        return out + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else out


Published = Callable[[object], tuple[list[int], list[int]]]
Arithmetic = Callable[[Plainly, object, list[int], list[int]], list[float]]


@dataclass(frozen=True)
class Golden:
    """A family: its tiny checkpoint, what its code does to text, and the arithmetic on the model."""

    name: str
    write: Callable[[Path], Path]
    ids: Callable[[object], dict[str, int]]
    published: Published
    arithmetic: Arithmetic


def text_id(tokenizer, text: str) -> int:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == 1, (text, ids)
    return ids[0]


def where(ids: list[int], token: int) -> list[int]:
    return [position for position, each in enumerate(ids) if each == token]


def two_way(first: str, second: str) -> Arithmetic:
    """Softmax over the logits of two tokens, the first one's share."""

    def run(plain: Plainly, tokenizer, ids: list[int], positions: list[int]) -> list[float]:
        pair = [text_id(tokenizer, first), text_id(tokenizer, second)]
        return plain.logits(ids)[positions][:, pair].softmax(-1)[:, 0].tolist()

    return run


# Math-Shepherd


def shepherd_text(tokenizer):
    lines = "\n".join(f"Step {k}: {step} ки" for k, step in enumerate(STEPS, start=1))
    ids = tokenizer.encode(f"{QUESTION} {lines}")
    return ids, where(ids, text_id(tokenizer, "ки"))


SHEPHERD = Golden(
    "math-shepherd",
    lambda folder: write_causal(folder, sentence_pieces()),
    lambda t: {text: text_id(t, text) for text in ("ки", "+", "-")},
    shepherd_text,
    two_way("+", "-"),
)


# RLHFlow


def rlhflow_text(tokenizer):
    conversation, positions = [], []
    for number, step in enumerate(STEPS):
        content = f"{QUESTION} {step}" if number == 0 else step
        conversation += [{"role": "user", "content": content}, {"role": "assistant", "content": "+"}]
        text = tokenizer.apply_chat_template(conversation, tokenize=False)
        ids = tokenizer.encode(text, add_special_tokens=False)
        positions.append(len(ids) - 3)
    return ids, positions


def rlhflow(name: str) -> Golden:
    return Golden(
        name,
        lambda folder: write_causal(folder, byte_level(template=LLAMA3, bos="<|begin_of_text|>")),
        lambda t: {text: text_id(t, text) for text in ("+", "-")},
        rlhflow_text,
        two_way("+", "-"),
    )


# Qwen2.5-Math-PRM


def qwen_text(tokenizer):
    messages = [
        {
            "role": "system",
            "content": "Please reason step by step, and put your final answer within \\boxed{}.",
        },
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "<extra_0>".join(STEPS) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text)
    return ids, where(ids, tokenizer.convert_tokens_to_ids("<extra_0>"))


def qwen_scores(plain: Plainly, tokenizer, ids, positions):
    inner = plain.linear("score.0", plain.hidden(ids)[positions]).clamp(min=0)
    return plain.linear("score.2", inner).softmax(-1)[:, 1].tolist()


def write_qwen_prm(folder: Path, *, sharded: bool = False) -> Path:
    write_causal(folder, byte_level(template=CHATML), kind="qwen2")
    head = {
        "score.0.weight": random(HIDDEN, HIDDEN),
        "score.0.bias": random(HIDDEN, seed=8),
        "score.2.weight": random(2, HIDDEN, seed=9),
        "score.2.bias": random(2, seed=10),
    }
    return add_head(
        folder, head, architecture="Qwen2ForProcessRewardModel", sharded=sharded, without=("lm_head.weight",)
    )


def qwen(name: str, *, sharded: bool) -> Golden:
    return Golden(
        name,
        lambda folder: write_qwen_prm(folder, sharded=sharded),
        lambda t: {"<extra_0>": t.convert_tokens_to_ids("<extra_0>")},
        qwen_text,
        qwen_scores,
    )


# Skywork


def skywork_text(tokenizer):
    ids = tokenizer.encode(tokenizer.bos_token + QUESTION + "\n", add_special_tokens=False)
    positions = []
    for step in "\n".join(STEPS).split("\n"):
        ids = ids + tokenizer.encode(step, add_special_tokens=False) + [text_id(tokenizer, "\n")]
        positions.append(len(ids) - 1)
    return ids, positions


def write_skywork(folder: Path) -> Path:
    tokenizer = byte_level()
    tokenizer.bos_token = "<|endoftext|>"
    write_causal(folder, tokenizer, kind="qwen2")
    head = {"v_head.summary.weight": random(1, HIDDEN), "v_head.summary.bias": random(1, seed=8)}
    return add_head(folder, head, architecture="Qwen2ForPrmModel")


SKYWORK = Golden(
    "skywork-o1",
    write_skywork,
    lambda t: {"\n": text_id(t, "\n")},
    skywork_text,
    lambda plain, t, ids, at: plain.linear("v_head.summary", plain.hidden(ids)[at])[:, 0].sigmoid().tolist(),
)


# VersaPRM


def versa_text(tokenizer):
    text = QUESTION + " \n\n" + " \n\n\n\n".join(STEPS) + " \n\n\n\n"
    ids = tokenizer.encode(text)
    return ids, where(ids, tokenizer.encode(" \n\n\n\n")[-1])


VERSA = Golden(
    "versaprm",
    lambda folder: write_causal(folder, byte_level(bos="<|begin_of_text|>")),
    lambda t: {text: text_id(t, text) for text in (" \n\n\n\n", "+", "-")},
    versa_text,
    two_way("+", "-"),
)


# PURE


def pure_text(separator: str) -> Published:
    def run(tokenizer):
        ids, positions = tokenizer.encode(QUESTION, add_special_tokens=False), []
        for step in STEPS:
            ids = ids + tokenizer.encode(step, add_special_tokens=False)
            ids = ids + tokenizer.encode(separator, add_special_tokens=False)
            positions.append(len(ids) - 1)
        return ids, positions

    return run


def pure_scores(plain: Plainly, tokenizer, ids, positions):
    shares = plain.linear("score", plain.hidden(ids)[positions]).softmax(-1)
    return (shares[:, 1] - shares[:, 0]).tolist()


def write_pure(folder: Path) -> Path:
    write_causal(folder, byte_level(), kind="qwen2")
    head = {"score.weight": random(2, HIDDEN), "score.bias": random(2, seed=8)}
    return add_head(folder, head, architecture="Qwen2ForTokenClassification", without=("lm_head.weight",))


def pure(name: str, separator: str) -> Golden:
    return Golden(
        name, write_pure, lambda t: {separator: text_id(t, separator)}, pure_text(separator), pure_scores
    )


# llemma


def llemma_text(tokenizer):
    text = f"# Question\n\n{QUESTION}\n\n# Solution\n\n" + "".join(f"{step}\n\n" for step in STEPS)
    begin = tokenizer.encode("\n\n# Solution", add_special_tokens=False)[1:]
    blank = tokenizer.encode("\n\n", add_special_tokens=False)[1:]
    ids, begun, positions = tokenizer.encode(text), False, []
    for start in range(len(ids)):
        begun = begun or ids[start : start + len(begin)] == begin
        if begun and ids[start : start + len(blank)] == blank:
            positions.append(start)
    return ids, positions[2:]  # the blank lines before and behind "# Solution" are no steps


LLEMMA = Golden(
    "llemma-prm",
    lambda folder: write_causal(folder, sentence_pieces()),
    lambda t: {"<0x0A>": t.convert_tokens_to_ids("<0x0A>")},
    llemma_text,
    lambda plain, t, ids, at: plain.logits(ids).mean(-1)[at].sigmoid().tolist(),
)


# ReasonEval


def reasoneval_text(tokenizer):
    separator = "<pad>"
    prompt = f"Question:\n{QUESTION}\nAnswer:\nLet's think step by step.\n"
    marked = tokenizer.encode(prompt + separator + "".join(step + separator for step in STEPS))
    ids, positions, count = [], [], 0
    for index, token in enumerate(marked):
        if token == tokenizer.pad_token_id:
            positions.append(index - 1 - count)
            count += 1
        else:
            ids.append(token)
    return ids, positions[1:]


def reasoneval(name: str, classes: list[int]) -> Golden:
    def write(folder: Path) -> Path:
        write_causal(folder, sentence_pieces())
        return add_head(folder, {"score_head.weight": random(3, HIDDEN)}, architecture="ReasonEval_7B")

    def scores(plain: Plainly, tokenizer, ids, positions):
        shares = plain.linear("score_head", plain.hidden(ids)[positions]).softmax(-1)
        return shares[:, classes].sum(-1).tolist()

    return Golden(name, write, lambda t: {}, reasoneval_text, scores)


# ReST-MCTS*


def rest_text(tokenizer):
    ids: list[int] = []
    positions, text = [], f"Problem: {QUESTION}\nSolution:\n"
    for number, step in enumerate(STEPS, start=1):
        text += f"Step {number}: {step}\n"
        ids = tokenizer.encode(text)
        positions.append(len(ids) - 1)
    return ids, positions


def write_rest(folder: Path) -> Path:
    tokenizer = sentence_pieces()
    write_causal(folder, tokenizer)
    head = {"LN.weight": random(1, len(tokenizer) + 7) * 0.2, "LN.bias": torch.tensor([0.4])}
    return add_head(folder, head)


REST = Golden(
    "rest-mcts",
    write_rest,
    lambda t: {},
    rest_text,
    lambda plain, t, ids, at: plain.linear("LN", plain.logits(ids)[at])[:, 0].clamp(0, 1).tolist(),
)

FAMILIES = [
    SHEPHERD,
    rlhflow("rlhflow-mistral"),
    rlhflow("rlhflow-deepseek"),
    qwen("qwen2.5-math-prm", sharded=False),
    qwen("qwen2.5-math-7b-prm800k", sharded=True),
    SKYWORK,
    VERSA,
    pure("pure", "\n"),
    pure("pure-prm800k", "\n\n"),
    LLEMMA,
    reasoneval("reasoneval", [1, 2]),
    reasoneval("reasoneval-redundancy", [1]),
    REST,
]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda golden: golden.name)
def family(request, tmp_path_factory):
    golden = request.param
    folder = golden.write(tmp_path_factory.mktemp(golden.name))
    return golden, folder, AutoTokenizer.from_pretrained(folder)


def test_ids_and_positions_are_those_of_the_published_code(family):
    golden, _, tokenizer = family
    rendered = bind(find(golden.name), tokenizer, expected=golden.ids(tokenizer)).render(QUESTION, STEPS)
    ids, positions = golden.published(tokenizer)
    assert list(rendered.ids) == ids
    assert list(rendered.reads) == positions
    assert rendered.mask == tuple(position in positions for position in range(len(ids)))
    assert len(positions) == len(STEPS)


def test_scores_are_those_of_the_published_arithmetic(family):
    golden, folder, tokenizer = family
    ids, positions = golden.published(tokenizer)
    wanted = golden.arithmetic(Plainly(folder), tokenizer, ids, positions)
    scorer = open_published(str(folder), find(golden.name), options=OPTIONS, expected=golden.ids(tokenizer))

    async def grow():
        found = [await scorer.score(QUESTION, STEPS[: count + 1]) for count in range(len(STEPS))]
        await scorer.close()
        return found

    found = asyncio.run(grow())
    assert found[-1].scores == pytest.approx(wanted, abs=TOLERANCE)
    assert max(wanted) - min(wanted) > 1e-4  # a test that cannot tell steps apart tests nothing
    read = [each + 1 for each in positions]
    assert [each.tokens for each in found] == [
        read[0],
        *(b - a for a, b in pairwise(read)),
    ]


def test_a_tokenizer_of_another_family_is_refused_and_both_ids_are_named(family):
    golden, _, tokenizer = family
    ids = golden.ids(tokenizer)
    for text, found in ids.items():
        with pytest.raises(Exception, match=rf"published with id 4321 .*gives {found}"):
            bind(find(golden.name), tokenizer, expected={**ids, text: 4321})


def test_every_family_with_a_head_or_two_tokens_has_a_golden_test():
    from prm.conventions import LogRatio, Verdict, names

    tested = {golden.name for golden in FAMILIES}
    for name in names():
        if name != "steps" and not isinstance(find(name).readout, LogRatio | Verdict):
            assert name in tested
