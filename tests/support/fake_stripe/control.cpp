#include "control.hpp"

#include <algorithm>
#include <initializer_list>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "api.hpp"
#include "own_customers.hpp"
#include "truth.hpp"

namespace fake_stripe {
namespace {

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
    if (!ok) throw std::invalid_argument("unknown field '" + key + "'");
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

std::string text_param(const HttpRequest& request, const std::string& name) {
  for (const auto& [key, value] : parse_pairs(request.query())) {
    if (key == name) return value;
  }
  return "";
}

Json shown(const Object& object) { return Json::parse(object_text(object)); }

HttpReply lines(std::string text) {
  return {.content_type = "application/x-ndjson", .body = std::move(text)};
}

/// Every `@@ref:<type>@@` in a template, with the ids that it may stand for.
std::unordered_map<std::string, std::vector<std::string>> references_in(const World& world,
                                                                        const std::string& text) {
  constexpr std::string_view kMark = "@@ref:";
  constexpr std::uint64_t kIdsMax = 1'000'000;
  std::unordered_map<std::string, std::vector<std::string>> references;
  for (auto at = text.find(kMark); at != std::string::npos; at = text.find(kMark, at + 1)) {
    const auto from = at + kMark.size();
    const std::string type = text.substr(from, text.find("@@", from) - from);
    if (find_resource(type) == nullptr)
      throw std::invalid_argument("there is no type '" + type + "'");
    std::vector<std::string>& ids = references[type];
    if (!ids.empty()) continue;
    for (const Object* object : world.of(type).live()) ids.push_back(object->id);
    for (const auto& bulk : world.of(type).bulks()) {
      for (std::uint64_t i = 0; i < bulk->count() && ids.size() < kIdsMax; ++i) {
        ids.push_back(bulk->id(i));
      }
    }
    if (ids.empty()) throw std::invalid_argument("there is no " + type + " to refer to");
  }
  return references;
}

/// Makes the object about `bytes` long, with metadata or a description that nobody reads.
void pad(Json& tree, std::int64_t bytes) {
  constexpr std::int64_t kPieceMax = 460;
  std::int64_t missing = bytes - static_cast<std::int64_t>(tree.dump().size()) - 40;
  const bool in_metadata = tree.contains("metadata") && tree["metadata"].is_object();
  for (int i = 0; missing > 60; ++i) {
    const auto piece = static_cast<std::size_t>(std::min(missing - 50, kPieceMax));
    const std::string text = "@@hex@@" + std::string(piece, 'x');
    if (!in_metadata) {
      tree["description"] = "@@hex@@" + std::string(static_cast<std::size_t>(missing), 'x');
      return;
    }
    tree["metadata"]["pad_" + std::to_string(i)] = text;
    missing -= static_cast<std::int64_t>(piece) + 50;
  }
}

}  // namespace

HttpReply Control::handle(const HttpRequest& request) {
  const std::string what(request.path().substr(std::string_view("/_control/").size()));
  try {
    if (request.method == "GET") return get(what, request);
    if (request.method == "DELETE") return json_reply(200, clear(world_for(request), what));
    return post(what, request);
  } catch (const std::out_of_range& error) {
    return json_reply(404, {{"error", error.what()}});
  } catch (const std::exception& error) {
    return json_reply(400, {{"error", error.what()}});
  }
}

/// The account that a call is about: the own one, or the one named by `?account=`.
World& Control::world_for(const HttpRequest& request) {
  const std::string account = text_param(request, "account");
  if (account.empty()) return parts_.platform.own();
  World* world = parts_.platform.find(account);
  if (world == nullptr) throw std::out_of_range("there is no account '" + account + "'");
  return *world;
}

HttpReply Control::get(const std::string& what, const HttpRequest& request) {
  if (what == "stats") return json_reply(200, parts_.stats.summary());
  if (what == "requests") {
    return json_reply(200, parts_.stats.last(number_param(request, "last", 100)));
  }
  if (what == "faults") return json_reply(200, parts_.faults.describe());
  if (what == "rate_limit") return json_reply(200, parts_.limiter.describe());
  if (what == "traffic") return json_reply(200, parts_.traffic.describe());
  if (what == "accounts") {
    Json ids = Json::array();
    for (const World* world : parts_.platform.all()) ids.push_back(world->account_id());
    return json_reply(200, ids);
  }
  World& world = world_for(request);
  {
    const std::unique_lock lock(world.mutex);
    world.settle();
  }
  const std::shared_lock lock(world.mutex);
  return get_of(world, what, request);
}

HttpReply Control::get_of(World& world, const std::string& what, const HttpRequest& request) {
  const auto slash = what.find('/');
  const std::string verb = what.substr(0, slash);
  const std::string type = slash == std::string::npos ? "" : what.substr(slash + 1);
  if (what == "truth") return json_reply(200, truth_counts(world));
  if (verb == "truth" && !type.empty()) {
    std::string truth = truth_lines(world, type, number_param(request, "from", 0),
                                    number_param(request, "count", kStoredRank));
    // One account of one mode; what a key of the other mode is shown is a question of its own.
    const std::string mode = text_param(request, "mode");
    if (!mode.empty() && mode != "live" && mode != "test")
      throw std::out_of_range("mode is live or test");
    const bool live = mode.empty() ? parts_.keys.all_live() : mode == "live";
    if (world.livemode || live) go_live(truth);
    return lines(std::move(truth));
  }
  if (verb == "ids") return lines(truth_ids(world, type));
  if (verb == "deleted") {
    if (find_resource(type) == nullptr) throw std::out_of_range("there is no type '" + type + "'");
    return json_reply(200, world.of(type).deleted_ids());
  }
  if (verb == "sum") return json_reply(200, truth_sum(world, type, text_param(request, "field")));
  if (what == "minimum") {
    return json_reply(200, minimum_requests(world, number_param(request, "limit", 100)));
  }
  if (what == "about") return json_reply(200, about(world));
  const std::uint64_t count = std::max<std::uint64_t>(1, number_param(request, "count", 500));
  if (what == "own_customers.csv") {
    return {.content_type = "text/csv", .body = own_customers_csv(world.settings(), count)};
  }
  if (what == "expect_links") return json_reply(200, expect_links(world, count));
  throw std::out_of_range("there is no GET /_control/" + what);
}

HttpReply Control::post(const std::string& what, const HttpRequest& request) {
  const Json body = request.body.empty() ? Json::object() : Json::parse(request.body);
  if (std::optional<HttpReply> reply = post_switch(what, body)) return *std::move(reply);
  World& world = world_for(request);
  const std::unique_lock lock(world.mutex);
  return json_reply(200, post_to(world, what, body));
}

std::optional<HttpReply> Control::post_switch(const std::string& what, const Json& body) {
  if (what == "faults") return json_reply(200, add_faults(body));
  if (what == "keys") return json_reply(200, set_keys(body));
  if (what == "rate_limit") {
    parts_.limiter.configure(body);
    return json_reply(200, parts_.limiter.describe());
  }
  if (what == "latency") {
    allow_only(body, {"ms"});
    parts_.switches.latency_ms = body.at("ms").get<std::int64_t>();
    return json_reply(200, {{"ms", parts_.switches.latency_ms.load()}});
  }
  if (what == "date_skew") {
    allow_only(body, {"seconds"});
    parts_.switches.date_skew_s = body.at("seconds").get<std::int64_t>();
    return json_reply(200, {{"seconds", parts_.switches.date_skew_s.load()}});
  }
  if (what == "accounts") return json_reply(200, set_accounts(body));
  if (what == "traffic") return json_reply(200, set_traffic(body));
  if (what == "down") return go_down(body);
  if (what == "up") {
    parts_.come_back();
    return json_reply(200, {{"ok", true}});
  }
  return std::nullopt;
}

Json Control::post_to(World& world, const std::string& what, const Json& body) {
  if (what == "event_lag") {
    allow_only(body, {"ms"});
    world.event_lag_ms = body.at("ms").get<std::int64_t>();
    return {{"ms", world.event_lag_ms}};
  }
  if (what == "list_lag") {
    allow_only(body, {"type", "ms"});
    const Resource& row = world.of(body.at("type").get<std::string>()).resource();
    world.list_lag_ms[std::string(row.type)] = body.at("ms").get<std::int64_t>();
    return {{"ok", true}};
  }
  if (what == "advance") {
    allow_only(body, {"seconds"});
    world.clock().advance(body.at("seconds").get<std::int64_t>());
    return {{"now", world.clock().now_s()}};
  }
  if (what == "retention") {
    allow_only(body, {"seconds"});
    world.event_retention_s = body.at("seconds").get<std::int64_t>();
    return {{"seconds", world.event_retention_s}};
  }
  if (what == "account_version") {
    allow_only(body, {"version"});
    world.account_version = body.at("version").get<std::string>();
    return {{"version", world.account_version}};
  }
  if (what == "identity") return set_identity(world, body);
  if (what == "seed") return seed(world, body);
  if (what == "generate") return generate(world, body);
  if (what == "batch") {
    Json results = Json::array();
    for (const Json& one : body.at("calls")) {
      results.push_back(change(world, one.at("do").get<std::string>(), one.at("with")));
    }
    return results;
  }
  return change(world, what, body);
}

Json Control::change(World& world, const std::string& what, const Json& body) {
  if (!body.is_object()) throw std::invalid_argument("the body must be a JSON object");
  Changes changes(world);
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
    const Object* item = world.of("subscription_item").find(body.at("item").get<std::string>());
    const std::string subscription = body.at("subscription");
    if (item == nullptr || item->parent->id != subscription) {
      throw std::invalid_argument("there is no such item on '" + subscription + "'");
    }
    changes.remove(item->id, true, telling);
    return shown(*item->parent);
  }
  if (what == "pay") {
    allow_only(body, {"invoice"});
    return shown(changes.pay(body.at("invoice"), telling));
  }
  if (what == "emit") {
    allow_only(body, {"type", "object"});
    return shown(changes.emit_raw(body.at("type"), body.at("object"), telling));
  }
  if (what == "churn") return churn(world, body, telling);
  throw std::out_of_range("there is no POST /_control/" + what);
}

