#include "cli/in_clear.hpp"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <memory>
#include <optional>

namespace sluice::cli {
namespace {

/// A part of the URL as libcurl, which will send, understands it.
std::optional<std::string> part(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, 0) != CURLUE_OK) return std::nullopt;
  std::string copy(text);
  curl_free(text);
  return copy;
}

bool is_loopback(std::string host) {
  if (host.ends_with('.')) host.pop_back();
  if (host == "localhost" || host == "[::1]") return true;
  in_addr four{};
  return ::inet_pton(AF_INET, host.c_str(), &four) == 1 && (ntohl(four.s_addr) >> 24) == 127;
}

}  // namespace

bool goes_in_clear(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), &curl_url_cleanup);
  if (!parsed ||
      curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_GUESS_SCHEME) != CURLUE_OK)
    return true;
  const auto scheme = part(parsed.get(), CURLUPART_SCHEME);
  if (scheme == "https") return false;
  const auto host = part(parsed.get(), CURLUPART_HOST);
  return !host || !is_loopback(*host);
}

}  // namespace sluice::cli
