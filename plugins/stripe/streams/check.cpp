// CHECK: whose key is it, of which mode, and which streams could it not read? One request for the
// account and one of a single object for each list, several under way at once; the host's rate
// budget sees to the pace.
#include <algorithm>
#include <optional>

#include "stripe.hpp"

namespace stripe {
namespace {

constexpr std::size_t kAtOnce = 8;
constexpr std::string_view kClocks = "/v1/test_helpers/test_clocks?limit=1";

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
bool is_note(const Failure& failure, int status) {
  return failure.failure_class == SLUICE_FAIL_PERMISSION ||
         (failure.failure_class == SLUICE_FAIL_UPSTREAM_PERMANENT && status < 500);
}

}  // namespace

Task<> Stripe::check() {
  const std::string asked = "checking the key with /v1/account";
  Reply account_reply = co_await get("/v1/account");
  if (account_reply.status() != 200) throw explain(account_reply, asked, now_ms());
  look_at(account_reply, asked);
  const json::Value account = json_of(account_reply, asked);
  const std::string_view id = account["id"].text();
  if (id.empty()) {
    throw Failure(SLUICE_FAIL_BAD_DATA, "/v1/account answered without the account's id");
  }
  if (!account_.empty() && id != account_) {
    throw Failure(SLUICE_FAIL_CONFIG, asked + ": the configuration names " + account_ +
                                          ", and the key reads " +
                                          std::string(sluice::sdk::cut_utf8(id, 80)));
  }

  std::vector<Probe> probes;
  for (const List& list : lists()) {
    Target target = list_target(list);
    probes.emplace_back().stream = list.stream;
    probes.back().target = target.add("limit", 1).text();
  }
  probes.emplace_back().stream = "events";
  probes.back().target = "/v1/events?limit=1";

  std::vector<sluice::sdk::Awaited> under_way;
  for (std::size_t done = 0; done < probes.size(); ++done) {
    while (under_way.size() < std::min(probes.size(), done + kAtOnce))
      under_way.push_back(get(probes[under_way.size()].target));
    Probe& probe = probes[done];
    probe.reply = co_await under_way[done];
    const std::string what = "checking the stream " + std::string(probe.stream);
    if (probe.reply.status() != 200) {
      const Failure failure = explain(probe.reply, what, now_ms(), probe.stream);
      if (!is_note(failure, probe.reply.status())) throw failure;
      continue;
    }
    look_at(probe.reply, what);
    const ListPage page = page_of(probe.reply, what, {});
    if (done < lists().size()) {
      look_over(kind_of(lists()[done].type), page, what);
    } else {
      for (const json::Value event : page.data.items())
        learn_mode(event["livemode"].boolean(), what, page.last);
    }
  }

  // What hangs on test clocks is in no other list: without them two streams are not complete. Only
  // test mode has any, and only the answers above say which mode it is.
  std::optional<Reply> clocks;
  if (livemode_ == false) {
    clocks = co_await get(kClocks);
    if (clocks->status() != 200) {
      const Failure failure = explain(*clocks, "checking the test clocks", now_ms());
      if (!is_note(failure, clocks->status())) throw failure;
    } else {
      look_at(*clocks, "checking the test clocks");
    }
  }

  json::Writer answer;
  answer.begin_object().name("account").begin_object().member("id", id);
  answer.member("name", account_name(account)).end_object();
  answer.name("mode");  // an account without objects does not show it
  if (!livemode_) {
    answer.null();
  } else {
    answer.value(*livemode_ ? "live" : "test");
  }
  answer.name("notes").begin_array();
  for (Probe& probe : probes) {
    if (probe.reply.status() == 200) continue;
    const std::string_view said = probe.reply.json_if_any()["error"]["message"].text();
    const Failure failure =
        explain(probe.reply, "reading " + std::string(probe.stream), now_ms(), probe.stream);
    answer.begin_object().member("stream", probe.stream);
    const std::string_view named = missing_permission(said);
    answer.member("permission", named.empty() ? permission_for(probe.stream) : named);
    answer.member("message", std::string_view(failure.what())).end_object();
  }
  for (const List& list : lists()) {
    if (!clocks || clocks->status() == 200 || !list.by_clock) continue;
    const std::string_view said = clocks->json_if_any()["error"]["message"].text();
    const std::string_view named = missing_permission(said);
    // Where Stripe names no permission, that of the stream would be named: it is there already.
    const std::string_view stream = named.empty() ? std::string_view{} : list.stream;
    const Failure failure = explain(*clocks, "reading the test clocks", now_ms(), stream);
    answer.begin_object().member("stream", list.stream);
    answer.member("permission", named.empty() ? "rak_billing_clock_read" : named);
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
