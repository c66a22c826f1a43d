#!/usr/bin/env python3
"""Toyshop, a vendor that answers in lines. See README.md. Only Python's standard library.

    toy_vendor.py [--port 0] [--key toy_key_0001] [--page-max 25]

Its first line of output is {"listening": "127.0.0.1:PORT"}.
"""
import argparse
import json
import math
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

# What stands in a line after the sign, in this order; the connectors' manifests declare the same.
FIELDS = {"toys": ["name", "price", "stock", "maker", "listed_at"], "makers": ["name", "email"]}


class Shop:
    """All there is, behind one lock. `version` counts changes of the whole shop."""

    def __init__(self, page_max):
        self.lock = threading.Lock()
        self.page_max = page_max
        self.version = 0
        self.entities = {"toys": {}, "makers": {}}  # id -> {"version", "gone", fields...}
        self.faults = []
        self.log = []
        self.rate = None  # {"limit", "window", "left", "reset"}

    def put(self, kind, ident, fields):
        self.version += 1
        entity = self.entities[kind].setdefault(ident, {f: "" for f in FIELDS[kind]})
        unknown = set(fields) - set(FIELDS[kind])
        if unknown:
            raise KeyError(f"{kind} have no {sorted(unknown)}")
        entity.update({f: str(v) for f, v in fields.items()}, version=self.version, gone=False)

    def seed(self, toys, makers):
        for i in range(makers):
            name = f"Müller & Söhne {i}" if i % 7 == 3 else f"Maker {i}"
            self.put("makers", f"m{i:05}", {"name": name, "email": f"maker{i}@example.org" if i % 5 else ""})
        for i in range(toys):
            self.put("toys", f"t{i:06}", {
                "name": f"Toy {i} \u2603" if i % 10 == 0 else f"Toy {i}", "price": f"{i % 97}.{i % 100:02}",
                "stock": i * 3 - 5, "maker": f"m{i % makers:05}" if makers and i % 4 else "",
                "listed_at": 1700000000000000 + i * 1000001})

    def remove(self, kind, ident):
        entity = self.entities[kind][ident]
        self.version += 1
        # A toy goes without a trace, a maker leaves a line that says so.
        if kind == "toys":
            del self.entities[kind][ident]
        else:
            entity.update(version=self.version, gone=True)

    def live(self, kind):
        return {i: e for i, e in self.entities[kind].items() if not e["gone"]}

    def page(self, kind, after, limit):
        """Toys by id; makers by version, so that the last page's cursor finds what changes later."""
        limit = max(1, min(limit, self.page_max))
        if kind == "toys":
            rows = sorted(i for i in self.entities[kind] if i > after)
            cursor = lambda i: i
        else:
            since = int(after or 0)
            rows = sorted((i for i, e in self.entities[kind].items() if e["version"] > since),
                          key=lambda i: self.entities[kind][i]["version"])
            cursor = lambda i: str(self.entities[kind][i]["version"])
        shown, more = rows[:limit], len(rows) > limit
        return shown, more, cursor(shown[-1]) if shown else after

    def line(self, kind, ident):
        entity = self.entities[kind][ident]
        if entity["gone"]:
            return f"{ident}\t{entity['version']}\t-\n"
        return "\t".join([ident, str(entity["version"]), "+"] + [entity[f] for f in FIELDS[kind]]) + "\n"

    def fault_for(self, target):
        matching = [fault for fault in self.faults if re.search(fault["match"], target)]
        for fault in matching:
            fault["seen"] += 1
        for fault in matching:
            if fault["seen"] >= fault["nth"] and fault["times"] > 0:
                fault["times"] -= 1
                return fault
        return None

    def spend(self, now):
        """The rate budget's headers, and whether this request is beyond it."""
        if self.rate is None:
            return {}, False
        rate = self.rate
        if now >= rate["reset"]:
            rate.update(left=rate["limit"], reset=now + rate["window"])
        beyond = rate["left"] <= 0
        rate["left"] = max(0, rate["left"] - 1)
        return {"X-RateLimit-Limit": str(rate["limit"]), "X-RateLimit-Remaining": str(rate["left"]),
                "X-RateLimit-Reset": str(math.ceil(rate["reset"]))}, beyond


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    shop: Shop
    key: str

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=None, content_type="text/tab-separated-values"):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, status=200):
        self.answer(status, json.dumps(value, ensure_ascii=False), content_type="application/json")

    # ---- the vendor ----

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path.startswith("/_control/"):
            return self.control(url, None)
        shop = self.shop
        with shop.lock:
            headers, beyond = shop.spend(time.time())
            fault = shop.fault_for(self.path)
            entry = {"target": self.path, "at": time.time(), "fault": fault["kind"] if fault else None}
            shop.log.append(entry)
        if fault and fault["kind"] == "slow":
            time.sleep(fault["ms"] / 1000)
            fault = None
        status, body = self.resource(url)
        if beyond:
            status, body = 429, "slow down\n"
            headers["Retry-After"] = "1"
        if self.headers.get("Authorization") != f"Bearer {self.key}":
            status, body = 401, "who are you?\n"
        body = body.encode()
        if fault:
            kind = fault["kind"]
            if kind.isdigit():
                status, body = int(kind), f"{kind} as asked\n".encode()
                if "retry_after" in fault:
                    headers["Retry-After"] = str(fault["retry_after"])
            elif kind == "cut":  # a whole response of half a page
                body = body[:len(body) // 2]
            elif kind == "empty":
                body = b""
            elif kind == "garbage":
                body = b"<html><body>We will be back soon\x00</body></html>\n"
            elif kind == "replace":
                body = fault["body"].encode()
            elif kind == "unframed":  # nothing says where it ends; after `bytes` it does
                self.send_response(status)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body[:fault.get("bytes", len(body))])
                self.close_connection = True
                return
            elif kind == "drop":  # the connection ends inside the body
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) + 1000))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True
                return
        entry["status"] = status
        self.answer(status, body, headers)

    def resource(self, url):
        shop = self.shop
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        with shop.lock:
            if parts == ["me"]:
                return 200, "toyshop_1\n"
            if parts[0] not in FIELDS or len(parts) > 2:
                return 404, "no such place\n"
            kind = parts[0]
            if len(parts) == 2:
                if parts[1] not in shop.live(kind):
                    return 404, "no such thing\n"
                return 200, shop.line(kind, parts[1]) + "=end \n"
            shown, more, cursor = shop.page(kind, query.get("after", ""), int(query.get("limit", "10")))
            lines = "".join(shop.line(kind, ident) for ident in shown)
            return 200, f"{lines}={'more' if more else 'end'} {cursor}\n"

    # ---- the controls ----

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.control(urlsplit(self.path), json.loads(body or b"{}"))

    def control(self, url, body):
        shop, what = self.shop, url.path.removeprefix("/_control/")
        try:
            with shop.lock:
                if what == "seed":
                    shop.seed(body.get("toys", 0), body.get("makers", 0))
                elif what == "put":
                    shop.put(body["type"], body["id"], body["set"])
                elif what == "delete":
                    for ident in body["ids"]:
                        shop.remove(body["type"], ident)
                elif what == "fail":
                    shop.faults.append({"nth": 1, "times": 1, "seen": 0, "match": "."} | body)
                elif what == "limits":
                    shop.rate = body and {"limit": body["limit"], "window": body["window_seconds"], "left": 0,
                                          "reset": 0}
                elif what == "forget":
                    shop.log.clear()
                    shop.faults.clear()
                elif what == "log":
                    return self.json(shop.log)
                elif what.startswith("truth/"):
                    return self.json(shop.live(what.removeprefix("truth/")))
                else:
                    return self.json({"error": f"no control {what!r}"}, 404)
            self.json({"version": shop.version})
        except (KeyError, TypeError, ValueError) as error:
            self.json({"error": repr(error)}, 400)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # clients that hang up are part of the plan


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="toy_key_0001")
    parser.add_argument("--page-max", type=int, default=25)
    options = parser.parse_args()
    Handler.shop, Handler.key = Shop(options.page_max), options.key
    server = Server(("127.0.0.1", options.port), Handler)
    print(json.dumps({"listening": f"127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
