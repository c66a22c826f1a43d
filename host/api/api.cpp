#include "api/api.hpp"

#include "api/problem.hpp"
#include "api/state.hpp"
#include "base/ascii.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "base/numbers.hpp"
#include "base/outage.hpp"
#include "base/statement_fault.hpp"
#include "model/catalog_version.hpp"
#include "pg/holding.hpp"
#include "pg/migrate.hpp"
#include "pg/operation.hpp"
#include "sync/audit.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace sluice::api {
namespace {

const pg::Statement kWorkspace{"api_workspace",
                               "select workspace_id from sluice.workspace where name = $1"};

const pg::Statement kSchema{"api_schema",
                            "select coalesce(max(version), 0) from sluice.schema_version"};

const pg::Statement kHeld{"api_held", R"(
  select reason from sluice.connector_hold order by sha256 limit 100)"};

constexpr std::chrono::seconds kRecordsPause{1};

Task<SchemaState> read_schema(pg::Pool& pool) {
  const auto rows = co_await pool.query(kSchema);
  SchemaState state;
  state.version = rows.get<int>(0, 0);
  if (state.version != static_cast<int>(pg::migrations().size())) co_return state;
  const auto held = co_await pool.query(kHeld);
  for (int row = 0; row < held.rows(); ++row) state.held.push_back(held.get<std::string>(row, 0));
  co_return state;
}

/// "application/json; charset=utf-8" -> "application/json".
std::string media_type(std::string_view header) {
  return in_lower_case(trimmed(header.substr(0, header.find(';'))));
}

bool has_nul(const nlohmann::json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().find('\0') != std::string::npos;
  if (value.is_array()) return std::any_of(value.begin(), value.end(), has_nul);
  if (!value.is_object()) return false;
  for (const auto& [name, member] : value.items()) {
    if (name.find('\0') != std::string::npos || has_nul(member)) return true;
  }
  return false;
}

/// Who waits for their turn with a wrong token must not fill nobody's share of the places.
RefusalLimits refusal_limits(std::size_t requests_max) {
  RefusalLimits limits;
  limits.waiting_max = std::min(limits.waiting_max, requests_max / 8);
  return limits;
}

/// As a message may quote it: not a screenful.
std::string_view beginning_of(std::string_view text) { return text.substr(0, 100); }

std::optional<Error> refused_role(const Principal& principal, Access access) {
  const Role needed = access == Access::operator_ ? Role::operator_
                      : access == Access::admin   ? Role::admin
                                                  : Role::reader;
  if (principal.role >= needed) return std::nullopt;
  const auto with_article = [](Role role) {
    return fmt::format("{} {}", role == Role::reader ? "a" : "an", to_string(role));
  };
  return Error(ErrorKind::denied, "token.role",
               fmt::format("this token is {}'s, and this needs {}'s", with_article(principal.role),
                           with_article(needed)),
               needed == Role::operator_
                   ? fmt::format("Use an operator token; {}", kLostOperatorToken)
                   : "Use a token with that role");
}

}  // namespace

void bad_request(std::string code, std::string message, std::string hint) {
  throw Failure(Error(ErrorKind::bad_input, std::move(code), std::move(message), std::move(hint)));
}

std::int64_t Call::limit() const {
  const auto text = http.parameter("limit");
  if (text) return whole_number(*text).value();
  const Parameter* const declared = find_parameter(route, "limit");
  if (declared == nullptr) throw std::logic_error(fmt::format("{} has no limit", route.operation));
  return declared->otherwise;
}

std::optional<std::int64_t> Call::number(std::string_view name) const {
  const auto text = http.parameter(name);
  if (!text) return std::nullopt;
  return whole_number(*text);
}

std::optional<std::int64_t> Call::part_number(std::string_view name) const {
  return whole_number(part(name));
}

bool Call::flag(std::string_view name) const { return http.parameter(name) == "true"; }

sync::Actor Call::actor() const {
  return {principal.text(), principal.workspace, principal.token_id};
}

Services Services::with_pool(pg::Pool& other) const {
  return Services{
      .pools = pools,
      .pool = other,
      .clock = clock,
      .registry = registry,
      .vault = vault,
      .catalogs = catalogs,
      .writes = writes,
      .connections = connections,
      .engine = engine,
      .client = client,
      .pages = pages,
      .steps = steps,
      .host = host,
      .version = version,
      .sql = sql,
  };
}

Task<void> audit(pg::Transaction& transaction, const Call& call, std::string action,
                 std::string subject, nlohmann::json detail) {
  return sync::audit(transaction, call.workspace, call.actor(), std::move(action),
                     std::move(subject), std::move(detail));
}

Task<model::CatalogPtr> catalog_of(Call& call) {
  call.catalog = co_await call.services.catalogs.get(call.workspace, call.services.pool);
  co_return call.catalog;
}

