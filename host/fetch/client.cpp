#include "fetch/client.hpp"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/bell.hpp"
#include "base/check.hpp"
#include "base/log.hpp"
#include "fetch/auth.hpp"
#include "fetch/lookup.hpp"
#include "fetch/redact.hpp"

namespace sluice::fetch {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr std::chrono::seconds kLookupMax{5};

constexpr std::size_t kMaskedOnLoopBytesMax = 64 << 10;
/// Bodies that are masked at once; as many places as leave one free for a second workspace.
constexpr std::size_t kMaskingThreads = 4;

std::string_view path_of(std::string_view target) { return target.substr(0, target.find('?')); }

/// The request after the policy's word: where it goes and with which slot.
struct Planned {
  Destination destination;
  const contract::AuthSlot* slot = nullptr;
  bool idempotent = false;
};

Result<Planned> plan(const contract::Request& request, const SendContext& context) {
  if (request.host >= context.hosts.size()) {
    return fail(ErrorKind::denied, "fetch.policy.host",
                fmt::format("host index {} is not in the manifest, which declares {}", request.host,
                            context.hosts.size()),
                "declare the host in the manifest");
  }
  if (request.auth_slot && *request.auth_slot >= context.auth.size()) {
    return fail(ErrorKind::denied, "fetch.policy.auth_slot",
                fmt::format("auth slot {} is not in the manifest, which declares {}",
                            *request.auth_slot, context.auth.size()),
                "declare the slot in the manifest");
  }
  if (auto checked = check_target(request.target); !checked)
    return std::unexpected(std::move(checked.error()));
  if (auto checked = check_headers(request.headers, context.auth); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  if (request.body.size() > kRequestBodyBytesMax ||
      (request.method == contract::Method::get && !request.body.empty())) {
    return fail(
        ErrorKind::denied, "fetch.policy.body",
        fmt::format(
            "{} request with a body of {} bytes; request_body_bytes_max is {}, and GET has none",
            contract::to_string(request.method), request.body.size(), kRequestBodyBytesMax),
        "send less, or use POST");
  }
  auto where = destination(context.hosts[request.host], context.config, context.allowance);
  if (!where) return std::unexpected(std::move(where.error()));
  Planned planned;
  planned.destination = std::move(*where);
  if (request.auth_slot) planned.slot = &context.auth[*request.auth_slot];
  planned.idempotent = request.idempotent || request.method == contract::Method::get;
  return planned;
}

SecretUse use_of(const Planned& planned) {
  return SecretUse(planned.slot->secret, planned.destination.url(), put_on_as(*planned.slot));
}

RawRequest raw_request(const contract::Request& request, const Planned& planned,
                       const SendContext& context, const ClientOptions& options,
                       const Authentication& authentication) {
  RawRequest raw;
  raw.method = contract::to_string(request.method);
  raw.url = planned.destination.url() + request.target;
  raw.headers = request.headers;
  raw.secret_header = authentication.header;
  raw.secret_query = authentication.query;
  raw.body = request.body;
  raw.plain_http = planned.destination.scheme == "http";
  raw.fresh_connection = !planned.idempotent;
  raw.addresses = context.allowance.addresses;
  raw.route = planned.destination.opened_by_admin ? Route::direct : Route::outward;
  raw.deadlines = options.deadlines;
  if (context.patience)
    raw.deadlines.headers = std::min(raw.deadlines.headers, context.patience->headers);
  raw.limits = options.limits;
  if (request.response_bytes_max != 0) {
    raw.limits.response_bytes_max =
        std::min(raw.limits.response_bytes_max, request.response_bytes_max);
  }
  return raw;
}

void log_attempt(const contract::Request& request, const Planned& planned,
                 const Result<RawResponse>& result, milliseconds took) {
  log::debug("fetch.attempt", {{"method", contract::to_string(request.method)},
                               {"host", planned.destination.host},
                               {"path", path_of(request.target)},
                               {"status", result ? result->status : 0},
                               {"error", result ? std::string() : result.error().code},
                               {"ms", static_cast<std::int64_t>(took.count())},
                               {"bytes", result ? result->body.size() : std::size_t{0}},
                               {"unframed", result && result->unframed ? 1 : 0}});
}

std::size_t status_class(int status) {
  return status >= 100 && status < 600 ? static_cast<std::size_t>(status / 100) : 0;
}

/// What the vendor would say, without asking it.
RawResponse held_back(milliseconds held_for) {
  RawResponse response;
  response.status = 429;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(held_for);
  response.headers.emplace_back("Retry-After", std::to_string(seconds.count()));
  return response;
}

/// Errors of a transfer that the caller of send() must see as errors rather than as a
/// transport_error.
bool ends_send(const Error& error) {
  return error.kind == ErrorKind::cancelled || error.code.starts_with("fetch.policy.");
}

}  // namespace

struct Client::State {
  State(std::unique_ptr<Transport> t, ClientOptions o, const Clock& c, Entropy& n, Delay& d)
      : options(std::move(o)), clock(c), entropy(n), delay(d), transport(std::move(t)) {}