/// Touches `count` live objects, spread evenly, so that a bench has something to refetch.
Json Control::churn(World& world, const Json& body, const Telling& telling) {
  allow_only(body, {"type", "count", "set"});
  const Collection& all = world.of(body.at("type").get<std::string>());
  std::vector<std::string> live;
  for (const Object* object : all.live()) live.push_back(object->id);
  if (live.empty()) {
    for (const auto& bulk : all.bulks()) {
      const std::uint64_t wanted = body.at("count").get<std::uint64_t>();
      const std::uint64_t step =
          std::max<std::uint64_t>(1, bulk->count() / std::max<std::uint64_t>(1, wanted));
      for (std::uint64_t i = 0; i < bulk->count(); i += step) {
        const std::string id = bulk->id(i);
        if (all.look_up(id)) live.push_back(id);
      }
    }
  }
  const std::size_t count = std::min(live.size(), body.at("count").get<std::size_t>());
  Changes changes(world);
  Json ids = Json::array();
  for (std::size_t k = 0; k < count; ++k) {
    const std::string& id = live[k * live.size() / count];
    const Json touch = {{"metadata", {{"churn", world.new_id("c_")}}}};
    changes.mutate(id, body.value("set", touch), {}, telling);
    ids.push_back(id);
  }
  return {{"touched", count}, {"ids", ids}};
}

