// The connector Harbour; each version includes it behind its own manifest's numbers.
#pragma once

#include <sluice/sdk.hpp>

#include <string>

namespace {

using namespace sluice::sdk;

class Harbour final : public Connector {
  void configure(const json::Value& config) override {
    answer_ = std::string(config["answer"].text());
    if (const auto size = config["page_size"].integer()) page_size_ = *size;
    counts_ = config["counts"].integer().value_or(0);
  }

  Task<> check() override {
    Reply reply = co_await get("/v1/account");
    if (reply.status() != 200) throw failure_of(reply, "Harbour");
    const json::Value me = reply.json();
    const bool live = me["livemode"].boolean().value_or(false) || answer_ == "other_mode";
    json::Writer text;
    text.begin_object().name("account").begin_object();
    if (answer_ == "number") {
      text.member("id", std::int64_t{7});
    } else {
      text.member("id",
                  answer_ == "other_account" ? std::string_view("acct_other") : me["id"].text());
    }
    text.member("name", "Harbour").end_object();
    text.member("mode", live ? "live" : "test")
        .name("notes")
        .begin_array()
        .end_array()
        .end_object();
    co_await result(text.text());
  }

  Task<> read(std::string_view stream, std::string_view checkpoint_text, std::uint32_t) override {
#ifdef HARBOUR_IS_ADRIFT
    if (stream == "news") co_return;
#endif
    const bool customers = stream == "customers";
    std::string after(checkpoint_text);
    for (;;) {
      Target target(customers ? "/v1/customers" : "/v1/products");
      target.add("limit", page_size_);
      if (!after.empty()) target.add("starting_after", after);
      Reply reply = co_await get(target.text());
      if (reply.status() != 200) throw failure_of(reply, "Harbour");
      const json::Value page = reply.json();
      if (customers && counts_ > 0) co_await total(counts_);
      for (const json::Value one : page["data"].items()) {
        after = one["id"].text();
        if (customers) {
          fill_customer(one);
        } else {
          fill_product(one);
        }
        co_await emit(record());
      }
      // Products are few and read from their start each time.
      if (customers) co_await checkpoint(after);
      if (!page["has_more"].boolean().value_or(false)) co_return;
    }
  }

  void fill_customer(const json::Value& one) {
    namespace a = manifest::customer;
    record().begin(manifest::types::customer, one["id"].text());
    put_text(a::name, one["name"]);
    put_text(a::email, one["email"]);
    record().text(a::read_by, HARBOUR_BUILD);
  }

  void fill_product([[maybe_unused]] const json::Value& one) {
#ifdef HARBOUR_HAS_PRODUCTS
    namespace a = manifest::product;
    record().begin(manifest::types::product, one["id"].text());
    put_text(a::name, one["name"]);
    record().text(a::read_by, HARBOUR_BUILD);
#else
    throw Failure(SLUICE_FAIL_CONFIG, "this version has no such stream");
#endif
  }

  void put_text(std::uint32_t attribute, const json::Value& value) {
    if (!value.has_value()) {
      record().null(attribute);
    } else {
      record().text(attribute, value.text());
    }
  }

  std::string answer_;
  std::int64_t page_size_ = 100;
  std::int64_t counts_ = 0;
};

}  // namespace

SLUICE_CONNECTOR(Harbour)
