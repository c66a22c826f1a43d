#!/usr/bin/env bash
# Whether systemd takes packaging/sluice.service: every line known, every value right. Nothing is installed.
#   check-unit.sh UNIT SLUICED
# 77: there is no systemd to ask.
set -euo pipefail
unit=$1
sluiced=$2
command -v systemd-analyze >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
grep -q '^ExecStart=/usr/bin/sluiced ' "$unit" || { echo "$unit starts no /usr/bin/sluiced" >&2; exit 1; }
# Not installed here, and not to be: the program that was built stands in its place.
sed "s|^ExecStart=/usr/bin/sluiced |ExecStart=$sluiced |" "$unit" >"$directory/sluice.service"
said=$(systemd-analyze verify --man=no "$directory/sluice.service" 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
# What it does not know it ignores, says so and is content.
[ -z "$said" ] || { printf '%s\n' "$said" >&2; exit 1; }
