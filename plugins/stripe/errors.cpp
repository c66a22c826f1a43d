#include <cstring>

#include "stripe.hpp"

namespace stripe {
namespace {

using sluice::sdk::cut_utf8;

bool key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '*';
}

/// Stripe's error object, or missing when the answer is not Stripe's (a proxy's page, no answer at
/// all).
json::Value error_of(Reply& reply) { return reply.json_if_any()["error"]; }

bool says(std::string_view message, std::string_view part) {
  return message.find(part) != std::string_view::npos;
}

// What Stripe's messages say and its codes do not.
bool is_other_mode(std::string_view message) { return says(message, "a similar object exists in"); }
bool lacks_context(std::string_view message) { return says(message, "Stripe-Context"); }
bool is_publishable(std::string_view message) {
  return says(message, "publishable API key") || says(message, "publishable key");
}

sluice_failure_class class_of_reply(const Reply& reply, std::string_view code,
                                    std::string_view message) {
  const int status = reply.status();
  if (status == 400 && code == "rate_limit") return SLUICE_FAIL_RATE_LIMITED;
  const bool refused = status == 400 || status == 401 || status == 403 || status == 404;
  if (refused && lacks_context(message)) return SLUICE_FAIL_CONFIG;
  if (code == "secret_key_required" || code == "api_key_expired" || code == "account_invalid" ||
      (refused && (is_other_mode(message) || is_publishable(message)))) {
    return SLUICE_FAIL_AUTH;
  }
  if (status >= 500 && reply.header("Stripe-Should-Retry") == "false")
    return SLUICE_FAIL_UPSTREAM_PERMANENT;
  switch (status) {
    case 401:
      return SLUICE_FAIL_AUTH;
    case 403:
      return SLUICE_FAIL_PERMISSION;
    case 429:
      return SLUICE_FAIL_RATE_LIMITED;
    case 0:
    case 408:
    case 409:
      return SLUICE_FAIL_UPSTREAM_TRANSIENT;
    default:
      break;
  }
  if (status >= 500) return SLUICE_FAIL_UPSTREAM_TRANSIENT;
  if (status >= 400) return SLUICE_FAIL_UPSTREAM_PERMANENT;
  return SLUICE_FAIL_BAD_DATA;
}

std::string advice(sluice_failure_class failure_class, int status, std::string_view code,
                   std::string_view message, std::string_view stream) {
  switch (failure_class) {
    case SLUICE_FAIL_AUTH:
      if (is_other_mode(message))
        return " The key is of the other mode: enter a key of the mode that was read so far, or "
               "make another connection. Nothing was deleted.";
      if (code == "account_invalid")
        return " Check the setting account; if the account has withdrawn its access, it has to "
               "connect again. Nothing was deleted.";
      if (code == "api_key_expired")
        return " Make a new key in Stripe's dashboard (Developers, API keys) and enter it here.";
      if (code == "secret_key_required" || is_publishable(message))
        return " Enter a secret (sk_…) or restricted (rk_…) key, not a publishable one.";
      return " Enter a valid secret (sk_…) or restricted (rk_…) key from Stripe's dashboard "
             "(Developers, API keys).";
    case SLUICE_FAIL_CONFIG:
      return " This is an organisation's key: set context to the account that is to be read.";
    case SLUICE_FAIL_PERMISSION: {
      std::string_view permission = missing_permission(message);
      if (permission.empty()) permission = permission_for(stream);
      std::string text = permission.empty()
                             ? " Give the key read permission for this in Stripe's dashboard"
                             : " Give the key the permission " + std::string(permission) +
                                   " in Stripe's dashboard";
      text += " (Developers, API keys).";
      if (stream.empty()) return text;
      return text + " Until then the stream " + std::string(stream) +
             " is not read; what was read before stays.";
    }
    case SLUICE_FAIL_UPSTREAM_PERMANENT:
      if (status >= 500) return " Stripe says that repeating it at once is of no use.";
      return {};
    case SLUICE_FAIL_RATE_LIMITED:
      return " Sluice tries again later; lower the request rate if it lasts.";
    default:
      return {};
  }
}

}  // namespace

