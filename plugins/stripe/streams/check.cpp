#include "stripe.hpp"

namespace stripe {
namespace {

std::string_view account_name(const json::Value& account) {
  for (const json::Value name :
       {account["business_profile"]["name"], account["settings"]["dashboard"]["display_name"],
        account["email"]}) {
    if (!name.text().empty()) return name.text();
  }
  return {};
}

/// What a probe of one stream found out.
struct Probe {
  std::string_view stream;
  std::string target;
  Reply reply;
};

/// A permission that is missing is a note on its stream: the other streams can still be read.
bool is_note(int status) { return status == 400 || status == 403 || status == 404; }

}  // namespace

Task<> Stripe::check() {
  Reply account_reply = co_await get("/v1/account");
  if (account_reply.status() != 200)
    throw explain(account_reply, "checking the key with /v1/account", now_ms());
  const json::Value account = json_of(account_reply, "checking the key with /v1/account");
  if (account["id"].text().empty()) {
    throw Failure(SLUICE_FAIL_BAD_DATA, "/v1/account answered without the account's id");
  }

  std::vector<Probe> probes;
  for (const List& list : kLists) {
    Target target{std::string(list.path)};
    if (list.canceled_too) target.add("status", "all");
    target.add("limit", 1);
    probes.emplace_back().stream = list.stream;
    probes.back().target = target.text();
  }
  probes.emplace_back().stream = "events";
  probes.back().target = "/v1/events?limit=1";

  for (Probe& probe : probes) {
    probe.reply = co_await get(probe.target);
    if (probe.reply.status() != 200 && !is_note(probe.reply.status())) {
      throw explain(probe.reply, "checking the stream " + std::string(probe.stream), now_ms());
    }
    if (probe.reply.status() != 200) continue;
    const std::string what = "checking the stream " + std::string(probe.stream);
    for (const json::Value object : list_data(probe.reply, what).items()) learn_mode(object);
  }

  json::Writer answer;
  answer.begin_object().name("account").begin_object().member("id", account["id"].text());
  answer.member("name", account_name(account)).end_object();
  answer.member("mode", !livemode_ ? "unknown" : *livemode_ ? "live" : "test");
  answer.name("notes").begin_array();
  for (Probe& probe : probes) {
    if (probe.reply.status() == 200) continue;
    const std::string_view said = probe.reply.json_if_any()["error"]["message"].text();
    const Failure failure = explain(probe.reply, "reading " + std::string(probe.stream), now_ms());
    answer.begin_object().member("stream", probe.stream);
    answer.member("permission", missing_permission(said));
    answer.member("message", std::string_view(failure.what())).end_object();
  }
  answer.end_array();

  // Events are rendered in the account's own default version; everything else here follows our pin.
  std::string_view version;
  Reply& events = probes.back().reply;
  if (events.status() == 200) {
    for (const json::Value event : events.json()["data"].items())
      version = event["api_version"].text();
  }
  answer.name("api_version");
  if (version.empty()) {
    answer.null();
  } else {
    answer.value(version);
  }
  answer.end_object();
  co_await result(answer.text());
}

}  // namespace stripe
