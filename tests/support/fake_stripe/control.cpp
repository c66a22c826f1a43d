#include "control.hpp"

#include <algorithm>
#include <initializer_list>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "own_customers.hpp"

namespace fake_stripe {
namespace {

std::invalid_argument wrong(const std::string& message) { return std::invalid_argument(message); }

HttpReply json_reply(int status, const Json& body) {
  return {.status = status, .body = body.dump() + "\n"};
}

/// Refuses a body with fields that the call does not know: a test's typing error must not pass.
void allow_only(const Json& body, std::initializer_list<std::string_view> known) {
  constexpr std::string_view kTelling[] = {"event_type", "event_types", "event_lag_ms",
                                           "event_api_version"};
  for (const auto& [key, value] : body.items()) {
    const bool ok = std::find(known.begin(), known.end(), key) != known.end() ||
                    std::find(std::begin(kTelling), std::end(kTelling), key) != std::end(kTelling);
    if (!ok) throw wrong("unknown field '" + key + "'");
  }
}

Telling telling_of(const Json& body) {
  Telling telling;
  if (body.contains("event_type")) {
    telling.types.emplace();
    if (body["event_type"].is_string()) telling.types->push_back(body["event_type"]);
  }
  if (body.contains("event_types")) {
    telling.types = body["event_types"].get<std::vector<std::string>>();
  }
  if (body.contains("event_lag_ms")) telling.lag_ms = body["event_lag_ms"].get<std::int64_t>();
  telling.api_version = body.value("event_api_version", "");
  return telling;
}

std::uint64_t number_param(const HttpRequest& request, const std::string& name,
                           std::uint64_t otherwise) {
  for (const auto& [key, value] : parse_pairs(request.query())) {
    if (key == name) return std::stoull(value);
  }
  return otherwise;
}

Json shown(const Object& object) { return Json::parse(object_text(object)); }

}  // namespace

HttpReply Control::handle(const HttpRequest& request) {
  const std::string what(request.path().substr(std::string_view("/_control/").size()));
  try {
    if (request.method == "GET") return get(what, request);
    if (request.method == "DELETE") return json_reply(200, clear(what));
    const Json body = request.body.empty() ? Json::object() : Json::parse(request.body);
    return json_reply(200, post(what, body));
  } catch (const std::out_of_range& error) {
    return json_reply(404, {{"error", error.what()}});
  } catch (const std::exception& error) {
    return json_reply(400, {{"error", error.what()}});
  }
}

HttpReply Control::get(const std::string& what, const HttpRequest& request) {
  const std::shared_lock lock(world_.mutex);
  if (what == "truth") return json_reply(200, truth_counts());
  if (what.starts_with("truth/")) {
    return {.content_type = "application/x-ndjson", .body = truth(what.substr(6))};
  }
  if (what == "stats") return json_reply(200, stats_.summary());
  if (what == "requests") return json_reply(200, stats_.last(number_param(request, "last", 100)));
  if (what == "faults") return json_reply(200, faults_.describe());
  if (what == "about") return json_reply(200, about());
  const std::uint64_t count = std::max<std::uint64_t>(1, number_param(request, "count", 500));
  if (what == "own_customers.csv") {
    return {.content_type = "text/csv", .body = own_customers_csv(world_.settings(), count)};
  }
  if (what == "expect_links") return json_reply(200, expect_links(world_, count));
  throw std::out_of_range("there is no GET /_control/" + what);
}

Json Control::post(const std::string& what, const Json& body) {
  if (what == "faults") return add_faults(body);
  if (what == "keys") return set_keys(body);
  const std::unique_lock lock(world_.mutex);
  if (what == "event_lag") return set_event_lag(body);
  if (what == "advance") return advance(body);
  if (what == "batch") {
    Json results = Json::array();
    for (const Json& one : body.at("calls")) {
      results.push_back(change(one.at("do").get<std::string>(), one.at("with")));
    }
    return results;
  }
  return change(what, body);
}

Json Control::change(const std::string& what, const Json& body) {
  if (!body.is_object()) throw wrong("the body must be a JSON object");
  Changes changes(world_);
  const Telling telling = telling_of(body);
  if (what == "create") {
    allow_only(body, {"type", "set"});
    return shown(changes.create(body.at("type"), body.value("set", Json::object()), telling));
  }
  if (what == "mutate") {
    allow_only(body, {"id", "set", "unset"});
    return shown(changes.mutate(body.at("id"), body.value("set", Json::object()),
                                body.value("unset", std::vector<std::string>()), telling));
  }
  if (what == "delete") {
    allow_only(body, {"id", "force"});
    const Object& gone = changes.remove(body.at("id"), body.value("force", false), telling);
    return gone.deleted ? Json::parse(tombstone_text(gone)) : shown(gone);
  }
  if (what == "remove_item") {
    allow_only(body, {"subscription", "item"});
    const Object* item = world_.of("subscription_item").find(body.at("item").get<std::string>());
    const std::string subscription = body.at("subscription");
    if (item == nullptr || item->parent->id != subscription) {
      throw wrong("there is no such item on '" + subscription + "'");
    }
    changes.remove(item->id, true, telling);
    return shown(*item->parent);
  }
  if (what == "emit") {
    allow_only(body, {"type", "object"});
    return shown(changes.emit_raw(body.at("type"), body.at("object"), telling));
  }
  if (what == "churn") return churn(body, telling);
  throw std::out_of_range("there is no POST /_control/" + what);
}

/// Touches `count` live objects, spread evenly, so that a bench has something to refetch.
Json Control::churn(const Json& body, const Telling& telling) {
  allow_only(body, {"type", "count", "set"});
  const Ordered live = world_.of(body.at("type").get<std::string>()).live();
  const std::size_t count = std::min(live.size(), body.at("count").get<std::size_t>());
  Changes changes(world_);
  Json ids = Json::array();
  for (std::size_t k = 0; k < count; ++k) {
    const std::string& id = live[k * live.size() / count]->id;
    const Json touch = {{"metadata", {{"churn", world_.new_id("c_")}}}};
    changes.mutate(id, body.value("set", touch), {}, telling);
    ids.push_back(id);
  }
  return {{"touched", count}, {"ids", ids}};
}

Json Control::add_faults(const Json& body) {
  if (!body.is_array()) {
    faults_.add(body);
  } else {
    for (const Json& one : body) faults_.add(one);
  }
  return faults_.describe();
}

Json Control::set_keys(const Json& body) {
  allow_only(body, {"add", "remove"});
  if (body.contains("add")) keys_.add(body["add"].get<std::string>());
  if (body.contains("remove")) keys_.remove(body["remove"].get<std::string>());
  return {{"ok", true}};
}

Json Control::set_event_lag(const Json& body) {
  allow_only(body, {"ms"});
  world_.event_lag_ms = body.at("ms").get<std::int64_t>();
  return {{"ms", world_.event_lag_ms}};
}

Json Control::advance(const Json& body) {
  allow_only(body, {"seconds"});
  world_.clock().advance(body.at("seconds").get<std::int64_t>());
  return {{"now", world_.clock().now_s()}};
}

Json Control::clear(const std::string& what) {
  if (what == "faults") {
    faults_.clear();
  } else if (what == "stats") {
    stats_.clear();
  } else {
    throw std::out_of_range("there is no DELETE /_control/" + what);
  }
  return {{"ok", true}};
}

Json Control::truth_counts() {
  Json counts;
  Json deleted;
  for (const Resource& row : catalog()) {
    const Collection& all = world_.of(row.type);
    counts[std::string(row.type)] = all.live().size();
    deleted[std::string(row.type)] = all.deleted_count();
  }
  counts["deleted"] = deleted;
  return counts;
}

std::string Control::truth(const std::string& type) {
  if (find_resource(type) == nullptr) throw std::out_of_range("there is no type '" + type + "'");
  const Ordered& live = world_.of(type).live();
  std::string out;
  for (auto at = live.rbegin(); at != live.rend(); ++at) {
    append_object(out, **at, Nested::kComplete);
    out += '\n';
  }
  return out;
}

Json Control::about() const {
  return {{"now", world_.clock().now_s()},
          {"account", world_.account_id()},
          {"account_version", world_.settings().account_version},
          {"pinned_version", kPinnedVersion},
          {"seed", world_.settings().seed},
          {"customers", world_.settings().customers},
          {"event_lag_ms", world_.event_lag_ms}};
}

}  // namespace fake_stripe