namespace {

/// What was refused by a catalogue of some seconds ago may be right by the one of now, which
/// another host has told of already: a client would take its 400 or 404 for the last word.
Task<void> require_current_catalog(Call& call, std::string refusal) {
  const auto now =
      co_await call.services.pool.query(model::kCatalogVersion, pg::Params(call.workspace));
  if (now.empty() || now.get<std::int64_t>(0, 0) == call.catalog->version) co_return;
  call.services.catalogs.invalidate(call.workspace);
  throw Failure(Error(ErrorKind::retry_later, "catalog.changed",
                      fmt::format("the workspace's types changed a moment ago; by those of before "
                                  "this was refused: {}",
                                  refusal),
                      "Send the request again"));
}

bool may_be_the_catalogs(const Failure& failure) {
  return failure.error().kind == ErrorKind::bad_input ||
         failure.error().kind == ErrorKind::not_found;
}

/// What one body has of State::body_bytes, until it is complete.
class BodyPieces {
 public:
  BodyPieces(FairShare& share, WorkspaceId workspace) : share_(share), workspace_(workspace) {}
  ~BodyPieces() {
    for (; pieces_ > 0; --pieces_) share_.give_back(workspace_);
  }
  BodyPieces(const BodyPieces&) = delete;
  BodyPieces& operator=(const BodyPieces&) = delete;

  void grow_to(std::size_t bytes) {
    for (; pieces_ < bytes / kBodyPieceBytes; ++pieces_) {
      if (!share_.may_take(workspace_)) {
        throw Failure(Error(ErrorKind::retry_later, "request.too_many",
                            "bodies of this workspace's requests that have not come to their end "
                            "take all the memory that there is for them; nothing was done",
                            "Send fewer large ones at once, each to its end"));
      }
      share_.take(workspace_);
    }
  }

 private:
  FairShare& share_;
  WorkspaceId workspace_;
  std::size_t pieces_ = 0;
};

}  // namespace

Task<WipedText> Call::body_text() {
  WipedText text;
  BodyPieces pieces(state.body_bytes, principal.workspace);
  for (;;) {
    std::string piece = co_await http.body->next();
    if (piece.empty()) break;
    if (text.empty() && !http.content_type.empty() &&
        media_type(http.content_type) != "application/json") {
      bad_request(
          "request.unsupported_media_type",
          fmt::format("the body is JSON here, not {}", beginning_of(media_type(http.content_type))),
          "Send 'Content-Type: application/json'");
    }
    pieces.grow_to(text.size() + piece.size());
    text += piece;
    wipe_bytes(piece.data(), piece.size());
    if (text.size() > kJsonBodyBytesMax)
      bad_request("request.too_large", "the body is larger than 1 MiB");
  }
  co_return text;
}

Task<nlohmann::json> Call::body() {
  const WipedText text = co_await body_text();
  nlohmann::json document = parse_body(text.view());
  check_body(route, document);
  co_return document;
}

Task<nlohmann::json> Call::body_with_secrets(SecretsAt at, sync::SecretValues& secrets) {
  WipedText text = co_await body_text();
  secrets = take_secrets(text, at);
  nlohmann::json document = parse_body(text.view());
  check_body(route, document);
  co_return document;
}

nlohmann::json Call::parse_body(std::string_view text) {
  if (text.empty()) return nlohmann::json::object();
  auto document = read_json(text, kJsonDepthMax);
  if (!document) {
    bad_request("request.not_json", fmt::format("the body must be one JSON object, in UTF-8: {}",
                                                document.error().describe()));
  }
  if (!document->is_object())
    bad_request("request.not_json", "the body must be one JSON object, in UTF-8");
  if (has_nul(*document)) bad_request("request.not_text", "the body has a string with a NUL in it");
  return std::move(*document);
}

Api::Api(Services services, std::size_t requests_max) : services_(services), routes_(all_routes()) {
  pg::Pool& pool = services_.pools.asking;
  const Clock& clock = services_.clock;
  state_.reset(new State{
      ProgressMeter(clock),
      Cached<DatabaseGauges>(pool.executor(), clock,
                             [&pool, &clock] { return read_gauges(pool, clock); }),
      Cached<SchemaState>(pool.executor(), clock, [&pool] { return read_schema(pool); }),
      Refusals(
          clock, refusal_limits(requests_max),
          [&pool](std::vector<TokenKey> tokens) { return hashes_of(pool, std::move(tokens)); }),
      Places(requests_max), false});
}

Api::~Api() = default;

Task<HttpResponse> Api::watch(HttpRequest& request) {
  for (const Route& route : routes_) {
    if (!is_for_watchers(route) || request.path != route.pattern) continue;
    request.route = &route;
    check_parameters(route, request);
    Services services = services_.with_pool(services_.pools.asking);
    Call call{services,     *state_,     request,       route,
              PathValues{}, Principal{}, WorkspaceId{}, std::string{}};
    co_return co_await route.handler(call);
  }
  co_return problem(Error(ErrorKind::not_found, "request.no_such_path",
                          "this listener has /metrics, /healthz and /readyz",
                          "Everything else is at listen.address and listen.port, with a token"));
}

