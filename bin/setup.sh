# Sourced by bin/test and bin/demo: `set_up` installs or names what is missing and makes .venv, `run_privately` runs.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
cd "$root"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

# What nothing goes without, as Debian's packages.
needed_packages() {
    local python
    python=$(find_python)
    command -v ip >/dev/null || echo iproute2
    command -v unshare >/dev/null && command -v flock >/dev/null || echo util-linux
    command -v mount >/dev/null || echo mount
    if [ -z "$python" ]; then
        echo python3 python3-venv libnftables1
        return
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    "$python" -c 'import ctypes; ctypes.CDLL("libnftables.so.1")' 2>/dev/null || echo libnftables1
}

# What some tests are skipped without: a compiler, and a JavaScript client with what fetches and runs it.
wanted_packages() {
    command -v cc >/dev/null || echo gcc libc6-dev
    command -v node >/dev/null || echo nodejs
    [ -d .peers/node_modules/msgpack5rpc ] || command -v npm >/dev/null || echo npm
}

# What machines are made with for bin/test --bare; debootstrap itself is unpacked beside the project.
bare_packages() {
    [ -n "$(find_python)" ] || echo python3
    command -v git >/dev/null || echo git
    command -v wget >/dev/null || echo wget
}

# Installs Debian packages; fails where that needs another user or another system, or they cannot be had.
install_some() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing $*"
    apt-get -qq update >&2 || say "going on with the lists of packages that are here"
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# The one command that makes this machine fit, for whoever may give it.
advice() {
    command -v apt-get >/dev/null || { echo "install what Debian calls: $*"; return; }
    local update=
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || update='apt-get update && '
    echo "as root, run: ${update}apt-get install --no-install-recommends $*"
}

# install_packages FUNCTION...: what these name. All is named at once, but only what is needed ends the program.
install_packages() {
    local needed missing each
    read -r -d '' -a needed < <(needed_packages) || true
    read -r -d '' -a missing < <(for each in "$@"; do "$each"; done) || true
    [ ${#missing[@]} -gt 0 ] || return 0
    install_some "${missing[@]}" && return
    if [ ${#needed[@]} -eq 0 ]; then
        say "tests will be skipped; to have them all, $(advice "${missing[@]}")"
    elif ! install_some "${needed[@]}"; then
        die "this machine lacks what is needed; $(advice "${missing[@]}")"
    fi
}

# What the venv was made from. It holds the clone's path, as a venv does not survive being moved.
fingerprint() { { echo "$root"; "$1" -V; cat setup.cfg pyproject.toml; } | sha256sum; }

# Whether .venv was made at this path, and the Python it was made from is still there.
venv_usable() {
    "$venv/bin/python" -c '' 2>/dev/null && [[ $(grep -s '^command = ' "$venv/pyvenv.cfg") == *" $venv" ]]
}

make_venv() {
    local python wanted
    python=$(find_python)
    wanted=$(fingerprint "$python")
    [ "$(cat "$venv/stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing into .venv, once for each setup.cfg"
    venv_usable || "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root[test]" >&2
    echo "$wanted" >"$venv/stamp"
}

namespace_flags() {
    local flags
    for flags in -nm -Urnm; do
        if unshare "$flags" true 2>/dev/null; then
            echo "$flags"
            return
        fi
    done
    die "this system forbids private network namespaces to you. Run as root, or allow them (whichever exists):" \
        "sudo sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0" \
        "user.max_user_namespaces=10000"
}

# Replaces the shell by a command that can change neither the host's network nor its /run. Temporary files are on the
# private /run too: outside, those of the host's root would be in the way of a user who is root within.
run_privately() {
    local flags
    case $root/ in /run/*) die "the clone must not be under /run, which the private namespace hides" ;; esac
    flags=$(namespace_flags)
    # shellcheck disable=SC2016 # the inner shell expands
    exec env -u NOTIFY_SOCKET MOORAGE_TEST_NAMESPACE=1 XDG_RUNTIME_DIR=/run TMPDIR=/run/tmp unshare "$flags" sh -euc '
        mount -t tmpfs -o mode=0755 tmpfs /run
        mkdir -m 1777 /run/tmp
        ip link set lo up
        exec "$@"' sh "$@"
}

# set_up FUNCTION...: all that has to be there before anything runs, among it the packages that these name.
set_up() {
    install_packages "$@"
    [ -n "$(find_python)" ] || die "Python 3.11 or later is needed, and this system packages an older one"
    exec 9<"$root"
    flock 9 # two at once would both fill .venv
    make_venv
    exec 9<&-
    # Hundreds of agents are started: compiling what they import, each time, would take half of their start. Kept in the
    # clone, also for whoever otherwise keeps none, or keeps it beside the sources.
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX=$venv/bytecode
}

PATH=$PATH:/usr/sbin:/sbin # ip, on a Debian of old for users
