"""The benchmarks run to their end; what they measure is no test's business."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

BENCH = Path(__file__).resolve().parents[2] / "bench"
PEERS = BENCH.parent / ".peers"
GENERATIONS = ["", "-forky"]
"""What the names of peers end with."""


def run(tmp_path: Path, program: str, *arguments: str) -> Any:
    """Run a benchmark as briefly as it can be, and return what it wrote as JSON."""
    output = tmp_path / "figures.json"
    argv = [sys.executable, str(BENCH / program), "--quick", "--json", str(output), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    return json.loads(output.read_text())


def needed(generation: str) -> None:
    """Skip, by name, where the peers were not unpacked."""
    proxy = "forky/usr/sbin/docker-proxy" if generation else "dataplane/docker-proxy"
    place = "forky/" if generation else ""
    for program in (f"{place}usr/lib/cni/portmap", f"{place}usr/lib/podman/netavark", proxy):
        if not (PEERS / program).exists():
            pytest.skip(f"{program} is not unpacked in .peers: python bench/fetch.py fetches it")


def test_control_measures_every_fill(tmp_path: Path) -> None:
    """Connecting containers is measured for the agent and its command line, at each fill."""
    figures = run(tmp_path, "control.py", "--only", "moorage", "moorage-cli", "--churn", "1")
    medians = {each["name"]: each["median"] for each in figures["figures"]}
    for attached in (0, 2):
        for name in ("moorage", "moorage-cli"):
            assert medians[f"{attached} attached/set-up/{name}"] > 0
            assert medians[f"{attached} attached/release/{name}"] > 0
        assert medians[f"{attached} attached/both/moorage-cli to moorage"] > 0
    assert medians["memory/rss/moorage"] > 0
    assert "churn/bytes for each container/moorage" in medians


def test_rpc_measures_both_kernels(tmp_path: Path) -> None:
    """Requests are measured on either kernel, by one client and by many, and a range of ports."""
    told = run(tmp_path, "rpc.py")
    figures = {each["name"]: each["median"] for each in told["figures"]}
    for kernel in ("memory", "linux"):
        assert figures[f"{kernel}/1_clients/allocates_per_second for each commit"] > 0
        assert figures[f"{kernel}/8_clients/allocates_per_second"] > 0
        assert figures[f"{kernel}/one_at_a_time/allocate_p99_ms"] > 0
    assert figures["range_20/publish_s"] > 0


def test_reliability_counts_what_is_left(tmp_path: Path) -> None:
    """An agent goes through kills, ended containers and want of descriptors, and nothing of them is left."""
    told = run(tmp_path, "reliability.py", "--only", "moorage", "moorage-kernel")
    figures = {each["name"]: each["median"] for each in told["figures"]}
    for what in ("addresses", "rules", "links", "listeners"):
        assert figures[f"3 ended/{what} left/moorage"] == 0
    assert figures["2 killed/half done/moorage"] == 0
    assert figures["killed/connections broken of 2/moorage-kernel"] == 0
    assert figures["3 ports/pss/moorage"] > 0


@pytest.mark.parametrize("generation", GENERATIONS)
def test_reliability_of_peers_is_measured(tmp_path: Path, generation: str) -> None:
    """The plugins and netavark go through the same history as the agent, and docker-proxy the same trials."""
    needed(generation)
    netavark, cni, proxy = (f"{name}{generation}" for name in ("netavark", "cni", "docker-proxy"))
    told = run(tmp_path, "reliability.py", "--only", netavark, cni, proxy)
    figures = {each["name"]: each for each in told["figures"]}
    for name in (netavark, cni):
        assert figures[f"3 ended/rules left/{name}"]["unit"] == "count"
    assert figures[f"3 ports/processes/{proxy}"]["median"] == 3
    assert {netavark, cni, proxy} < told["versions"].keys()
    assert "unknown" not in told["versions"].values()


def test_the_agents_share_is_told_of_either_docker_proxy(tmp_path: Path) -> None:
    """What ports and idle connections take is a ratio as well, to each docker-proxy that took part."""
    proxies = [f"docker-proxy{generation}" for generation in GENERATIONS]
    values = {("3 ports/pss", name): [2.0] for name in ("moorage", *proxies)}
    told = f"import json, reliability; print([figure.name for figure in reliability._ratios({values!r})])"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=BENCH, capture_output=True, text=True, check=True, timeout=60
    )
    assert all(f"moorage to {name}'" in done.stdout for name in proxies)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_control_of_peers_is_measured(tmp_path: Path, generation: str) -> None:
    """Connecting containers is measured for netavark and the plugins as well."""
    needed(generation)
    names = [f"netavark{generation}", f"cni{generation}"]
    told = run(tmp_path, "control.py", "--only", "moorage", *names)
    figures = {each["name"]: each["median"] for each in told["figures"]}
    assert all(figures[f"2 attached/set-up/{name}"] > 0 for name in names)


@pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator needs a C compiler (cc)")
@pytest.mark.parametrize("generation", GENERATIONS)
def test_traffic_of_peers_is_measured(tmp_path: Path, generation: str) -> None:
    """Every byte through docker-proxy and through netavark's rules is checked, and nothing is left out."""
    needed(generation)
    names = [f"docker-proxy{generation}", f"netavark{generation}"]
    cases = ["connect, 1", "new UDP flows"]
    told = run(tmp_path, "dataplane.py", "--contestants", *names, "--only", *cases)
    figures = {each["name"]: each["median"] for each in told["figures"]}
    for name in names:
        assert figures[f"connect, 1/requests/{name}"] > 0
    assert figures[f"new UDP flows/requests/{names[1]}, 10"] > 0
