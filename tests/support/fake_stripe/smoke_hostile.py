"""Switches on every misbehaviour of fake_stripe once, and checks that it misbehaves as told."""
import http.client
import json
import socket
import sys
import time

from smoke import Fake, KEY, NOW, PIN, check, json_fails, same

HEAD = {"Authorization": f"Bearer {KEY}", "Stripe-Version": PIN}


def bare(fake, target="/v1/customers?limit=5", headers=None):
    return fake.raw("GET", target, {**HEAD, **(headers or {})})


def breaks(fake, name, target="/v1/customers?limit=5"):
    try:
        bare(fake, target)
        check(False, f"{name} must break the connection")
    except (http.client.HTTPException, OSError):
        fake.connection.close()
    fake.control("DELETE", "faults")
    fake.get(target)


def wire_bytes(fake, target="/v1/customers?limit=5", seconds=3):
    """What comes over a connection of its own."""
    with socket.create_connection(("127.0.0.1", fake.hello["port"]), timeout=seconds) as s:
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
                  f"Stripe-Version: {PIN}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        try:
            while chunk := s.recv(65536):
                data += chunk
        except OSError:
            pass
    return data


def statuses(fake, count, target="/v1/customers?limit=5"):
    return [bare(fake, target)[0] for _ in range(count)]


def answers(fake):
    fake.fault(match="/v1/disputes", kind="permission", times=0)
    status, _, body = bare(fake, "/v1/disputes")
    check(status == 403 and "'rak_dispute_read'" in json.loads(body)["error"]["message"], "403")
    check("does not have the required permissions" in json.loads(body)["error"]["message"], "text")
    fake.get("/v1/charges")
    fake.fault(match="*", kind="429", reason="", headers={"Retry-After": "2"})
    status, head, _ = bare(fake)
    same((status, head.get("retry-after")), (429, "2"), "429 with Retry-After")
    check("stripe-rate-limited-reason" not in head, "429 without a reason")
    fake.fault(match="*", kind="lock_timeout")
    status, head, body = bare(fake)
    same((status, json.loads(body)["error"]["code"]), (409, "lock_timeout"), "lock_timeout")
    fake.fault(match="*", kind="409", code="lock_timeout")
    same(bare(fake)[0], 409, "409")
    for status in (500, 502, 503, 504, 400, 403, 404):
        fake.fault(match="/v1/customers", kind="status", status=status, code="x_y",
                   message="No such thing", headers={"Stripe-Should-Retry": "true"})
        got, head, body = bare(fake)
        same((got, head["stripe-should-retry"]), (status, "true"), "status")
        same(json.loads(body)["error"]["code"], "x_y", "code")
    fake.fault(match="*", kind="html", status=503)
    status, head, body = bare(fake)
    check(status == 503 and head["content-type"] == "text/html" and b"\xff" in body, "html")
    fake.fault(match="*", kind="bad_utf8")
    status, head, body = bare(fake)
    check(status == 500 and head["content-type"] == "application/json" and b"\xff" in body, "utf8")
    fake.fault(match="*", kind="retention")
    check(b"aged out of our retention policy" in bare(fake, "/v1/events")[2], "retention")
    first = fake.get("/v1/customers?limit=2")["data"][-1]["id"]
    fake.fault(match="*", kind="cursor_gone")
    status, _, body = bare(fake, f"/v1/customers?starting_after={first}")
    same((status, json.loads(body)["error"]["code"]), (400, "resource_missing"), "cursor_gone")
    fake.control("POST", "faults", {"kind": "nonsense"}, expect=400)
    fake.control("POST", "faults", {"kind": "rewrite"}, expect=400)
    fake.control("POST", "faults", {"kind": "drop", "typo": 1}, expect=400)
    fake.control("DELETE", "faults")


