#include "keys.hpp"

#include <algorithm>
#include <boost/beast/core/detail/base64.hpp>

namespace fake_stripe {
namespace {

ApiError unauthorized(const std::string& message, std::string code = {}) {
  ApiError error(401, message);
  error.code = std::move(code);
  return error;
}

/// "sk_test_abcdefgh1234" -> "sk_test_********1234", as Stripe shows keys in messages.
std::string masked(const std::string& key) {
  const std::size_t head = key.size() > 8 ? 8 : 0;
  const std::size_t tail = key.size() > head + 4 ? 4 : 0;
  return key.substr(0, head) + std::string(key.size() - head - tail, '*') +
         key.substr(key.size() - tail);
}

std::string basic_user(std::string_view encoded) {
  namespace base64 = boost::beast::detail::base64;
  std::string decoded(base64::decoded_size(encoded.size()), '\0');
  decoded.resize(base64::decode(decoded.data(), encoded.data(), encoded.size()).first);
  return decoded.substr(0, decoded.find(':'));
}

std::string key_of(std::string_view authorization) {
  constexpr std::string_view kBearer = "Bearer ";
  constexpr std::string_view kBasic = "Basic ";
  if (authorization.starts_with(kBearer)) {
    return std::string(authorization.substr(kBearer.size()));
  }
  if (authorization.starts_with(kBasic)) return basic_user(authorization.substr(kBasic.size()));
  throw unauthorized(
      "You did not provide an API key. You need to provide your API key in the Authorization "
      "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
      "https://stripe.com/docs/api#authentication for details, or we can help at "
      "https://support.stripe.com/.");
}

ApiError lacking(const std::string& key, std::string_view permission, std::string_view account) {
  return {403, "The provided key '" + masked(key) +
                   "' does not have the required permissions for this endpoint on account '" +
                   std::string(account) + "'. Having the '" + std::string(permission) +
                   "' permission would allow this request to continue."};
}

}  // namespace

void Keys::add(std::string_view text) {
  const auto colon = text.find(':');
  const std::string key(text.substr(0, colon));
  std::optional<std::set<std::string, std::less<>>> granted;
  if (colon != std::string_view::npos || key.starts_with("rk_")) granted.emplace();
  std::string_view rest = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    granted->emplace(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  const std::lock_guard lock(mutex_);
  expired_.erase(key);
  keys_[key] = std::move(granted);
}

void Keys::remove(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (keys_.erase(key) != 0) expired_.insert(key);
}

bool Keys::check(std::string_view authorization, std::string_view permission,
                 std::string_view account) const {
  const std::string key = key_of(authorization);
  if (key.starts_with("pk_")) {
    throw unauthorized(
        "This API call cannot be made with a publishable API key. Please use a secret API key. "
        "You can find a list of your API keys at https://dashboard.stripe.com/account/apikeys.",
        "secret_key_required");
  }
  const std::lock_guard lock(mutex_);
  if (expired_.contains(key)) {
    throw unauthorized("Expired API Key provided: " + masked(key), "api_key_expired");
  }
  const auto found = keys_.find(key);
  if (found == keys_.end()) throw unauthorized("Invalid API Key provided: " + masked(key));
  const auto& granted = found->second;
  if (granted && !permission.empty() && !granted->contains(permission)) {
    throw lacking(key, permission, account);
  }
  return key.find("_live_") != std::string::npos;
}

bool Keys::all_live() const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, granted] : keys_) {
    if (key.find("_live_") == std::string::npos) return false;
  }
  return !keys_.empty();
}

ApiError Keys::forbidden(std::string_view authorization, std::string_view permission,
                         std::string_view account) const {
  return lacking(key_of(authorization), permission, account);
}

}  // namespace fake_stripe
