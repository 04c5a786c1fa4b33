#!/usr/bin/env bash
# rustc for the workspace's own crates (RUSTC_WORKSPACE_WRAPPER): counts what runs. Dependencies are built plain, and shared
# with an ordinary build. Counters live in a mapped file (relocation lets them), so a killed process counts too.
# bash and not sh: dash drops variables with a dash in their name, as CARGO_BIN_EXE_reeve-agent has.
rustc=$1
shift
case " $* " in
*" --crate-name build_script_"*) exec "$rustc" "$@" ;;
esac
# Branches are counted behind an unstable option: for these crates alone the stable compiler is told to allow it. Not for the
# registry: llvm-cov (22.1) crashes on the branches inside its async service traits, so its branches stay uncounted. Elsewhere
# the bodies of async traits only delegate, and scripts/coverage.sh --readable says so as soon as one does not.
branches=(-Zcoverage-options=branch)
case " $* " in
*" --crate-name reeve_registry "*) branches=() ;;
esac
RUSTC_BOOTSTRAP=1 exec "$rustc" "$@" -Cinstrument-coverage "${branches[@]}" -Cllvm-args=-runtime-counter-relocation