  /// In the counters of the run and in those of the host.
  template <class Change>
  void count(const SendContext& context, Change change) {
    change(context.stats);
    change(totals);
  }

  static Task<Result<contract::Response>> send(std::shared_ptr<State> state,
                                               contract::Request request,
                                               const SendContext& context) {
    state->count(context, [](FetchStats& stats) { ++stats.requests; });
    auto planned = plan(request, context);
    if (!planned) {
      state->count(context, [](FetchStats& stats) { ++stats.refused; });
      co_return std::unexpected(std::move(planned.error()));
    }
    try {
      auto waited = co_await wait_until_due(*state, request.not_before_ms);
      if (!waited) co_return std::unexpected(std::move(waited.error()));
      auto response = co_await attempts(state, request, *planned, context);
      co_return std::move(response);
    } catch (const boost::system::system_error& error) {
      if (error.code() != asio::error::operation_aborted) throw;
    }
    co_return fail(ErrorKind::cancelled, "fetch.cancelled",
                   "the request was cancelled while it waited");
  }

  static Task<Result<void>> wait_until_due(State& state, std::int64_t not_before_ms) {
    const Micros due = milliseconds(not_before_ms);
    if (not_before_ms <= 0 || due <= state.clock.now()) co_return Result<void>();
    const Micros span = due - state.clock.now();
    if (span > state.options.not_before_max) {
      co_return fail(
          ErrorKind::denied, "fetch.policy.not_before",
          fmt::format("not_before is {} s away, more than not_before_max {} s",
                      span.count() / 1'000'000, state.options.not_before_max.count() / 1000),
          "answer SLEEP with wake_at instead of a late request");
    }
    co_await state.delay.wait(span);
    co_return Result<void>();
  }

  static Task<Result<contract::Response>> attempts(std::shared_ptr<State> state,
                                                   const contract::Request& request,
                                                   const Planned& planned,
                                                   const SendContext& context) {
    CredentialVersion version = CredentialVersion::current;
    std::optional<std::chrono::steady_clock::time_point> first_began;
    for (int number = 1;;) {
      auto authentication = co_await authentication_for(planned, context, version);
      if (!authentication) co_return std::unexpected(std::move(authentication.error()));
      auto result =
          co_await attempt(state, request, planned, context, *authentication, first_began);
      if (!result && ends_send(result.error())) {
        const bool denied = result.error().kind == ErrorKind::denied;
        state->count(context, [denied](FetchStats& stats) { stats.refused += denied ? 1 : 0; });
        co_return std::unexpected(std::move(result.error()));
      }
      if (result && result->status == 401 && planned.slot != nullptr &&
          version == CredentialVersion::current) {
        version = CredentialVersion::previous;
        auto previous = co_await context.credentials.credential(use_of(planned), version);
        if (previous) continue;  // the rotation's grace time: once, and not counted as a retry
      }
      const auto wait = state->wait_after(result, number, first_began, planned, context);
      if (!wait) {
        if (!result && result.error().code == kNoAddress)
          co_await tell_a_wrong_name(state, planned.destination.host, result);
        auto handed =
            co_await handed_on(state, request, std::move(result), *authentication, context);
        co_return std::move(handed);
      }
      ++number;
      state->count(context, [](FetchStats& stats) { ++stats.retries; });
      co_await state->delay.wait(*wait);
    }
  }

  static Task<Result<Authentication>> authentication_for(const Planned& planned,
                                                         const SendContext& context,
                                                         CredentialVersion version) {
    if (planned.slot == nullptr) co_return Authentication();
    auto credential = co_await context.credentials.credential(use_of(planned), version);
    if (!credential) co_return std::unexpected(std::move(credential.error()));
    co_return authenticate(*planned.slot, context.config, *credential);
  }

