from __future__ import annotations

from pulmoscope.core.errors import InputError, UnreadableError


def test_a_refusal_says_the_finding_before_the_rule() -> None:
    error = InputError("a.png", "too-small", "12 x 12 pixels", "at least 64 x 64")
    assert str(error) == "a.png: 12 x 12 pixels (at least 64 x 64)"
    assert error.reason == "12 x 12 pixels (at least 64 x 64)"
    assert (error.file, error.code) == ("a.png", "too-small")


def test_a_refusal_without_a_rule_has_no_brackets() -> None:
    assert str(UnreadableError("a.png", "empty-file", "the file is empty")) == "a.png: the file is empty"


def test_a_finding_is_one_line_of_at_most_200_characters() -> None:
    assert InputError("x", "damaged", "one\n\t two ").finding == "one two"
    assert InputError("x", "damaged", "y" * 200).finding == "y" * 200
    assert InputError("x", "damaged", "y" * 201).finding == "y" * 199 + "…"
