#include "fetch/auth.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include "contract/host_headers.hpp"
#include "fetch/redact.hpp"

namespace sluice::fetch {
namespace {

constexpr std::size_t kCredentialBytesMax = 16 << 10;

void wipe(std::string& text) { sodium_memzero(text.data(), text.size()); }

std::string base64(std::string_view text) {
  std::string out(sodium_base64_encoded_len(text.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(text.data()),
                    text.size(), sodium_base64_VARIANT_ORIGINAL);
  out.pop_back();  // the terminating NUL
  return out;
}

std::string percent_encoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size() * 3);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
  });
}

std::unexpected<Error> bad_template(const contract::AuthSlot& slot, std::string why) {
  return fail(ErrorKind::bad_input, "fetch.auth.template",
              fmt::format("auth slot '{}': {}", slot.name, why),
              "the template may name {secret} and values of the connection's configuration");
}

/// One pass: a value that looks like a placeholder is not expanded again.
Result<std::string> expand(const contract::AuthSlot& slot, const nlohmann::json& config,
                           std::string_view secret) {
  std::string_view rest = slot.parameter.empty() ? std::string_view("{secret}:") : slot.parameter;
  std::string out;
  out.reserve(kCredentialBytesMax + rest.size() + 1024);  // no reallocation leaves a copy behind
  while (!rest.empty()) {
    if (rest.front() != '{') {
      out += rest.front();
      rest.remove_prefix(1);
      continue;
    }
    const std::size_t end = rest.find('}');
    if (end == std::string_view::npos) return bad_template(slot, "'{' without '}'");
    const std::string_view key = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (key == "secret") {
      out += secret;
      continue;
    }
    const auto found = config.is_object() ? config.find(key) : config.end();
    if (!config.is_object() || found == config.end() || !found->is_string()) {
      return bad_template(slot, fmt::format("needs the configuration value '{}'", key));
    }
    const auto& value = found->get_ref<const std::string&>();
    if (has_control(value) || value.size() > 512) {
      return bad_template(
          slot, fmt::format("configuration value '{}' has control characters or is too long", key));
    }
    out += value;
  }
  return out;
}

}  // namespace

Authentication::~Authentication() {
  for (auto& [name, value] : headers) wipe(value);
  wipe(query);
  for (std::string& text : masks) wipe(text);
}

Result<Authentication> authenticate(const contract::AuthSlot& slot, const nlohmann::json& config,
                                    const Credential& credential) {
  const std::string_view secret = credential.reveal();
  if (secret.empty() || secret.size() > kCredentialBytesMax || has_control(secret)) {
    return fail(ErrorKind::bad_input, "fetch.auth.credential",
                fmt::format("secret '{}' is empty, longer than {} bytes or has control characters",
                            slot.secret, kCredentialBytesMax),
                "enter it again, without line breaks");
  }
  Authentication out;
  out.masks.emplace_back(secret);
  std::string encoded = percent_encoded(secret);
  if (encoded != secret) out.masks.push_back(encoded);
  std::string escaped = json_escaped(secret);
  if (escaped != secret) out.masks.push_back(std::move(escaped));
  switch (slot.scheme) {
    case contract::AuthScheme::bearer: {
      std::string value;
      value.reserve(secret.size() + 8);
      value += "Bearer ";
      value += secret;
      out.headers.emplace_back("Authorization", std::move(value));
      break;
    }
    case contract::AuthScheme::basic: {
      auto pair = expand(slot, config, secret);
      if (!pair) return std::unexpected(std::move(pair.error()));
      std::string coded = base64(*pair);
      wipe(*pair);
      std::string value;
      value.reserve(coded.size() + 8);
      value += "Basic ";
      value += coded;
      out.headers.emplace_back("Authorization", std::move(value));
      out.masks.push_back(std::move(coded));
      break;
    }
    case contract::AuthScheme::header: {
      if (slot.parameter.empty())
        return bad_template(slot, "scheme 'header' without a header name");
      if (contract::host_header(slot.parameter) == contract::HostHeader::transport) {
        return fail(ErrorKind::denied, "fetch.auth.header",
                    fmt::format("auth slot '{}' would set the header '{}', which only the host may",
                                slot.name, slot.parameter),
                    "the connector's manifest must name another header");
      }
      out.headers.emplace_back(slot.parameter, std::string(secret));
      break;
    }
    case contract::AuthScheme::query: {
      if (slot.parameter.empty())
        return bad_template(slot, "scheme 'query' without a parameter name");
      out.query = percent_encoded(slot.parameter) + "=" + encoded;
      break;
    }
  }
  wipe(encoded);
  return out;
}

}  // namespace sluice::fetch