def wires(fake):
    url = "/v1/customers?limit=5"
    honest = fake.get(url)
    for kind in ("cut_head", "reset", "drop", "cut"):
        fake.fault(match="/v1/*", kind=kind)
        breaks(fake, kind)
    fake.fault(match="*", kind="cut", bytes=10)
    got = wire_bytes(fake).split(b"\r\n\r\n", 1)[1]
    same(len(got), 10, "cut after ten bytes")
    fake.fault(match="*", kind="wrong_length", bytes=50)
    breaks(fake, "a length that is too great")
    fake.fault(match="*", kind="wrong_length", bytes=-50)
    check(json_fails(bare(fake)[2]), "a length that is too small")
    fake.connection.close()
    fake.fault(match="*", kind="chunked", bytes=100)
    status, head, body = bare(fake)
    same((head.get("transfer-encoding"), json.loads(body)), ("chunked", honest), "chunked")
    fake.fault(match="*", kind="trickle", bytes=500, every_ms=30)
    started = time.monotonic()
    same(json.loads(bare(fake)[2]), honest, "trickle")
    check(time.monotonic() - started > 0.05, "a trickle takes its time")
    fake.fault(match="*", kind="slow", delay_ms=200)
    started = time.monotonic()
    same(json.loads(bare(fake)[2]), honest, "slow")
    check(time.monotonic() - started >= 0.2, "slow")
    fake.fault(match="*", kind="hang")
    same(wire_bytes(fake, seconds=0.3), b"", "hang")
    fake.control("DELETE", "faults")
    same(fake.get(url), honest, "after all that")


def choice(fake):
    """Which requests are hit."""
    fake.fault(match="/v1/customers", kind="status", probability=0.5, seed=3)
    first = statuses(fake, 40)
    check(8 < first.count(500) < 32, "about half fail")
    fake.fault(match="/v1/customers", kind="status", probability=0.5, seed=3)
    same(statuses(fake, 40), first, "the same half again")
    fake.fault(match="/v1/customers", kind="status", probability=0.5, seed=3, times=2)
    same(statuses(fake, 40).count(500), 2, "two at most")
    fake.fault(match="/v1/customers/*", kind="status")
    same(bare(fake)[0], 200, "another path")
    one = fake.get("/v1/customers?limit=1")["data"][0]["id"]
    same(bare(fake, f"/v1/customers/{one}")[0], 500, "glob")
    fake.fault(match="/v1/*/lines", kind="status")
    invoice = fake.get("/v1/invoices?limit=1")["data"][0]["id"]
    same(bare(fake, f"/v1/invoices/{invoice}/lines")[0], 500, "glob in the middle")
    fake.fault(match="/v1/customers", kind="status", page=3, times=2)
    cursor, got = None, []
    for _ in range(5):
        at = f"&starting_after={cursor}" if cursor else ""
        for _ in range(3):
            status, _, body = bare(fake, f"/v1/customers?limit=5{at}")
            got.append(status)
            if status == 200:
                break
        cursor = json.loads(body)["data"][-1]["id"]
    same(got, [200, 200, 500, 500, 200, 200, 200], "page 3 fails twice")
    fake.fault(match="/v1/customers", kind="status", from_page=2, times=0)
    page = fake.get("/v1/customers?limit=5")["data"]
    same(statuses(fake, 2, f"/v1/customers?limit=5&starting_after={page[-1]['id']}"), [500, 500],
         "from page 2 on")
    fake.fault(match="/v1/customers", kind="status", account="acct_other", times=0)
    same(bare(fake)[0], 200, "another account")
    fake.control("DELETE", "faults")


