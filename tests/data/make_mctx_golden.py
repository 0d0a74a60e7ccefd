"""Writes `mctx_puct.json`: PUCT scores by DeepMind's mctx, for random node statistics.

    pip install mctx jax jaxlib && python tests/data/make_mctx_golden.py

mctx computes the scores inside `muzero_action_selection`; they are read off where it takes their argmax. Its
tie-breaking noise is at most 1e-7. The stored file means that the tests need neither mctx nor jax.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import mctx
import numpy as np
from mctx._src import action_selection

CASES = 60


def tree_of(visits, values, priors, parent_visits):
    """A one-node mctx tree with these child statistics; rewards 0, discount 1, so that q is the value."""
    count = len(visits)

    def row(entries, kind):
        return jnp.asarray(np.asarray([entries]), kind)

    # mctx keeps the statistics of the children with the parent: arrays are [batch, node, action].
    return mctx.Tree(
        node_visits=row([parent_visits], jnp.int32),
        raw_values=row([0.0], jnp.float32),
        node_values=row([0.0], jnp.float32),
        parents=row([-1], jnp.int32),
        action_from_parent=row([-1], jnp.int32),
        children_index=row([[-1] * count], jnp.int32),
        children_prior_logits=row([np.log(priors)], jnp.float32),
        children_visits=row([visits], jnp.int32),
        children_rewards=row([[0.0] * count], jnp.float32),
        children_discounts=row([[1.0] * count], jnp.float32),
        children_values=row([values], jnp.float32),
        embeddings=None,
        root_invalid_actions=row([0] * count, jnp.int32),
        extra_data=None,
    )


def main():
    scores = []
    argmax = action_selection.masked_argmax

    def reading(to_argmax, invalid_actions):
        scores.append(np.asarray(to_argmax, np.float64))
        return argmax(to_argmax, invalid_actions)

    action_selection.masked_argmax = reading
    rng, cases = np.random.default_rng(7), []
    for case in range(CASES):
        count = int(rng.integers(2, 6))
        visits = rng.integers(0, 40, count)
        visits[rng.random(count) < 0.2] = 0
        parent_visits = int(visits.sum() + rng.integers(1, 3))
        values = np.round(rng.random(count), 6)
        priors = np.round(rng.dirichlet(np.ones(count)) + 1e-3, 6)
        c_init, c_base = float(np.round(rng.uniform(0.5, 3), 4)), float(rng.choice([19652.0, 500.0, 20.0]))
        # action selection sees one tree of the batch
        tree = jax.tree.map(lambda x: x[0], tree_of(visits, values, priors, parent_visits))
        action = mctx.muzero_action_selection(
            jax.random.PRNGKey(case),
            tree,
            jnp.int32(0),
            jnp.int32(0),
            pb_c_init=c_init,
            pb_c_base=c_base,
            qtransform=lambda tree, index: tree.children_values[index],
        )
        cases.append(
            {
                "parent_visits": parent_visits,
                "c_init": c_init,
                "c_base": c_base,
                # mctx normalises the priors by a softmax of their logs
                "priors": (priors / priors.sum()).tolist(),
                "visits": visits.tolist(),
                "values": values.tolist(),
                "scores": scores[-1].tolist(),
                "action": int(action),
            }
        )
    content = {"mctx": mctx.__version__, "jax": jax.__version__, "cases": cases}
    Path(__file__).with_name("mctx_puct.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