Task<void> Api::keep_records() {
  asio::steady_timer timer(services_.pools.changing.executor());
  Outage outage;
  for (;;) {
    timer.expires_after(kRecordsPause);
    co_await timer.async_wait(asio::use_awaitable);
    try {
      co_await state_->refusals.write(services_.pools.changing);
      outage.succeeded(services_.clock.steady());
    } catch (const pg::QueryError& error) {
      if (outage.failed(services_.clock.steady()))
        log::warning("api.records_not_written", {{"error", error.what()}});
    }
  }
}

void Api::begin_stop() { state_->stopping = true; }

Task<Result<Api::Asking>> Api::admit(HttpRequest& request, const Route& route,
                                     const PathValues& values) {
  Asking asking;
  if (route.access == Access::open) co_return asking;
  pg::Pool& pool = services_.pools.asking;
  Refusals& refusals = state_->refusals;
  Places& places = state_->places;
  const WorkspaceId known = refusals.workspace_of(request.authorization);
  if (const auto placed = places.take(request.place, known); !placed)
    co_return std::unexpected(placed.error());
  const Result<void> admitted = co_await refusals.admit(request.authorization, request.peer);
  if (!admitted) co_return std::unexpected(admitted.error());
  Result<Principal> principal = co_await authenticate(pool, request.authorization);
  if (!principal) {
    if (principal.error().code == "token.unknown")
      refusals.wrong(request.peer, request.authorization);
    co_return std::unexpected(principal.error());
  }
  asking.principal = std::move(*principal);
  asking.principal.peer = request.peer;
  refusals.accepted(request.authorization, asking.principal);
  if (const auto placed = places.take(request.place, asking.principal.workspace); !placed)
    co_return std::unexpected(placed.error());
  const auto refuse = [&](Error why) {
    refusals.refused(asking.principal, fmt::format("{} {}", route.method, route.pattern), why.code);
    return std::unexpected(std::move(why));
  };
  if (const auto named = values.find("workspace"); named != values.end()) {
    asking.workspace_name = named->second;
    const auto found = co_await pool.query(kWorkspace, pg::Params(asking.workspace_name));
    if (!found.empty()) asking.workspace = found.get<WorkspaceId>(0, 0);
    const bool visible =
        asking.workspace.has_value() && (asking.principal.role == Role::operator_ ||
                                         asking.workspace == asking.principal.workspace);
    if (!visible) {
      co_return refuse(
          Error(ErrorKind::not_found, "workspace.unknown",
                fmt::format("there is no workspace '{}'", beginning_of(asking.workspace_name))));
    }
  }
  if (const auto role = refused_role(asking.principal, route.access)) co_return refuse(*role);
  co_return asking;
}

namespace {

HttpResponse no_route(const HttpRequest& request, const std::string& allowed) {
  if (allowed.empty()) {
    return problem(Error(ErrorKind::not_found, "request.no_such_path",
                         fmt::format("there is nothing at {}", beginning_of(request.path)),
                         "GET /openapi.json lists every path"));
  }
  HttpResponse answer =
      problem(Error(ErrorKind::bad_input, "request.method_not_allowed",
                    fmt::format("{} is not possible on {}", beginning_of(request.method),
                                beginning_of(request.path)),
                    "Possible: " + allowed));
  answer.headers.emplace_back("Allow", allowed);
  return answer;
}

}  // namespace

Task<HttpResponse> Api::handle(HttpRequest& request) {
  FoundRoute found = find_route(routes_, request.method, request.segments);
  if (found.route == nullptr) co_return no_route(request, found.allowed);
  const Route& route = *found.route;
  request.route = &route;
  Result<Asking> asking = co_await admit(request, route, found.values);
  if (!asking) co_return problem(asking.error());
  check_parameters(route, request);
  pg::Pools& pools = services_.pools;
  pg::Pool share =
      (route.method == "GET" ? pools.asking : pools.changing).share(asking->workspace.value);
  Services services = services_.with_pool(share);
  Call call{services,
            *state_,
            request,
            route,
            std::move(found.values),
            std::move(asking->principal),
            asking->workspace,
            std::move(asking->workspace_name)};
  const void* flow = nullptr;
  if (failpoint::watches_statements() && route.method != "GET") flow = co_await pg::this_flow();
  const pg::Operation operation(flow);
  std::exception_ptr refused;
  std::string refusal;
  try {
    co_return co_await route.handler(call);
  } catch (const Failure& failure) {
    if (call.catalog == nullptr || !may_be_the_catalogs(failure)) throw;
    refused = std::current_exception();
    refusal = failure.error().message;
  }
  co_await require_current_catalog(call, std::move(refusal));
  std::rethrow_exception(refused);
}

}  // namespace sluice::api
