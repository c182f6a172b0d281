"""How apt, pip and npm reach their packages on this machine: nothing of it is written in this repository."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUNDLE = "/etc/bare-certificates.pem"
"""Where a bare machine finds this one's certificates: no package writes there."""
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

_PROXY = re.compile(r"(?i)(https?|ftp|all|no)_proxy")
_APT = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv4")
_NPM = re.compile(r"(@[^:=]+:)?registry\b|//|(https?-)?proxy\b|noproxy\b|strict-ssl\b|fetch-")
_NPM_VARIABLE = re.compile(r"(?i)npm_config_(?!.*(config|prefix|cache|cafile)$)")


class Unreachable(Exception):
    """Packages cannot be had; the text says why."""


@dataclass
class Reach:
    """What a bare machine is given: the mirror it is made from, texts of files, folders shared read-only, variables."""

    mirror: str
    files: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    environment: dict[str, str] = field(default_factory=dict)


def find(mirror: str | None) -> Reach:
    """All of it, as this machine is configured. Raises Unreachable."""
    reach = Reach(mirror or _mirror())
    reach.environment |= {key: value for key, value in os.environ.items() if _PROXY.fullmatch(key)}
    reach.environment |= {key: value for key, value in os.environ.items() if _NPM_VARIABLE.match(key)}
    _hosts(reach)
    _apt(reach)
    _pip(reach)
    _npm(reach)
    _certificates(reach)
    return reach


def _mirror() -> str:
    """The first of Debian's own among the sources of apt."""
    wanted = ["Created-By: Packages", "Label: Debian"]
    for line in _said(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]).splitlines():
        if urlsplit(line).scheme in {"http", "https"}:
            return line
    raise Unreachable("no mirror of Debian is among apt's sources here: name one with --mirror URL")


def _hosts(reach: Reach) -> None:
    """A mirror, proxy or certificate may be known by name here alone."""
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(path).exists():
            reach.files[path] = Path(path).read_text()


def _apt(reach: Reach) -> None:
    lines = _said(["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n', "Acquire"]).splitlines()
    kept = [line for line in lines if line.startswith(_APT)]
    reach.files["/etc/apt/apt.conf.d/99bare"] = "".join(f"{line}\n" for line in kept)
    for path in [Path("/etc/apt/auth.conf"), *Path("/etc/apt/auth.conf.d").glob("*.conf")]:
        if path.exists():
            reach.files[str(path)] = path.read_text()
    for line in kept:  # debootstrap has no configuration of its own
        if found := re.match(r'Acquire::(https?)::Proxy "(.+)";', line, re.IGNORECASE):
            reach.environment.setdefault(f"{found[1].lower()}_proxy", found[2])


def _pip(reach: Reach) -> None:
    sections: dict[str, dict[str, str]] = {}
    pythons = (sys.executable, str(Path(__file__).parents[2] / ".venv/bin/python"))  # not every one has pip
    listed = next(filter(None, (_said([python, "-m", "pip", "config", "list"]) for python in pythons)), "")
    # variables win; some versions name them first, some last
    for line in sorted(listed.splitlines(), key=lambda line: not line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if key in {"cert", "require-virtualenv", "user", "target", "prefix", "cache-dir"}:
            continue
        text = str(ast.literal_eval(value))
        sections.setdefault("global" if section == ":env:" else section, {}).setdefault(key, text)
        for path in _paths(text):
            _lend(reach, path)
    written = [f"[{name}]\n{_settings(values)}" for name, values in sections.items()]
    reach.files["/etc/pip.conf"] = "".join(written)


def _settings(values: Mapping[str, str]) -> str:
    return "".join(f"{key} = {' '.join(value.split())}\n" for key, value in values.items())


def _paths(value: str) -> Iterator[Path]:
    """The files and folders that a setting names; of an index in a folder, where its links lead to as well."""
    for word in value.split():
        if word.startswith("file://"):
            yield Path(unquote(urlsplit(word).path)).parent
        elif word.startswith("/"):
            yield Path(word)


def _lend(reach: Reach, path: Path) -> None:
    if path.is_dir():
        reach.shared.add(str(path))
    elif path.is_file():
        reach.files[str(path)] = path.read_text()


def _npm(reach: Reach) -> None:
    lines: list[str] = []
    for which in ("globalconfig", "userconfig"):
        path = Path(_said(["npm", "config", "get", which]).strip() or "/nonexistent")
        if path.is_file():
            lines += [line for line in path.read_text().splitlines() if _NPM.match(line)]
    reach.files["/etc/npmrc"] = "".join(f"{line}\n" for line in lines)
    reach.environment["npm_config_globalconfig"] = "/etc/npmrc"


def _certificates(reach: Reach) -> None:
    """Those that this machine trusts, where it has a bundle: a mirror may have one of its own."""
    named = [os.environ.get(name, "") for name in CERTIFICATES]
    bundle = next((Path(path) for path in [*named, SYSTEM_BUNDLE] if path and Path(path).is_file()), None)
    if bundle is None:
        return
    reach.files[BUNDLE] = bundle.read_text()
    reach.files["/etc/apt/apt.conf.d/99bare"] += f'Acquire::https::CaInfo "{BUNDLE}";\n'
    reach.environment |= dict.fromkeys((*CERTIFICATES, "npm_config_cafile"), BUNDLE)


def _said(command: Sequence[str]) -> str:
    """What a program writes; nothing where it is not installed or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
