#include "fetch/answer_head.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "base/ascii.hpp"

namespace sluice::fetch {
namespace {

/// What the list header of that name holds, on all of its lines together (RFC 9110, 5.3).
std::vector<std::string_view> elements(const contract::Headers& headers, std::string_view name) {
  std::vector<std::string_view> all;
  for (const auto& [key, value] : headers) {
    if (!equal_without_case(key, name)) continue;
    std::string_view rest = value;
    while (true) {
      const std::size_t comma = rest.find(',');
      const std::string_view element = trimmed(rest.substr(0, comma));
      if (!element.empty()) all.push_back(element);
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return all;
}

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 40)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

std::unexpected<Error> odd_coding(std::string message) {
  return fail(ErrorKind::unsupported, "fetch.transport.encoding", std::move(message),
              "the vendor or something between ignores Accept-Encoding");
}

std::unexpected<Error> odd_length(std::string message) {
  return fail(ErrorKind::unsupported, "fetch.transport.protocol", std::move(message),
              "where such an answer ends is anybody's guess; ask the vendor");
}

}  // namespace

Result<AnswerHead::Part> AnswerHead::take(std::string_view line) {
  if (std::exchange(begins_, false)) {
    begin(trimmed(line));
    return Part::head;
  }
  const bool folded = !line.empty() && (line.front() == ' ' || line.front() == '\t');
  const std::string_view text = trimmed(line);
  if (folded && !text.empty()) {
    if (headers_.empty()) return Part::head;
    std::string& value = headers_.back().second;
    if (!value.empty()) value += ' ';
    value += text;
    return Part::head;
  }
  if (text.empty()) return end();
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return Part::head;
  headers_.emplace_back(trimmed(text.substr(0, colon)), trimmed(text.substr(colon + 1)));
  return Part::head;
}

/// "HTTP/1.1 200 OK": libcurl has refused what looks otherwise.
void AnswerHead::begin(std::string_view status_line) {
  headers_.clear();
  status_ = 0;
  const std::size_t blank = status_line.find(' ');
  if (blank == std::string_view::npos) return;
  const std::string_view rest = trimmed(status_line.substr(blank));
  std::from_chars(rest.data(), status_line.data() + status_line.size(), status_);
}

Result<AnswerHead::Part> AnswerHead::end() {
  if (status_ < 200) {
    begins_ = true;
    return Part::head;
  }
  if (auto read = read_coding(); !read) return std::unexpected(std::move(read.error()));
  if (auto read = read_framing(); !read) return std::unexpected(std::move(read.error()));
  return Part::body;
}

Result<void> AnswerHead::read_coding() {
  auto codings = elements(headers_, "Content-Encoding");
  std::erase_if(codings, [](std::string_view one) { return equal_without_case(one, "identity"); });
  if (codings.empty()) return {};
  const std::string_view one = codings.front();
  if (codings.size() > 1 ||
      (!equal_without_case(one, "gzip") && !equal_without_case(one, "x-gzip") &&
       !equal_without_case(one, "deflate"))) {
    std::string all;
    for (const std::string_view coding : codings) {
      if (!all.empty()) all += ", ";
      all += shown(coding);
    }
    return odd_coding(fmt::format(
        "the response body has the content encoding '{}', and one layer of gzip was offered", all));
  }
  compressed_ = true;
  return {};
}

Result<void> AnswerHead::read_framing() {
  auto codings = elements(headers_, "Transfer-Encoding");
  std::erase_if(codings, [](std::string_view one) { return equal_without_case(one, "identity"); });
  const bool chunked = codings.size() == 1 && equal_without_case(codings.front(), "chunked");
  if (status_ == 204 || status_ == 304) {
    framing_ = Framing::no_body;
    return {};
  }
  if (!codings.empty() && !chunked) {
    return odd_coding(
        fmt::format("the response has the transfer encoding '{}', and only chunked "
                    "was offered",
                    shown(codings.front())));
  }
  if (chunked) {
    framing_ = Framing::chunked;
    return {};
  }
  const auto lengths = elements(headers_, "Content-Length");
  if (lengths.empty()) {
    framing_ = Framing::connection_end;
    return {};
  }
  std::optional<std::uint64_t> told;
  for (const std::string_view one : lengths) {
    const bool digits = std::ranges::all_of(one, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return odd_length(fmt::format("the Content-Length '{}' is no number", shown(one)));
    std::uint64_t bytes = 0;
    const auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), bytes);
    if (error == std::errc::result_out_of_range) bytes = UINT64_MAX;
    if (told && *told != bytes) {
      return odd_length(fmt::format("the response has two lengths, {} and {}",
                                    shown(lengths.front()), shown(one)));
    }
    told = bytes;
  }
  length_ = *told;
  framing_ = Framing::length;
  return {};
}

}  // namespace sluice::fetch