def lies(fake):
    page = fake.get("/v1/customers?limit=5")
    after = f"/v1/customers?limit=5&starting_after={page['data'][-1]['id']}"
    fake.fault(match="*", kind="end_early")
    same(fake.get("/v1/customers?limit=5")["has_more"], False, "end_early")
    fake.fault(match="*", kind="overlap")
    same(fake.get(after)["data"][0], page["data"][-1], "overlap")
    fake.fault(match="/v1/customers", kind="omit", share=0.3, times=0)
    left = [c["id"] for c in fake.walk("customers")]
    fake.control("DELETE", "faults")
    every = [c["id"] for c in fake.walk("customers")]
    check(0.5 < len(left) / len(every) < 0.9 and set(left) < set(every), "omit")
    for path in ("customers", "products"):  # several shaping faults go together, on any path
        fake.control("POST", "faults", [
            {"match": f"/v1/{path}", "kind": "rewrite", "field": "name", "value": "@@poison:nul@@"},
            {"match": f"/v1/{path}", "kind": "rewrite", "field": "/metadata/extra", "value": [1]},
            {"match": f"/v1/{path}", "kind": "rewrite", "field": "object"}])
        one = fake.get(f"/v1/{path}?limit=1")["data"][0]
        check(one["name"] == "before\0after" and one["metadata"]["extra"] == [1]
              and "object" not in one, "rewrite")
    fake.fault(match="/v1/account", kind="rewrite", field="id", value="acct_other")
    same(fake.get("/v1/account")["id"], "acct_other", "another account")
    fake.fault(match="/v1/customers", kind="rewrite", field="created",
               value="@@poison:raw:99999999999999999999@@")
    check(b'"created":99999999999999999999' in bare(fake)[2], "a number beyond 64 bits")
    fake.fault(match="/v1/customers", kind="rewrite", field="balance", value=12.0, share=0.5,
               times=0)
    first = bare(fake, "/v1/customers?limit=100")[2]
    check(0 < first.count(b'"balance":12.0') < 100, "floats in a share")
    same(bare(fake, "/v1/customers?limit=100")[2], first, "the same share")
    fake.fault(match="/v1/invoices", kind="expanded")
    check(isinstance(fake.get("/v1/invoices?limit=1")["data"][0]["customer"], dict), "expanded")
    customer = fake.post("create", type="customer", set={})["id"]
    invoice = fake.post("create", type="invoice", set={"customer": customer})["id"]
    fake.post("delete", id=customer)
    fake.fault(match="/v1/invoices/*", kind="expanded", paths=["customer"])
    same(fake.get(f"/v1/invoices/{invoice}")["customer"],
         {"id": customer, "object": "customer", "deleted": True}, "a deleted one, expanded")
    fake.fault(match="/v1/customers", kind="inflate", bytes=50_000_000)
    status, _, body = bare(fake, "/v1/customers?limit=100")
    check(len(body) > 50_000_000 and len(json.loads(body)["data"]) == 100, "50 MB")
    fake.control("DELETE", "faults")


def poisons(fake):
    def planted(what, field="description"):
        one = fake.post("create", type="customer", set={field: f"@@poison:{what}@@"},
                        event_type=None)["id"]
        body = bare(fake, f"/v1/customers/{one}")[2]
        check(fake.truth("customer"), "the truth stays JSON")
        if what != "nul":  # no JSON parser takes some of the others
            fake.post("delete", id=one, event_type=None)
        return body, one

    check(b'"before\\u0000after"' in planted("nul")[0], "nul")
    check(b'"before\\\\u0000after"' in planted("escaped_nul")[0], "escaped_nul")
    check(b"\\ud800" in planted("lone_surrogate")[0], "lone_surrogate")
    check(b"\\udc00" in planted("low_surrogate")[0], "low_surrogate")
    check(b"\xff\xfe" in planted("bad_utf8")[0], "bad_utf8")
    check(len(planted("big:1048576")[0]) > 1048576, "1 MB")
    check(planted("deep:1000")[0].count(b'{"d":') == 1000, "1,000 levels")
    same(len(json.loads(planted("keys:600", "metadata")[0])["metadata"]), 600, "600 keys")
    check(b'"description":1e999' in planted("raw:1e999")[0], "raw")
    body, one = planted("nul")
    same(fake.truth("customer")[0]["description"], "before\0after", "the truth says it too")
    fake.post("mutate", id=one, set={"name": "still works"})
    check(b"\\u0000" in bare(fake, "/v1/events?limit=1")[2], "in events as well")
    long = fake.post("create", type="customer", set={"id": "cus_" + "L" * 251})["id"]
    same(fake.get(f"/v1/customers/{long}")["id"], long, "255 characters")


