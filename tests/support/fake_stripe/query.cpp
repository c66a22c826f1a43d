#include "query.hpp"

#include <algorithm>
#include <charconv>

namespace fake_stripe {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::int64_t parse_integer(const std::string& text, const std::string& param) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (text.empty() || result.ec != std::errc() || result.ptr != end) {
    throw bad_request("Invalid integer: " + text, param, "parameter_invalid_integer");
  }
  return value;
}

/// "expand[0]" and "expand[]" -> "expand"; "created[gte]" stays.
std::string base_name(const std::string& key) {
  const auto bracket = key.find('[');
  if (bracket == std::string::npos || key.back() != ']') return key;
  const std::string inside = key.substr(bracket + 1, key.size() - bracket - 2);
  const bool is_index =
      std::all_of(inside.begin(), inside.end(), [](char c) { return c >= '0' && c <= '9'; });
  return is_index ? key.substr(0, bracket) + "[]" : key;
}

void read_limit(Query& query, const std::string& value, std::int64_t max) {
  query.limit = parse_integer(value, "limit");
  if (query.limit < 1) {
    throw bad_request("This value must be greater than or equal to 1.", "limit",
                      "parameter_invalid_integer");
  }
  if (query.limit > max) {
    throw bad_request("This value must be less than or equal to " + std::to_string(max) +
                          " (it currently is '" + value + "').",
                      "limit", "parameter_invalid_integer");
  }
}

/// `field`, `field[gt]` and the others narrow [first, last]. False for any other name.
bool read_range(std::int64_t& first, std::int64_t& last, std::string_view field,
                const std::string& name, const std::string& value) {
  if (!name.starts_with(field)) return false;
  const std::string_view operation = std::string_view(name).substr(field.size());
  const bool is_gt = operation == "[gt]";
  const bool is_lt = operation == "[lt]";
  const bool is_min = operation.empty() || operation == "[gte]" || is_gt;
  const bool is_max = operation.empty() || operation == "[lte]" || is_lt;
  if (!is_min && !is_max) return false;
  const std::int64_t at = parse_integer(value, name);
  if (is_min) first = std::max(first, is_gt ? at + 1 : at);
  if (is_max) last = std::min(last, is_lt ? at - 1 : at);
  return true;
}

bool read_ranged(Query& query, const std::string& name, const std::string& value,
                 const Accepted& accepted) {
  if (accepted.created &&
      read_range(query.created_min, query.created_max, "created", name, value)) {
    return true;
  }
  for (const std::string_view field : accepted.ranged) {
    if (!name.starts_with(field)) continue;
    constexpr std::pair kAll(std::numeric_limits<std::int64_t>::min(),
                             std::numeric_limits<std::int64_t>::max());
    auto& range = query.ranges.try_emplace(std::string(field), kAll).first->second;
    if (read_range(range.first, range.second, field, name, value)) return true;
  }
  return false;
}

bool read_paging(Query& query, const std::string& name, const std::string& value,
                 std::int64_t limit_max) {
  if (name == "limit") {
    read_limit(query, value, limit_max);
  } else if (name == "starting_after") {
    query.starting_after = value;
  } else if (name == "ending_before") {
    query.ending_before = value;
  } else {
    return false;
  }
  return true;
}

bool read_types(Query& query, const std::string& name, const std::string& value) {
  if (name == "type") {
    query.filters[name] = value;
  } else if (name == "types[]") {
    query.types.push_back(value);
  } else if (name == "delivery_success") {
    query.filters[name] = value;
  } else {
    return false;
  }
  return true;
}

bool read_one(Query& query, const std::string& name, const std::string& value,
              const Accepted& accepted) {
  if (name == "expand[]") {
    query.expand.push_back(value);
    return true;
  }
  if (accepted.paging && read_paging(query, name, value, accepted.limit_max)) return true;
  if (read_ranged(query, name, value, accepted)) return true;
  if (accepted.types && read_types(query, name, value)) return true;
  const auto& known = accepted.filters;
  if (std::find(known.begin(), known.end(), name) == known.end()) return false;
  query.filters[name] = value;
  return true;
}

void check_together(const Query& query) {
  if (!query.starting_after.empty() && !query.ending_before.empty()) {
    throw bad_request("You cannot use both `starting_after` and `ending_before`.");
  }
  if (!query.types.empty() && query.filters.contains("type")) {
    throw bad_request("You may only specify one of these parameters: type, types.");
  }
  if (query.types.size() > 20) {
    throw bad_request("You may only pass up to 20 event types.", "types");
  }
  for (const std::string& path : query.expand) {
    if (std::count(path.begin(), path.end(), '.') >= 4) {
      throw bad_request("You cannot expand more than 4 levels of a property: " + path, "expand");
    }
  }
}

}  // namespace

ApiError bad_request(const std::string& message, std::string param, std::string code) {
  ApiError error(400, message);
  error.param = std::move(param);
  error.code = std::move(code);
  return error;
}

ApiError no_such(int status, std::string_view what, std::string_view id, std::string param) {
  ApiError error(status, "No such " + std::string(what) + ": '" + std::string(id) + "'");
  error.code = "resource_missing";
  error.param = std::move(param);
  return error;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
               hex_value(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Pairs parse_pairs(std::string_view query) {
  Pairs pairs;
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const auto equals = std::min(pair.find('='), pair.size());
    const std::string_view value = equals < pair.size() ? pair.substr(equals + 1) : "";
    pairs.emplace_back(percent_decode(pair.substr(0, equals)), percent_decode(value));
  }
  return pairs;
}

Query parse_query(std::string_view text, const Accepted& accepted) {
  Query query;
  for (const auto& [key, value] : parse_pairs(text)) {
    if (!read_one(query, base_name(key), value, accepted)) {
      throw bad_request("Received unknown parameter: " + key, key, "parameter_unknown");
    }
  }
  check_together(query);
  return query;
}

}  // namespace fake_stripe
