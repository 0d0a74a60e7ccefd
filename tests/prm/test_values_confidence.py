"""`answer-confidence`: the tokens of the answer, exactly, and their mean probability."""

from __future__ import annotations

import math
from pathlib import Path as Folder

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import PUZZLE, WALK
from values_worlds import done, policy_for, score, step, values

from prm.values.confidence import AnswerConfidence, answer_logprobs
from prm.values.spans import answer_span, decoder_of, token_span
from tasks.countdown import solve
from tasks.countdown.task import CountdownTask
from tasks.errors import UsageError
from tasks.math import MathTask
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason
from treesearch.engines.scripted import CharTokenizer
from treesearch.events import Step
from treesearch.values.base import Path, is_finished


def finished(text: str, logprobs: list[float]) -> Path:
    """A path of one step, a character a token, with the answer that the maths task finds."""
    found = MathTask().extract(text)
    ids = tuple(CharTokenizer().encode(text))
    answer = found.text if found else None
    return (Step(text, (*ids, 1), (*logprobs, -9.0), FinishReason.END, None, answer, answer),)


@settings(deadline=None)
@given(st.lists(st.floats(-8, 0), min_size=3, max_size=3))
def test_the_value_is_the_mean_probability_of_the_answer_s_tokens(logprobs: list[float]) -> None:
    path = finished("so 7\n#### 123", [-5.0] * 10 + logprobs)
    (value,) = values(score(AnswerConfidence(), [path]))
    assert value == pytest.approx(sum(map(math.exp, logprobs)) / 3, abs=1e-6)


def test_an_answer_twice_as_long_with_the_same_probabilities_has_the_same_value() -> None:
    short = finished("#### 12", [-5.0] * 5 + [-0.2, -0.7])
    long = finished("#### 1212", [-5.0] * 5 + [-0.2, -0.7] * 2)
    assert len(set(values(score(AnswerConfidence(), [short, long])))) == 1


def test_a_path_that_is_not_finished_or_has_no_answer_has_no_value() -> None:
    silent = (step("I do not know", FinishReason.END),)
    got = score(AnswerConfidence(), [(step("#### 3"),), silent, (), done("3")])
    assert [value is None for value in values(got)] == [True, True, True, False]
    assert got.usage == Usage()
    assert AnswerConfidence().cost(policy_for(), (), 9) == Cost()
    assert not AnswerConfidence().oracle(policy_for())


@pytest.mark.parametrize(
    ("solution", "place"),
    [
        ("5 and \\boxed{5}. So 5 it is, 5!", "\\boxed{"),
        ("The answer is 12. We check: 12 = 12 is true\nbut 12 is odd? no.", "answer is "),
        ("#### 4\nNo, wait.\n#### 4\n4 apples", "wait.\n#### "),
        ("he had 3 and then 3 and at last 3 apples", "at last "),
        ("it costs -$5", "costs "),
        ("\\boxed{\\frac{1}{2}} or \\frac{1}{2}", "\\boxed{"),
        ("#### 1,000", "#### "),
    ],
)
def test_the_place_that_the_task_read_is_found_among_several_like_it(solution: str, place: str) -> None:
    task = MathTask()
    found = task.extract(solution)
    assert found is not None
    span = answer_span(task, solution, found.text)
    assert span is not None
    assert span[0] == solution.index(place) + len(place)
    assert solution[slice(*span)].replace("$", "") == found.text


def test_an_answer_that_is_written_nowhere_has_no_place() -> None:
    assert answer_span(MathTask(), "the answer is 5", "6") is None
    assert answer_span(MathTask(), "x" * 3000 + "5 " * 500 + "#### y", "5") is None
    assert answer_span(MathTask(), "anything", "") is None


@settings(deadline=None)
@given(st.text(alphabet="$ 5.-#x\n{}\\boxed", max_size=60))
def test_hostile_text_is_read_without_an_error_and_a_place_is_one_in_the_text(solution: str) -> None:
    task = MathTask()
    found = task.extract(solution)
    if found is not None and (span := answer_span(task, solution, found.text)) is not None:
        assert 0 <= span[0] < span[1] <= len(solution)


def test_an_answer_over_two_steps_counts_the_tokens_of_both() -> None:
    head = Step("#### 1", tuple(CharTokenizer().encode("#### 1")), (-9.0,) * 5 + (-1.0,), FinishReason.STOP)
    tail = Step("2", (*CharTokenizer().encode("2"), 1), (-2.0, -9.0), FinishReason.END, None, "12", "12")
    assert answer_logprobs(policy_for(), (head, tail)) == [-1.0, -2.0]