/// More objects of given types, as if they had always been there.
Json Control::seed(World& world, const Json& body) {
  allow_only(body, {"counts", "seed", "days", "events"});
  const std::int64_t days = body.value("days", std::int64_t{300});
  Telling telling;
  if (!body.value("events", false)) telling.types.emplace();
  Changes changes(world);
  for (const auto& [type, count] : body.at("counts").items()) {
    if (find_resource(type) == nullptr)
      throw std::invalid_argument("there is no type '" + type + "'");
  }
  for (const Resource& row : catalog()) {
    const std::uint64_t count = body["counts"].value(std::string(row.type), std::uint64_t{0});
    for (std::uint64_t i = 0; i < count; ++i) {
      Dice dice(body.value("seed", std::uint64_t{1}), row.type, i);
      Json set = changes.plausible_set(row, dice);
      set["created"] = world.clock().now_s() - dice.between(60, days * 24 * 3600);
      changes.create(std::string(row.type), set, telling);
    }
  }
  return truth_counts(world);
}

Json Control::generate(World& world, const Json& body) {
  allow_only(body,
             {"type", "count", "created", "created_from", "created_to", "bytes", "seed", "set"});
  const Resource* row = find_resource(body.at("type").get<std::string>());
  if (row == nullptr || !row->parent_field.empty() || row->type == "account") {
    throw std::invalid_argument("cannot generate a '" + body["type"].get<std::string>() + "'");
  }
  const std::int64_t now = world.clock().now_s();
  Bulk::Spec spec;
  spec.count = body.at("count").get<std::uint64_t>();
  spec.created_from = body.value("created_from", now - 300 * 24 * 3600);
  spec.created_to = body.value("created_to", now - 60);
  if (body.contains("created")) {
    spec.created_from = spec.created_to = body["created"].get<std::int64_t>();
  }
  if (spec.created_to < spec.created_from)
    throw std::invalid_argument("created_to is before created_from");
  spec.seed = body.value("seed", world.settings().seed + world.of(row->type).bulks().size());
  spec.id_prefix = row->id_prefix;
  Json tree = Changes(world).generated_tree(*row, body.value("set", Json::object()));
  pad(tree, body.value("bytes", std::int64_t{1000}));
  spec.references = references_in(world, tree.dump());
  auto bulk = std::make_unique<Bulk>(std::move(spec), tree);
  if (row->type == "event") bulk->event_type = tree.value("type", "");
  const Json answer = {{"type", row->type},
                       {"count", bulk->count()},
                       {"bytes_each", bulk->text(0).size()},
                       {"newest", bulk->id(bulk->count() - 1)},
                       {"oldest", bulk->id(0)}};
  world.of(row->type).add_bulk(std::move(bulk));
  return answer;
}

