"""Mathematics problems with a reference answer: extraction, canonical form, grading, and the `MathTask`.

Contract: importing this package loads neither sympy nor math-verify; they are only ever imported by the
worker process of `tasks.math.worker`. `extract`, `canonical` and `grade` never raise on model-written text.
It does not judge reasoning, and it cannot know whether a question asked for a particular form.
"""

from tasks.math.canonical import canonical
from tasks.math.explain import Explanation, explain
from tasks.math.extract import extract
from tasks.math.grade import GRADER, grade
from tasks.math.task import MathTask
from tasks.math.worker import prewarm, shutdown

__all__ = [
    "GRADER",
    "Explanation",
    "MathTask",
    "canonical",
    "explain",
    "extract",
    "grade",
    "prewarm",
    "shutdown",
]
