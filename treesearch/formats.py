"""How a problem and its steps become a prompt, and where a step ends.

A `Format` turns a question into prompt ids: `plain` writes it through a template, `chat` through the
model's own chat template, with the solution so far continued as the assistant's last message. A `Delimiter`
says where steps end: after a line, a blank line, a closing tag, or every fixed number of tokens.

Steps are kept as the token ids that the model wrote; a path's ids are joined, never encoded again, so that
prefix caches hit and no token boundary moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.base import Problem, Task
from tasks.errors import UsageError, unknown_name
from treesearch.engines.base import Tokenizer

FormatName = Literal["auto", "plain", "chat"]


@dataclass(frozen=True, kw_only=True)
class Delimiter:
    """Where a step ends: at one of the `stop` strings, or after `tokens` tokens (0: no such limit)."""

    stop: tuple[str, ...] = ()
    tokens: int = 0


_DELIMITERS = {
    "line": Delimiter(stop=("\n",)),
    "blank-line": Delimiter(stop=("\n\n",)),
    "step-tag": Delimiter(stop=("</step>",)),
}


def delimiter(text: str) -> Delimiter:
    """The delimiter of a name: `line`, `blank-line`, `step-tag`, `tag:NAME`, `tokens:N` or `text:STRING`
    (``\\n`` and ``\\t`` in STRING stand for a newline and a tab).

    Raises `UsageError` for anything else.
    """
    if text in _DELIMITERS:
        return _DELIMITERS[text]
    kind, _, rest = text.partition(":")
    if kind == "tag" and rest.isidentifier():
        return Delimiter(stop=(f"</{rest}>",))
    if kind == "tokens" and rest.isdecimal() and int(rest) > 0:
        return Delimiter(tokens=int(rest))
    if kind == "text" and rest:
        return Delimiter(stop=(rest.replace("\\n", "\n").replace("\\t", "\t"),))
    raise unknown_name("delimiter", text, [*_DELIMITERS, "tag:NAME", "tokens:N", "text:STRING"])


@dataclass(frozen=True, kw_only=True)
class Format:
    """Prompt builder. `template` is the plain format's text with `{question}` and `{instructions}`."""

    name: FormatName = "auto"
    template: str = "{question}\n"
    system: str | None = None
    """Chat format: the system message; None takes the task's instructions."""

    def prompt_ids(self, problem: Problem, task: Task, tokenizer: Tokenizer) -> list[int]:
        """Token ids of everything before the first step. The gold answer is never part of it."""
        name = self.name
        if name != "plain":
            ids = tokenizer.chat(self._messages(problem, task))
            if ids is not None:
                return ids
            if name == "chat":
                raise UsageError("the model has no chat template; use --set policy.format=plain")
        text = self.template.replace("{instructions}", task.instructions)
        text = text.replace("{question}", problem.question)
        return tokenizer.encode(text, special=True)

    def _messages(self, problem: Problem, task: Task) -> list[dict[str, str]]:
        system = task.instructions if self.system is None else self.system
        head = [{"role": "system", "content": system}] if system else []
        return [*head, {"role": "user", "content": problem.question}]
