#!/usr/bin/env bash
# What an import of a file costs: as new rows, as the same rows again, and with one row of ten changed.
#   bench/import.sh BUILD_DIRECTORY [ROWS [rule]]      (build/release, 1000000)
# With "rule" a link rule names the type, so that each new key goes through the queue; without, none does.
# The bar: psql's \copy of the same file into a table of the same server that has what any table of customers has, a key
# made by a sequence and a unique address. Prints one JSON object as its last line; times are seconds, CPU is microseconds a row.
set -euo pipefail
build=$1
rows=${2:-1000000}
rule=${3:-}

directory=$(mktemp -d "${TMPDIR:-/tmp}/sluice-bench.XXXXXX")
chmod 0711 "$directory"
finish() {
  local status=$?
  trap - EXIT
  kill -TERM "${host_pid:-0}" 2>/dev/null || true
  wait "${host_pid:-}" 2>/dev/null || true
  [ "$status" = 0 ] || tail -n 20 "$directory/sluiced.log" >&2
  rm -rf "$directory"
  exit "$status"
}
trap finish EXIT
say() { printf '%s\n' "$*" >&2; }

make_file() { # which plan the rows have whose number ends in 7
  awk -v rows="$rows" -v plan="$1" 'BEGIN {
    print "email,name,plan,phone,city,signed_up,seats,discount"
    for (i = 1; i <= rows; i++)
      printf "person.%d@company%d.example,Person %d of Company %d,%s,+49 30 %07d,City %d,2026-%02d-%02d,%d,%d.%02d\n",
        i, i % 5000, i, i % 5000, i % 10 == 7 ? plan : "basic", i, i % 900, i % 12 + 1, i % 28 + 1, i % 250, i % 40, i % 100 }'
}
say "making files of $rows rows"
make_file basic >"$directory/first.csv"
make_file enterprise >"$directory/changed.csv"

"$build/bin/sluiced" --data "$directory/data" --listen 127.0.0.1:0 --set workspace.default=acme \
  >"$directory/sluiced.out" 2>"$directory/sluiced.log" &
host_pid=$!
until grep -q 'operator token' "$directory/sluiced.out"; do
  kill -0 "$host_pid" || exit 1
  sleep 0.1
done
SLUICE_URL=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$directory/sluiced.out")
SLUICE_TOKEN=$(cat "$directory/data/operator.token")
export SLUICE_URL SLUICE_TOKEN SLUICE_WORKSPACE=acme
sluice() { "$build/bin/sluice" "$@"; }
pg_binaries=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
psql_bench() { "$pg_binaries/psql" -X -q -h "$directory/data/run" -U sluice -d sluice "$@"; }

ticks=$(getconf CLK_TCK)
ticks_of() { # all that a process has used; with "all", its children that have ended, too
  awk -v all="${2:-}" '{ sub(/.*\) /, ""); print $12 + $13 + (all ? $14 + $15 : 0) }' "/proc/$1/stat" 2>/dev/null || echo 0
}
postmaster() { head -n 1 "$directory/data/pg/postmaster.pid" 2>/dev/null || pgrep -f "postgres.*-D $directory/data" | head -n 1; }
server_ticks() {
  local sum child
  sum=$(ticks_of "$(postmaster)" all)
  for child in $(pgrep -P "$(postmaster)"); do sum=$((sum + $(ticks_of "$child"))); done
  echo "$sum"
}
now() { date +%s.%N; }
declare -A figure
measure() { # name, command...
  local name=$1 began host server
  shift
  host=$(ticks_of "$host_pid") server=$(server_ticks) began=$(now)
  "$@" >"$directory/$name.out"
  figure[$name]=$(awk -v a="$began" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }')
  figure[$name.host]=$(awk -v t=$(($(ticks_of "$host_pid") - host)) -v hz="$ticks" -v n="$rows" 'BEGIN { printf "%.2f", t / hz * 1e6 / n }')
  figure[$name.server]=$(awk -v t=$(($(server_ticks) - server)) -v hz="$ticks" -v n="$rows" 'BEGIN { printf "%.2f", t / hz * 1e6 / n }')
  say "$name: ${figure[$name]} s; CPU a row: host ${figure[$name.host]} us, server ${figure[$name.server]} us"
}
queue_is_empty() { [ "$(psql_bench -At -c 'select count(*) from (select 1 from sluice.link_queue limit 1) q')" = 0 ]; }
settle() {
  until queue_is_empty; do sleep 0.1; done
  psql_bench -c checkpoint
}

psql_bench -c 'create table public.plain (id bigint generated always as identity primary key, email text not null unique, name text,
  plan text, phone text, city text, signed_up date, seats bigint, discount numeric, stored_at timestamptz not null default now())'
copy() { psql_bench -c "\\copy public.plain (email, name, plan, phone, city, signed_up, seats, discount) from '$directory/first.csv' csv header"; }
measure copy copy
psql_bench -c 'drop table public.plain' -c checkpoint

sluice entity create-type customer email:text:unique:key=email:format=email name:text plan:text phone:text city:text signed_up:date \
  seats:integer discount:decimal >/dev/null
if [ "$rule" = rule ]; then
  sluice entity create-type person email:text:unique:key=email >/dev/null
  sluice link add-rule same_person --from customer.email --to person.email --by email >/dev/null
fi
peak() { awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$host_pid/status"; }
measure new sluice entity import customer "$directory/first.csv" --key email
measure links_of_new settle
measure unchanged sluice entity import customer "$directory/first.csv" --key email
measure changed sluice entity import customer "$directory/changed.csv" --key email
stored=$(psql_bench -At -c "select count(*) from acme.customer where plan = 'enterprise'")
[ "$stored" = $((rows / 10 + (rows % 10 >= 7 ? 1 : 0))) ] || { say "$stored rows are changed"; exit 1; }

printf '{"bench":"import","rows":%d,"rule":%s' "$rows" "$([ "$rule" = rule ] && echo true || echo false)"
for name in copy new links_of_new unchanged changed; do
  printf ',"%s_s":%s,"%s_host_us":%s,"%s_server_us":%s' "$name" "${figure[$name]}" "$name" "${figure[$name.host]}" "$name" "${figure[$name.server]}"
done
awk -v new="${figure[new]}" -v copy="${figure[copy]}" -v peak="$(peak)" 'BEGIN { printf ",\"new_over_copy\":%.2f,\"peak_mb\":%d}\n", new / copy, peak }'
