// What a session and the host say to each other, step by step.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "contract/record.hpp"

namespace sluice::contract {

enum class Operation { check = 1, discover, read, fetch, receive, subscribe, unsubscribe };

using Headers = std::vector<std::pair<std::string, std::string>>;
/// Value of the first header of that name, without regard to case; nullopt when there is none.
[[nodiscard]] std::optional<std::string_view> find_header(const Headers& headers,
                                                          std::string_view name);

enum class Method { get = 1, post, put, patch, del };
[[nodiscard]] std::string_view to_string(Method method);

struct Request {
  std::uint64_t id = 0;
  Method method = Method::get;
  std::uint32_t host = 0;  ///< index into Manifest::hosts
  std::string target;      ///< path and query
  Headers headers;
  std::string body;
  std::optional<std::uint32_t> auth_slot;  ///< index into Manifest::auth
  bool idempotent = false;                 ///< true for GET, or when the connector says so
  std::uint64_t response_bytes_max = 0;    ///< 0: the host's limit
  std::int64_t not_before_ms = 0;
};

/// What came back, or why nothing did. `body` has 64 readable bytes beyond its end (std::string
/// capacity, zero-filled by fetch/), so that a SIMD parser needs no copy.
struct Response {
  std::uint64_t request_id = 0;
  int status = 0;   ///< HTTP status; 0: no response, see transport_error
  Headers headers;  ///< without Set-Cookie and echoed secrets
  std::string body;
  std::string transport_error;  ///< why no response came, after the host's own retries
  bool unframed = false;        ///< nothing said where it ends, so that it may have been cut
};

enum class FailureClass {
  auth = 1,
  permission,
  rate_limited,
  upstream_transient,
  upstream_permanent,
  bad_data,
  config,
  checkpoint_rejected,
  cancelled,
  internal,
};
[[nodiscard]] std::string_view to_string(FailureClass failure_class);

struct ConnectorFailure {
  FailureClass failure_class = FailureClass::internal;
  std::int64_t retry_after_ms = 0;
  std::string vendor_code;
  std::string message;
};

enum class InputKind { start = 1, response, transport_error, resume, timer, cancel };

/// One input of a step. `response` is borrowed for the call.
struct Input {
  InputKind kind = InputKind::start;
  std::int64_t now_ms = 0;
  std::array<std::uint8_t, 16> entropy{};
  const Response* response = nullptr;
};

enum class StepResult { wait = 1, more, sleep, done, failed };

struct LogLine {
  int level = 2;  ///< 1 debug … 4 error
  std::string message;
};

/// All that one step put into the sink: validated against the contract, takes effect as a whole or
/// not at all.
struct StepOutput {
  StepResult result = StepResult::done;
  Page page;
  std::vector<Request> requests;
  std::optional<std::string> checkpoint;
  std::optional<std::string> result_json;
  std::optional<ConnectorFailure> failure;
  std::vector<LogLine> log;
  std::int64_t wake_at_ms = 0;
  std::int64_t total = 0;  ///< the vendor's own count; 0: unknown
};

/// Whose session it is, for who looks at it from outside. No connector sees it.
struct SessionOwner {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string connection_name;
  RunId run;  ///< none of a CHECK
};

struct SessionArgs {
  Operation operation = Operation::read;
  std::string config_json = "{}";
  std::string stream;      ///< read
  std::string checkpoint;  ///< read; empty: from the start
  std::uint32_t checkpoint_format = 0;
  std::uint32_t type = 0;        ///< fetch
  std::vector<std::string> ids;  ///< fetch
  std::string payload;           ///< receive, subscribe
  Headers headers;               ///< receive
  std::uint32_t records_per_step_max = 10'000;
  std::uint64_t bytes_per_step_max = 64ull << 20;
  std::uint32_t page_size = 0;
  SessionOwner owner;
};

}  // namespace sluice::contract