  /// `first_began`: when the first attempt's transfer began; set by it.
  static Task<Result<RawResponse>> attempt(
      std::shared_ptr<State> state, const contract::Request& request, const Planned& planned,
      const SendContext& context, Authentication& authentication,
      std::optional<std::chrono::steady_clock::time_point>& first_began) {
    Asker asker = context.asker;
    if (context.each_path_apart) asker.what.append(" ").append(path_of(request.target));
    milliseconds patience = state->options.retry.retry_after_max;
    if (context.patience) patience = std::min(patience, context.patience->rate);
    Budget::Permit permit =
        co_await context.budget.acquire(context.priority, patience, std::move(asker));
    const bool waited = permit.waited();
    const auto waited_us =
        static_cast<std::uint64_t>(std::chrono::duration_cast<Micros>(permit.waited_for()).count());
    state->count(context, [waited, waited_us](FetchStats& stats) {
      stats.budget_waits += waited ? 1 : 0;
      stats.budget_wait_us += waited_us;
    });
    if (!permit.granted()) {
      state->count(context, [](FetchStats& stats) { ++stats.held_back; });
      co_return held_back(permit.held_for());
    }
    permit.waits_here();
    const RequestShares::Place place = co_await state->shares.acquire(context.asker.workspace);
    permit.goes();
    if (!state->transport)
      co_return fail(ErrorKind::cancelled, "fetch.cancelled", "the client was shut down");
    RawRequest raw = raw_request(request, planned, context, state->options, authentication);
    const auto began = state->clock.steady();
    if (!first_began) first_began = began;
    state->count(context, [](FetchStats& stats) { ++stats.attempts; });
    const AtWork::Busy busy(context.at_work);
    auto result = co_await state->transport->perform(std::move(raw));
    const auto took = std::chrono::duration_cast<milliseconds>(state->clock.steady() - began);
    if (result) {
      context.budget.heed(permit, result->status, result->headers, state->clock.now());
    }
    log_attempt(request, planned, result, took);
    const Micros now = state->clock.now();
    state->count(context, [&result, now](FetchStats& stats) { count_end(stats, result, now); });
    co_return std::move(result);
  }

  /// What DNS says of a name, on its way from the thread that asks to the loop, which alone looks.
  struct Lookup {
    explicit Lookup(const Executor& executor) : bell(executor) {}
    asio::steady_timer bell;
    bool is_wrong = false;
  };

  /// Asks on a thread of its own, and waits no longer than kLookupMax for it: that one stands in
  /// line with others, whose name servers may be slow. Who is cancelled takes nothing with him.
  static Task<void> tell_a_wrong_name(std::shared_ptr<State> state, std::string host,
                                      Result<RawResponse>& result) {
    if (!state->names) state->names.emplace(1);
    const Executor executor = co_await asio::this_coro::executor;
    const auto lookup = std::make_shared<Lookup>(executor);
    lookup->bell.expires_after(kLookupMax);
    asio::post(*state->names, [lookup, executor, host] {
      const bool is_wrong =
          is_no_such_name(host, [](const std::string& name) { return ask_name_servers(name); });
      asio::post(executor, [lookup, is_wrong] {
        lookup->is_wrong = is_wrong;
        lookup->bell.cancel();
      });
    });
    co_await rung(lookup->bell);
    if (!lookup->is_wrong) co_return;
    result = fail(ErrorKind::bad_input, std::string(kNoSuchName),
                  "there is no host '" + host + "', though its domain exists");
  }

  static void count_end(FetchStats& stats, const Result<RawResponse>& result, Micros now) {
    ++stats.by_status_class[result ? status_class(result->status) : 0];
    if (!result) {
      ++stats.transport_errors;
      return;
    }
    stats.rate_limited += says_too_fast(result->status, result->headers, now) ? 1 : 0;
    stats.bytes_sent += result->bytes_sent;
    stats.bytes_received += result->bytes_received;
    stats.bytes_inflated += result->body.size();
  }

  /// How long to wait for the next attempt; nullopt: this one stands.
  std::optional<milliseconds> wait_after(
      const Result<RawResponse>& result, int number,
      std::optional<std::chrono::steady_clock::time_point> first_began, const Planned& planned,
      const SendContext& context) {
    Attempt ended;
    ended.number = number;
    ended.idempotent = planned.idempotent;
    if (first_began)
      ended.since_first = std::chrono::duration_cast<milliseconds>(clock.steady() - *first_began);
    if (result) {
      ended.status = result->status;
      ended.headers = &result->headers;
    } else {
      ended.sent = result.error().kind != ErrorKind::reconnect;
      ended.repeatable = result.error().kind == ErrorKind::reconnect ||
                         result.error().kind == ErrorKind::unknown_outcome ||
                         result.error().kind == ErrorKind::retry_later;
    }
    RetryOptions retry = options.retry;
    if (context.patience) {
      retry.tries_max = std::min(retry.tries_max, context.patience->tries);
      retry.retry_after_max = std::min(retry.retry_after_max, context.patience->rate);
    }
    const auto wait = next_wait(retry, ended, clock.now(), entropy);
    if (wait && ended.headers != nullptr &&
        (ended.status == 429 || retry_after(*ended.headers, clock.now()))) {
      count(context, [](FetchStats& stats) { ++stats.rate_limited_waits; });
    }
    return wait;
  }

