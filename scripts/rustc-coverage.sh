#!/usr/bin/env bash
# rustc for the workspace's own crates (RUSTC_WORKSPACE_WRAPPER): counts what runs. Dependencies are built plain, and shared
# with an ordinary build. Counters live in a mapped file (relocation lets them), so a killed process counts too.
# bash and not sh: dash drops variables with a dash in their name, as CARGO_BIN_EXE_reeve-agent has.
rustc=$1
shift
case " $* " in
*" --crate-name build_script_"*) exec "$rustc" "$@" ;;
esac
# Branches are counted behind an unstable option: for these crates alone the stable compiler is told to allow it.
RUSTC_BOOTSTRAP=1 exec "$rustc" "$@" -Cinstrument-coverage -Zcoverage-options=branch -Cllvm-args=-runtime-counter-relocation
