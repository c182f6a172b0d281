"""What a bare machine is told of how this one reaches its packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BARE = Path(__file__).parents[1] / "bare"
SHOW = """
import json, reach
try:
    found = reach.find(None)
except reach.Unreachable as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps(vars(found) | {"shared": sorted(found.shared)}))
"""
APT = """
case $1 in
    indextargets) printf '%b' "$SOURCES" ;;
    dump) echo 'Acquire::http::Proxy "http://cache.test:3142";'; echo 'Acquire::Languages "none";' ;;
esac
"""
NPM = 'echo "$HOME/$3"'
PACKAGES = "cdrom://disc/\\nhttp://mirror.test/debian/\\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with programs and settings of its own."""
    for name, script in {"apt-get": APT, "apt-config": APT, "npm": NPM}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
    (tmp_path / "index/simple").mkdir(parents=True)
    (tmp_path / "userconfig").write_text(
        "registry=http://npm.test/\ncafile=/own.pem\n//npm.test/:always-auth=true\n"
    )
    (tmp_path / "bundle.pem").write_text("trusted\n")
    return tmp_path


def told(home: Path, sources: str = PACKAGES) -> dict[str, Any]:
    environment = {
        "HOME": str(home),
        "PATH": f"{home}/bin:/usr/bin:/bin",
        "SOURCES": sources,
        "PIP_EXTRA_INDEX_URL": f"https://pip.test/simple file://{home}/index/simple",
        "SSL_CERT_FILE": str(home / "bundle.pem"),
        "no_proxy": "mirror.test",
        "UNRELATED": "secret",
    }
    argv = [sys.executable, "-c", SHOW]
    done = subprocess.run(
        argv, cwd=BARE, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_all_is_taken_from_this_machine(home: Path) -> None:
    """Mirror, proxies, indexes and certificates are what apt, pip, npm and variables say here; no more is told."""
    found = told(home)
    assert found["mirror"] == "http://mirror.test/debian/"
    assert found["environment"]["http_proxy"] == "http://cache.test:3142"
    assert found["environment"]["no_proxy"] == "mirror.test"
    assert "secret" not in json.dumps(found)
    assert (
        f"extra-index-url = https://pip.test/simple file://{home}/index/simple\n"
        in found["files"]["/etc/pip.conf"]
    )
    assert str(home / "index") in found["shared"]
    assert found["files"]["/etc/npmrc"] == "registry=http://npm.test/\n//npm.test/:always-auth=true\n"
    assert "Languages" not in found["files"]["/etc/apt/apt.conf.d/99bare"]


def test_certificates_lie_where_no_package_writes(home: Path) -> None:
    """The bundle of this machine is told to everybody by a path of its own: the system's is made anew there."""
    found = told(home)
    place = found["environment"]["SSL_CERT_FILE"]
    assert found["files"][place] == "trusted\n"
    assert not place.startswith("/etc/ssl")
    assert {
        found["environment"][name] for name in ("PIP_CERT", "NODE_EXTRA_CA_CERTS", "npm_config_cafile")
    } == {place}
    assert f'CaInfo "{place}"' in found["files"]["/etc/apt/apt.conf.d/99bare"]


def test_a_machine_without_a_mirror_is_told_what_to_do(home: Path) -> None:
    """Where apt knows none of Debian's, the refusal says which flag names one."""
    assert "--mirror URL" in told(home, "")["error"]
