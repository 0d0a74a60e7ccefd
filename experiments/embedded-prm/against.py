"""Two methods of a stored comparison against each other, problem by problem.

    python experiments/embedded-prm/against.py --cells experiments/embedded-prm/cells-countdown.jsonl.gz \
        --method best-first-prm --other best-of-n-prm [--skip 100]

`search compare` tests every method against majority vote; this one is for searches that share a value. Seeds
are averaged within a problem first. `--skip` leaves the first problems out, which settings were chosen on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import defaultdict
from pathlib import Path

from treesearch.comparison.statistics import difference_interval, paired_p

Right = dict[str, dict[int, int]]
"""Problem and seed to 1 or 0."""


def read(path: Path) -> dict[tuple[str, int], Right]:
    """What each method had right under each budget."""
    found: dict[tuple[str, int], Right] = defaultdict(lambda: defaultdict(dict))
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            cell = json.loads(line)
            name = re.fullmatch(r"(.*)-(\d+)-s(\d+)", cell["cell"])
            assert name is not None
            for row in map(json.loads, cell["results.jsonl"].splitlines()):
                right = int(row["verdict"] == "correct")
                found[name[1], int(name[2])][row["id"]][int(name[3])] = right
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--other", required=True)
    parser.add_argument("--skip", type=int, default=0)
    args = parser.parse_args()
    cells = read(args.cells)
    for budget in sorted(budget for method, budget in cells if method == args.method):
        one, other = cells[args.method, budget], cells.get((args.other, budget), {})
        problems = sorted(set(one) & set(other))[args.skip :]
        if not problems:
            continue
        seeds = sorted(set.intersection(*(set(each[p]) for each in (one, other) for p in problems)))
        sums = [sum(one[p][seed] - other[p][seed] for seed in seeds) for p in problems]
        low, high = difference_interval([each / len(seeds) for each in sums])
        mean = 100 * sum(sums) / len(sums) / len(seeds)
        print(
            f"{args.method} less {args.other}, {budget:,} tokens, {len(problems)} problems, "
            f"{len(seeds)} seeds: {mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), p {paired_p(sums):.4f}"
        )


if __name__ == "__main__":
    main()