Json Control::set_identity(World& world, const Json& body) {
  allow_only(body, {"account", "livemode"});
  if (body.contains("account")) {
    world.shown_account = body["account"].is_null() ? "" : body["account"].get<std::string>();
  }
  if (body.contains("livemode")) world.livemode = body["livemode"].get<bool>();
  return about(world);
}

/// Connects another account, seeded like the own one, or takes one away.
Json Control::set_accounts(const Json& body) {
  allow_only(body, {"connect", "disconnect"});
  if (body.contains("disconnect")) {
    const std::string account = body["disconnect"];
    if (!parts_.platform.disconnect(account))
      throw std::invalid_argument("'" + account + "' is not connected");
    return {{"disconnected", account}};
  }
  const Json& wanted = body.at("connect");
  allow_only(wanted, {"id", "seed", "customers", "subscription_percent"});
  Settings settings = parts_.platform.own().settings();
  settings.account_id = wanted.value("id", "");
  settings.seed = wanted.value("seed", settings.seed + 1000);
  settings.customers = wanted.value("customers", std::uint64_t{10});
  settings.subscription_percent =
      wanted.value("subscription_percent", settings.subscription_percent);
  return {{"connected", parts_.platform.connect(settings).account_id()}};
}

Json Control::set_traffic(const Json& body) {
  allow_only(body, {"per_second", "seed", "types", "create_percent", "delete_percent"});
  Traffic::Plan plan;
  plan.per_second = body.value("per_second", 0.0);
  plan.seed = body.value("seed", plan.seed);
  plan.types = body.value("types", plan.types);
  plan.create_percent = body.value("create_percent", plan.create_percent);
  plan.delete_percent = body.value("delete_percent", plan.delete_percent);
  parts_.traffic.start(std::move(plan));
  return parts_.traffic.describe();
}

HttpReply Control::go_down(const Json& body) {
  allow_only(body, {"ms"});
  const std::int64_t ms = body.value("ms", std::int64_t{0});
  HttpReply reply = json_reply(200, {{"ms", ms}});
  reply.then = [this, ms] { parts_.go_away(ms); };
  return reply;
}

Json Control::add_faults(const Json& body) {
  if (!body.is_array()) {
    parts_.faults.add(body);
  } else {
    for (const Json& one : body) parts_.faults.add(one);
  }
  return parts_.faults.describe();
}

Json Control::set_keys(const Json& body) {
  allow_only(body, {"add", "remove"});
  if (body.contains("add")) parts_.keys.add(body["add"].get<std::string>());
  if (body.contains("remove")) parts_.keys.remove(body["remove"].get<std::string>());
  return {{"ok", true}};
}

void Control::reset_switches() {
  parts_.faults.clear();
  parts_.limiter.clear();
  parts_.traffic.stop();
  parts_.switches.latency_ms = 0;
  parts_.switches.date_skew_s = 0;
  for (World* world : parts_.platform.all()) {
    const std::unique_lock lock(world->mutex);
    world->event_lag_ms = 0;
    world->list_lag_ms.clear();
    world->event_retention_s = 30LL * 24 * 3600;
    world->shown_account.clear();
    world->livemode = false;
    world->account_version = world->settings().account_version;
  }
}

Json Control::clear(World& world, const std::string& what) {
  if (what == "faults") {
    parts_.faults.clear();
  } else if (what == "stats") {
    parts_.stats.clear();
  } else if (what == "rate_limit") {
    parts_.limiter.clear();
  } else if (what == "switches") {
    reset_switches();
  } else if (what == "generated") {
    const std::unique_lock lock(world.mutex);
    for (const Resource& row : catalog()) world.of(row.type).drop_bulks();
  } else {
    throw std::out_of_range("there is no DELETE /_control/" + what);
  }
  return {{"ok", true}};
}

Json Control::about(const World& world) {
  return {{"now", world.clock().now_s()},
          {"account", world.account_id()},
          {"shown_account", world.shown_account},
          {"livemode", world.livemode},
          {"account_version", world.account_version},
          {"pinned_version", kPinnedVersion},
          {"seed", world.settings().seed},
          {"customers", world.settings().customers},
          {"event_lag_ms", world.event_lag_ms},
          {"event_retention_s", world.event_retention_s}};
}

}  // namespace fake_stripe
