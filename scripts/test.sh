#!/usr/bin/env bash
# Everything that must hold: format, lints, one instrumented build, all tests, coverage. Seconds per phase.
#   scripts/test.sh                  the whole workspace, with the coverage gate
#   scripts/test.sh -p reeve-domain  one package, coverage shown but not judged
set -euo pipefail
cd "$(dirname "$0")/.."

: "${CARGO_TARGET_DIR:=$HOME/.cache/reeve/target}"
export CARGO_TARGET_DIR
packages=("$@")
formatted=("$@")
gate=--no-gate
# The whole workspace comes with the faults that the checks must find; what is shipped is built without them.
[ $# -gt 0 ] || { packages=(--workspace --features reeve-registry/mutants,reeve-agent/mutants); formatted=(--all); gate=; }

phase() {
    local name=$1 began=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "== $name: $((SECONDS - began)) s"
}

profiles=$CARGO_TARGET_DIR/profiles
objects=$profiles/objects
said=$profiles/tests.txt
instrument() {
    # %4m: four files per binary, shared by its processes; %c: mapped while they run, so that kill -9 loses nothing.
    RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc-coverage.sh LLVM_PROFILE_FILE="$profiles/%4m%c.profraw" "$@"
}
# What is shipped keeps every rule; tests may unwrap, read files and look at the clock.
lint() {
    cargo clippy --locked --quiet "${packages[@]}" -- -D warnings
    cargo clippy --locked --quiet "${packages[@]}" --tests --examples --benches -- -D warnings \
        -A clippy::unwrap_used -A clippy::disallowed_methods -A clippy::disallowed_types
}
build() {
    instrument cargo build --locked "${packages[@]}" --bins --tests
    instrument cargo build --locked "${packages[@]}" --bins --tests --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u >"$objects"
    scripts/coverage.sh --readable "$objects"
}
# The hand on PostgreSQL once more, on the newest version that can be had.
run_newest() {
    local bin status=0
    bin=$(scripts/postgres.sh) || status=$?
    [ $status != 3 ] || { echo "postgres: the newest could not be had here, and is not tested"; return 0; }
    [ $status = 0 ] || return $status
    "$bin/postgres" --version
    REEVE_TEST_PG_BIN=$bin instrument cargo test --locked --no-fail-fast "${packages[@]}" \
        --test steps --test walls --test allowlist --test logins --test second_wall --test readiness --test leavings 2>&1 | tee -a "$said"
}
run_tests() { instrument cargo test --locked --no-fail-fast "${packages[@]}" 2>&1 | tee "$said"; }

rm -rf "$profiles"
mkdir -p "$profiles"
phase format cargo fmt "${formatted[@]}" --check
phase lints lint
phase build build
[ $# -gt 0 ] || phase "libraries of foreign clients" scripts/foreign.sh
phase tests run_tests
[ $# -gt 0 ] || phase "tests on the newest PostgreSQL" run_newest
phase coverage scripts/coverage.sh "$profiles" "$objects" $gate

echo "== $SECONDS s in all; what cargo test said:"
grep -E '^ +(Running|Doc-tests) |^test result: ' "$said"
