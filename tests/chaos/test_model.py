"""The agent against its model, and faults that the model has to find."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chaos import agreeing
from chaos.linux_machine import LinuxMachine
from chaos.machine import Machine, OneNetwork
from chaos.mutants import MUTANTS, OF_NETWORKS, Plant
from moorage.control import links

pytestmark = pytest.mark.system

QUICK = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SEARCH = settings(QUICK, max_examples=80, stateful_step_count=50, phases=[Phase.generate])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have links put right at once, where an agent waits for a burst of changes to be over."""
    monkeypatch.setattr(links, "PAUSE", 0.002)


def test_the_agent_does_what_its_model_does() -> None:
    """Model, agent, reopened journal, kernel and listeners agree after every step of random histories."""
    run_state_machine_as_test(Machine, settings=QUICK)  # type: ignore[no-untyped-call]  # of hypothesis


def test_a_killed_agent_does_what_its_model_does() -> None:
    """Model, agent, reopened journal, rules, links and listeners agree on the real kernel, killed or crashed."""
    few = settings(QUICK, max_examples=4, stateful_step_count=16)
    run_state_machine_as_test(LinuxMachine, settings=few)  # type: ignore[no-untyped-call]  # of hypothesis


@pytest.mark.parametrize("plant", MUTANTS, ids=lambda plant: plant.__name__)
def test_the_model_finds_a_fault(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault breaks the agreement in some history, or in several, each in a way of its own."""
    plant(monkeypatch)
    monkeypatch.setattr(agreeing, "SETTLED", 0.5)
    machine = Machine if plant in OF_NETWORKS else OneNetwork
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(machine, settings=SEARCH)  # type: ignore[no-untyped-call]  # of hypothesis
