import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kernel.linux import audit, ruleset
from moorage.kernel.protocol import Element

LISTING = {
    "table moorage": [""],
    "set bridges": ["key"],
    "chain guard": ["hook", "first", "second"],
}

ELEMENTS = st.sets(
    st.builds(
        lambda port, value: Element("pub4_any", ("tcp", port), ("10.0.42.2", value)),
        st.integers(1, 30),
        st.integers(1, 2),
    ),
)


def published(port: int, to: int = 80) -> Element:
    return Element("pub4_any", ("tcp", port), ("10.0.42.2", to))


def test_the_definitions_of_the_ruleset_are_read_from_it() -> None:
    """Types of sets and maps come from the ruleset itself, and every name of it is known."""
    assert ruleset.containers()["net6if"] == ruleset.Container(("ipv6_addr", "ifname"), (), interval=True)
    assert ruleset.containers()["pub4_any"].value == ("ipv4_addr", "inet_service")
    used = set(re.findall(r"@(\w+)", ruleset.rules())) | set(
        re.findall(r"(?:jump|goto) (\w+)", ruleset.rules())
    )
    assert used <= {name for _, name in ruleset.names()}


def test_a_change_deletes_before_it_adds() -> None:
    """A value is replaced by deleting its key first; interface names are quoted."""
    commands = ruleset.change([published(80, 81), Element("samebr", ("m-0", "m-0"))], [published(80, 80)])
    assert commands == [
        "delete element inet moorage pub4_any { tcp . 80 }\n",
        "add element inet moorage pub4_any { tcp . 80 : 10.0.42.2 . 81 }\n",
        'add element inet moorage samebr { "m-0" . "m-0" }\n',
    ]


@pytest.mark.parametrize(("subnet", "memory"), [("10.0.42.0/24", "senders4"), ("fd00:42::/64", "senders6")])
def test_what_packets_remember_of_a_subnet_goes_with_it(subnet: str, memory: str) -> None:
    """Removing a subnet forgets its family's senders in the same transaction; adding one forgets nobody."""
    element = Element("net6if" if ":" in subnet else "net4if", (subnet, "m0"))
    assert f"flush set inet moorage {memory}\n" in ruleset.change([], [element])
    assert not [line for line in ruleset.change([element], []) if line.startswith("flush")]


def test_runs_are_deleted_by_their_first_port() -> None:
    """The kernel takes the first run that has the port: one that covers others has to go before them."""
    runs = [Element("run4_any", ("tcp", ports), ("10.0.42.2",)) for ports in ("10000-10009", "9000-20000")]
    (command,) = audit.adjust([], runs)
    assert command == "delete element inet moorage run4_any { tcp . 9000-20000, tcp . 10000-10009 }\n"


def test_sentences_name_what_was_wrong() -> None:
    """Chains, sets and elements that were missing, changed or foreign are each named."""
    after = LISTING | {"chain new": ["x"]}
    before = {"table moorage": LISTING["table moorage"], "chain guard": ["other"], "chain foreign": ["x"]}
    present = [published(2, 99), published(3)]
    assert audit.sentences(before, after, [published(1), published(2)], present) == [
        "chain foreign was not ours",
        "chain guard had been changed",
        "chain new was missing",
        "set bridges was missing",
        "element pub4_any tcp . 1 : 10.0.42.2 . 80 was missing",
        "element pub4_any tcp . 2 : 10.0.42.2 . 80 had another value",
        "element pub4_any tcp . 3 : 10.0.42.2 . 80 was not ours",
    ]


def test_many_wrong_elements_are_summarised() -> None:
    """Beyond ten elements there is one sentence with the number of the rest."""
    lines = audit.sentences(LISTING, LISTING, [published(port) for port in range(1, 101)], [])
    assert len(lines) == 11
    assert lines[-1] == "and 90 more elements were wrong"


def test_a_missing_table_is_one_sentence() -> None:
    """Where nothing was there, not every element is listed."""
    assert audit.sentences(None, LISTING, [published(1)], []) == ["table inet moorage was missing"]


@given(wanted=ELEMENTS, present=ELEMENTS)
def test_nothing_is_said_and_done_exactly_when_nothing_is_wrong(
    wanted: set[Element], present: set[Element]
) -> None:
    """There are commands just when there are differences, and sentences just when there are commands."""
    commands = audit.adjust(wanted, present)
    assert bool(commands) == (wanted != present)
    assert bool(audit.sentences(LISTING, LISTING, wanted, present)) == bool(commands)
