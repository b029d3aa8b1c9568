#!/bin/sh
# Installs what building and testing need and the machine lacks, where it can; says in one line what is missing where
# it cannot. Usage: tests/prerequisites.sh build|test
set -eu

missing=""
need() { # PACKAGE TEST...: the Debian package, and a command that succeeds when it is there
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

need pkg-config pkg-config --version
need libssl-dev pkg-config --exists openssl
need libopus-dev pkg-config --exists opus
need gcc cc --version
if [ "${1:-build}" = test ]; then
    need openssl openssl version
    need python3-venv python3 -c 'import ensurepip, venv'
    need nodejs node --version
    need npm npm --version
    need chromium chromium --version
    # The scripts for FreeSWITCH run on each Lua that FreeSWITCH has embedded, and on today's.
    need lua5.2 lua5.2 -v
    need lua5.3 lua5.3 -v
    need lua5.4 lua5.4 -v
    need lua-socket lua5.4 -e 'require "socket"'
    need libxml2-utils xmllint --version
    # Records are tried on a real Postgres, which the tests start themselves.
    need postgresql sh -c 'ls /usr/lib/postgresql/*/bin/initdb'
    # The package, the unit and the alerts are checked by the tools of those who use them.
    need dpkg-dev dpkg-shlibdeps --version
    need binutils strip --version
    need systemd systemd-analyze --version
    need prometheus promtool --version
    # Legs come through a real proxy, too.
    need haproxy haproxy -v
fi
[ -n "$missing" ] || exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null 2>&1 && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
    echo "installing:$missing" >&2
    # Of what is installed nothing is to be started: the tests start what they need themselves.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
        $as_root chmod 755 $policy
        # shellcheck disable=SC2064 # as it is now
        trap "$as_root rm -f $policy" EXIT
    fi
    # shellcheck disable=SC2086 # one word a package
    if $as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq $missing >/dev/null
    then
        exit 0
    fi
fi
echo "missing, please install:$missing (as Debian names them)" >&2
exit 1
