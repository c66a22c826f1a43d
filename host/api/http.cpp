#include "api/http.hpp"

#include "base/bytes.hpp"
#include "base/exact_json.hpp"

#include <algorithm>

namespace sluice::api {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::unexpected<Error> malformed() {
  return fail(ErrorKind::bad_input, "request.malformed",
              "the request's path or query is not well-formed",
              "'%' must be followed by two hexadecimal digits; the path begins with '/'");
}

/// "http://host/x" -> "/x": a proxy's form, which every server has to take.
std::string_view without_authority(std::string_view target) {
  if (!target.starts_with("http://") && !target.starts_with("https://")) return target;
  const auto slash = target.find('/', target.find("//") + 2);
  return slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
}

std::string_view take_until(std::string_view& rest, char separator) {
  const auto at = std::min(rest.find(separator), rest.size());
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return part;
}

}  // namespace

std::optional<std::string> HttpRequest::parameter(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return std::nullopt;
}

HttpResponse HttpResponse::json(const nlohmann::json& document, int status) {
  HttpResponse response;
  response.status = status;
  response.body = write_json(document);
  response.body += '\n';
  return response;
}

HttpResponse HttpResponse::text(std::string body, std::string content_type) {
  HttpResponse response;
  response.content_type = std::move(content_type);
  response.body = std::move(body);
  return response;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_value(text[i + 1]);
      const int low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

bool is_storable_text(std::string_view text) {
  return is_utf8(text) && text.find('\0') == std::string_view::npos;
}

Result<void> read_target(std::string_view target, HttpRequest& request) {
  target = without_authority(target);
  const bool has_query = target.find('?') != std::string_view::npos;
  std::string_view path = take_until(target, '?');
  if (path.empty() || path.front() != '/') return malformed();
  request.path = path;
  const auto not_text = [] {
    return fail(ErrorKind::bad_input, "request.not_text",
                "the request's path or query is not UTF-8, or has a NUL in it");
  };
  // A target that is not escaped as it should be goes into messages, too.
  if (!is_storable_text(path)) return not_text();
  path.remove_prefix(1);
  for (bool more = true; more;) {
    more = path.find('/') != std::string_view::npos;
    auto part = percent_decode(take_until(path, '/'), false);
    if (!part) return malformed();
    if (!is_storable_text(*part)) return not_text();
    request.segments.push_back(std::move(*part));
  }
  while (has_query && !target.empty()) {
    std::string_view pair = take_until(target, '&');
    if (pair.empty()) continue;
    auto name = percent_decode(take_until(pair, '='), true);
    auto value = percent_decode(pair, true);
    if (!name || !value) return malformed();
    if (!is_storable_text(*name) || !is_storable_text(*value)) return not_text();
    request.query.emplace_back(std::move(*name), std::move(*value));
  }
  return {};
}

}  // namespace sluice::api
