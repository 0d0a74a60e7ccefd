"""The commands of this package, `search prm ...`: options in, one report out. `treesearch.cli` finds them."""

from __future__ import annotations

import typer

from prm.cli import calibrate, convert, label, score, train
from prm.cli import eval as evaluation
from treesearch.cli.app import Commands

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


@app.callback()
def _overview() -> None:
    """Label steps, convert labels, train, use and evaluate process-reward and Q-value models."""


app.command("label")(label.label)
app.command("convert")(convert.convert)
app.command("train")(train.train)
app.command("score")(score.score)
app.command("calibrate")(calibrate.calibrate)
app.command("eval")(evaluation.evaluate)
