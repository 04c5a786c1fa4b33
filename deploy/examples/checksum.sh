#!/bin/sh
# Rewrites every sha256 in DIR/versions.toml from the files it names; with --check it only says what differs.
#   deploy/examples/checksum.sh [--check] DIR
set -eu

check=
[ "${1:-}" = --check ] && { check=1; shift; }
[ $# -eq 1 ] || { echo "usage: $0 [--check] DIR" >&2; exit 2; }
dir=$1
manifest=$dir/versions.toml
[ -f "$manifest" ] || { echo "$manifest: no such file" >&2; exit 1; }

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT

file=
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    'file = "'*)
        file=${line#file = \"}
        file=${file%\"}
        [ -f "$dir/$file" ] || { echo "$manifest: $file is named but missing" >&2; exit 1; }
        ;;
    'sha256 = '*)
        [ -n "$file" ] || { echo "$manifest: a sha256 stands before its file" >&2; exit 1; }
        sum=$(sha256sum "$dir/$file")
        line="sha256 = \"${sum%% *}\""
        file=
        ;;
    esac
    printf '%s\n' "$line"
done <"$manifest" >"$fresh"

for found in "$dir"/schema/*.sql "$dir"/seed/*.sql; do
    [ -f "$found" ] || continue
    grep -qF "file = \"${found#"$dir"/}\"" "$fresh" || { echo "$manifest: ${found#"$dir"/} is not listed" >&2; exit 1; }
done

cmp -s "$fresh" "$manifest" && exit 0
if [ -n "$check" ]; then
    echo "$manifest: checksums differ from the files; run deploy/examples/checksum.sh $dir" >&2
    exit 1
fi
cat "$fresh" >"$manifest"
