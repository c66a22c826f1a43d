#include "api.hpp"

#include <algorithm>
#include <ctime>
#include <shared_mutex>

#include "json_text.hpp"

namespace fake_stripe {
namespace {

constexpr std::int64_t kEventRetentionS = 30LL * 24 * 3600;

std::string http_date(std::int64_t seconds) {
  const auto at = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&at, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

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

bool is_version(std::string_view text) {
  if (text.size() < 10 || (text.size() > 10 && text[10] != '.')) return false;
  for (std::size_t i = 0; i < 10; ++i) {
    const bool dash = i == 4 || i == 7;
    if (dash ? text[i] != '-' : (text[i] < '0' || text[i] > '9')) return false;
  }
  return text.substr(0, 10) <= kPinnedVersion.substr(0, 10);
}

std::string error_body(const ApiError& error, const std::string& request_id) {
  JsonText text;
  if (!error.code.empty()) {
    text.str("code", error.code);
    std::string slug = error.code;
    std::replace(slug.begin(), slug.end(), '_', '-');
    text.str("doc_url", "https://stripe.com/docs/error-codes/" + slug);
  }
  text.str("message", error.what());
  if (!error.param.empty()) text.str("param", error.param);
  text.str("request_log_url", "https://dashboard.stripe.com/test/logs/" + request_id);
  text.str("type", error.type);
  return JsonText().raw("error", text.take()).take();
}

bool is_visible(const Object& event, std::int64_t now_ms) { return event.visible_ms <= now_ms; }

std::string event_type(const Object& event) {
  return Json::parse(event.body).value("type", std::string());
}

bool type_matches(const std::string& pattern, const std::string& type) {
  if (!pattern.ends_with(".*") && pattern != "*") return pattern == type;
  return type.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
}

bool event_wanted(const Object& event, const Query& query) {
  const auto single = query.filters.find("type");
  if (single == query.filters.end() && query.types.empty()) return true;
  const std::string type = event_type(event);
  if (single != query.filters.end()) return type_matches(single->second, type);
  return std::find(query.types.begin(), query.types.end(), type) != query.types.end();
}

/// A field's value as a query string would spell it.
std::string spelled(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

bool status_wanted(const Object& subscription, const std::string& wanted) {
  if (wanted == "all") return true;
  const std::string status = Json::parse(subscription.body).value("status", std::string());
  if (wanted == "ended") return status == "canceled" || status == "incomplete_expired";
  return status == wanted;
}

/// The test for filters that no index answers; empty when every object passes.
Accepts scanning(const Resource& row, const Query& query) {
  const bool subscriptions = row.type == "subscription";
  std::vector<std::pair<std::string, std::string>> wanted;
  for (const std::string_view field : row.scanned) {
    const auto found = query.filters.find(field);
    if (found != query.filters.end()) wanted.emplace_back(*found);
  }
  if (wanted.empty() && subscriptions) return [](const Object& o) { return !o.canceled; };
  if (wanted.empty()) return {};
  return [wanted, subscriptions](const Object& object) {
    for (const auto& [field, value] : wanted) {
      if (subscriptions && field == "status") {
        if (!status_wanted(object, value)) return false;
      } else if (spelled(Json::parse(object.body).value(field, Json())) != value) {
        return false;
      }
    }
    return !subscriptions || wanted.front().first == "status" || !object.canceled;
  };
}

Accepted accepted_by(const Resource& row, std::int64_t limit_max) {
  Accepted accepted{.created = row.filters_created, .limit_max = limit_max};
  for (const Reference& filter : row.filters) accepted.filters.push_back(filter.field);
  accepted.filters.insert(accepted.filters.end(), row.scanned.begin(), row.scanned.end());
  if (!row.parent_field.empty()) accepted.filters.push_back(row.parent_field);
  if (row.type == "event") accepted.types = true;
  return accepted;
}

ApiError cannot_expand(const std::string& path) {
  return bad_request("This property cannot be expanded because it doesn't exist: " + path +
                         ". You may want to try expanding 'data." + path + "' instead.",
                     "expand");
}

ApiError aged_out(const std::string& event) {
  return bad_request("The event " + event +
                         " is no longer available because it's aged out of our retention policy.",
                     "starting_after");
}

HttpRequest without_cursor(HttpRequest request) {
  const auto at = request.target.find("starting_after");
  if (at == std::string::npos) return request;
  const auto end = std::min(request.target.find('&', at), request.target.size());
  request.target.erase(at, std::min(end + 1, request.target.size()) - at);
  return request;
}

std::string_view cursor_param(const Query& query) {
  return query.starting_after.empty() ? "ending_before" : "starting_after";
}

const std::string& cursor_id(const Query& query) {
  return query.starting_after.empty() ? query.ending_before : query.starting_after;
}

}  // namespace

HttpReply StripeApi::handle(const HttpRequest& request) {
  Call call{.request_id = next_request_id(),
            .version = request.stripe_version,
            .route = std::string(request.path()),
            .fault = faults_.hit(request.target)};
  if (world_.settings().latency_ms > 0) stop_.wait_ms(world_.settings().latency_ms);
  HttpReply reply = call.fault ? faulty(*call.fault, request, call) : answer(request, call);
  stats_.count({.route = call.route,
                .method = request.method,
                .target = request.target,
                .stripe_version = request.stripe_version,
                .request_id = call.request_id,
                .fault = call.fault ? call.fault->kind : "",
                .status = reply.status,
                .bytes = reply.body.size()});
  return reply;
}

HttpReply StripeApi::answer(const HttpRequest& request, Call& call) {
  try {
    HttpReply reply;
    call.version = choose_version(request);
    reply.body = body_for(request, call);
    add_headers(reply, call);
    return reply;
  } catch (const ApiError& error) {
    return error_reply(error, call);
  }
}

std::string StripeApi::body_for(const HttpRequest& request, Call& call) {
  if (!request.path().starts_with("/v1/")) throw unrecognized(request);
  const std::vector<std::string> segments = segments_of(request.path());
  const std::shared_lock lock(world_.mutex);
  if (request.method != "GET" || segments.empty()) {
    check_key(request, {});
    throw unrecognized(request);
  }
  if (segments[0] == "account" && segments.size() == 1) return account(request, call);
  const Resource* row = find_resource_by_path(segments[0]);
  if (row == nullptr) {
    check_key(request, {});
    throw unrecognized(request);
  }
  check_key(request, row->permission);
  if (segments.size() == 1) return list(*row, request, call);
  call.route = "/v1/" + std::string(row->path) + "/{id}";
  if (segments.size() == 2) return retrieve(*row, segments[1], request, call);
  if (segments.size() == 3 && row->type == "invoice" && segments[2] == "lines") {
    call.route += "/lines";
    const Object& invoice = require_live(*row, segments[1], 404, "invoice");
    return list_children(invoice, request, call, "invoice item");
  }
  throw unrecognized(request);
}

std::string StripeApi::account(const HttpRequest& request, Call& call) {
  const Resource& row = *find_resource("account");
  check_key(request, row.permission);
  return retrieve(row, world_.account_id(), request, call);
}

std::string StripeApi::list(const Resource& row, const HttpRequest& request, const Call& call) {
  if (row.type == "event") return list_events(request, call);
  const Query query =
      parse_query(request.query(), accepted_by(row, world_.settings().page_limit_max));
  const std::string url = "/v1/" + std::string(row.path);
  if (row.type == "account") return page_text({}, url);  // not a platform: nothing is connected
  if (!row.parent_field.empty()) {
    const auto parent = query.filters.find(row.parent_field);
    const std::string field(row.parent_field);
    if (parent == query.filters.end()) {
      throw bad_request("Missing required param: " + field + ".", field, "parameter_missing");
    }
    const Resource& parent_row = *find_resource(row.parent_type);
    return list_children(require_live(parent_row, parent->second, 404, field), request, call,
                         row.type);
  }
  const Object* cursor = cursor_of(row, query);
  const std::optional<Ordered> some = narrowed(row, query);
  const Page page = page_newest_first(some ? *some : world_.of(row.type).live(), query, cursor,
                                      scanning(row, query));
  return render_page(page, row, query, call, url);
}

Ordered StripeApi::intersected(const Resource& row, const Query& query) const {
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

std::optional<Ordered> StripeApi::narrowed(const Resource& row, const Query& query) const {
  bool any = false;
  for (const Reference& filter : row.filters) {
    const auto given = query.filters.find(filter.field);
    if (given == query.filters.end()) continue;
    any = true;
    if (world_.of(filter.type).find(given->second) == nullptr) {
      throw no_such(400, filter.type, given->second, std::string(filter.field));
    }
  }
  if (!any) return std::nullopt;
  return intersected(row, query);
}

std::string StripeApi::list_children(const Object& parent, const HttpRequest& request,
                                     const Call& call, std::string_view what) {
  const bool items = parent.resource->type == "subscription";
  const Resource& row = *find_resource(items ? "subscription_item" : "invoice_line");
  Accepted accepted{.limit_max = world_.settings().page_limit_max};
  if (items) accepted.filters.emplace_back("subscription");
  const Query query = parse_query(request.query(), accepted);
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
  return render_page(page_in_order(parent.children, query, cursor), row, query, call, url);
}

std::string StripeApi::list_events(const HttpRequest& request, const Call& call) {
  const Resource& row = *find_resource("event");
  Query query = parse_query(request.query(), accepted_by(row, world_.settings().page_limit_max));
  if (!query.expand.empty()) throw cannot_expand(query.expand.front());
  const std::int64_t now_ms = world_.clock().now_ms();
  const std::int64_t oldest = now_ms / 1000 - kEventRetentionS;
  const Object* cursor = cursor_of(row, query);
  if (cursor != nullptr && cursor->created < oldest) {
    throw aged_out(cursor->id);
  }
  query.created_min = std::max(query.created_min, oldest);
  const Accepts accepts = [&](const Object& event) {
    return is_visible(event, now_ms) && event_wanted(event, query);
  };
  return render_page(page_newest_first(world_.of("event").live(), query, cursor, accepts), row,
                     query, call, "/v1/events");
}

std::string StripeApi::retrieve(const Resource& row, const std::string& id,
                                const HttpRequest& request, const Call& call) {
  const Query query = parse_query(request.query(), {.paging = false});
  const Object* object = world_.of(row.type).find(id);
  if (object != nullptr && object->deleted && row.deletion == Deletion::kTombstone) {
    return tombstone_text(*object);
  }
  const Object& live = require_live(row, id, 404, "id");
  if (row.type == "event" && (!is_visible(live, world_.clock().now_ms()) ||
                              live.created < world_.clock().now_s() - kEventRetentionS)) {
    throw no_such(404, row.type, id, "id");
  }
  return render_one(live, query, call);
}

std::string StripeApi::render_page(const Page& page, const Resource& row, const Query& query,
                                   const Call& call, std::string_view url) const {
  Page shown = page;
  const std::string kind = call.fault ? call.fault->kind : "";
  if (kind == "has_more" || kind == "repeat_page") shown.has_more = true;
  if (kind == "empty_page") shown = {};
  const Shape shape = shape_of(call.version);
  if ((shape == Shape::kCurrent && query.expand.empty()) || row.type == "event") {
    return page_text(shown, url);
  }
  Json data = Json::array();
  for (const Object* object : shown.objects) {
    data.push_back(object_tree(world_, *object, shape));
    for (const std::string& path : query.expand) {
      const bool in_data = path.starts_with("data.");
      if (!in_data || !expand(world_, data.back(), row, path.substr(5), shape)) {
        throw cannot_expand(path);
      }
    }
  }
  return Json{{"object", "list"}, {"data", data}, {"has_more", shown.has_more}, {"url", url}}
      .dump();
}

std::string StripeApi::render_one(const Object& object, const Query& query,
                                  const Call& call) const {
  const Shape shape = shape_of(call.version);
  const bool as_stored = shape == Shape::kCurrent || object.resource->type == "event";
  if (as_stored && query.expand.empty()) return object_text(object);
  Json tree = object_tree(world_, object, shape);
  for (const std::string& path : query.expand) {
    if (!expand(world_, tree, *object.resource, path, shape)) throw cannot_expand(path);
  }
  return tree.dump();
}

const Object* StripeApi::cursor_of(const Resource& row, const Query& query) const {
  const std::string& id = cursor_id(query);
  if (id.empty()) return nullptr;
  return &require_live(row, id, 400, std::string(cursor_param(query)));
}

Object& StripeApi::require_live(const Resource& row, const std::string& id, int status,
                                const std::string& param) const {
  Object* object = world_.of(row.type).find(id);
  if (object == nullptr || object->deleted) throw no_such(status, row.type, id, param);
  return *object;
}

void StripeApi::check_key(const HttpRequest& request, std::string_view permission) const {
  keys_.check(request.authorization, permission, world_.account_id());
}

std::string StripeApi::choose_version(const HttpRequest& request) const {
  if (request.stripe_version.empty()) return world_.settings().account_version;
  if (!is_version(request.stripe_version)) {
    throw bad_request("Invalid Stripe API version: " + request.stripe_version);
  }
  return request.stripe_version;
}

HttpReply StripeApi::error_reply(const ApiError& error, const Call& call) const {
  HttpReply reply;
  reply.status = error.status;
  reply.body = error_body(error, call.request_id);
  add_headers(reply, call);
  return reply;
}

void StripeApi::add_headers(HttpReply& reply, const Call& call) const {
  const std::string& version =
      call.version.empty() ? world_.settings().account_version : call.version;
  reply.headers.emplace_back("Date", http_date(world_.clock().now_s()));
  reply.headers.emplace_back("Request-Id", call.request_id);
  reply.headers.emplace_back("Stripe-Version", version);
  if (call.fault) {
    for (const auto& header : call.fault->headers) reply.headers.emplace_back(header);
  }
}

std::string StripeApi::next_request_id() {
  return Dice(world_.settings().seed, "request", ++requests_).token("req_", 14);
}

HttpReply StripeApi::faulty(const Fault& fault, const HttpRequest& request, Call& call) {
  if (fault.delay_ms > 0) stop_.wait_ms(fault.delay_ms);
  if (std::optional<HttpReply> reply = error_fault(fault, call)) return *std::move(reply);
  if (std::optional<HttpReply> reply = nonsense_fault(fault, call)) return *std::move(reply);
  HttpReply reply =
      fault.kind == "repeat_page" ? answer(without_cursor(request), call) : answer(request, call);
  if (fault.kind == "truncate_json") reply.body.resize(reply.body.size() / 2);
  if (fault.kind == "cut") reply.wire = Wire::kCut;
  if (fault.kind == "drop") reply.wire = Wire::kDrop;
  return reply;
}

/// Kinds that answer an error in Stripe's shape.
std::optional<HttpReply> StripeApi::error_fault(const Fault& fault, const Call& call) const {
  const std::string& kind = fault.kind;
  if (kind == "429") return rate_limited(fault, call);
  if (kind == "retention") return error_reply(aged_out("evt_"), call);
  ApiError error(fault.status, "An unknown error occurred");
  if (kind == "401") {
    error.status = 401;
    error.code = "api_key_expired";
  } else if (kind == "403") {
    error.status = 403;
  } else if (kind == "status" && fault.body.empty()) {
    if (fault.status >= 500) error.type = "api_error";
  } else {
    return std::nullopt;
  }
  return error_reply(error, call);
}

HttpReply StripeApi::rate_limited(const Fault& fault, const Call& call) const {
  const bool lock = fault.reason == "lock_timeout";
  ApiError error(429, lock ? "This object cannot be accessed right now because another API request "
                             "or Stripe process is currently accessing it."
                           : "Request rate limit exceeded.");
  error.code = lock ? "lock_timeout" : "rate_limit";
  HttpReply reply = error_reply(error, call);
  if (!lock) reply.headers.emplace_back("Stripe-Rate-Limited-Reason", fault.reason);
  return reply;
}

/// Kinds that answer something which is not Stripe's.
std::optional<HttpReply> StripeApi::nonsense_fault(const Fault& fault, const Call& call) const {
  static constexpr std::string_view kGarbage("\0\xff{[\"\xc3(]]\x01", 10);
  static constexpr std::string_view kHtml =
      "<html><body><h1>Bad gat\xff\xfe way</h1></body></html>\n";
  const std::string& kind = fault.kind;
  HttpReply reply;
  reply.body = fault.body;
  if (kind == "html502" || kind == "nonjson200") {
    reply.status = kind == "html502" ? 502 : 200;
    reply.content_type = "text/html";
    if (reply.body.empty()) reply.body = kHtml;
  } else if (kind == "garbage") {
    if (reply.body.empty()) reply.body = kGarbage;
  } else if (kind == "status") {
    reply.status = fault.status;
  } else if (kind != "empty") {
    return std::nullopt;
  }
  add_headers(reply, call);
  return reply;
}

}  // namespace fake_stripe