std::string without_keys(std::string_view text) {
  static constexpr std::string_view kPrefixes[] = {"sk_", "rk_", "pk_", "rkcs_", "whsec_", "ek_"};
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t masked = 0;
    const bool word_start = at == 0 || !key_char(text[at - 1]);
    for (const std::string_view prefix : kPrefixes) {
      if (!word_start || text.substr(at, prefix.size()) != prefix) continue;
      std::size_t end = at;
      while (end < text.size() && key_char(text[end])) ++end;
      out += prefix;
      out += "…";
      masked = end - at;
      break;
    }
    if (masked == 0) out += text[at];
    at += masked == 0 ? 1 : masked;
  }
  return out;
}

std::string_view missing_permission(std::string_view message) {
  const std::size_t at = message.find("'rak_");
  if (at == std::string_view::npos) return {};
  const std::string_view rest = message.substr(at + 1);
  std::size_t size = 0;
  while (size < rest.size() && ((rest[size] >= 'a' && rest[size] <= 'z') || rest[size] == '_'))
    ++size;
  return size < rest.size() && rest[size] == '\'' ? rest.substr(0, size) : std::string_view{};
}

bool is_gone(Reply& reply) {
  if (reply.status() != 404) return false;
  const json::Value error = error_of(reply);
  return error["code"].text() == "resource_missing" && !is_other_mode(error["message"].text());
}

bool is_foreign_account(Reply& reply) {
  return reply.status() == 403 && error_of(reply)["code"].text() == "account_invalid";
}

bool is_aged_out(Reply& reply) {
  if (reply.status() != 400 && reply.status() != 404) return false;
  const std::string_view message = error_of(reply)["message"].text();
  return message.find("aged out") != std::string_view::npos ||
         message.find("retention policy") != std::string_view::npos;
}

bool is_bad_cursor(Reply& reply) {
  if (reply.status() != 400 && reply.status() != 404) return false;
  const json::Value error = error_of(reply);
  const std::string_view message = error["message"].text();
  if (is_other_mode(message)) return false;
  if (is_aged_out(reply) || error["param"].text() == "starting_after") return true;
  return reply.status() == 400 && message.substr(0, 8) == "No such ";
}

json::Value json_of(Reply& reply, std::string_view what) {
  try {
    return reply.json();
  } catch (const json::Error& error) {
    throw Failure(SLUICE_FAIL_BAD_DATA, std::string(what) + ": Stripe answered " +
                                            std::to_string(reply.status()) +
                                            " with a body that is no JSON: " + error.what());
  }
}

Failure explain(Reply& reply, std::string_view what, std::int64_t now_ms, std::string_view stream) {
  if (reply.status() == 0) {
    return Failure(SLUICE_FAIL_UPSTREAM_TRANSIENT,
                   std::string(what) + ": no answer from Stripe: " +
                       without_keys(cut_utf8(sluice::sdk::trimmed(reply.body()), 600)));
  }
  const json::Value error = error_of(reply);
  const std::string_view code = error["code"].text();
  const std::string_view said = error["message"].text();
  const sluice_failure_class failure_class = class_of_reply(reply, code, said);
  const auto request_id = reply.header("Request-Id");
  const auto limited = reply.header("Stripe-Rate-Limited-Reason");

  std::string message = std::string(what) + ": ";
  if (error.is_object()) {
    message += "Stripe answered " + std::to_string(reply.status());
    if (!said.empty()) message += ": " + without_keys(cut_utf8(said, 500));
  } else {
    message += "HTTP status " + std::to_string(reply.status()) +
               " and a body that is no answer of Stripe's (" + std::to_string(reply.body().size()) +
               " bytes)";
  }
  if (message.back() != '.') message += '.';
  message += advice(failure_class, reply.status(), code, said, stream);
  if (limited) message += " Limit: " + std::string(cut_utf8(*limited, 60)) + ".";
  if (request_id) message += " [request " + std::string(cut_utf8(*request_id, 80)) + "]";

  const auto retry_after = reply.header("Retry-After");
  const std::int64_t retry_after_ms =
      retry_after ? sluice::sdk::parse_retry_after_ms(*retry_after, now_ms) : 0;
  std::string vendor_code(!code.empty() ? code : error["type"].text());
  if (failure_class == SLUICE_FAIL_PERMISSION) {  // which one is lacking, for whoever lists them
    std::string_view permission = missing_permission(said);
    if (permission.empty()) permission = permission_for(stream);
    if (!permission.empty()) vendor_code = permission;
  }
  if (vendor_code.empty()) vendor_code = "http_" + std::to_string(reply.status());
  return Failure(failure_class, message, vendor_code, retry_after_ms);
}

}  // namespace stripe
