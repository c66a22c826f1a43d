#include "account_api.hpp"

#include <algorithm>
#include <set>

#include "json_text.hpp"
#include "poison.hpp"

namespace fake_stripe {
namespace {

/// The path after /v1/ in pieces, decoded.
std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  path.remove_prefix(std::string_view("/v1/").size());
  while (!path.empty()) {
    const auto slash = std::min(path.find('/'), path.size());
    segments.push_back(percent_decode(path.substr(0, slash)));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return segments;
}

ApiError unrecognized(const HttpRequest& request) {
  return {404, "Unrecognized request URL (" + request.method + ": " + std::string(request.path()) +
                   "). Please see https://stripe.com/docs or we can help at "
                   "https://support.stripe.com/."};
}

bool is_visible(const Object& object, std::int64_t now_ms) { return object.visible_ms <= now_ms; }

std::string event_type(const Object& event) {
  return Json::parse(event.body).value("type", std::string());
}

bool type_matches(const std::string& pattern, const std::string& type) {
  if (!pattern.ends_with(".*") && pattern != "*") return pattern == type;
  return type.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
}

bool asks_for_types(const Query& query) {
  return query.filters.contains("type") || !query.types.empty();
}

bool type_wanted(const std::string& type, const Query& query) {
  const auto single = query.filters.find("type");
  if (single != query.filters.end()) return type_matches(single->second, type);
  return std::find(query.types.begin(), query.types.end(), type) != query.types.end();
}

/// A field's value as a query string would spell it.
std::string spelled(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

bool status_wanted(const Json& subscription, const std::string& wanted) {
  if (wanted == "all") return true;
  const std::string status = subscription.value("status", std::string());
  if (wanted == "ended") return status == "canceled" || status == "incomplete_expired";
  return status == wanted;
}

bool passes(const Object& object, const Json& tree, std::string_view field,
            const std::string& value) {
  if (field == "payout") return object.payout == value;
  if (field == "status" && object.resource->type == "subscription") {
    return status_wanted(tree, value);
  }
  const Json::json_pointer at(pointer_of(field));
  return tree.contains(at) && spelled(tree[at]) == value;
}

/// The test for filters that no index answers; empty when every object passes.
Accepts scanning(const Resource& row, const Query& query) {
  const bool subscriptions = row.type == "subscription";
  const bool clocked = query.filters.contains("test_clock");
  const bool with_status = query.filters.contains("status");
  std::vector<std::pair<std::string, std::string>> wanted;
  for (const std::string_view field : row.scanned) {
    const auto found = query.filters.find(field);
    if (found == query.filters.end()) continue;
    if (subscriptions && field == "status" && found->second == "all") continue;
    wanted.emplace_back(*found);
  }
  const bool clocks = subscriptions || row.type == "customer";
  if (wanted.empty() && query.ranges.empty() && !clocks) return {};
  return [wanted, subscriptions, clocked, with_status, ranges = query.ranges](const Object& o) {
    if (o.clocked != clocked || (subscriptions && !with_status && o.canceled)) return false;
    if (wanted.empty() && ranges.empty()) return true;
    const Json tree = Json::parse(o.body);
    for (const auto& [field, value] : wanted) {
      if (!passes(o, tree, field, value)) return false;
    }
    for (const auto& [field, range] : ranges) {
      const auto at = tree.find(field);
      if (at == tree.end() || !at->is_number_integer()) return false;
      if (*at < range.first || *at > range.second) return false;
    }
    return true;
  };
}

Accepted accepted_by(const Resource& row, std::int64_t limit_max) {
  Accepted accepted{.created = row.filters_created, .limit_max = limit_max};
  for (const Reference& filter : row.filters) accepted.filters.push_back(filter.field);
  accepted.filters.insert(accepted.filters.end(), row.scanned.begin(), row.scanned.end());
  if (!row.parent_field.empty()) accepted.filters.push_back(row.parent_field);
  accepted.ranged = row.ranged;
  if (row.type == "event") accepted.types = true;
  return accepted;
}

ApiError cannot_expand(const std::string& path) {
  return bad_request("This property cannot be expanded because it doesn't exist: " + path +
                         ". You may want to try expanding 'data." + path + "' instead.",
                     "expand");
}

std::string_view cursor_param(const Query& query) {
  return query.starting_after.empty() ? "ending_before" : "starting_after";
}

const std::string& cursor_id(const Query& query) {
  return query.starting_after.empty() ? query.ending_before : query.starting_after;
}

std::string id_of(const Found& found) {
  return found.object != nullptr ? found.object->id : found.bulk->id(found.index);
}

void rewrite(Json& tree, const Fault& fault) {
  const Json::json_pointer at(fault.field.front() == '/' ? fault.field : "/" + fault.field);
  const Json::json_pointer parent = at.parent_pointer();
  if (!tree.contains(parent) || !tree[parent].is_object()) return;
  if (fault.value) {
    tree[at] = *fault.value;
  } else {
    tree[parent].erase(at.back());
  }
}

}  // namespace

ApiError aged_out(const std::string& event) {
  return bad_request("The event " + event +
                         " is no longer available because it's aged out of our retention policy.",
                     "starting_after");
}

std::string AccountApi::body() {
  if (!request_.path().starts_with("/v1/")) throw unrecognized(request_);
  const std::vector<std::string> segments = segments_of(request_.path());
  if (request_.method != "GET" || segments.empty()) {
    check_key({});
    throw unrecognized(request_);
  }
  if (segments[0] == "account" && segments.size() == 1) return own_account();
  if (request_.path() == "/v1/test_helpers/test_clocks") return test_clocks();
  const std::size_t depth = segments[0] == "checkout" && segments.size() > 1 ? 2 : 1;
  const Resource* row =
      find_resource_by_path(depth == 2 ? segments[0] + "/" + segments[1] : segments[0]);
  if (row == nullptr) {
    check_key({});
    throw unrecognized(request_);
  }
  const std::vector<std::string> rest(segments.begin() + static_cast<std::ptrdiff_t>(depth),
                                      segments.end());
  const bool connected = row->type == "account" && rest.empty();
  check_key(connected ? "rak_connected_account_read" : row->permission);
  if (rest.empty()) return list(*row);
  if (rest.size() == 1) return retrieve(*row, rest[0]);
  if (rest.size() > 2) throw unrecognized(request_);
  return nested(*row, rest[0], rest[1]);
}

std::string AccountApi::own_account() {
  const Resource& row = *find_resource("account");
  check_key(row.permission);
  if (world_.shown_account.empty()) return retrieve(row, world_.account_id());
  Json tree = Json::parse(retrieve(row, world_.account_id()));
  tree["id"] = world_.shown_account;
  return tree.dump();
}

/// The clocks that live customers hang on, by name; a clock is there while one hangs on it.
std::string AccountApi::test_clocks() {
  check_key("rak_billing_clock_read");
  if (world_.livemode) throw bad_request("Test clocks are only available in testmode.");
  const Query query = parse_query(request_.query(), Accepted{});
  std::set<std::string> clocks;
  for (const Object* customer : world_.of("customer").live()) {
    if (!customer->clocked) continue;
    clocks.insert(Json::parse(customer->body).value("test_clock", std::string()));
  }
  Json page = {{"object", "list"}, {"url", request_.path()}, {"has_more", false}};
  page["data"] = Json::array();
  for (auto clock = clocks.upper_bound(query.starting_after); clock != clocks.end(); ++clock) {
    page["has_more"] = static_cast<std::int64_t>(page["data"].size()) == query.limit;
    if (page["has_more"]) break;
    page["data"].push_back({{"id", *clock},
                            {"object", "test_helpers.test_clock"},
                            {"created", world_.clock().now_s()},
                            {"livemode", false},
                            {"status", "ready"}});
  }
  return page.dump();
}

/// `/v1/<path>/{id}/<what>`
std::string AccountApi::nested(const Resource& row, const std::string& id,
                               const std::string& what) {
  const Object& object = require_stored(row, id, std::string(row.type));
  if (row.type == "invoice" && what == "lines") return list_children(object, "invoice item");
  const auto listed = [&](std::string_view type, std::string_view field) {
    return list_linked(*find_resource(type), field, id);
  };
  if (row.type == "invoice" && what == "payments") return listed("invoice_payment", "invoice");
  if (row.type == "charge" && what == "refunds") return listed("refund", "charge");
  if (row.type == "customer" && what == "payment_methods") {
    check_key("rak_payment_method_read");
    return listed("payment_method", "customer");
  }
  if (row.type == "credit_note" && what == "lines") {
    return Json::parse(object.body).value("lines", Json::object()).dump();
  }
  if (row.type == "checkout_session" && what == "line_items") {
    return line_items_of(Json::parse(object.body)).dump();
  }
  if (row.type == "account" && what == "external_accounts") {
    return page_text({}, request_.path());
  }
  throw unrecognized(request_);
}

std::string AccountApi::list_linked(const Resource& row, std::string_view field,
                                    const std::string& id) {
  Accepted accepted{.limit_max = world_.settings().page_limit_max};
  if (row.type == "payment_method") accepted.filters.emplace_back("type");
  const Query query = parse_query(request_.query(), accepted);
  Page page = page_newest_first(world_.of(row.type).linked(field, id), {}, query,
                                cursor_of(row, query), scanning(row, query));
  return render_page(std::move(page), row, query, request_.path());
}

std::string AccountApi::list(const Resource& row) {
  if (row.type == "event") return list_events();
  const Query query =
      parse_query(request_.query(), accepted_by(row, world_.settings().page_limit_max));
  const std::string url = "/v1/" + std::string(row.path);
  if (!row.parent_field.empty()) {
    const auto parent = query.filters.find(row.parent_field);
    const std::string field(row.parent_field);
    if (parent == query.filters.end()) {
      throw bad_request("Missing required param: " + field + ".", field, "parameter_missing");
    }
    const Resource& parent_row = *find_resource(row.parent_type);
    return list_children(require_stored(parent_row, parent->second, field), row.type);
  }
  const std::optional<Place> cursor = cursor_of(row, query);
  const std::optional<Ordered> some = narrowed(row, query);
  Accepts accepts = scanning(row, query);
  if (row.type == "account") {  // connected accounts only
    accepts = [&](const Object& account) { return account.id != world_.account_id(); };
  }
  if (world_.list_lag_ms.contains(row.type)) accepts = visible_and(std::move(accepts));
  Page page = page_newest_first(some ? *some : world_.of(row.type).live(), bulks_of(row, query),
                                query, cursor, accepts);
  return render_page(std::move(page), row, query, url);
}

const Bulks& AccountApi::bulks_of(const Resource& row, const Query& query) const {
  const Bulks& bulks = world_.of(row.type).bulks();
  if (bulks.empty()) return bulks;
  for (const auto& [name, value] : query.filters) {
    if (name == "status" && value == "all") continue;
    throw bad_request("fake_stripe: generated objects cannot be filtered by " + name, name);
  }
  if (!query.ranges.empty()) {
    throw bad_request("fake_stripe: generated objects can be filtered by created only");
  }
  return bulks;
}

Accepts AccountApi::visible_and(Accepts accepts) const {
  const std::int64_t now_ms = world_.clock().now_ms();
  return [accepts = std::move(accepts), now_ms](const Object& object) {
    return is_visible(object, now_ms) && (!accepts || accepts(object));
  };
}

Ordered AccountApi::intersected(const Resource& row, const Query& query) const {
  Ordered both;
  bool first = true;
  for (const Reference& filter : row.filters) {
    const auto given = query.filters.find(filter.field);
    if (given == query.filters.end()) continue;
    const Ordered& linked = world_.of(row.type).linked(filter.field, given->second);
    if (first) {
      both = linked;
    } else {
      std::erase_if(both, [&](Object* object) {
        return !std::binary_search(linked.begin(), linked.end(), object, born_before);
      });
    }
    first = false;
  }
  return both;
}

std::optional<Ordered> AccountApi::narrowed(const Resource& row, const Query& query) const {
  bool any = false;
  for (const Reference& filter : row.filters) {
    const auto given = query.filters.find(filter.field);
    if (given == query.filters.end()) continue;
    any = true;
    if (!filter.type.empty() && world_.of(filter.type).find(given->second) == nullptr) {
      throw no_such(400, filter.type, given->second, std::string(filter.field));
    }
  }
  if (!any) return std::nullopt;
  return intersected(row, query);
}

std::string AccountApi::list_children(const Object& parent, std::string_view what) {
  const bool items = parent.resource->type == "subscription";
  const Resource& row = *find_resource(items ? "subscription_item" : "invoice_line");
  Accepted accepted{.limit_max = world_.settings().page_limit_max};
  if (items) accepted.filters.emplace_back("subscription");
  const Query query = parse_query(request_.query(), accepted);
  const Object* cursor = nullptr;
  const std::string& id = cursor_id(query);
  if (!id.empty()) {
    const auto found = std::find_if(parent.children.begin(), parent.children.end(),
                                    [&](const Object* child) { return child->id == id; });
    if (found == parent.children.end()) {
      throw no_such(400, what, id, std::string(cursor_param(query)));
    }
    cursor = *found;
  }
  const std::string url = items ? "/v1/subscription_items" : "/v1/invoices/" + parent.id + "/lines";
  return render_page(page_in_order(parent.children, query, cursor), row, query, url);
}

std::string AccountApi::list_events() {
  const Resource& row = *find_resource("event");
  Query query = parse_query(request_.query(), accepted_by(row, world_.settings().page_limit_max));
  if (!query.expand.empty()) throw cannot_expand(query.expand.front());
  const std::int64_t now_ms = world_.clock().now_ms();
  const std::int64_t oldest = now_ms / 1000 - world_.event_retention_s;
  const std::optional<Place> cursor = cursor_of(row, query);
  if (cursor && cursor->created < oldest) throw aged_out(cursor_id(query));
  query.created_min = std::max(query.created_min, oldest);
  const bool by_type = asks_for_types(query);
  const Accepts accepts = [&](const Object& event) {
    return is_visible(event, now_ms) && (!by_type || type_wanted(event_type(event), query));
  };
  const Collection& events = world_.of("event");
  const bool bulk_wanted =
      !by_type || std::all_of(events.bulks().begin(), events.bulks().end(), [&](const auto& bulk) {
        return type_wanted(bulk->event_type, query);
      });
  static const Bulks kNone;
  return render_page(page_newest_first(events.live(), bulk_wanted ? events.bulks() : kNone, query,
                                       cursor, accepts),
                     row, query, "/v1/events");
}

std::string AccountApi::retrieve(const Resource& row, const std::string& id) {
  const Query query = parse_query(request_.query(), {.paging = false});
  const Object* object = world_.of(row.type).find(id);
  if (object != nullptr && object->deleted && row.deletion == Deletion::kTombstone) {
    return tombstone_text(*object);
  }
  const Found live = require_live(row, id, 404, "id");
  const bool hidden = row.type == "event" &&
                      (live.place.created < world_.clock().now_s() - world_.event_retention_s ||
                       (object != nullptr && !is_visible(*object, world_.clock().now_ms())));
  if (hidden) throw no_such(404, row.type, id, "id");
  call_.objects = 1;
  return render_one(live, row, query);
}

Json AccountApi::tree_of(const Found& found, const Resource& row, const Shape& shape) const {
  if (found.object != nullptr && row.type != "event") {
    return object_tree(world_, *found.object, shape);
  }
  std::string text;
  append_found(text, found);
  Json tree = Json::parse(text);
  if (!shape.is_current()) make_older(world_, row.type, tree, shape);
  return tree;
}

bool AccountApi::disfigures() const {
  return call_.misfortune.shape("rewrite") != nullptr ||
         call_.misfortune.shape("expanded") != nullptr;
}

void AccountApi::disfigure(Json& tree, const Resource& row, const Shape& shape) const {
  const std::string id = tree.value("id", std::string());
  for (const Fault& fault : call_.misfortune.shaping) {
    if (!fault.takes(id)) continue;
    if (fault.kind == "rewrite") rewrite(tree, fault);
    if (fault.kind != "expanded") continue;
    for (const std::string& path : fault.paths) expand(world_, tree, row, path, shape);
    if (!fault.paths.empty()) continue;
    for (const Reference& reference : row.references) {
      expand(world_, tree, row, reference.field, shape);
    }
  }
}

std::string AccountApi::padding(std::size_t objects) const {
  const Fault* inflate = call_.misfortune.shape("inflate");
  if (inflate == nullptr || objects == 0) return {};
  const std::size_t each = static_cast<std::size_t>(inflate->bytes) / objects;
  return "\"x_padding\":\"" + std::string(each, 'p') + "\"";
}

void AccountApi::distort(Page& page, const Query& query, const Resource& row) const {
  const std::string kind = call_.misfortune.fault ? call_.misfortune.fault->kind : "";
  if (kind == "has_more" || kind == "repeat_page") page.has_more = true;
  if (kind == "end_early") page.has_more = false;
  if (kind == "empty_page") page = {};
  if (kind == "overlap" && !query.starting_after.empty()) {
    if (const auto cursor = world_.of(row.type).look_up(query.starting_after)) {
      page.objects.insert(page.objects.begin(), *cursor);
    }
  }
  if (const Fault* omit = call_.misfortune.shape("omit")) {
    std::erase_if(page.objects, [&](const Found& found) { return omit->takes(id_of(found)); });
  }
}

std::string AccountApi::render_page(Page page, const Resource& row, const Query& query,
                                    std::string_view url) {
  distort(page, query, row);
  call_.is_page = true;
  call_.objects = page.objects.size();
  if (!page.objects.empty()) call_.last_id = id_of(page.objects.back());
  const Shape shape(row.type == "event" ? kPinnedVersion : call_.version);
  const std::string more = padding(page.objects.size());
  if (shape.is_current() && query.expand.empty() && !disfigures()) {
    return page_text(page, url, more);
  }
  Json data = Json::array();
  for (const Found& found : page.objects) {
    Json& tree = data.emplace_back(tree_of(found, row, shape));
    for (const std::string& path : query.expand) {
      const bool in_data = path.starts_with("data.");
      if (!in_data || !expand(world_, tree, row, path.substr(5), shape)) {
        throw cannot_expand(path);
      }
    }
    disfigure(tree, row, shape);
    if (!more.empty()) tree.update(Json::parse("{" + more + "}"));
  }
  return Json{{"object", "list"}, {"data", data}, {"has_more", page.has_more}, {"url", url}}.dump();
}

std::string AccountApi::render_one(const Found& found, const Resource& row, const Query& query) {
  const Shape shape(row.type == "event" ? kPinnedVersion : call_.version);
  if (shape.is_current() && query.expand.empty() && !disfigures()) {
    std::string text;
    append_found(text, found);
    return text;
  }
  Json tree = tree_of(found, row, shape);
  for (const std::string& path : query.expand) {
    if (!expand(world_, tree, row, path, shape)) throw cannot_expand(path);
  }
  disfigure(tree, row, shape);
  return tree.dump();
}

std::optional<Place> AccountApi::cursor_of(const Resource& row, const Query& query) const {
  const std::string& id = cursor_id(query);
  if (id.empty()) return std::nullopt;
  return require_live(row, id, 400, std::string(cursor_param(query))).place;
}

Found AccountApi::require_live(const Resource& row, const std::string& id, int status,
                               const std::string& param) const {
  const std::optional<Found> found = world_.of(row.type).look_up(id);
  if (!found) throw no_such(status, row.type, id, param);
  return *found;
}

Object& AccountApi::require_stored(const Resource& row, const std::string& id,
                                   const std::string& param) const {
  Object* object = world_.of(row.type).find(id);
  if (object == nullptr || object->deleted) throw no_such(404, row.type, id, param);
  return *object;
}

void AccountApi::check_key(std::string_view permission) {
  call_.live = keys_.check(request_.authorization, permission, world_.account_id());
}

}  // namespace fake_stripe
