// A whole connector for a vendor with one list, GET /v1/people?after=<cursor>, that answers
//   {"people": [{"id": "p1", "name": "Ann", …}], "next": "<cursor>" or null}
#include <sluice/sdk.hpp>

#include <string>
#include <vector>

#include "acme_manifest.hpp"  // written from manifest.json: manifest::types::…, manifest::<type>::<attribute>

namespace {

using namespace sluice::sdk;

namespace person {
namespace a = manifest::person;
SLUICE_FIELDS(kFields, {"name", As::text, a::name}, {"email", As::text, a::email},
              {"employer", As::reference, a::employer}, {"score", As::decimal, a::score},
              {"tags", As::json, a::tags}, {"updated_at", As::rfc3339, a::updated});
}  // namespace person

class Acme final : public Connector {
  // Does the credential work, and which account is it?
  Task<> check() override {
    Reply reply = co_await get("/v1/me");
    if (reply.status() != 200) throw failure_of(reply, "Acme");
    const json::Value me = reply.json();
    json::Writer answer;
    answer.begin_object().name("account").begin_object();
    answer.member("id", me["id"].text()).member("name", me["name"].text()).end_object();
    answer.member("mode", "live").name("notes").begin_array().end_array().end_object();
    co_await result(answer.text());
  }

  // The checkpoint is the vendor's own cursor: whatever was put out before it is stored with it, or
  // not at all.
  Task<> read(std::string_view stream, std::string_view checkpoint_text, std::uint32_t) override {
    if (stream != "people")
      throw Failure(SLUICE_FAIL_CONFIG, "Acme has no stream \"" + std::string(stream) + "\"");
    std::string after(checkpoint_text);
    for (;;) {
      Target target("/v1/people");
      if (!after.empty()) target.add("after", after);
      Reply reply = co_await get(target.text());
      if (reply.status() != 200) throw failure_of(reply, "Acme");
      // list() and cursor() throw where the answer is not what Acme promises: a page that cannot be
      // read is neither empty nor the last one.
      const json::Value page = reply.json();
      const json::Value::Items people = page.list("people");
      const auto next = page.cursor("next", after);
      for (const json::Value one : people) {
        fill(one);
        co_await emit(record());
      }
      if (!next) co_return;
      after = *next;
      co_await checkpoint(after);
    }
  }

  // These ids as they are now; what the vendor no longer has is deleted.
  Task<> fetch(std::uint32_t type, std::vector<std::string_view> ids) override {
    for (const std::string_view id : ids) {
      Target target("/v1/people");
      target.segment(id);
      Reply reply = co_await get(target.text());
      if (reply.status() == 404) {
        record().begin(type, id).deleted();
      } else if (reply.status() == 200) {
        fill(reply.json());
      } else {
        throw failure_of(reply, "Acme");
      }
      co_await emit(record());
    }
  }

  void fill(const json::Value& one) {
    record().begin(manifest::types::person, one["id"].text());
    map_object(record(), person::kFields, one);
  }
};

}  // namespace

SLUICE_CONNECTOR(Acme)
