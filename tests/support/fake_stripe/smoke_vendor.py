"""Checks the resources of fake_stripe, what a change does to others, and generated objects."""
import json
import sys
from urllib.parse import quote

from smoke import DAY, Fake, KEY, NOW, PIN, check, same

LISTS = {"charge": "charges", "payment_intent": "payment_intents", "refund": "refunds",
         "dispute": "disputes", "payout": "payouts", "balance_transaction": "balance_transactions",
         "payment_method": "payment_methods", "coupon": "coupons",
         "promotion_code": "promotion_codes", "credit_note": "credit_notes",
         "checkout_session": "checkout/sessions", "setup_intent": "setup_intents"}


def ids(objects):
    return [o["id"] for o in objects]


def lists(fake):
    for kind, path in LISTS.items():
        truth = fake.truth(kind)
        check(truth, f"there is a {kind}")
        same(fake.walk(path), truth, f"{path} by 100")
        same(ids(fake.walk(path, 7)), ids(truth), f"{path} by 7")
        for one in truth[:3] + truth[-3:]:
            same(fake.get(f"/v1/{path}/{quote(one['id'], safe='')}"), one, f"retrieve {kind}")
        middle = truth[len(truth) // 2]["created"]
        if kind == "payment_method":
            fake.get(f"/v1/{path}?created[gte]=1", expect=400)
            continue
        got = fake.walk(path, 100, f"&created[gte]={middle}&created[lt]={middle + 30 * DAY}")
        same(ids(got), ids(o for o in truth if middle <= o["created"] < middle + 30 * DAY), path)


def filters(fake):
    def expect(path, query, kind, test):
        want = ids(o for o in fake.truth(kind) if test(o))
        check(want, f"{path}?{query} finds something")
        same(ids(fake.walk(path, 100, "&" + query)), want, f"{path}?{query}")

    charge = next(c for c in fake.truth("charge") if c["amount_refunded"])
    dispute = fake.truth("dispute")[0]
    method = fake.truth("payment_method")[0]
    expect("charges", f"customer={charge['customer']}", "charge",
           lambda o: o["customer"] == charge["customer"])
    expect("charges", f"payment_intent={charge['payment_intent']}", "charge",
           lambda o: o["payment_intent"] == charge["payment_intent"])
    expect("refunds", f"charge={charge['id']}", "refund", lambda o: o["charge"] == charge["id"])
    expect("disputes", f"charge={dispute['charge']}", "dispute",
           lambda o: o["charge"] == dispute["charge"])
    expect("payouts", "status=paid", "payout", lambda o: o["status"] == "paid")
    at = fake.truth("payout")[3]["arrival_date"]
    expect("payouts", f"arrival_date[gte]={at}", "payout", lambda o: o["arrival_date"] >= at)
    expect("balance_transactions", "type=refund", "balance_transaction",
           lambda o: o["type"] == "refund")
    expect("balance_transactions", f"source={charge['id']}", "balance_transaction",
           lambda o: o["source"] == charge["id"])
    payout = next(p for p in fake.truth("payout") if p["status"] == "paid")
    paid_out = fake.walk("balance_transactions", 100, f"&payout={payout['id']}")
    same(sum(t["net"] for t in paid_out), payout["amount"], "a payout is the sum of its parts")
    expect("payment_methods", f"customer={method['customer']}", "payment_method",
           lambda o: o["customer"] == method["customer"])
    expect("payment_methods", "type=sepa_debit", "payment_method",
           lambda o: o["type"] == "sepa_debit")
    expect("promotion_codes", "coupon=save10", "promotion_code",
           lambda o: o["promotion"]["coupon"] == "save10")
    note = fake.truth("credit_note")[0]
    expect("credit_notes", f"invoice={note['invoice']}", "credit_note",
           lambda o: o["invoice"] == note["invoice"])
    expect("checkout/sessions", "status=expired", "checkout_session",
           lambda o: o["status"] == "expired")
    expect("setup_intents", f"payment_method={method['id']}", "setup_intent",
           lambda o: o["payment_method"] == method["id"]) if any(
               s["payment_method"] == method["id"] for s in fake.truth("setup_intent")) else None
    same(ids(fake.get(f"/v1/customers/{method['customer']}/payment_methods")["data"]),
         ids(o for o in fake.truth("payment_method") if o["customer"] == method["customer"]),
         "methods of a customer")
    same(fake.get(f"/v1/credit_notes/{note['id']}/lines"), note["lines"], "lines of a credit note")
    session = fake.truth("checkout_session")[0]
    check(fake.get(f"/v1/checkout/sessions/{session['id']}/line_items")["data"], "line items")
    check("refunds" not in charge, "refunds are not included")
    shown = fake.get(f"/v1/charges/{charge['id']}?expand[]=refunds&expand[]=balance_transaction")
    check(shown["refunds"]["data"], "expanded refunds")
    same(shown["balance_transaction"]["source"], charge["id"], "expanded transaction")
    shown = fake.get("/v1/promotion_codes?limit=1&expand[]=data.promotion.coupon")["data"][0]
    same(shown["promotion"]["coupon"]["object"], "coupon", "expanded coupon")
    plain = fake.get("/v1/prices?limit=100")["data"]
    check(not any("tiers" in one or "currency_options" in one for one in plain), "not asked for")
    shown = fake.get("/v1/prices?limit=100&expand[]=data.tiers&expand[]=data.currency_options")["data"]
    tiered = [one for one in shown if one["billing_scheme"] == "tiered"]
    check(tiered and all(one["tiers"][-1]["up_to"] is None for one in tiered), "expanded tiers")
    check(all(("tiers" in one) == (one in tiered) for one in shown), "only tiered ones have tiers")
    check(all(one["currency"] in one["currency_options"] for one in shown), "expanded currencies")
    coupon = fake.get("/v1/coupons/SAVE10?expand[]=applies_to&expand[]=currency_options")
    check(coupon["applies_to"]["products"], "expanded products")
    check("currency_options" not in coupon, "ten percent are so in each currency")
    same(fake.get("/v1/accounts")["data"], [], "nobody is connected")


def coherence(fake):
    by_id = {kind: {o["id"]: o for o in fake.truth(kind)} for kind in [*LISTS, "customer"]}
    for charge in by_id["charge"].values():
        intent = by_id["payment_intent"].get(charge["payment_intent"])
        check(charge["payment_intent"] is None or intent["latest_charge"] == charge["id"], "latest")
        check(charge["customer"] is None or charge["customer"] in by_id["customer"], "customer")
        check((charge["status"] == "succeeded") == bool(charge["balance_transaction"]), "txn")
    for refund in by_id["refund"].values():
        same(by_id["charge"][refund["charge"]]["amount_refunded"], refund["amount"], "refunded")
    for transaction in by_id["balance_transaction"].values():
        check(any(transaction["source"] in all_of for all_of in by_id.values()), "source")
    statuses = {t["status"] for t in by_id["balance_transaction"].values()}
    same(statuses, {"available", "pending"}, "statuses of transactions")
    intents = [p["payment"].get("payment_intent") for p in fake.truth("invoice_payment")]
    dangling = [i for i in intents if i and i not in by_id["payment_intent"]]
    check(0 < len(dangling) < len(intents) / 10, "a few references lead nowhere")


def since(fake, known):
    return [e["type"] for e in reversed(fake.events())][known:]


def effects(fake):
    def step(name, expected, call, **body):
        known = len(fake.events())
        made = fake.post(call, **body)
        same(since(fake, known), expected, name)
        return made

    customer = fake.truth("customer")[0]["id"]
    charge = step("a sale", ["payment_intent.created", "payment_intent.succeeded",
                             "charge.succeeded"],
                  "create", type="charge", set={"customer": customer, "amount": 5000})
    refund = step("a refund", ["refund.created", "charge.refunded"],
                  "create", type="refund", set={"charge": charge["id"], "amount": 2000})
    now = fake.get(f"/v1/charges/{charge['id']}")
    same((now["amount_refunded"], now["refunded"]), (2000, False), "partly refunded")
    fake.post("create", type="refund", set={"charge": charge["id"], "amount": 9000}, expect=400)
    step("a refund fails", ["refund.updated", "refund.failed"],
         "mutate", id=refund["id"], set={"status": "failed"})
    now = fake.get(f"/v1/charges/{charge['id']}")
    same((now["amount_refunded"], now["refunded"]), (0, False), "the refund came back")
    check("failure_balance_transaction" in fake.get(f"/v1/refunds/{refund['id']}"), "failure txn")
    dispute = step("a dispute", ["charge.dispute.created", "charge.dispute.funds_withdrawn"],
                   "create", type="dispute", set={"charge": charge["id"]})
    same(fake.get(f"/v1/charges/{charge['id']}")["disputed"], True, "disputed")
    step("evidence", ["charge.dispute.updated"], "mutate", id=dispute["id"],
         set={"status": "under_review"})
    step("won", ["charge.dispute.closed", "charge.dispute.funds_reinstated"],
         "mutate", id=dispute["id"], set={"status": "won"})
    same(len(fake.get(f"/v1/disputes/{dispute['id']}")["balance_transactions"]), 2, "two txns")
    payout = step("a payout", ["payout.created"], "create", type="payout", set={"amount": 900})
    step("paid", ["payout.updated", "payout.paid"], "mutate", id=payout["id"],
         set={"status": "paid"})
    step("failed", ["payout.updated", "payout.failed"], "mutate", id=payout["id"],
         set={"status": "failed"})
    same(fake.get(f"/v1/payouts/{payout['id']}")["failure_code"], "account_closed", "why")
    intent = charge["payment_intent"]
    step("no payment_intent.updated", [], "mutate", id=intent, set={"description": "x"})
    step("intent canceled", ["payment_intent.canceled"], "mutate", id=intent,
         set={"status": "canceled"})
    method = step("attached", ["payment_method.attached"], "create", type="payment_method",
                  set={"customer": customer})
    step("detached", ["payment_method.detached"], "delete", id=method["id"])
    same(fake.get(f"/v1/payment_methods/{method['id']}")["customer"], None, "no owner")
    same(fake.events()[0]["data"]["previous_attributes"]["customer"], customer, "old owner")
    coupon = step("coupon", ["coupon.created"], "create", type="coupon", set={"id": "BYE"})
    step("coupon deleted", ["coupon.deleted"], "delete", id=coupon["id"])
    fake.get("/v1/coupons/BYE", expect=404)
    code = step("code", ["promotion_code.created"], "create", type="promotion_code",
                set={"promotion": {"coupon": "SAVE10"}})
    step("code changed", ["promotion_code.updated"], "mutate", id=code["id"],
         set={"active": False})
    fake.post("delete", id=code["id"], expect=400)
    session = step("session", [], "create", type="checkout_session", set={"customer": customer})
    step("completed", ["checkout.session.completed"], "mutate", id=session["id"],
         set={"status": "complete"})
    setup = step("setup", ["setup_intent.created"], "create", type="setup_intent", set={})
    step("setup done", ["setup_intent.succeeded"], "mutate", id=setup["id"],
         set={"status": "succeeded"})
    invoices(fake, step, customer)
    account = fake.get("/v1/account")["id"]
    step("account", ["account.updated"], "mutate", id=account, set={"email": "x@example.com"})
    fake.post("delete", id=account, expect=400)


def invoices(fake, step, customer):
    sub = fake.post("create", type="subscription",
                    set={"customer": customer, "status": "past_due"})
    fake.post("mutate", id=customer, set={"delinquent": True})
    parent = {"type": "subscription_details", "subscription_details": {"subscription": sub["id"]}}
    invoice = fake.post("create", type="invoice", set={"customer": customer, "parent": parent})
    step("an invoice is paid",
         ["payment_intent.created", "payment_intent.succeeded", "charge.succeeded",
          "invoice_payment.paid", "invoice.updated", "invoice.paid", "invoice.payment_succeeded",
          "customer.subscription.updated", "customer.updated"], "pay", invoice=invoice["id"])
    same(fake.get(f"/v1/subscriptions/{sub['id']}")["status"], "active", "no longer past due")
    same(fake.get(f"/v1/customers/{customer}")["delinquent"], False, "no longer delinquent")
    paid = fake.get(f"/v1/invoices/{invoice['id']}")
    same((paid["status"], paid["amount_remaining"]), ("paid", 0), "paid")
    payments = fake.get(f"/v1/invoices/{invoice['id']}/payments")["data"]
    intent = payments[0]["payment"]["payment_intent"]
    old = fake.get(f"/v1/payment_intents/{intent}", version="2022-08-01")
    same(old["invoice"], invoice["id"], "old intents name their invoice")
    check("charges" in old and "latest_charge" not in old, "old intents list their charges")
    charge = fake.get(f"/v1/payment_intents/{intent}")["latest_charge"]
    check("refunds" in fake.get(f"/v1/charges/{charge}", version="2022-08-01"), "old charges")
    draft = fake.post("create", type="invoice", set={"customer": customer, "status": "draft"})
    step("finalized", ["invoice.updated", "invoice.finalized"], "mutate", id=draft["id"],
         set={"status": "open"})
    note = step("a credit note", ["credit_note.created", "invoice.updated"],
                "create", type="credit_note", set={"invoice": draft["id"], "amount": 300})
    same(fake.get(f"/v1/invoices/{draft['id']}")["amount_remaining"], 700, "credited")
    step("void", ["credit_note.updated", "credit_note.voided"], "mutate", id=note["id"],
         set={"status": "void"})
    old = fake.get(f"/v1/credit_notes/{note['id']}", version="2024-06-20")
    check("refund" in old and "refunds" not in old, "old credit notes")
    old = fake.get("/v1/promotion_codes?limit=1", version="2024-06-20")["data"][0]
    same(old["coupon"]["object"], "coupon", "old promotion codes")
    step("canceled", ["customer.subscription.deleted"], "mutate", id=sub["id"],
         set={"status": "canceled"})


def silent_funds(fake):
    known = len(fake.events())
    pending = [t for t in fake.truth("balance_transaction") if t["status"] == "pending"]
    check(pending, "some funds are pending")
    last = max(t["available_on"] for t in pending)
    fake.post("advance", seconds=last - json.loads(fake.control("GET", "about"))["now"] + 1)
    same([t["status"] for t in fake.walk("balance_transactions")
          if t["status"] == "pending"], [], "all became available")
    same(len(fake.events()), known, "without an event")


def clocks(fake):
    made = fake.post("create", type="customer", set={"test_clock": "clock_1"})
    check(made["id"] not in ids(fake.walk("customers")), "hidden by its test clock")
    same(ids(fake.walk("customers", 100, "&test_clock=clock_1")), [made["id"]], "by its clock")
    same(ids(fake.walk("test_helpers/test_clocks")), ["clock_1"], "the clocks there are")
    same(fake.events()[0]["data"]["object"]["id"], made["id"], "but told")
    fake.post("delete", id=made["id"])
    same(json.loads(fake.control("GET", "deleted/customer"))[-1], made["id"], "deleted ids")


def seeding(fake):
    before = fake.counts()
    counts = fake.post("seed", counts={"charge": 20, "coupon": 5, "refund": 3, "invoice": 4,
                                       "subscription_item": 2})
    for kind, more in (("charge", 20), ("coupon", 5), ("refund", 3), ("invoice", 4)):
        check(counts[kind] >= before[kind] + more, f"{more} more {kind}")
    same(counts["event"], before["event"], "no events")
    fake.post("seed", counts={"nothing": 1}, expect=400)
    least = json.loads(fake.control("GET", "minimum?limit=10"))
    same(least["lists"]["charge"]["pages"], -(-counts["charge"] // 10), "fewest pages")
    check(least["nested"]["invoice_line"]["pages"] > 0, "long invoices")


def generated(fake):
    at = NOW - 10 * DAY
    stored = fake.truth("payment_intent")
    made = fake.post("generate", type="payment_intent", count=5000, created=at,
                     set={"customer": "@@ref:customer@@"})
    check(900 < made["bytes_each"] < 1300, "about 1 kB each")
    fake.post("generate", type="payment_intent", count=700, created_from=at - DAY, created_to=at)
    same(fake.counts()["payment_intent"], len(stored) + 5700, "counted")
    every = fake.walk("payment_intents")
    same(len(set(ids(every))), len(stored) + 5700, "all are found, none twice")
    check(all(a["created"] >= b["created"] for a, b in zip(every, every[1:])), "newest first")
    same(sorted(ids(every)), sorted(fake.control("GET", "ids/payment_intent").decode().split()),
         "ids")
    total = json.loads(fake.control("GET", "sum/payment_intent?field=amount"))
    same(total, {"count": len(every), "sum": sum(i["amount"] for i in every)}, "sum")
    second = [i for i in every if i["created"] == at]
    backwards, more = second[-1:], True
    while more:
        page = fake.get(f"/v1/payment_intents?limit=97&created={at}"
                        f"&ending_before={backwards[0]['id']}")
        backwards, more = page["data"] + backwards, page["has_more"]
    same(ids(backwards), ids(second), "one second, backwards")
    one = next(i for i in every if i["customer"] and i["id"] not in set(ids(stored)))
    same(fake.get(f"/v1/payment_intents/{one['id']}"), one, "retrieve a generated one")
    check(one["customer"] in ids(fake.truth("customer")), "reference")
    fake.post("mutate", id=one["id"], set={"status": "succeeded"})
    same(fake.get(f"/v1/payment_intents/{one['id']}")["status"], "succeeded", "changed")
    again = fake.walk("payment_intents")
    same(ids(again), ids(every), "it keeps its place")
    lines = fake.control("GET", "truth/payment_intent").splitlines()
    same({json.loads(line)["id"]: json.loads(line) for line in lines},
         {i["id"]: i for i in again}, "truth of generated objects")
    fake.get("/v1/payment_intents?customer=" + one["customer"], expect=400)
    fake.post("generate", type="coupon", count=300)
    gone = fake.get("/v1/coupons?limit=100")["data"][50]["id"]
    fake.post("delete", id=gone)
    fake.get(f"/v1/coupons/{gone}", expect=404)
    check(gone not in ids(fake.walk("coupons")), "deleted")
    fake.get(f"/v1/coupons?starting_after={quote(gone)}", expect=400)
    fake.post("generate", type="event", count=1500, created=NOW,
              set={"data": {"object": {"id": "@@ref:customer@@"}}})
    found = fake.walk("events", extra="&type=customer.updated")
    check(len(found) >= 1500, "generated events")
    fake.control("DELETE", "generated")
    same(ids(fake.walk("payment_intents")), ids(stored), "generated objects vanish")
    big = fake.post("generate", type="charge", count=1_000_000)
    fake.get(f"/v1/charges?limit=100&starting_after={big['oldest']}")
    fake.get(f"/v1/charges/{big['newest']}")
    fake.control("GET", "truth/charge", expect=400)
    same(len(fake.control("GET", "truth/charge?from=10&count=5").splitlines())
         - len(fake.control("GET", "truth/charge?count=0").splitlines()), 5, "a part of the truth")
    fake.control("DELETE", "generated")


def connected(fake):
    fake.post("accounts", connect={"id": "acct_B", "customers": 30, "seed": 99})
    fake.post("accounts", connect={"id": "acct_B"}, expect=400)
    same(ids(fake.get("/v1/accounts")["data"]), ["acct_B"], "connected accounts")

    def of(target, account, expect=200):
        status, _, body = fake.raw("GET", target, {"Authorization": f"Bearer {KEY}",
                                                   "Stripe-Version": PIN,
                                                   "Stripe-Account": account})
        same(status, expect, f"{target} of {account}")
        return json.loads(body)

    same(of("/v1/account", "acct_B")["id"], "acct_B", "its own account")
    theirs = of("/v1/customers?limit=100", "acct_B")["data"]
    same(len(theirs), 30, "its own customers")
    check(not set(ids(theirs)) & set(ids(fake.truth("customer"))), "nobody else's")
    same(of("/v1/coupons/SAVE10", "acct_B")["id"], "SAVE10", "the same coupon id")
    fake.get("/v1/coupons/SAVE10")
    json.loads(fake.control("POST", "mutate?account=acct_B",
                            {"id": "SAVE10", "set": {"name": "Theirs"}}))
    same(of("/v1/coupons/SAVE10", "acct_B")["name"], "Theirs", "changed there")
    check(fake.get("/v1/coupons/SAVE10")["name"] != "Theirs", "not here")
    same(len(of("/v1/events", "acct_B")["data"]), 1, "its own events")
    counts = json.loads(fake.control("GET", "truth?account=acct_B"))
    same(counts["customer"], 30, "its truth")
    same(of("/v1/customers", "acct_unknown", 403)["error"]["code"], "account_invalid", "unknown")
    fake.post("accounts", disconnect="acct_B")
    of("/v1/customers", "acct_B", 403)
    same(fake.get("/v1/accounts")["data"], [], "gone")
    same(fake.events()[0]["type"], "account.application.deauthorized", "told")


def main():
    fake = Fake(sys.argv[1], "--customers", 300, "--now", NOW, "--seed", 7)
    for step in (lists, filters, coherence, effects, seeding, generated, clocks, connected,
                 silent_funds):
        print(step.__name__)
        step(fake)
    fake.stop()
    print("all promises about the vendor kept")


if __name__ == "__main__":
    main()
