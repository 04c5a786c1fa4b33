#!/usr/bin/env bash
# rustc for the workspace's own crates (RUSTC_WORKSPACE_WRAPPER): counts what runs. Dependencies are built plain, and shared
# with an ordinary build. Counters live in a mapped file (relocation lets them), so a killed process counts too.
# bash and not sh: dash drops variables with a dash in their name, as CARGO_BIN_EXE_reeve-agent has.
rustc=$1
shift
case " $* " in
*" --crate-name build_script_"*) exec "$rustc" "$@" ;;
esac
exec "$rustc" "$@" -Cinstrument-coverage -Cllvm-args=-runtime-counter-relocation