def test_where_the_steps_are_the_answer_all_their_tokens_count_but_not_the_end() -> None:
    lines = solve([2, 3, 5, 7], 24)
    assert lines is not None
    task = CountdownTask()
    found = task.extract("\n".join(lines))
    assert found is not None
    *head, last = lines
    path = (
        *(step(line + "\n", logprob=math.log(0.5)) for line in head),
        step(last, FinishReason.END, answer=found.text, logprob=math.log(0.5)),
    )
    assert len(answer_logprobs(policy_for(task=task), path)) == len("\n".join(lines))
    assert values(score(AnswerConfidence(), [path], policy_for(task=task), problem=PUZZLE)) == [0.5]


def test_an_engine_without_log_probabilities_is_named() -> None:
    bare = (Step("#### 3", (1, 2), (), FinishReason.END, None, "3", "3"),)
    with pytest.raises(UsageError, match="scripted"):
        score(AnswerConfidence(), [bare])


# -- token boundaries of real tokenizers ---------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizers():
    pytest.importorskip("transformers")
    from tiny_models import byte_level_tokenizer, word_tokenizer

    from treesearch.engines.hf_tokenizer import HFTokenizer

    return HFTokenizer(byte_level_tokenizer()), HFTokenizer(word_tokenizer())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_tokens_of_a_span_are_all_that_share_a_character_with_it(tokenizers, data: st.DataObject) -> None:
    tokenizer = tokenizers[0]
    text = data.draw(st.text(alphabet="Tom has 12 café—\n#5+😀", min_size=1, max_size=24))
    ids = [*tokenizer.encode(text), 1]
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    decode = decoder_of(tokenizer, ids, text)
    assert decode is not None
    got = token_span(decode, ids, start, end)
    bytes_before = [len("".join(text[:at]).encode()) for at in range(len(text) + 1)]
    wanted, at = [], 0
    for index, token in enumerate(ids[:-1]):
        size = len(bytes_of(tokenizer, token))
        if at < bytes_before[end] and at + size > bytes_before[start]:
            wanted.append(index)
        at += size
    assert got == wanted


def bytes_of(tokenizer, token: int) -> bytes:
    """Bytes that a token of the byte-level tokenizer stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    table = {char: byte for byte, char in bytes_to_unicode().items()}
    return bytes(table[char] for char in tokenizer._tokenizer.convert_ids_to_tokens(token))


def test_a_round_trip_of_the_span_s_tokens_gives_the_answer(tokenizers) -> None:
    tokenizer = tokenizers[0]
    text = "Now he has 12 + 7 = 19 apples.\n#### 19"
    ids = tokenizer.encode(text)
    span = answer_span(MathTask(), text, "19")
    assert span is not None
    decode = decoder_of(tokenizer, ids, text)
    assert decode is not None
    inside = token_span(decode, ids, *span)
    assert tokenizer.decode([ids[index] for index in inside]).strip() == "19"


def test_a_tokenizer_that_drops_the_first_blank_is_read_as_the_text_was_made(tokenizers) -> None:
    tokenizer = tokenizers[1]
    ids = [2, 4, 3, 7, 8]  # "▁a", "▁b", "a", and the two bytes of é
    for text in (tokenizer.decode(ids), tokenizer.continuation(ids)):
        decode = decoder_of(tokenizer, ids, text)
        assert decode is not None
        assert token_span(decode, ids, len(text) - 1, len(text)) == [3, 4]
        assert token_span(decode, ids, len(text) - 3, len(text) - 2) == [1]
    assert decoder_of(tokenizer, ids, "something else") is None


def test_with_a_real_engine_finished_paths_are_scored_by_the_tokens_of_their_answer(
    tmp_path: Folder,
) -> None:
    pytest.importorskip("transformers")
    import asyncio

    from tiny_models import write_llama

    from treesearch.engines.transformers import TransformersEngine

    engine = TransformersEngine.open(str(write_llama(tmp_path)), device="cpu", threads=1)
    policy = policy_for(engine)
    ids = tuple(engine.tokenizer.encode("Tom has 12 + 7 = 19 apples.\n#### 19"))

    async def forced() -> list[float]:
        try:
            return await engine.logprobs(policy.prompt_ids(WALK), [*ids, 1])
        finally:
            await engine.close()

    logprobs = tuple(round(each, 6) for each in asyncio.run(forced()))
    text = engine.tokenizer.decode(ids)
    path = (Step(text, (*ids, 1), logprobs, FinishReason.END, None, "19", "19"),)
    assert is_finished(path)
    offsets = engine.tokenizer._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start = text.rindex("19")
    inside = [at for at, (_, end) in enumerate(offsets["offset_mapping"]) if end > start]
    wanted = sum(math.exp(logprobs[at]) for at in inside) / len(inside)
    assert tuple(offsets["input_ids"]) == ids
    assert values(score(AnswerConfidence(), [path], policy)) == [pytest.approx(wanted, abs=1e-6)]
