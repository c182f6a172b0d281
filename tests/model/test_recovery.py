"""Whose the links of living containers are."""

from __future__ import annotations

from moorage.kernel.protocol import TABLE, Made, Maker
from moorage.model.recovery import another_states, has_newer, lost_id

A, B, OLD = Maker("a", "/a"), Maker("b", "/b"), Maker("")


def veth(name: str, maker: Maker, *, living: bool = True, attached: int = 5) -> Made:
    return Made(f"mg{name}", name, maker, living, attached)


def bridge(maker: Maker) -> Made:
    return Made("moorage0", "default", maker)


def test_links_of_another_state_are_named() -> None:
    """The refusal says how many there are, whose, and what to do; those of the state itself are no reason."""
    assert another_states([bridge(A), veth("x", A)], "a", ()) is None
    refused = another_states([bridge(A), *(veth(name, A) for name in "dcba")], "b", {"a"})
    assert refused is not None
    assert refused.code == "exists"
    assert "4 living containers (a, b, c, …)" in refused.text
    assert "a in /a" in refused.text


def test_what_has_no_container_is_no_reason() -> None:
    """Bridges, the table, and pairs whose other end is nobody's."""
    assert another_states([bridge(A), veth("x", A, living=False), Made(TABLE, "", A)], "b", ()) is None


def test_what_an_earlier_version_made_is_ours_if_we_know_any_of_it() -> None:
    """Its pairs say nothing: a state that recorded one of them made them all, another one made none."""
    assert another_states([veth("x", OLD), veth("y", OLD)], "b", {"y"}) is None
    refused = another_states([veth("x", OLD), veth("y", OLD)], "b", {"z"})
    assert refused is not None
    assert "another state" in refused.text
    assert another_states([veth("x", OLD), veth("y", A)], "b", {"x"}) is not None


def test_the_id_of_a_state_that_was_lost() -> None:
    """That of the living containers, else that of what was made for this folder; none where several are."""
    assert lost_id([bridge(A), veth("x", A)], "/elsewhere") == "a"
    assert lost_id([bridge(A)], "/a") == "a"
    assert lost_id([bridge(A)], "/elsewhere") == ""
    assert lost_id([veth("x", A), veth("y", B)], "/elsewhere") == ""
    assert lost_id([veth("x", A), veth("y", B)], "/b") == "b"
    assert lost_id([veth("x", A), bridge(B)], "/b") == "a"
    assert lost_id([veth("x", OLD)], "/a") == ""


def test_links_that_are_younger_than_the_state() -> None:
    """Those of living containers of the state itself, attached after all that it knows of."""
    assert has_newer([veth("x", A)], "a", 4)
    assert not has_newer([veth("x", A)], "a", 5)
    assert not has_newer([veth("x", B)], "a", 4)
    assert not has_newer([veth("x", A, living=False)], "a", 4)