def rates(fake):
    fake.control("DELETE", "rate_limit")
    fake.post("rate_limit", per_second=5, retry_after=1)
    got = [bare(fake) for _ in range(20)]
    refused = [head for status, head, _ in got if status == 429]
    check(10 <= len(refused) <= 15, f"{len(refused)} of 20 are refused at 5 a second")
    same(refused[0]["stripe-rate-limited-reason"], "global-rate", "reason")
    same(refused[0]["retry-after"], "1", "retry-after")
    report = json.loads(fake.control("GET", "rate_limit"))
    same((report["requests"], report["exceeded"]), (20, len(refused)), "counted")
    check(report["peak_per_second"] >= 10, "peak")
    fake.post("rate_limit", endpoint_per_second=2, reason=False)
    got = [bare(fake) for _ in range(5)] + [bare(fake, "/v1/products")]
    check([s for s, _, _ in got].count(429) >= 2 and got[-1][0] == 200, "by endpoint")
    check(all("stripe-rate-limited-reason" not in h for s, h, _ in got), "without a reason")
    fake.control("DELETE", "rate_limit")
    same(set(statuses(fake, 10)), {200}, "no limit")


def account_switches(fake):
    fake.post("date_skew", seconds=-7200)
    skewed = bare(fake)[1]["date"]
    fake.post("date_skew", seconds=0)
    check(skewed != bare(fake)[1]["date"], "clock skew")
    fake.post("latency", ms=100)
    started = time.monotonic()
    bare(fake)
    check(time.monotonic() - started >= 0.1, "latency")
    fake.post("latency", ms=0)
    fake.post("identity", account="acct_stranger", livemode=True)
    same(fake.get("/v1/account")["id"], "acct_stranger", "another id")
    same(fake.get("/v1/customers?limit=1")["data"][0]["livemode"], True, "the other mode")
    fake.post("identity", account=None, livemode=False)
    check(fake.get("/v1/account")["id"] != "acct_stranger", "itself again")
    fake.post("keys", add="sk_live_x")
    page = fake.get("/v1/customers?limit=1", key="sk_live_x")
    same(page["data"][0]["livemode"], True, "a live key")
    same(fake.truth("customer")[0]["livemode"], False, "the account of a test key stays one")
    same(fake.truth("customer?mode=live")[0]["livemode"], True, "as the live key is shown it")
    customer = fake.truth("customer")[0]["id"]
    fake.post("account_version", version="2016-07-06")
    default = bare(fake, "/v1/account", {"Stripe-Version": ""})[1]["stripe-version"]
    same(default, "2016-07-06", "version")
    fake.post("mutate", id=customer, set={"phone": "1"})
    event = fake.events()[0]
    check(event["api_version"] == "2016-07-06" and isinstance(event["request"], str), "old event")
    charge = fake.truth("charge")[0]["id"]
    fake.post("mutate", id=charge, set={"description": "x"})
    shown = fake.events()[0]["data"]["object"]
    check("invoice" in shown and "refunds" in shown, "an old charge in an event")
    fake.post("retention", seconds=0)
    fake.post("advance", seconds=2)
    same(fake.events(), [], "events vanish")
    fake.post("retention", seconds=86400 * 30)
    check(fake.events(), "and come back")
    fake.post("list_lag", type="balance_transaction", ms=60000)
    known = fake.truth("balance_transaction")[0]["id"]
    fake.post("create", type="charge", set={})
    same(fake.walk("balance_transactions")[0]["id"], known, "not listable yet")
    fake.post("advance", seconds=61)
    check(fake.walk("balance_transactions")[0]["id"] != known, "listable")
    fake.post("keys", add="rk_test_runtime:rak_customer_read")
    fake.get("/v1/charges", key="rk_test_runtime", expect=403)
    fake.post("keys", add="rk_test_runtime:rak_customer_read,rak_charge_read")
    fake.get("/v1/charges", key="rk_test_runtime")
    fake.control("DELETE", "switches")
    default = bare(fake, "/v1/account", {"Stripe-Version": ""})[1]["stripe-version"]
    same(default, "2020-08-27", "reset")


