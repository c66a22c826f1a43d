// The vendor of the benches: one list, GET /v1/items?set=<ids>&page=<n>, that answers
//   {"data": [{"id": "it_…", …}], "has_more": true}
#include <sluice/sdk.hpp>

#include <charconv>
#include <string>

#include "bench_manifest.hpp"

namespace {

using namespace sluice::sdk;

namespace item {
namespace a = manifest::item;
SLUICE_FIELDS(kFields, {"amount", As::integer, a::amount},
              {"amount_captured", As::integer, a::amount_captured},
              {"amount_refunded", As::integer, a::amount_refunded},
              {"available_on", As::unix_seconds, a::available_on},
              {"captured", As::boolean, a::captured}, {"created", As::unix_seconds, a::created},
              {"currency", As::text, a::currency}, {"customer", As::reference, a::customer},
              {"description", As::text, a::description}, {"disputed", As::boolean, a::disputed},
              {"email", As::text, a::email}, {"fee", As::decimal, a::fee},
              {"livemode", As::boolean, a::livemode}, {"number", As::text, a::number},
              {"paid", As::boolean, a::paid}, {"payment_method", As::text, a::payment_method},
              {"receipt_number", As::text, a::receipt_number},
              {"risk_score", As::number, a::risk_score},
              {"statement_descriptor", As::text, a::statement_descriptor},
              {"status", As::text, a::status});
}  // namespace item

class Bench final : public Connector {
  void configure(const json::Value& config) override {
    set_ = config["set"].integer().value_or(0);
    pages_ = config["pages"].integer().value_or(0);
  }

  Task<> read(std::string_view, std::string_view checkpoint_text, std::uint32_t) override {
    std::int64_t page = 0;
    std::from_chars(checkpoint_text.data(), checkpoint_text.data() + checkpoint_text.size(), page);
    while (page < pages_) {
      const std::string target =
          "/v1/items?set=" + std::to_string(set_) + "&page=" + std::to_string(page);
      Reply reply = co_await get(target);
      if (reply.status() != 200) throw failure_of(reply, "Bench");
      for (const json::Value one : reply.json()["data"].items()) {
        record().begin(manifest::types::item, one["id"].text());
        map_object(record(), item::kFields, one);
        co_await emit(record());
      }
      const std::string done = std::to_string(++page);
      co_await checkpoint(done);
    }
  }

  std::int64_t set_ = 0;
  std::int64_t pages_ = 0;
};

}  // namespace

SLUICE_CONNECTOR(Bench)
