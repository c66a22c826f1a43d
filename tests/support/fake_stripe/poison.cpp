#include "poison.hpp"

#include <cstdlib>
#include <optional>

namespace fake_stripe {
namespace {

std::string repeated(std::string_view text, std::size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::string many_keys(std::size_t count) {
  std::string out = "{";
  for (std::size_t i = 0; i < count; ++i) {
    const std::string number = std::to_string(i);
    out += (i == 0 ? "\"key_" : ",\"key_") + number + "\":\"value " + number + "\"";
  }
  return out + "}";
}

/// The JSON value for one poison; nullopt when it stays as it is.
std::optional<std::string> value_of(std::string_view what, Dose dose) {
  const auto colon = what.find(':');
  const std::string_view name = what.substr(0, colon);
  const std::string argument(colon == std::string_view::npos ? "" : what.substr(colon + 1));
  const std::size_t count = std::strtoull(argument.c_str(), nullptr, 10);
  if (name == "nul") return R"("before\u0000after")";
  if (name == "escaped_nul") return R"("before\\u0000after")";
  if (name == "big") return "\"" + repeated("x", count) + "\"";
  if (name == "deep") return repeated(R"({"d":)", count) + "1" + repeated("}", count);
  if (name == "keys") return many_keys(count);
  if (dose == Dose::kParsable) return std::nullopt;
  if (name == "lone_surrogate") return R"("alone \ud800 high")";
  if (name == "low_surrogate") return R"("alone \udc00 low")";
  if (name == "bad_utf8") return "\"bad \xff\xfe\xc3( bytes\"";
  if (name == "raw") return argument;
  return std::nullopt;
}

}  // namespace

void poison(std::string& json, Dose dose) {
  std::string out;
  std::size_t done = 0;
  while (true) {
    const auto mark = json.find(kPoisonMark, done);
    if (mark == std::string::npos) break;
    const auto from = mark + kPoisonMark.size();
    const auto end = json.find("@@", from);
    if (end == std::string::npos || mark == 0) break;
    const auto value = value_of(std::string_view(json).substr(from, end - from), dose);
    if (value) {
      out.append(json, done, mark - 1 - done);  // without the opening quote
      out += *value;
      done = end + 3;
    } else {
      out.append(json, done, end + 2 - done);
      done = end + 2;
    }
  }
  if (done == 0) return;
  out.append(json, done);
  json = std::move(out);
}

}  // namespace fake_stripe
