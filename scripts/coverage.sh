#!/usr/bin/env bash
# Reads the profiles of an instrumented run, prints coverage by crate, and fails below the gate.
#   scripts/coverage.sh PROFILES OBJECTS [--no-gate]      OBJECTS: a file naming one instrumented binary per line
#   scripts/coverage.sh --readable OBJECTS                says at once, before any test runs, if llvm-cov cannot read one
# What is generated (OUT_DIR), what only tests (tests/) and what is not ours is left out.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
cov=$("$here/scripts/llvm.sh" cov)
foreign='(/build/[^/]+/out/|/tests/)'

if [ "$1" = --readable ]; then
    while IFS= read -r object; do
        "$cov" export --summary-only --empty-profile --ignore-filename-regex="$foreign" --object "$object" >/dev/null 2>&1 && continue
        echo "coverage: llvm-cov cannot read $object: see scripts/rustc-coverage.sh on branches in async traits" >&2
        exit 1
    done <"$2"
    exit 0
fi

profiles=$1
objects=$2
gate=${3:-}
merged=$profiles/all.profdata

find "$profiles" -name '*.profraw' -size +0 >"$profiles/list"
[ -s "$profiles/list" ] || { echo "coverage: no profile in $profiles: nothing instrumented ran" >&2; exit 1; }
"$("$here/scripts/llvm.sh" profdata)" merge --sparse --failure-mode=all --input-files="$profiles/list" -o "$merged"

args=()
while IFS= read -r object; do args+=(--object "$object"); done <"$objects"
"$cov" export --summary-only --instr-profile="$merged" --ignore-filename-regex="$foreign" "${args[@]}" >"$profiles/summary.json"

# One record per file; in each, the counts of a kind are the numbers after its name.
awk -v root="$here/" -v gate="$gate" '
    BEGIN { RS = "\"filename\":\""; lines_min = 80; functions_min = 80; domain_min = 90 }
    function number(text, kind, field,    rest) {
        if (!match(text, "\"" kind "\":[{][^}]*")) return 0
        rest = substr(text, RSTART, RLENGTH)
        match(rest, "\"" field "\":[0-9]+")
        return substr(rest, RSTART + length(field) + 3, RLENGTH - length(field) - 3) + 0
    }
    function add(crate) {
        for (k in kinds) {
            count[crate, k] += number($0, k, "count")
            covered[crate, k] += number($0, k, "covered")
        }
    }
    function percent(crate, kind) { return count[crate, kind] ? 100 * covered[crate, kind] / count[crate, kind] : 100 }
    function row(crate) {
        branches = count[crate, "branches"] ? sprintf("%.2f", percent(crate, "branches")) : "-"
        printf "%-12s %7d %8.2f %8.2f %8.2f %8s\n", crate, count[crate, "lines"], percent(crate, "lines"), percent(crate, "functions"), percent(crate, "regions"), branches
    }
    function demand(crate, kind, least) {
        if (percent(crate, kind) >= least) return
        printf "coverage: %s: %s are covered to %.2f %%, %d %% is the gate\n", crate, kind, percent(crate, kind), least
        short = 1
    }
    NR == 1 { kinds["lines"]; kinds["functions"]; kinds["regions"]; kinds["branches"]; next }
    {
        path = substr($0, 1, index($0, "\"") - 1)
        if (index(path, root) != 1) next
        path = substr(path, length(root) + 1)
        split(path, part, "/")
        crate = part[1] == "crates" ? part[2] : part[1]
        if (!(crate in seen)) { seen[crate]; order[++crates] = crate }
        add(crate); add("workspace")
    }
    END {
        if (!crates) { print "coverage: no file of this workspace was measured"; exit 1 }
        printf "%-12s %7s %8s %8s %8s %8s\n", "crate", "lines", "line %", "func %", "region %", "branch %"
        for (i = 1; i <= crates; i++) row(order[i])
        row("workspace")
        if (gate == "--no-gate") exit 0
        demand("workspace", "lines", lines_min)
        demand("workspace", "functions", functions_min)
        demand("domain", "lines", domain_min)
        demand("domain", "functions", domain_min)
        exit short
    }' "$profiles/summary.json"
