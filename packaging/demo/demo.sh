#!/usr/bin/env bash
# A host, a fake Stripe and an organisation, started from nothing; ./dev demo calls it.
#   demo.sh BUILD_DIRECTORY [--once]
# --once checks everything against what the fake says it holds, tries what the demo says to try, prints one JSON object
# as its last line and ends.
#   SLUICE_DEMO_CUSTOMERS=2000       of the fake Stripe
#   SLUICE_DEMO_PACE_PERCENT=2000    how fast it is asked; 100 is as Stripe itself would be (20 times slower)
set -euo pipefail
build=$1
once=${2:-}
customers=${SLUICE_DEMO_CUSTOMERS:-2000}
pace=${SLUICE_DEMO_PACE_PERCENT:-2000}
unset SLUICE_DEMO_CUSTOMERS SLUICE_DEMO_PACE_PERCENT # sluiced refuses a setting that it does not know
own=500

directory=$(mktemp -d "${TMPDIR:-/tmp}/sluice-demo.XXXXXX")
chmod 0711 "$directory"
started=$SECONDS
children=()

finish() {
  local status=$?
  trap - EXIT INT TERM
  for child in "${children[@]}"; do kill -TERM "$child" 2>/dev/null || true; done
  for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
  if [ "$status" = 0 ] || [ "$status" = 130 ]; then
    rm -rf "$directory"
  else
    tail -n 20 "$directory/sluiced.log" >&2 || true
    say "the demo failed; its logs are in $directory"
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
show() { # prints the command as a user would type it, then runs it
  printf '\033[2m$ %s\033[0m\n' "$*" >&2
  "$@" >&2
}
try() { # the same of a line for the shell, with its quotes
  printf '\033[2m$ %s\033[0m\n' "$1" >&2
  eval "$1" >&2
}
fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}
until_true() { # seconds, what for, command...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "waited in vain for $what"
    sleep 0.1
  done
}
sluice() { "$build/bin/sluice" "$@"; }

say "1  A fake Stripe with $customers customers and what hangs on them"
"$build/bin/fake_stripe" --port 0 --seed 42 --customers "$customers" --key sk_test_demo_0001 \
  >"$directory/fake.json" 2>"$directory/fake.log" &
children+=($!)
truth() { curl -fsS --noproxy '*' "$fake/_control/truth" | jq -r "$1"; }
control() { curl -fsS --noproxy '*' "$fake/_control/$1" "${@:2}"; }

say "2  The host, with no configuration: a private PostgreSQL, a root key and an operator token are made"
mkdir "$directory/connectors" # a host that root starts is another user, who may not get at the build
cp "$build/connectors/stripe.so" "$directory/connectors/"
chmod -R go+rX,go-w "$directory/connectors"
"$build/bin/sluiced" --data "$directory/data" --listen 127.0.0.1:0 --set workspace.default=acme --set sync.poll_ms=200 \
  --set "fetch.pace_percent=$pace" --set "connectors.directories=[\"$directory/connectors\"]" \
  >"$directory/sluiced.out" 2>"$directory/sluiced.log" &
children+=($!)
host_pid=$!
ready() {
  kill -0 "$host_pid" 2>/dev/null || { cat "$directory/sluiced.log" >&2; fail "the host ended"; }
  grep -q 'operator token' "$directory/sluiced.out"
}
until_true 120 "the host" ready
SLUICE_URL=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$directory/sluiced.out")
SLUICE_TOKEN=$(cat "$directory/data/operator.token")
export SLUICE_URL SLUICE_TOKEN SLUICE_WORKSPACE=acme
cat "$directory/sluiced.out" >&2
until_true 60 "the fake Stripe" test -s "$directory/fake.json"
fake="http://$(jq -r .listening "$directory/fake.json")"

say "3  What the organisation has already: a type of its own, and $own customers from a CSV file"
control "own_customers.csv?count=$own" >"$directory/customers.csv"
show sluice entity create-type customer email:text:format=email name:text plan:text
show sluice entity import customer "$directory/customers.csv"

say "4  The connector is turned on, and an account connected; its key goes into the vault"
show sluice connector install stripe
export STRIPE_KEY=sk_test_demo_0001
show sluice connection create billing --connector stripe --secret api_key=@STRIPE_KEY \
  --base-url "api=$fake" --allow-loopback --interval events=1 \
  --config event_lag_seconds=0

