"""GenPRM and ThinkPRM: models that write about steps and end in a verdict.

GenPRM: one chat turn a step (the first with the question), answered by an analysis and a judgement
``\\boxed{Yes}`` or ``\\boxed{No}``; the score is p(Yes) / (p(Yes) + p(No)) at the verdict, the mean over
samples. ThinkPRM: one prompt with the whole solution so far, a chain of checks, then the forced question "Is
the solution correct?"; the score is the normalised probability of yes.

Provenance: RyanLiu112/GenPRM, `genprm_inference.py`; Zhao et al., GenPRM (arXiv 2504.00891). mukhal/ThinkPRM,
`prm/thinkprm_api.py`, and for the prompt `format_verification_cot_for_thinkprm` of `utils/helper.py`; Khalifa
et al. (arXiv 2504.16828). The instructions, and the words that the answer begins with, are those that the
models were trained with: without them they are other models.

Traps and deviations: GenPRM's code runs the Python that the model writes inside the scoring process; here
nothing is run, the model analyses and judges (a mode that the code has too). Both probabilities are asked of
the model, where the published code takes the smallest of 20 log-probs for a word that is not among them. The
verdict's place is forced behind the analysis for both, so none is missing (GenPRM's code counts a missing one
0.5); an error is an error, where ThinkPRM's code scores 0. GenPRM's later steps see the first sample's
analysis of the earlier ones.
"""

from __future__ import annotations

from prm.aggregates import Aggregate
from prm.conventions.base import (
    Activation,
    Convention,
    ReadAt,
    StepSplitter,
    TagPolicy,
    Threshold,
    Verdict,
)
from prm.conventions.templates import Judged

GENPRM = Convention(
    name="genprm",
    template=Judged(
        system="You are a math teacher. Your task is to review and critique the paragraphs in solution step "
        "by step.",
        user="Question: {question}\n\n{step}",
        later="{step}",
        opening="<analyze>\nLet's analyze the Paragraph {n} step by step: ",
        stop=("</analyze>\n",),
        close="</analyze>\n",
        verdict="<output>\n**Judgement**: $\\boxed{",
        after="}$\n</output>\n",
    ),
    splitter=StepSplitter(separator="\n\n"),
    tag=TagPolicy(read=ReadAt.VERDICT),
    readout=Verdict(positive="Yes", negative="No"),
    activation=Activation.SOFTMAX,
    aggregate=Aggregate.MIN,
    threshold=Threshold(value=0.5, source="GenPRM (arXiv 2504.00891): the likelier verdict"),
    checkpoints=("GenPRM/GenPRM-1.5B", "GenPRM/GenPRM-7B", "GenPRM/GenPRM-32B"),
)

THINKPRM = Convention(
    name="thinkprm",
    template=Judged(
        system=None,
        user="You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n"
        "{question}\n\n[Solution]\n\n{solution}\n\nReview and critique each step in the proposed solution to "
        "determine whether each step is correct. If the solution is incomplete, only verify the provided "
        "steps.",
        numbered="Step {n}: {step}",
        opening="\nLet's verify step by step:",
        stop=("Is the solution correct?", "</think>"),
        verdict="\nIs the solution correct? ",
    ),
    splitter=StepSplitter(separator="\n", numbered=True),
    tag=TagPolicy(read=ReadAt.VERDICT),
    readout=Verdict(positive="yes", negative="no"),
    activation=Activation.SOFTMAX,
    aggregate=Aggregate.LAST,
    threshold=Threshold(value=0.5, source="ThinkPRM (arXiv 2504.16828): the likelier verdict"),
    checkpoints=("launch/ThinkPRM-1.5B", "launch/ThinkPRM-7B", "launch/ThinkPRM-14B"),
)
