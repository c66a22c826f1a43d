#!/bin/sh
# Fuzzes for a while and prints what broke, whole, so that a log of CI is enough to have it again.
#   run.sh SECONDS PROGRAM [DICTIONARY|-] CORPUS...
# The seed is fixed: with the same program and corpus the same inputs are tried in the same order.
set -u
seconds=$1 program=$2 dictionary=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new" "$work/found"
[ "$dictionary" = - ] || set -- "-dict=$dictionary" "$@"
"$program" -seed=3 -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=16384 \
  -use_value_profile=1 -print_final_stats=1 -verbosity=1 \
  -artifact_prefix="$work/found/" "$work/new" "$@" > "$work/log" 2>&1
code=$?
grep -v -e '^#[0-9]*	NEW' -e '^#[0-9]*	REDUCE' "$work/log" | tail -n 120
for artifact in "$work/found"/*; do
  [ -f "$artifact" ] || continue
  echo "---- $(basename "$artifact"), base64; put it into tests/fuzz/corpus once it is fixed"
  base64 -w 0 "$artifact"
  echo
done
exit $code