say "5  Everything is read"
show sluice status --wait 300
links_done() { [ "$(psql_value 'select count(*) from sluice.link_queue')" = 0 ]; }
pg_binaries=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
psql_demo() { "$pg_binaries/psql" -X -h "$directory/data/run" -U sluice -d sluice "$@"; }
psql_value() { psql_demo -qAtc "$1"; }
until_true 60 "the links" links_done
show sluice link rules

say "6  One question across both worlds: which overdue invoices belong to our enterprise customers?"
# amount_remaining is in the currency's smallest unit, amount_remaining_major in the currency itself.
query="select c.name, i.number, i.due_date::date as due, i.amount_remaining_major as open, i.currency
from acme.customer c
join acme.stripe_customer s on s.customer_id = c.id
join acme.stripe_invoice i on i.connection_id = s.connection_id and i.customer = s.external_id
where c.plan = 'enterprise' and i.status = 'open' and i.due_date < now()
order by i.due_date, i.number"
overdue="sluice entity list stripe.invoice --filter status=open --filter 'due_date[lt]=now' \\
       --filter customer.customer.plan=enterprise --sort due_date,number --limit 200 \\
       --fields customer_name,number,due_date,amount_remaining_major,currency"
overdue_rest="curl -fsSg --noproxy '*' -H \"Authorization: Bearer \$SLUICE_TOKEN\" \"\$SLUICE_URL/v1/workspaces/acme/entities/stripe.invoice\\
?status=open&due_date[lt]=now&customer.customer.plan=enterprise&sort=due_date,number&limit=200&fields=number,due_date,currency\""
printf 'By SQL:\n%s\n\n' "$query" >&2
psql_demo -P pager=off -c "$query" >&2
printf 'By the command line:\n' >&2
try "$overdue"
printf '\nBy REST, here the first of them:\n' >&2
try "$overdue_rest | jq -c '.entities[0].attributes'"

say "7  Something changes at the vendor: one customer gets another name there, and nobody tells the host"
changed=$(psql_value "select external_id from acme.stripe_customer where customer_id is not null order by external_id limit 1")
cursor=$(sluice changes --from now --json | jq -r .cursor)
control mutate -d "{\"id\":\"$changed\",\"set\":{\"name\":\"Changed at the vendor\"}}" >/dev/null
before=$(date +%s%N)
arrived() { [ "$(psql_value "select name from acme.stripe_customer where external_id = '$changed'")" = 'Changed at the vendor' ]; }
until_true 60 "the change" arrived
seconds_to_arrive=$(awk "BEGIN { printf \"%.1f\", ($(date +%s%N) - $before) / 1e9 }")
printf 'It stands in the table %s s later, and the change feed has what it was and what it is:\n' "$seconds_to_arrive" >&2
show sluice changes --type stripe.customer --cursor "$cursor"

# Three things to try: whose commands are printed for people, and run and looked at by --once.
IFS='|' read -r newcomer newcomer_email <<<"$(psql_value "select s.external_id, s.email
  from acme.stripe_customer s
  join acme.stripe_invoice i on i.connection_id = s.connection_id and i.customer = s.external_id and i.status = 'open'
  where s.customer_id is null and s.email ~ '^[a-z0-9.@]+$'
  and not exists (select from acme.customer c where lower(c.email) = lower(s.email))
  order by s.external_id limit 1")"
