#!/usr/bin/env bash
# Makes this machine ready to build and run Reeve: installs missing Debian packages if it may, names them if it may not.
#   scripts/setup.sh demo     to build and run
#   scripts/setup.sh test     and to measure coverage, trace system calls, set clocks, lose packets, and run clients in
#                             Python and Node
#   scripts/setup.sh ci       the same: npm also brings what lints the proto files
#   scripts/setup.sh bench    to build and to measure beside etcd (scripts/etcd.sh fetches that one), and to profile where
#                             perf can be had
# Says nothing and changes nothing when all is there.
set -euo pipefail

purpose=${1:-demo}
rust_min=1.95

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# --- Rust -----------------------------------------------------------------------------------------
command -v cargo >/dev/null || fail "cargo is missing; install rustup (https://rustup.rs), then: rustup toolchain install stable"
rustc_says=$(rustc -vV) || fail "rustc does not run; try: rustup toolchain install stable"
rust=$(sed -n 's/^release: \([0-9]*\.[0-9]*\).*/\1/p' <<<"$rustc_says")
llvm=$(sed -n 's/^LLVM version: \([0-9]*\).*/\1/p' <<<"$rustc_says")
[ "$(printf '%s\n' "$rust_min" "$rust" | sort -V | head -n 1)" = "$rust_min" ] ||
    fail "rustc $rust is too old, $rust_min is needed; run: rustup update stable"
if [ "$purpose" = test ] || [ "$purpose" = ci ]; then
    cargo fmt --version >/dev/null 2>&1 || rustup --quiet component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup --quiet component add clippy
fi

# --- Debian packages ------------------------------------------------------------------------------
postgres_found() {
    local bin
    for bin in /usr/lib/postgresql/{18,17,16,15}/bin; do
        [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && return
    done
    command -v initdb >/dev/null && command -v postgres >/dev/null
}

missing=()
# Used where it can be had, and left out where not.
wanted=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ "$purpose" = bench ]; then
    command -v protoc >/dev/null || missing+=(protobuf-compiler)
    command -v perf >/dev/null || wanted+=(linux-perf)
else
    postgres_found || missing+=(postgresql-15 postgresql-client-15)
fi
if [ "$purpose" = test ] || [ "$purpose" = ci ]; then
    "$(dirname "$0")/llvm.sh" cov >/dev/null 2>&1 || missing+=("llvm-$llvm")
    command -v strace >/dev/null || missing+=(strace)
    command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing+=(nftables)
    command -v psql >/dev/null || missing+=(postgresql-client)
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
    compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null || missing+=(libfaketime)
    # Debian's python3 makes no environments without its second package.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v openssl >/dev/null || missing+=(openssl)
fi
[ ${#missing[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ] || exit 0

by_hand="apt-get install --no-install-recommends ${missing[*]} ${wanted[*]}"
can_install() { command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; }
if [ ${#missing[@]} -eq 0 ] && ! can_install; then
    echo "setup: going on without ${wanted[*]}"
    exit 0
fi
command -v apt-get >/dev/null || fail "missing, and this is not Debian: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "missing Debian packages: ${missing[*]}" "install them as root: $by_hand" \
        "(to keep Debian from starting a PostgreSQL of its own, first set create_main_cluster = false in /etc/postgresql-common/createcluster.conf)"
    as_root=(sudo -n)
fi

install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; fail "apt-get could not install: $*" "try: $by_hand"; }
}

# Debian makes and starts a cluster when a PostgreSQL server is installed, unless told not to.
# It is told for this one installation; its own setting is put back afterwards.
conf=/etc/postgresql-common/createcluster.conf
install_postgres() {
    install postgresql-common
    "${as_root[@]}" cp -p "$conf" "$conf.before-reeve"
    "${as_root[@]}" pg_conftool "$conf" set create_main_cluster off
    install "$@"
}
tidy() {
    rm -f "$log"
    if [ -e "$conf.before-reeve" ]; then "${as_root[@]}" mv "$conf.before-reeve" "$conf"; fi
}

log=$(mktemp)
trap tidy EXIT
echo "setup: installing" "${missing[@]}" "${wanted[@]}"
"${as_root[@]}" apt-get update -qq >"$log" 2>&1 || { tail -n 5 "$log" >&2; echo "setup: apt-get update failed, going on with what is known" >&2; }

others=()
servers=()
for package in "${missing[@]}"; do
    case $package in postgresql-*) servers+=("$package") ;; *) others+=("$package") ;; esac
done
[ ${#others[@]} -eq 0 ] || install "${others[@]}"
[ ${#servers[@]} -eq 0 ] || install_postgres "${servers[@]}"
for package in "${wanted[@]}"; do
    (install "$package" 2>/dev/null) || echo "setup: apt-get could not install $package, going on without it"
done
