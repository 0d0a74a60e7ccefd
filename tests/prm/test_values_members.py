"""The members of an ensemble by name: what a line of text means, and which lines are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values_worlds import done, policy_for, score, step, values

from prm.values.confidence import AnswerConfidence
from prm.values.ensemble import EnsembleValue, OpenEnsemble
from prm.values.members import parse_parts, parse_settings
from tasks.errors import UsageError
from treesearch.budget import Usage
from treesearch.settings import build
from treesearch.values.free import LogProb, NoValue, Verifier
from treesearch.values.rollout import RollOutValue


def test_members_are_named_with_their_settings() -> None:
    value = build(
        EnsembleValue, {"members": "logprob; rollout:n=3,judge=vote ;answer-confidence"}, what="value"
    )
    assert value.sources == (LogProb(), RollOutValue(n=3, judge="vote"), AnswerConfidence())
    (prm,) = EnsembleValue(members=r"prm:prm=C\:\\models\,old,aggregate=min").sources
    assert (prm.prm, prm.aggregate) == (r"C:\models,old", "min")  # type: ignore[attr-defined]


def test_the_text_of_parts_keeps_what_a_backslash_protects() -> None:
    assert parse_parts(r"a:x=1\;2,y=b=c;;b") == [("a", {"x": "1;2", "y": "b=c"}), ("b", {})]
    assert parse_parts("prm:prm=http://host:1/v1") == [("prm", {"prm": "http://host:1/v1"})]
    assert parse_parts(r"a:x=1\n") == [("a", {"x": r"1\n"})]
    assert parse_parts(" ; ") == []
    assert parse_settings("") == {}


@settings(deadline=None)
@given(st.text(alphabet="a;,:=\\ b", max_size=8))
def test_any_value_can_be_escaped(text: str) -> None:
    escaped = "".join(f"\\{char}" if char in ";,:=\\" else char for char in text)
    assert parse_parts(f"name:key={escaped};other") == [("name", {"key": text.strip()}), ("other", {})]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("", "value.members must name values"),
        ("logprop", "did you mean 'logprob'"),
        ("rollout:m=3", "setting of value rollout"),
        ("rollout:n", "KEY=VALUE"),
        ("rollout:n=0", "value.n must be at least 1"),
    ],
)
def test_a_wrong_member_is_refused_before_anything_is_loaded(members: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EnsembleValue(members=members)


@pytest.mark.parametrize("wrong", [{"combine": "median"}, {"missing": "zero"}, {"uncertainty": -1.0}])
def test_a_wrong_setting_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        EnsembleValue(**wrong)


def test_without_members_it_is_an_error_and_the_defaults_cost_nothing() -> None:
    with pytest.raises(UsageError, match="needs members"):
        OpenEnsemble(open_members=())
    got = score(EnsembleValue(), [(step("x\n", logprob=-0.5),), done("3")])
    assert got.usage == Usage()
    assert values(got)[0] == pytest.approx(0.606531, abs=1e-6)


def test_an_ensemble_is_an_oracle_if_a_member_is_and_has_no_gate() -> None:
    policy = policy_for()
    assert OpenEnsemble(open_members=(LogProb(), Verifier())).oracle(policy)
    assert not OpenEnsemble(open_members=(LogProb(), NoValue())).oracle(policy)
    assert OpenEnsemble(open_members=(Verifier(),), combine="worst").gate(policy) is None