other_email=$(psql_value "select email from acme.customer c
  where email ~ '^[a-z0-9.@]+$' and not exists (select from acme.stripe_customer s where lower(s.email) = lower(c.email))
  and not exists (select from acme.customer d where d.id <> c.id and lower(d.email) = lower(c.email)) order by id limit 1")
[ -n "$newcomer" ] && [ -n "$other_email" ] || fail "$customers customers are too few to show anything with"
open_invoices="sluice entity list stripe.invoice --filter status=open \\
       --filter customer.customer.plan=vip --fields number,amount_remaining_major,currency"
win="sluice entity create customer email=$newcomer_email plan=vip"
kill_database="kill -9 \$(head -1 $directory/data/postgres/postmaster.pid)"
ask_by_sql="psql \"\$(sluice sql-user create you)\""
move="curl -fsS --noproxy '*' -o /dev/null $fake/_control/mutate \\
       -d '{\"id\":\"$changed\",\"set\":{\"email\":\"$other_email\"}}'"

if [ "$once" = --once ]; then
  say "8  Everything is compared with what the fake says it holds"
  records=0
  checked=true
  for type in customer product price subscription subscription_item invoice invoice_line invoice_payment; do
    want=$(truth ".$type")
    have=$(psql_value "select count(*) from acme.stripe_$type")
    [ "$want" = "$have" ] || { checked=false; printf '%s: the fake holds %s, the table %s\n' "$type" "$want" "$have" >&2; }
    records=$((records + have))
  done
  expected=$(control "expect_links?count=$own")
  links() { psql_value "select count(*) from acme.link where rule = 'stripe.customer.email' and state = '$1'"; }
  linked=$(links linked) pending=$(links pending) contested=$(links contested)
  for state in linked pending contested; do
    want=$(jq -r ".$state" <<<"$expected")
    [ "$want" = "${!state}" ] || { checked=false; printf '%s: the fake expects %s, there are %s\n' "$state" "$want" "${!state}" >&2; }
  done
  seconds=$((SECONDS - started))

  in_sql=$(psql_value "select string_agg(number, ' ') from ($query) q")
  in_cli=$(eval "$overdue --json" | jq -r '[.entities[].attributes.number] | join(" ")')
  in_rest=$(eval "$overdue_rest" | jq -r '[.entities[].attributes.number] | join(" ")')
  [ -n "$in_sql" ] && [ "$in_sql" = "$in_cli" ] && [ "$in_sql" = "$in_rest" ] ||
    { checked=false; printf 'overdue: by SQL %s, by command %s, by REST %s\n' "$in_sql" "$in_cli" "$in_rest" >&2; }

  say "9  What it says to try is tried"
  finds_invoices() { [ "$(eval "$open_invoices --json" | jq '.entities | length')" -gt 0 ]; }
  finds_invoices && fail "somebody is on plan vip already"
  try "$win"
  until_true 20 "the newcomer's open invoices" finds_invoices
  try "$open_invoices"

  cursor=$(sluice changes --from now --json | jq -r .cursor)
  try "$move"
  moved() { [ "$(sluice changes --cursor "$cursor" --json | jq -r '[.changes[].op] | join(" ")')" = 'update unlink link' ]; }
  until_true 20 "the link that moves" moved
  try "sluice changes --cursor $cursor"

  try "$ask_by_sql -X -P pager=off -c 'select status, count(*) from stripe_invoice group by status'"

  rows=$(psql_value 'select count(*) from acme.stripe_invoice')
  postmaster() { head -n 1 "$directory/data/postgres/postmaster.pid" 2>/dev/null; }
  killed=$(postmaster)
  try "$kill_database"
  is_back() { [ -n "$(postmaster)" ] && [ "$(postmaster)" != "$killed" ] && sluice connection list >/dev/null 2>&1; }
  until_true 60 "the database" is_back
  [ "$(psql_value 'select count(*) from acme.stripe_invoice')" = "$rows" ] || fail "rows are lost"
  try "sluice status"
  printf '{"checked":%s,"records":%d,"linked":%d,"pending":%d,"contested":%d,"seconds":%d}\n' \
    "$checked" "$records" "$linked" "$pending" "$contested" "$seconds"
  [ "$checked" = true ] || exit 1
  exit 0
fi

say "Ready after $((SECONDS - started)) s. It keeps running until Ctrl-C. In another terminal:"
cat >&2 <<LOOK
  export SLUICE_URL=$SLUICE_URL SLUICE_WORKSPACE=acme
  export SLUICE_TOKEN=$SLUICE_TOKEN
  export PATH=$build/bin:\$PATH

Three things to try:

1  Somebody who pays at Stripe becomes your customer. Nobody tells Sluice that
   they are the same, and a moment later one question finds the open invoices:
     $win
     $open_invoices
     sluice link why stripe.customer $newcomer

2  At Stripe a customer takes another e-mail address. Follow what comes of it,
   and in a third terminal change it: the row, and whose customer it is.
     sluice changes --follow
     $move

3  Kill the database. The host says so, starts it again, and nothing is lost:
     $kill_database
     sluice status; sleep 10; sluice status

And by SQL, as who may read and nothing else:
     $ask_by_sql
LOOK
wait "$host_pid"
