"""Where the tests themselves run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of its own under the conftest of this one."""
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makeini("[pytest]\nmarkers = system: x")
    return pytester


@pytest.mark.system
def test_network_is_private() -> None:
    """System tests see no link but the loopback, which is up."""
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert os.access("/run", os.W_OK)


def test_skipped_test_fails_in_ci(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI=true a skipped test is a failure that gives the reason, without it a skip."""
    inner.makepyfile("import pytest\ndef test_it(): pytest.skip('no kernel')")
    monkeypatch.setenv("CI", "true")
    result = inner.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*counts as a failure in CI*no kernel*"])
    monkeypatch.delenv("CI")
    inner.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(skipped=1)


def test_system_test_is_skipped_outside(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system test started by hand says what to run instead."""
    inner.makepyfile("import pytest\n@pytest.mark.system\ndef test_it(): raise SystemExit")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("MOORAGE_TEST_NAMESPACE", raising=False)
    result = inner.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*test_it needs a private network namespace: run bin/test"])


def test_thread_left_running_is_named(inner: pytest.Pytester) -> None:
    """A test that leaves a thread behind fails at its end, and the thread is named."""
    inner.makeconftest(CONFTEST.read_text().replace("PATIENCE = 10.0", "PATIENCE = 0.1"))
    inner.makepyfile(
        "import threading\n"
        "def test_it(): threading.Thread(target=threading.Event().wait, name='stray', daemon=True).start()"
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*threads left running: stray*"])


def test_soak_takes_minutes() -> None:
    """`bin/test --soak` says what it takes, and exits 2 for anything else."""
    soak = [sys.executable, Path(__file__).parents[1] / "chaos" / "soak.py"]
    done = subprocess.run([*soak, "for ever"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bin/test --soak" in done.stderr