def counters(fake):
    fake.control("DELETE", "stats")
    customers = len(fake.walk("customers", 50))
    fake.fault(match="/v1/customers", kind="status")
    bare(fake)
    fake.fault(match="/v1/customers", kind="slow")
    bare(fake)
    bare(fake)
    fake.get("/v1/customers/cus_none", expect=404)
    path = json.loads(fake.control("GET", "stats"))["paths"]["/v1/customers"]
    pages = -(-customers // 50)
    same((path["requests"], path["ok"], path["faulted"], path["pages"], path["repeats"]),
         (pages + 3, pages + 2, 1, pages + 2, 1), "counters of a path")
    same(path["statuses"], {"200": pages + 2, "500": 1}, "statuses")
    path = json.loads(fake.control("GET", "stats"))["paths"]["/v1/customers/{id}"]
    same((path["refused"], path["faulted"]), (1, 0), "a 404 of its own")
    same(json.loads(fake.control("GET", "requests?last=1"))[0]["status"], 404, "journal")
    fake.fault(match="/v1/customers/*", kind="drop")
    breaks(fake, "drop", "/v1/customers/cus_AbCdEfGhIjKlMn")
    path = json.loads(fake.control("GET", "stats"))["paths"]["/v1/customers/{id}"]
    same(path["faulted"], 1, "counted under its route")


def traffic(fake):
    known = len(fake.events())
    fake.post("traffic", per_second=300, seed=5, types=["customer", "coupon", "charge"])
    deadline = time.monotonic() + 20
    while len(fake.events()) < known + 50 and time.monotonic() < deadline:
        time.sleep(0.05)
    done = fake.post("traffic", per_second=0)
    check(done["changed"] > 0 and done["created"] > 0 and not done["running"], f"traffic {done}")
    before = fake.counts()
    time.sleep(0.1)
    same(fake.counts(), before, "silence")


def away(fake):
    control = http.client.HTTPConnection("127.0.0.1", int(fake.hello["control"].split(":")[1]),
                                         timeout=10)

    def call(method, what, body=None):
        control.request(method, "/_control/" + what, body=json.dumps(body))
        answer = control.getresponse()
        return answer.status, answer.read()

    def refused():
        try:
            socket.create_connection(("127.0.0.1", fake.hello["port"]), timeout=5).close()
            return False
        except ConnectionRefusedError:
            return True

    def wait(condition, name):
        deadline = time.monotonic() + 20
        while not condition():
            check(time.monotonic() < deadline, name)
            time.sleep(0.02)

    fake.get("/v1/account")
    same(call("POST", "down", {})[0], 200, "down")
    control.close()
    wait(refused, "the port is closed")
    same(call("GET", "about")[0], 200, "the control port stays")
    call("POST", "up", {})
    wait(lambda: not refused(), "the port is open again")
    fake.connection.close()
    fake.get("/v1/account")
    fake.post("down", ms=300)
    wait(refused, "closed for a while")
    wait(lambda: not refused(), "and open again")
    fake.connection.close()
    fake.get("/v1/account")


def main():
    sys.setrecursionlimit(20000)  # for the deep value
    fake = Fake(sys.argv[1], "--customers", 200, "--now", NOW, "--seed", 7, "--control-port", 0)
    for step in (answers, wires, choice, lies, poisons, rates, counters, account_switches, traffic,
                 away):
        print(step.__name__)
        step(fake)
    fake.stop()
    print("all misbehaviour as promised")


if __name__ == "__main__":
    main()
