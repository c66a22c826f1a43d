// Streams named after what they do, for the session's tests.
#include <sluice/sdk.hpp>

#include <stdexcept>

#include "odd_manifest.hpp"

namespace {

using namespace sluice::sdk;

class Odd final : public Connector {
  void configure(const json::Value& config) override {
    if (config["bad"].exists()) throw Failure(SLUICE_FAIL_CONFIG, "bad is not allowed");
  }

  Task<> read(std::string_view stream, std::string_view, std::uint32_t) override {
    if (stream == "throws") return throws();
    if (stream == "throws_no_exception") return throws_no_exception();
    if (stream == "out_of_memory") return out_of_memory();
    if (stream == "sleeps") return sleeps();
    if (stream == "large_checkpoint") return large_checkpoint();
    if (stream == "long_failure") return long_failure();
    if (stream == "deep") return deep();
    if (stream == "whole") return whole();
    if (stream == "set_over_pages") return set_over_pages();
    return many_requests();
  }

  Task<> throws() {
    co_await put("before");
    throw std::runtime_error("a bug");
  }
  Task<> throws_no_exception() {
    co_await put("before");
    throw 5;
  }
  Task<> out_of_memory() {
    co_await put("before");
    throw std::bad_alloc();
  }
  Task<> sleeps() {
    const std::int64_t until = now_ms() + 500;
    co_await wait_until(until);
    const char* const when = now_ms() >= until ? "slept" : "too early";
    co_await put(when);
  }
  Task<> large_checkpoint() {
    const std::string text(5000, 'x');
    co_await checkpoint(text);
  }
  Task<> long_failure() {
    co_await put("before");
    throw Failure(SLUICE_FAIL_AUTH, std::string(2000, 'm'), std::string(300, 'c'));
  }
  /// A coroutine for each of a hundred thousand things, none of which waits: no stack may grow.
  Task<> deep() {
    for (int i = 0; i < 100'000; ++i) {
      const std::string id = "t" + std::to_string(i);
      const int size = co_await measured(i);
      record().begin(manifest::types::thing, id);
      record().text(manifest::thing::class_, "deep");
      record().integer(manifest::thing::size, size);
      co_await emit(record());
    }
  }
  /// Its ids come page by page, and each page is gone when the next is there.
  Task<> set_over_pages() {
    Ids ids;
    for (const char* const page : {"/1", "/2", "/3"}) {
      Reply reply = co_await get(page);
      for (const json::Value one : reply.json().list("ids")) ids.add(one.text());
    }
    co_await complete_set(manifest::types::thing, manifest::thing::class_, "parent", ids);
    ids.clear();
    ids.add("another");
    co_await complete_set(manifest::types::thing, manifest::thing::class_, "parent", ids);
  }
  Task<> whole() {
    record().begin(manifest::types::thing, "t1").whole();
    co_await emit(record());
    record().begin(manifest::types::thing, "t2").whole();
    record().deleted();
    co_await emit(record());
  }
  Task<int> measured(int i) { co_return co_await doubled(i) / 2; }
  Task<int> doubled(int i) { co_return 2 * i; }

  Task<> put(std::string id) {
    record().begin(manifest::types::thing, id);
    co_await emit(record());
  }

  /// Three under way, awaited in another order than they are asked in.
  Task<> many_requests() {
    Awaited first = get("/1");
    Awaited second = get("/2");
    Awaited third = get("/3");
    Reply three = co_await third;
    co_await put(std::string(three.body()));
    Reply one = co_await first;
    co_await put(std::string(one.body()));
    Reply two = co_await second;
    co_await put(std::string(two.body()) + std::string(two.header("x-odd").value_or("none")));
    co_await put(std::string(three.body()));
  }
};

}  // namespace

SLUICE_CONNECTOR(Odd)
