#include "api.hpp"

#include <algorithm>
#include <ctime>
#include <mutex>
#include <shared_mutex>

#include "json_text.hpp"
#include "poison.hpp"

namespace fake_stripe {

void go_live(std::string& body) {
  constexpr std::string_view kTest = "\"livemode\":false";
  constexpr std::string_view kLive = "\"livemode\":true";
  std::string live;
  std::size_t from = 0;
  for (auto at = body.find(kTest); at != std::string::npos; at = body.find(kTest, from)) {
    live.append(body, from, at - from).append(kLive);
    from = at + kTest.size();
  }
  live.append(body, from);
  body = std::move(live);
}
namespace {

std::string http_date(std::int64_t seconds) {
  const auto at = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&at, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
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

HttpRequest without_cursor(HttpRequest request) {
  const auto at = request.target.find("starting_after");
  if (at == std::string::npos) return request;
  const auto end = std::min(request.target.find('&', at), request.target.size());
  request.target.erase(at, std::min(end + 1, request.target.size()) - at);
  return request;
}

const std::string& account_header(const HttpRequest& request) {
  return request.stripe_account.empty() ? request.stripe_context : request.stripe_account;
}

/// The path with ids replaced by {id}: what Stripe counts as one endpoint.
std::string route_of(std::string_view path) {
  constexpr std::string_view kVersion = "/v1/";
  constexpr std::string_view kTwoPieces = "checkout/";
  if (!path.starts_with(kVersion)) return std::string(path);
  const std::size_t skip = path.substr(kVersion.size()).starts_with(kTwoPieces)
                               ? kVersion.size() + kTwoPieces.size()
                               : kVersion.size();
  const auto slash = path.find('/', skip);
  if (slash == std::string_view::npos) return std::string(path);
  const auto rest = std::min(path.find('/', slash + 1), path.size());
  return std::string(path.substr(0, slash)) + "/{id}" + std::string(path.substr(rest));
}

std::string permission_for(std::string_view path) {
  const std::string rest(path.substr(std::min(path.size(), std::string_view("/v1/").size())));
  if (rest.starts_with("test_helpers/")) return "rak_billing_clock_read";
  if (rest.starts_with("checkout/")) return "rak_checkout_session_read";
  const Resource* row = find_resource_by_path(rest.substr(0, rest.find('/')));
  return std::string(row == nullptr ? "rak_account_read" : row->permission);
}

ApiError cursor_gone(const HttpRequest& request) {
  std::string cursor;
  for (const auto& [name, value] : parse_pairs(request.query())) {
    if (name == "starting_after") cursor = value;
  }
  const std::string path(request.path());
  return no_such(400, path.substr(path.rfind('/') + 1), cursor, "starting_after");
}

}  // namespace

HttpReply StripeApi::handle(const HttpRequest& request) {
  Call call{.request_id = next_request_id(),
            .version = request.stripe_version,
            .account = account_header(request),
            .route = route_of(request.path())};
  const std::uint32_t page = pages_.page_of(call.account, request.target);
  call.misfortune = faults_.hit(request.target, call.account, page);
  HttpReply reply = limited(request, call);
  const std::optional<Fault>& fault = call.misfortune.fault;
  const bool spoiled = fault && fault->spoils();
  if (call.is_page && !spoiled) pages_.note(call.account, request.target, page, call.last_id);
  stats_.count({.route = call.route,
                .method = request.method,
                .target = request.target,
                .account = call.account,
                .stripe_version = request.stripe_version,
                .request_id = call.request_id,
                .fault = call.misfortune.kinds(),
                .spoiled = spoiled,
                .is_page = call.is_page,
                .page = call.is_page ? page : 0,
                .objects = call.objects,
                .status = reply.status,
                .bytes = reply.body.size()});
  return reply;
}

/// The answer, unless the client is too fast.
HttpReply StripeApi::limited(const HttpRequest& request, Call& call) {
  struct Leave {
    Limiter& limiter;
    ~Leave() { limiter.leave(); }
  };
  const auto refusal = limiter_.enter(call.account, call.route);
  const Leave leave{limiter_};
  if (refusal) {
    call.misfortune = {};
    HttpReply reply = rate_limited(refusal->reason, call);
    if (!refusal->retry_after.empty()) {
      reply.headers.emplace_back("Retry-After", refusal->retry_after);
    }
    return reply;
  }
  if (switches_.latency_ms > 0) stop_.wait_ms(switches_.latency_ms);
  const std::optional<Fault>& fault = call.misfortune.fault;
  try {
    return fault ? faulty(*fault, request, call) : answer(request, call);
  } catch (const ApiError& error) {
    return error_reply(error, call);
  } catch (const std::exception& error) {
    return error_reply({500, std::string("fake_stripe failed: ") + error.what()}, call);
  }
}

HttpReply StripeApi::answer(const HttpRequest& request, Call& call) {
  try {
    HttpReply reply;
    reply.body = body_for(request, call);
    add_headers(reply, call);
    return reply;
  } catch (const ApiError& error) {
    return error_reply(error, call);
  }
}

World& StripeApi::world_for(const HttpRequest& request) {
  if (!request.stripe_account.empty() && !request.stripe_context.empty()) {
    throw bad_request("You cannot send both `Stripe-Account` and `Stripe-Context`.");
  }
  const std::string& account = account_header(request);
  if (account.empty()) return platform_.own();
  keys_.check(request.authorization, {}, account);
  if (World* world = platform_.find(account)) return *world;
  ApiError error(403, "The provided key does not have access to account '" + account +
                          "' (or that account does not exist). Application access may have been "
                          "revoked.");
  error.code = "account_invalid";
  throw error;
}

std::string StripeApi::body_for(const HttpRequest& request, Call& call) {
  World& world = world_for(request);
  call.version = choose_version(request, platform_.own());
  if (world.is_settlement_due()) {
    const std::unique_lock lock(world.mutex);
    world.settle();
  }
  const std::shared_lock lock(world.mutex);
  std::string body = AccountApi(world, keys_, request, call).body();
  const bool rewritten = call.misfortune.shape("rewrite") != nullptr;
  if (world.has_poison || rewritten) poison(body);
  if (world.livemode || call.live) go_live(body);
  return body;
}

std::string StripeApi::choose_version(const HttpRequest& request, const World& world) const {
  if (request.stripe_version.empty()) {
    const std::shared_lock lock(world.mutex);
    return world.account_version;
  }
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
  std::string version = call.version;
  if (version.empty()) {
    const std::shared_lock lock(platform_.own().mutex);
    version = platform_.own().account_version;
  }
  const std::int64_t now = platform_.own().clock().now_s() + switches_.date_skew_s;
  reply.headers.emplace_back("Date", http_date(now));
  reply.headers.emplace_back("Request-Id", call.request_id);
  reply.headers.emplace_back("Stripe-Version", version);
  if (!call.account.empty()) reply.headers.emplace_back("Stripe-Account", call.account);
  if (!call.misfortune.fault) return;
  for (const auto& header : call.misfortune.fault->headers) reply.headers.emplace_back(header);
}

std::string StripeApi::next_request_id() {
  return Dice(platform_.own().settings().seed, "request", ++requests_).token("req_", 14);
}

HttpReply StripeApi::faulty(const Fault& fault, const HttpRequest& request, Call& call) {
  if (fault.delay_ms > 0) stop_.wait_ms(fault.delay_ms);
  if (std::optional<HttpReply> reply = error_fault(fault, request, call)) {
    return *std::move(reply);
  }
  if (std::optional<HttpReply> reply = nonsense_fault(fault, call)) return *std::move(reply);
  HttpReply reply =
      fault.kind == "repeat_page" ? answer(without_cursor(request), call) : answer(request, call);
  reply.wire_bytes = static_cast<std::size_t>(fault.bytes);
  reply.wire_ms = fault.every_ms;
  if (fault.kind == "truncate_json") reply.body.resize(reply.body.size() / 2);
  if (fault.kind == "wrong_length") reply.length_off = fault.bytes == 0 ? 100 : fault.bytes;
  if (fault.kind == "cut") reply.wire = Wire::kCut;
  if (fault.kind == "cut_head") reply.wire = Wire::kCutHead;
  if (fault.kind == "drop") reply.wire = Wire::kDrop;
  if (fault.kind == "reset") reply.wire = Wire::kReset;
  if (fault.kind == "hang") reply.wire = Wire::kHang;
  if (fault.kind == "trickle") reply.wire = Wire::kTrickle;
  if (fault.kind == "chunked") reply.wire = Wire::kChunked;
  return reply;
}

/// Kinds that answer an error in Stripe's shape.
std::optional<HttpReply> StripeApi::error_fault(const Fault& fault, const HttpRequest& request,
                                                const Call& call) const {
  const std::string& kind = fault.kind;
  if (kind == "429") return rate_limited(fault.reason, call);
  if (kind == "lock_timeout") return rate_limited(kind, call, fault.status);
  if (kind == "retention") return error_reply(aged_out("evt_"), call);
  if (kind == "cursor_gone") return error_reply(cursor_gone(request), call);
  if (kind == "permission") {
    const std::string wanted =
        fault.permission.empty() ? permission_for(request.path()) : fault.permission;
    return error_reply(keys_.forbidden(request.authorization, wanted, platform_.own().account_id()),
                       call);
  }
  ApiError error(fault.status, fault.message.empty() ? "An unknown error occurred" : fault.message);
  if (kind == "401") {
    error.status = 401;
    error.code = "api_key_expired";
  } else if (kind == "403" || kind == "409") {
    error.status = kind == "403" ? 403 : 409;
  } else if (kind == "status" && fault.body.empty()) {
    if (fault.status >= 500) error.type = "api_error";
  } else {
    return std::nullopt;
  }
  if (!fault.code.empty()) error.code = fault.code;
  if (!fault.type.empty()) error.type = fault.type;
  return error_reply(error, call);
}

HttpReply StripeApi::rate_limited(const std::string& reason, const Call& call, int status) const {
  const bool lock = reason == "lock_timeout";
  ApiError error(status, lock ? "This object cannot be accessed right now because another API "
                                "request or Stripe process is currently accessing it."
                              : "Request rate limit exceeded.");
  error.code = lock ? "lock_timeout" : "rate_limit";
  HttpReply reply = error_reply(error, call);
  if (!lock && !reason.empty()) reply.headers.emplace_back("Stripe-Rate-Limited-Reason", reason);
  return reply;
}

/// Kinds that answer something which is not Stripe's.
std::optional<HttpReply> StripeApi::nonsense_fault(const Fault& fault, const Call& call) const {
  static constexpr std::string_view kGarbage("\0\xff{[\"\xc3(]]\x01", 10);
  static constexpr std::string_view kHtml =
      "<html><body><h1>Bad gat\xff\xfe way</h1></body></html>\n";
  static constexpr std::string_view kBadUtf8 =
      "{\"error\":{\"message\":\"caf\xe9 \xff\",\"type\":\"api_error\"}}";
  const std::string& kind = fault.kind;
  HttpReply reply;
  reply.body = fault.body;
  if (kind == "html" || kind == "html502" || kind == "nonjson200") {
    reply.status = kind == "html" ? fault.status : kind == "html502" ? 502 : 200;
    reply.content_type = "text/html";
    if (reply.body.empty()) reply.body = kHtml;
  } else if (kind == "bad_utf8") {
    reply.status = fault.status;
    if (reply.body.empty()) reply.body = kBadUtf8;
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
