"""GSM8K's training questions and reference solutions as training trees, to teach a policy English prose.

    python experiments/gsm8k-verifier/prose.py --data gsm8k_train.jsonl --out WORK/prose.jsonl

A tree is one chain below the begin-of-text token: the question, then the solution's lines, all of them
learned. None of it is of the test split, whose solutions the verifier is trained and judged on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from selftrain.data.files import write_trees
from selftrain.data.record import Trace, TrainingTree
from selftrain.packing.tree import TokenTree
from treesearch.policies import embedded_folder


def main() -> None:
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(), model_max_length=1 << 20)
    trees: list[TrainingTree] = []
    for number, line in enumerate(args.data.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        texts = [f"{text}\n" for text in (row["question"], *row["answer"].split("\n"))]
        steps = [tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        steps[-1] = (*steps[-1], tokenizer.eos_token_id)
        tree = TokenTree(segments=((tokenizer.bos_token_id,), *steps), parents=tuple(range(-1, len(steps))))
        trees.append(
            TrainingTree(
                problem=f"gsm8k-train-{number}",
                tree=tree,
                texts=("", *texts),
                traces=(Trace(node=len(steps)),),
            )
        )
    write_trees(args.out, trees)
    print(f"{len(trees):,} trees of {sum(tree.tree.tokens for tree in trees):,} tokens in {args.out}")


if __name__ == "__main__":
    main()