  static Task<Result<contract::Response>> handed_on(std::shared_ptr<State> state,
                                                    const contract::Request& request,
                                                    Result<RawResponse> result,
                                                    Authentication& authentication,
                                                    const SendContext& context) {
    contract::Response response;
    response.request_id = request.id;
    if (!result) {
      const Error& error = result.error();
      response.transport_error = error.code + ": " + error.message;
      authentication.masks.mask(response.transport_error);
      co_return std::move(response);
    }
    response.status = result->status;
    response.unframed = result->unframed;
    response.headers = std::move(result->headers);
    response.body = std::move(result->body);
    int places = 0;
    if (response.body.size() <= kMaskedOnLoopBytesMax || authentication.masks.empty()) {
      places = redact(response.headers, response.body, authentication.masks);
    } else {
      const auto masked =
          co_await masked_aside(state, response, authentication.masks, context.asker.workspace);
      if (!masked) co_return std::unexpected(masked.error());
      places = *masked;
    }
    if (places > 0) {
      log::warning("fetch.credential_echoed",
                   {{"path", path_of(request.target)}, {"places", places}});
    }
    co_return std::move(response);
  }

  /// A large answer on its way to a thread that masks it and back. Of one of them at a time: what
  /// it holds belongs to the loop again when the bell has rung. It keeps its place until then, also
  /// when who asked for it is gone.
  struct Masking {
    Masking(const Executor& executor, RequestShares::Place p, contract::Response r, Masks m)
        : place(std::move(p)),
          response(std::move(r)),
          masks(std::move(m)),
          bell(executor, std::chrono::steady_clock::time_point::max()) {}
    RequestShares::Place place;
    contract::Response response;
    Masks masks;
    int places = 0;
    std::exception_ptr surprise;
    bool is_done = false;  ///< of the loop
    asio::steady_timer bell;
  };

  /// Answers in how many places something was. Who is cancelled takes nothing with him; then
  /// response and masks are gone.
  static Task<Result<int>> masked_aside(std::shared_ptr<State> state, contract::Response& response,
                                        Masks& masks, WorkspaceId workspace) {
    RequestShares::Place place = co_await state->masking_shares.acquire(workspace);
    if (!state->transport)  // the threads end with it
      co_return fail(ErrorKind::cancelled, "fetch.cancelled", "the client was shut down");
    if (!state->maskers) state->maskers.emplace(kMaskingThreads);
    const Executor executor = co_await asio::this_coro::executor;
    const auto masking = std::make_shared<Masking>(executor, std::move(place), std::move(response),
                                                   std::move(masks));
    // Moved on at each step, so that it ends on the loop, where its place is given back.
    asio::post(*state->maskers, [executor, job = masking]() mutable {
      try {
        job->places = redact(job->response.headers, job->response.body, job->masks);
      } catch (...) {
        job->surprise = std::current_exception();
      }
      asio::post(executor, [job = std::move(job)] {
        job->is_done = true;
        job->bell.cancel();
      });
    });
    while (!masking->is_done) co_await rung(masking->bell);
    if (masking->surprise) std::rethrow_exception(masking->surprise);
    response = std::move(masking->response);
    co_return masking->places;
  }

  ClientOptions options;
  const Clock& clock;
  Entropy& entropy;
  Delay& delay;
  std::unique_ptr<Transport> transport;  ///< null once the Client is gone
  FetchStats totals;
  std::optional<asio::thread_pool> names;    ///< where DNS is asked; made for the first question
  std::optional<asio::thread_pool> maskers;  ///< where large answers are masked; made for the first
  RequestShares shares{options.requests_max};
  RequestShares masking_shares{kMaskingThreads};
};

Client::Client(Executor executor, ClientOptions options, const Clock& clock, Entropy& entropy,
               Delay& delay) {
  auto transport = std::make_unique<CurlMulti>(std::move(executor), options.curl);
  state_ = std::make_shared<State>(std::move(transport), std::move(options), clock, entropy, delay);
}

Client::Client(std::unique_ptr<Transport> transport, ClientOptions options, const Clock& clock,
               Entropy& entropy, Delay& delay)
    : state_(std::make_shared<State>(std::move(transport), std::move(options), clock, entropy,
                                     delay)) {}

Client::~Client() {
  state_->transport.reset();
  if (state_->names) state_->names->join();  // what is asked there ends soon, and on the loop
  if (state_->maskers) state_->maskers->join();
}

Task<Result<contract::Response>> Client::send(contract::Request request,
                                              const SendContext& context) {
  return State::send(state_, std::move(request), context);
}

std::size_t Client::in_flight() const { return state_->transport->in_flight(); }

const FetchStats& Client::totals() const { return state_->totals; }

}  // namespace sluice::fetch
