#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fake_stripe {

/// An answer in Stripe's error shape; thrown anywhere below the API's edge and rendered there.
struct ApiError : std::runtime_error {
  ApiError(int http_status, const std::string& error_message)
      : std::runtime_error(error_message), status(http_status) {}

  int status;
  std::string type = "invalid_request_error";
  std::string code;
  std::string param;
};

ApiError bad_request(const std::string& message, std::string param = {}, std::string code = {});
/// "No such customer: 'cus_x'", code resource_missing.
ApiError no_such(int status, std::string_view what, std::string_view id, std::string param);

std::string percent_decode(std::string_view text);

/// The decoded pairs of a query string, in order.
using Pairs = std::vector<std::pair<std::string, std::string>>;
Pairs parse_pairs(std::string_view query);

/// A list (or retrieve) request's parameters, checked.
struct Query {
  std::int64_t limit = 10;
  std::string starting_after;
  std::string ending_before;
  std::int64_t created_min = std::numeric_limits<std::int64_t>::min();
  std::int64_t created_max = std::numeric_limits<std::int64_t>::max();
  std::vector<std::string> expand;
  std::vector<std::string> types;
  std::map<std::string, std::string, std::less<>> filters;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> ranges;  ///< first and last
};

/// Which parameters an endpoint takes.
struct Accepted {
  bool paging = true;
  bool created = false;
  bool types = false;
  std::vector<std::string_view> filters = {};
  std::vector<std::string_view> ranged = {};
  std::int64_t limit_max = 100;
};

/// Throws ApiError 400 for unknown parameters and bad values, as Stripe does.
Query parse_query(std::string_view query, const Accepted& accepted);

}  // namespace fake_stripe
