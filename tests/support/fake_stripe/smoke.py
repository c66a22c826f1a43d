"""Checks fake_stripe from outside. Standard library only; see smoke.sh."""
import atexit
import csv
import hashlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import unicodedata
from urllib.parse import quote

PIN = "2026-10-28.endive"
KEY = "sk_test_fake_demo_key"
NOW = 1790000000
DAY = 86400


class Fake:
    def __init__(self, binary, *flags):
        self.process = subprocess.Popen([binary, *map(str, flags)], stdout=subprocess.PIPE)
        atexit.register(self.process.kill)  # also when a promise is broken
        self.hello = json.loads(self.process.stdout.readline())
        self.connection = http.client.HTTPConnection("127.0.0.1", self.hello["port"], timeout=60)

    def raw(self, method, target, headers=None, body=None):
        try:
            self.connection.request(method, target, body=body, headers=headers or {})
            answer = self.connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        except (http.client.HTTPException, ConnectionError):
            self.connection.close()
            raise

    def get(self, target, key=KEY, version=PIN, expect=200):
        headers = {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if version:
            headers["Stripe-Version"] = version
        status, head, body = self.raw("GET", target, headers)
        check(status == expect, f"GET {target}: {status} instead of {expect}: {body[:300]}")
        self.head = head
        return json.loads(body)

    def control(self, method, what, body=None, expect=200):
        text = None if body is None else json.dumps(body)
        status, _, answer = self.raw(method, "/_control/" + what, body=text)
        check(status == expect, f"{method} {what} {text}: {status}: {answer[:300]}")
        return answer

    def post(self, what, expect=200, **body):
        return json.loads(self.control("POST", what, body, expect))

    def fault(self, **fault):
        self.control("DELETE", "faults")
        self.control("POST", "faults", [fault])

    def truth(self, kind):
        return [json.loads(line) for line in self.control("GET", "truth/" + kind).splitlines()]

    def counts(self):
        return json.loads(self.control("GET", "truth"))

    def walk(self, path, limit=100, extra="", backwards=False):
        found, cursor = [], None
        param = "ending_before" if backwards else "starting_after"
        for _ in range(100000):
            at = f"&{param}={quote(cursor)}" if cursor else ""
            page = self.get(f"/v1/{path}?limit={limit}{extra}{at}")
            check(page["object"] == "list" and len(page["data"]) <= limit, f"{path}: page shape")
            found = page["data"] + found if backwards else found + page["data"]
            if not page["has_more"]:
                return found
            check(page["data"], f"{path}: has_more on an empty page")
            cursor = page["data"][0 if backwards else -1]["id"]
        check(False, f"{path} never ends")

    def events(self, extra=""):
        return self.walk("events", extra=extra)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(timeout=60) == 0, "SIGTERM ends it with 0")


def check(condition, message):
    if not condition:
        print("FAILED:", message, file=sys.stderr)
        raise SystemExit(1)


def same(left, right, message):
    check(left == right, f"{message}: {str(left)[:300]} is not {str(right)[:300]}")


def as_embedded(complete, name):
    """What a list shows of an object of which the truth shows all children."""
    shown = json.loads(json.dumps(complete))
    nested = shown[name]
    nested["has_more"] = len(nested["data"]) > 10
    nested["data"] = nested["data"][:10]
    return shown


def lists(fake):
    nested = {"subscription": "items", "invoice": "lines"}
    plain = {"customer": "customers", "product": "products", "price": "prices",
             "subscription": "subscriptions", "invoice": "invoices",
             "invoice_payment": "invoice_payments"}
    counts = fake.counts()
    for kind, path in plain.items():
        truth = fake.truth(kind)
        same(len(truth), counts[kind], f"count of {kind}")
        check(all(a["created"] >= b["created"] for a, b in zip(truth, truth[1:])), f"{kind} order")
        expected = [as_embedded(o, nested[kind]) if kind in nested else o for o in truth]
        extra = "&status=all" if kind == "subscription" else ""
        same(fake.walk(path, 100, extra), expected, f"{path} by 100")
        for limit in (1, 7, 99) if len(truth) < 2000 else (99,):
            ids = [o["id"] for o in fake.walk(path, limit, extra)]
            same(ids, [o["id"] for o in expected], f"{path} by {limit}")
        if truth:
            oldest = truth[-1]["id"]
            page = fake.get(f"/v1/{path}?limit=100{extra}&ending_before={quote(oldest)}")
            same(page["data"], expected[max(0, len(expected) - 101):-1], f"{path} ending_before")
            windows(fake, path, extra, truth)
            for one in expected[:5] + expected[-5:]:
                same(fake.get(f"/v1/{path}/{quote(one['id'], safe='')}"), one, "retrieve")
    shapes(fake)


