#include "fetch/redact.hpp"

#include <strings.h>

#include <cstring>

namespace sluice::fetch {

bool mask(std::string& text, std::span<const std::string> secrets) {
  bool found = false;
  for (const std::string& secret : secrets) {
    if (secret.size() < kMaskBytesMin) continue;
    char* at = text.data();
    char* const end = at + text.size();
    while (at < end) {
      void* hit = ::memmem(at, static_cast<std::size_t>(end - at), secret.data(), secret.size());
      if (hit == nullptr) break;
      std::memset(hit, '*', secret.size());
      at = static_cast<char*>(hit) + secret.size();
      found = true;
    }
  }
  return found;
}

int redact(contract::Headers& headers, std::string& body, std::span<const std::string> secrets) {
  std::erase_if(headers, [](const auto& header) {
    return ::strcasecmp(header.first.c_str(), "set-cookie") == 0 ||
           ::strcasecmp(header.first.c_str(), "set-cookie2") == 0;
  });
  int places = 0;
  for (auto& [name, value] : headers) places += mask(value, secrets) ? 1 : 0;
  places += mask(body, secrets) ? 1 : 0;
  return places;
}

std::string json_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() * 2);
  for (const char c : text) {
    if (c == '"' || c == '\\' || c == '/') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace sluice::fetch
