#include "fetch/auth.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include "base/percent.hpp"
#include "contract/host_headers.hpp"

namespace sluice::fetch {
namespace {

constexpr std::size_t kCredentialBytesMax = 16 << 10;

WipedText base64(std::string_view text) {
  WipedText out;
  out.resize(sodium_base64_encoded_len(text.size(), sodium_base64_VARIANT_ORIGINAL));
  sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(text.data()),
                    text.size(), sodium_base64_VARIANT_ORIGINAL);
  out.resize(out.size() - 1);  // the terminating NUL
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
Result<WipedText> expand(const contract::AuthSlot& slot, const nlohmann::json& config,
                         std::string_view secret) {
  std::string_view rest = slot.parameter.empty() ? std::string_view("{secret}:") : slot.parameter;
  WipedText out;
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

std::string put_on_as(const contract::AuthSlot& slot) {
  const auto with = [&slot](std::string_view name) {
    return slot.parameter.empty() ? std::string(name) : fmt::format("{} {}", name, slot.parameter);
  };
  switch (slot.scheme) {
    case contract::AuthScheme::bearer:
      return "bearer";
    case contract::AuthScheme::basic:
      return with("basic");
    case contract::AuthScheme::header:
      return with("header");
    case contract::AuthScheme::query:
      return with("query");
  }
  return "bearer";
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
  out.masks.add(secret);
  switch (slot.scheme) {
    case contract::AuthScheme::bearer: {
      out.header += "Authorization: Bearer ";
      out.header += secret;
      break;
    }
    case contract::AuthScheme::basic: {
      const auto pair = expand(slot, config, secret);
      if (!pair) return std::unexpected(std::move(pair.error()));
      const WipedText coded = base64(pair->view());
      out.header += "Authorization: Basic ";
      out.header += coded.view();
      out.masks.add(coded.view());
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
      out.header += slot.parameter;
      out.header += ": ";
      out.header += secret;
      break;
    }
    case contract::AuthScheme::query: {
      if (slot.parameter.empty())
        return bad_template(slot, "scheme 'query' without a parameter name");
      out.query += percent_encoded<WipedText>(slot.parameter).view();
      out.query += '=';
      out.query += percent_encoded<WipedText>(secret).view();
      break;
    }
  }
  return out;
}

}  // namespace sluice::fetch
