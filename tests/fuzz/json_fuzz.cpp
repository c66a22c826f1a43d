// JSON passing through: what a connector takes out of a page, what the checks admit, and what the
// readers and writers of documents make of it: the same digits. The database's share is in
// tests/pg/exact/pass_through_test.cpp.
#include <sluice/sdk_json.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include "base/decimal.hpp"
#include "base/exact_json.hpp"
#include "target.hpp"

using namespace sluice;

namespace {

/// The numbers of a text as they are written, in its order. The text is JSON.
std::vector<std::string> numbers(std::string_view text) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '"') {
      for (++at; text[at] != '"'; ++at) {
        if (text[at] == '\\') ++at;
      }
      ++at;
    } else if (text[at] == '-' || (text[at] >= '0' && text[at] <= '9')) {
      const std::size_t end = std::min(text.find_first_not_of("0123456789+-.eE", at), text.size());
      found.emplace_back(text.substr(at, end - at));
      at = end;
    } else {
      ++at;
    }
  }
  return found;
}

/// "-0" is a whole number of 64 bits, and has no sign there.
std::string digits(const std::string& written) { return written == "-0" ? "0" : written; }

void check_connector(std::string_view text) {
  sdk::json::Document page;
  sdk::json::Value value;
  try {
    value = page.parse(text);
  } catch (const sdk::json::Error&) {
    return;  // it has a bound of its own for nesting
  }
  sdk::Arena arena;
  const std::string compact(value.compact(arena));
  fuzz::check(check_json(compact).ok(), "what a connector passes on is admitted", compact);
  fuzz::check(numbers(compact) == numbers(text), "a connector passes the digits on", compact);
}

void check_documents(std::string_view text) {
  const auto ordered = read_ordered_json(text);
  const auto sorted = read_json(text);
  fuzz::check(ordered.has_value() && sorted.has_value(), "what is admitted can be read");
  const std::string written = write_json(*ordered);
  fuzz::check(check_json(written).ok(), "what is written is JSON", written);
  const auto again = read_json(written);
  fuzz::check(again && same_json(*sorted, *again), "what is written is what was read", written);
  const std::string lines = write_json_lines(*ordered);
  fuzz::check(numbers(lines) == numbers(written), "lines have the same digits", lines);
  fuzz::check(write_json(ready_json(text)) == text, "ready text goes out as it is");
  fuzz::check(same_jsonb(written, written), "a value is equal to itself", written);
  // Of a name that comes twice the later value stands in the earlier one's place; what stood there
  // goes.
  std::vector<std::string> given;
  for (const std::string& number : numbers(text)) given.push_back(digits(number));
  std::vector<std::string> kept = numbers(written);
  std::ranges::sort(given);
  std::ranges::sort(kept);
  fuzz::check(std::ranges::includes(given, kept), "no number is made, and each has its digits",
              written);
}

void check_numbers(std::string_view text, const JsonCheck& check) {
  std::size_t printed = 0;
  for (const std::string& number : numbers(text)) {
    const std::string plain = plain_decimal(number);
    fuzz::check(same_number(number, plain), "the one form is the same number", number);
    fuzz::check(plain_decimal(plain) == plain, "there is one form", plain);
    fuzz::check(plain.find_first_of("eE+") == std::string::npos, "it has no exponent", plain);
    printed += plain.size();
  }
  fuzz::check(check.printed_bytes >= printed && check.printed_bytes >= text.size(),
              "a text is not longer when it is printed than was said");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(ByteView(data, size));
  const auto document = read_json(text);
  const JsonCheck check = check_json(text);
  if (!document) {
    fuzz::check(!document.error().what.empty(), "a refusal says why");
    fuzz::check(document.error().at <= text.size(), "and where");
    return 0;
  }
  fuzz::check(check.ok() && is_utf8(text), "what can be read is admitted");
  check_documents(text);
  check_numbers(text, check);
  check_connector(text);
  return 0;
}