def windows(fake, path, extra, truth):
    middle = truth[len(truth) // 2]["created"]
    for operator, test in (("gt", lambda c: c > middle), ("gte", lambda c: c >= middle),
                           ("lt", lambda c: c < middle), ("lte", lambda c: c <= middle)):
        got = [o["id"] for o in fake.walk(path, 100, f"{extra}&created[{operator}]={middle}")]
        same(got, [o["id"] for o in truth if test(o["created"])], f"{path} created[{operator}]")
    got = [o["id"] for o in fake.walk(path, 100, f"{extra}&created={middle}")]
    same(got, [o["id"] for o in truth if o["created"] == middle], f"{path} created=")


def shapes(fake):
    subscriptions, invoices = fake.truth("subscription"), fake.truth("invoice")
    items, lines = fake.truth("subscription_item"), fake.truth("invoice_line")
    same(sum(len(s["items"]["data"]) for s in subscriptions), len(items), "items")
    same(sum(len(i["lines"]["data"]) for i in invoices), len(lines), "lines")
    same({i["id"]: i for s in subscriptions for i in s["items"]["data"]},
         {i["id"]: i for i in items}, "items of subscriptions")
    big = [s for s in subscriptions if len(s["items"]["data"]) > 10]
    long = [i for i in invoices if len(i["lines"]["data"]) == 23]
    check(big and long, "there are subscriptions of 12 items and invoices of 23 lines")
    for s in big[:3]:
        path = f"subscription_items?subscription={s['id']}"
        same(fake.get(f"/v1/{path}&limit=100")["data"], s["items"]["data"], "items by 100")
        got = walk_children(fake, path + "&", 5)
        same(got, s["items"]["data"], "items by 5")
        shown = fake.get(f"/v1/subscriptions/{s['id']}")["items"]
        check(len(shown["data"]) == 10 and shown["has_more"], "truncated to 10")
    for i in long[:3]:
        same(walk_children(fake, f"invoices/{i['id']}/lines?", 9), i["lines"]["data"], "lines by 9")
    for i in invoices:
        same(i["total"], sum(l["amount"] for l in i["lines"]["data"]), "total of lines")
    customers = fake.truth("customer")
    customer = next(s["customer"] for s in subscriptions)
    same([s["id"] for s in fake.walk("subscriptions", 100, f"&status=all&customer={customer}")],
         [s["id"] for s in subscriptions if s["customer"] == customer], "customer=")
    same([i["id"] for i in fake.walk("invoices", 100, f"&customer={customer}")],
         [i["id"] for i in invoices if i["customer"] == customer], "invoices of a customer")
    paid = fake.truth("invoice_payment")[0]["invoice"]
    same([p["id"] for p in fake.walk("invoice_payments", 100, f"&invoice={paid}")],
         [p["id"] for p in fake.truth("invoice_payment") if p["invoice"] == paid], "invoice=")
    shown = fake.get(f"/v1/invoices/{paid}?expand[]=payments&expand[]=customer")
    check(shown["payments"]["data"][0]["invoice"] == paid, "expanded payments")
    same(shown["customer"]["object"], "customer", "expanded customer")
    page = fake.get("/v1/invoices?limit=3&expand[0]=data.payments")
    check(all("payments" in i for i in page["data"]), "data.payments")
    live = [s["id"] for s in subscriptions if s["status"] != "canceled"]
    check(len(live) < len(subscriptions), "some subscriptions are canceled")
    same([s["id"] for s in fake.walk("subscriptions")], live, "without status=all")
    seconds = [c["created"] for c in customers]
    check(len(set(seconds)) < len(seconds), "customers share seconds")
    ids = {c["id"] for c in customers}
    check(any(len(i) == 255 for i in ids), "an id of 255 characters")
    check(len({i.lower() for i in ids}) < len(ids), "ids that differ only in case")
    emails = [c["email"] for c in customers]
    check(None in emails and "   " in emails, "null and blank e-mails")
    check(any(e and any(ord(c) > 127 for c in e) for e in emails), "non-ASCII e-mails")
    currencies = {i["currency"] for i in invoices}
    check({"jpy", "bhd"} <= currencies, "yen and dinar")
    check(any(p["unit_amount"] is None and p["unit_amount_decimal"] == "0.05"
              for p in fake.truth("price")), "sub-cent prices")
    check(any(i["status"] == "draft" for i in invoices), "drafts")


def walk_children(fake, path, limit):
    found, cursor = [], ""
    while True:
        page = fake.get(f"/v1/{path}limit={limit}{cursor}")
        found += page["data"]
        if not page["has_more"]:
            return found
        cursor = f"&starting_after={found[-1]['id']}"


def errors(fake):
    def message(target, status, **options):
        return fake.get(target, expect=status, **options)["error"]

    same(message("/v1/customers", 401, key="sk_test_wrong")["type"], "invalid_request_error", "401")
    message("/v1/customers", 401, key=None)
    same(message("/v1/customers", 401, key="pk_test_x")["code"], "secret_key_required", "pk_")
    same(message("/v1/customers/cus_none", 404)["code"], "resource_missing", "404")
    check("Unrecognized request URL (GET: /v1/none)" in message("/v1/none", 404)["message"], "path")
    same(message("/v1/customers?starting_after=cus_none", 400)["param"], "starting_after", "cursor")
    same(message("/v1/customers?foo=1", 400)["code"], "parameter_unknown", "unknown parameter")
    for limit in ("0", "101", "x", "-1", ""):
        same(message(f"/v1/customers?limit={limit}", 400)["param"], "limit", "limit")
    message("/v1/customers?starting_after=a&ending_before=b", 400)
    message("/v1/subscription_items", 400)
    check("payment_intent" in message("/v1/invoices?expand[]=data.payment_intent", 400)["message"],
          "unknown expand")
    message("/v1/events?expand[]=data.data.object", 400)
    message("/v1/customers", 400, version="2099-01-01")
    restricted = message("/v1/subscriptions", 403, key="rk_test_limited")
    check("'rak_subscription_read'" in restricted["message"], "permission is named")
    fake.get("/v1/customers?limit=1", key="rk_test_limited")
    page = fake.get("/v1/customers?limit=1")
    for header in ("request-id", "stripe-version", "date"):
        check(header in fake.head, f"header {header}")
    same(fake.head["content-type"], "application/json", "content type")
    check(page["data"][0]["livemode"] is False, "livemode")
    fake.get("/v1/account", version=None)
    same(fake.head["stripe-version"], "2020-08-27", "default version")
    check("/v1/account" in json.loads(fake.control("GET", "stats"))["requests"], "stats by path")


def old_versions(fake):
    old = fake.get("/v1/invoices?limit=50", version=None)["data"]
    new = fake.get("/v1/invoices?limit=50")["data"]
    for before, after in zip(old, new):
        check("parent" not in before and "subscription" in before and "charge" in before, "old")
        check("parent" in after and "subscription" not in after and "charge" not in after, "new")
        if after["parent"]:
            same(before["subscription"], after["parent"]["subscription_details"]["subscription"],
                 "subscription")
    sub = fake.get("/v1/subscriptions?limit=1", version="2024-06-20")["data"][0]
    check("current_period_end" in sub and "current_period_end" not in sub["items"]["data"][0],
          "periods")


def changes(fake):
    before = fake.counts()
    made = fake.post("create", type="customer", set={"email": "New@Example.com"})
    same(made["email"], "New@Example.com", "create")
    same(fake.get("/v1/customers?limit=1")["data"][0]["id"], made["id"], "new one comes first")
    fake.post("mutate", id=made["id"], set={"metadata": {"a": "1"}, "email": None})
    fake.post("mutate", id=made["id"], set={"metadata": {"a": "2", "b": "3"}})
    shown = fake.get(f"/v1/customers/{made['id']}")
    same((shown["email"], shown["metadata"]), (None, {"a": "2", "b": "3"}), "deep merge")
    events = fake.events()
    same([e["type"] for e in events],
         ["customer.updated", "customer.updated", "customer.created"], "events, newest first")
    same(events[0]["data"]["previous_attributes"], {"metadata": {"a": "1", "b": None}}, "previous")
    same(events[1]["data"]["previous_attributes"]["email"], "New@Example.com", "previous email")
    same(events[0]["api_version"], "2020-08-27", "payload version")
    same(fake.get("/v1/events?type=customer.created")["data"], events[2:], "type=")
    same(fake.get("/v1/events?type=customer.*")["data"], events, "wildcard")
    same(fake.get("/v1/events?types[]=customer.updated&types[]=x.y")["data"], events[:2], "types")
    same(fake.get(f"/v1/events/{events[0]['id']}"), events[0], "retrieve an event")
    relink(fake)
    deletes(fake, made["id"])
    items(fake)
    drafts(fake)
    after = fake.counts()
    check(after["deleted"]["customer"] > before["deleted"]["customer"], "deleted counted")


def relink(fake):
    """An e-mail that one own customer has links a customer that was pending."""
    def verdicts():
        return json.loads(fake.control("GET", "expect_links?count=500"))

    before = verdicts()
    same(fake.post("create", type="customer", set={"email": "nobody@else.example"})["email"],
         "nobody@else.example", "create")
    pending = fake.truth("customer")[0]["id"]
    same(verdicts()["pending"], before["pending"] + 1, "pending")
    fake.post("mutate", id=pending, set={"email": " STRANGER7@OWN.example"})
    same(verdicts(), {**before, "linked": before["linked"] + 1}, "linked by a new e-mail")
    fake.post("mutate", id=pending, set={"email": None})
    same(verdicts()["without_key"], before["without_key"] + 1, "without key")
    fake.post("delete", id=pending)
    same(verdicts(), before, "deleted ones do not count")


def deletes(fake, customer):
    sub = fake.post("create", type="subscription", set={"customer": customer})
    fake.post("delete", id=customer)
    same(fake.get(f"/v1/customers/{customer}"),
         {"id": customer, "object": "customer", "deleted": True}, "tombstone")
    check(customer not in [c["id"] for c in fake.walk("customers")], "not listed")
    same(fake.get(f"/v1/customers?starting_after={customer}", expect=400)["error"]["code"],
         "resource_missing", "cursor on a deleted one")
    same(fake.get(f"/v1/subscriptions/{sub['id']}")["status"], "canceled", "its subscription")
    same([e["type"] for e in fake.events()[:3]],
         ["customer.deleted", "customer.subscription.deleted", "customer.subscription.created"],
         "events of a delete")
    product = fake.post("create", type="product", set={"id": "My-Product", "name": "P"})
    fake.post("delete", id=product["id"])
    fake.get("/v1/products/My-Product", expect=404)
    seeded = fake.truth("product")[0]["id"]
    fake.post("delete", id=seeded, expect=400)


def items(fake):
    sub = next(s for s in fake.truth("subscription") if len(s["items"]["data"]) >= 12)
    gone = sub["items"]["data"][1]["id"]
    fake.post("remove_item", subscription=sub["id"], item=gone)
    event = fake.events()[0]
    same(event["type"], "customer.subscription.updated", "item removal")
    check(gone in json.dumps(event["data"]["previous_attributes"]["items"]), "old array is told")
    check(len(event["data"]["object"]["items"]["data"]) == 10, "payload is truncated")
    now = [i["id"] for i in fake.truth("subscription_item") if i["subscription"] == sub["id"]]
    check(gone not in now and len(now) == len(sub["items"]["data"]) - 1, "one item less")
    fake.get(f"/v1/subscription_items/{gone}", expect=404)
    added = fake.post("create", type="subscription_item", set={"subscription": sub["id"]})
    fake.post("mutate", id=added["id"], set={"quantity": 77})
    same(fake.get(f"/v1/subscription_items/{added['id']}")["quantity"], 77, "quantity")
    price = fake.get("/v1/prices?limit=1")["data"][0]["id"]
    fake.post("mutate", id=price, set={"nickname": "renamed"})
    embedded = [i["price"] for i in fake.truth("subscription_item") if i["price"]["id"] == price]
    check(all(p["nickname"] == "renamed" for p in embedded), "a price changes in its items too")


def drafts(fake):
    customer = fake.truth("customer")[0]["id"]
    draft = fake.post("create", type="invoice",
                      set={"customer": customer, "status": "draft", "lines": 23})
    check(len(draft["lines"]["data"]) == 10 and draft["lines"]["has_more"], "23 lines")
    event = fake.events()[0]
    check(event["type"] == "invoice.created" and "parent" not in event["data"]["object"], "old")
    line = draft["lines"]["data"][9]["id"]
    fake.post("delete", id=line)
    left = walk_children(fake, f"invoices/{draft['id']}/lines?", 100)
    check(len(left) == 22 and line not in [l["id"] for l in left], "line removed")
    fake.post("delete", id=draft["id"])
    fake.get(f"/v1/invoices/{draft['id']}", expect=404)
    paid = next(i for i in fake.truth("invoice") if i["status"] == "paid")
    fake.post("delete", id=paid["id"], expect=400)
    fake.post("mutate", id=paid["id"], set={"metadata": {"x": "y"}}, event_api_version=PIN)
    check("parent" in fake.events()[0]["data"]["object"], "payload in the pinned version")
    fake.post("mutate", id=paid["id"], set={"metadata": {"x": "z"}},
              event_types=["invoice.sent", "invoice.updated"])
    same([e["type"] for e in fake.events()[:2]], ["invoice.updated", "invoice.sent"], "two events")
    total = len(fake.events())
    fake.post("mutate", id=paid["id"], set={"metadata": {"x": "q"}}, event_type=None)
    same(len(fake.events()), total, "a silent change")
    fake.post("mutate", id=paid["id"], set={"lines": []}, expect=400)
    fake.post("emit", type="invoice.upcoming", object={"object": "invoice"})
    same(fake.events()[0]["type"], "invoice.upcoming", "emit")


def lag_and_retention(fake):
    fake.post("event_lag", ms=40000)
    customer = fake.truth("customer")[0]["id"]
    known = len(fake.events())
    fake.post("mutate", id=customer, set={"phone": "+49 1"})
    same(len(fake.events()), known, "not visible yet")
    fake.post("advance", seconds=41)
    late = fake.events()
    same(len(late), known + 1, "visible after the lag")
    fake.post("event_lag", ms=0)
    fake.post("advance", seconds=30 * DAY + 60)
    same(fake.events(), [], "30 days of retention")
    error = fake.get(f"/v1/events?starting_after={late[0]['id']}", expect=400)["error"]
    check("aged out of our retention policy" in error["message"], "aged out")
    result = fake.post("churn", type="customer", count=25)
    same(len(fake.events()), 25, "churn")
    same(len(result["ids"]), 25, "churned ids")


def faults(fake):
    url = "/v1/customers?limit=5"
    honest = fake.get(url)

    def bare():
        return fake.raw("GET", url, {"Authorization": f"Bearer {KEY}", "Stripe-Version": PIN})

    fake.fault(match="/v1/customers", nth=3, times=2, kind="status", status=500,
               headers={"Stripe-Should-Retry": "false"})
    same([bare()[0] for _ in range(6)], [200, 200, 500, 500, 200, 200], "nth and times")
    fake.fault(match="/v1/customers", kind="status", status=500,
               headers={"Stripe-Should-Retry": "false"})
    same(bare()[1]["stripe-should-retry"], "false", "own headers")
    fake.fault(match="/v1/cust*", kind="html502")
    status, head, body = bare()
    check(status == 502 and head["content-type"] == "text/html" and b"\xff" in body, "html502")
    fake.fault(match="/v1/customers", kind="429")
    status, head, body = bare()
    check(status == 429 and head["stripe-rate-limited-reason"] == "endpoint-rate", "429")
    fake.fault(match="/v1/customers", kind="429", reason="lock_timeout")
    status, head, body = bare()
    check(json.loads(body)["error"]["code"] == "lock_timeout", "lock_timeout")
    check("stripe-rate-limited-reason" not in head, "lock_timeout has no reason header")
    for kind, status in (("401", 401), ("403", 403), ("nonjson200", 200), ("garbage", 200)):
        fake.fault(match="*", kind=kind)
        same(bare()[0], status, kind)
    fake.fault(match="*", kind="empty")
    same(bare()[2], b"", "empty")
    fake.fault(match="*", kind="truncate_json")
    body = bare()[2]
    check(json_fails(body) and len(body) > 10, "truncate_json")
    for kind in ("cut", "drop"):
        fake.fault(match="*", kind=kind)
        try:
            bare()
            check(False, f"{kind} must break the connection")
        except (http.client.HTTPException, ConnectionError):
            pass
        same(fake.get(url), honest, f"after {kind}")
    fake.fault(match="*", kind="slow", delay_ms=300)
    same(fake.get(url), honest, "slow")
    fake.fault(match="*", kind="empty_page")
    same(fake.get(url)["data"], [], "empty_page")
    fake.fault(match="*", kind="has_more")
    same(fake.get("/v1/products?limit=100")["has_more"], True, "has_more")
    fake.fault(match="*", kind="repeat_page", times=0)
    again = fake.get(f"{url}&starting_after={quote(honest['data'][-1]['id'])}")
    same(again["data"], honest["data"], "repeat_page")
    same(json.loads(fake.control("GET", "faults"))[0]["hits"], 1, "hits")
    fake.control("POST", "faults", [{"kind": "nonsense"}], expect=400)
    fake.control("DELETE", "faults")
    same(fake.get(url), honest, "faults are gone")


def json_fails(body):
    try:
        json.loads(body)
        return False
    except ValueError:
        return True


def keys(fake):
    fake.post("keys", add="sk_test_second")
    fake.get("/v1/account", key="sk_test_second")
    fake.post("keys", remove="sk_test_second")
    error = fake.get("/v1/account", key="sk_test_second", expect=401)["error"]
    same(error["code"], "api_key_expired", "expired key")


def fold(text):
    """NFC, and the case of one letter at a time: what has no single small letter stays."""
    letters = unicodedata.normalize("NFC", text.strip())
    return "".join(one.casefold() if len(one.casefold()) == 1 else one for one in letters)


def links(fake):
    for count in (1, 40, 500):
        answer = fake.control("GET", f"own_customers.csv?count={count}")
        rows = list(csv.DictReader(io.StringIO(answer.decode())))
        same(len(rows), count, "rows")
        own = {}
        for row in rows:
            own.setdefault(fold(row["email"]), []).append(row["email"])
        check(all(len(set(v)) == len(v) for v in own.values()), "raw e-mails of a pair differ")
        expected = {"linked": 0, "pending": 0, "contested": 0, "without_key": 0}
        for customer in fake.truth("customer"):
            key = fold(customer["email"] or "")
            matches = len(own.get(key, []))
            verdict = "without_key" if not key else ("pending", "linked")[matches] \
                if matches < 2 else "contested"
            expected[verdict] += 1
        got = json.loads(fake.control("GET", f"expect_links?count={count}"))
        same(got, expected, f"links of {count}")
        print(f"  links, {count} own customers: {got}")
    check(all(v > 0 for v in expected.values()), "all four verdicts occur")


def pipelining(fake):
    with socket.create_connection(("127.0.0.1", fake.hello["port"]), timeout=30) as s:
        one = (f"GET /v1/prices?limit=2 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
               f"Stripe-Version: {PIN}\r\n")
        s.sendall((one + "\r\n").encode() * 9 + (one + "Connection: close\r\n\r\n").encode())
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    same(data.count(b"HTTP/1.1 200 OK"), 10, "ten pipelined answers")


def fingerprint(fake):
    digest = hashlib.sha256()
    for kind in ("customer", "product", "price", "subscription", "invoice", "invoice_payment"):
        digest.update(fake.control("GET", "truth/" + kind))
    digest.update(fake.control("GET", "own_customers.csv?count=300"))
    return digest.hexdigest()


def main():
    binary, customers = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "300"
    flags = ("--customers", customers, "--now", NOW, "--seed", 7, "--key", KEY,
             "--key", "rk_test_limited:rak_customer_read,rak_event_read")
    fake = Fake(binary, *flags)
    print("seeded:", fake.counts())
    first = fingerprint(fake)
    for step in (lists, errors, old_versions, links, changes, links, lag_and_retention, faults,
                 keys, pipelining, lists):
        print(step.__name__)
        step(fake)
    check(fake.counts()["event"] > 0, "events were born")
    fake.stop()
    twin = Fake(binary, *flags)
    same(fingerprint(twin), first, "same seed, same world")
    twin.stop()
    empty = Fake(binary)
    same(empty.get("/v1/customers"),
         {"object": "list", "data": [], "has_more": False, "url": "/v1/customers"}, "empty world")
    empty.stop()
    print("all promises kept")


if __name__ == "__main__":
    main()
