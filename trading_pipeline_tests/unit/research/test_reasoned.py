"""A file of reasoned numbers: typed where it is whole, every fault named where it is not, versioned by its numbers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from trading_pipeline.research.reasoned import groups_of, is_number, read_reasoned, reader, refuse


@dataclass(frozen=True)
class Window:
    bars: int
    minutes: float


@dataclass(frozen=True)
class Stop:
    sigmas: float


@dataclass(frozen=True)
class Rules:
    version: str
    window: Window
    stop: Stop
    reasons: Mapping[str, str]


TEXT = """
[window]
bars = { value = 20, reason = "Bollinger's." }
minutes = { value = 5, reason = "A halt." }
[stop]
sigmas = { value = 1.5, reason = "Beyond, the idea is wrong." }
"""
NEEDS = "needs a value and a reason, and nothing else"


def told(text=TEXT, **options):
    return read_reasoned(tomllib.loads(text), groups_of(Rules), **options)


def test_the_groups_of_rules_are_its_dataclasses():
    assert groups_of(Rules) == {"window": Window, "stop": Stop}


def test_a_whole_file_becomes_typed_groups_with_their_reasons():
    found = told()
    assert found.faults == []
    assert found.parts == {"window": Window(20, 5.0), "stop": Stop(1.5)}
    assert [type(value) for value in vars(found.parts["window"]).values()] == [int, float]
    assert found.reasons == {
        "window.bars": "Bollinger's.",
        "window.minutes": "A halt.",
        "stop.sigmas": "Beyond, the idea is wrong.",
    }


def test_the_version_is_that_of_the_numbers_whatever_the_words_and_their_order():
    version = told().version
    assert len(version) == 12 and set(version) <= set("0123456789abcdef")
    stop = TEXT[TEXT.index("[stop]") :]
    assert told(stop + TEXT.replace(stop, "")).version == version
    assert told(TEXT.replace("A halt.", "A pause.")).version == version
    assert told(TEXT.replace("value = 5,", "value = 6,")).version != version
    assert told(TEXT.replace("value = 5,", "value = 5.0,")).version == version


def test_a_file_may_tell_its_version_itself():
    assert told('version = "7"' + TEXT, tells_version=True).version == "7"
    assert told('version = "7"' + TEXT).faults == ["unknown version"]
    for said in ("", "version = 7"):
        assert told(said + TEXT, tells_version=True).faults == ["version must be text"]


@pytest.mark.parametrize(
    ("before", "after", "faults"),
    [
        ("[stop]", "[stops]", ["unknown stops", f"stop.sigmas {NEEDS}"]),
        ("minutes =", "hours =", ["unknown window.hours", f"window.minutes {NEEDS}"]),
        ("value = 5, ", "", [f"window.minutes {NEEDS}"]),
        ("value = 5,", "value = 5, unit = 1,", [f"window.minutes {NEEDS}"]),
        ('"A halt."', '" "', ["window.minutes has no reason"]),
        ('"A halt."', "3", ["window.minutes has no reason"]),
        ("value = 5,", 'value = "5",', ["window.minutes is no number"]),
        ("value = 5,", "value = true,", ["window.minutes is no number"]),
        ("value = 5,", "value = nan,", ["window.minutes is no number"]),
        ("value = 5,", "value = inf,", ["window.minutes is no number"]),
        ("value = 20,", 'value = "20",', ["window.bars is no number"]),
        ("value = 20,", "value = true,", ["window.bars is no number"]),
        ("value = 20,", "value = 20.0,", ["window.bars is no whole number above 0"]),
        ("value = 20,", "value = 0,", ["window.bars is no whole number above 0"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(before, after, faults):
    assert TEXT.count(before) == 1
    assert told(TEXT.replace(before, after)).faults == faults


def test_a_group_that_is_no_table_lacks_every_entry():
    assert told("stop = 1.5\n" + TEXT[: TEXT.index("[stop]")]).faults == [f"stop.sigmas {NEEDS}"]


def test_a_group_with_a_fault_is_left_out_and_the_others_are_read():
    found = told(TEXT.replace("value = 5,", "value = nan,"))
    assert found.parts == {"stop": Stop(1.5)}


def test_fields_may_have_readers_of_their_own():
    below_9 = reader(lambda value: is_number(value) and value < 9, "is not below 9", lambda value: -value)
    found = told(reader_of=lambda name, kind: below_9)
    assert found.faults == ["window.bars is not below 9"]
    assert found.parts == {"stop": Stop(-1.5)}


def test_a_refusal_names_the_subject_and_all_faults():
    refuse("the rules", [])
    with pytest.raises(ValueError, match=r"^the rules cannot be used: a is no number; b has no reason$"):
        refuse("the rules", ["a is no number", "b has no reason"])
