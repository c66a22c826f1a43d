#include "vault/purpose.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sluice::vault {
namespace {

std::string encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = digit(text[i + 1]), low = digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

std::string_view ways_of(bool loopback, bool private_networks) {
  if (loopback && private_networks) return ", over loopback and private networks";
  if (loopback) return ", over loopback";
  return private_networks ? ", over private networks" : "";
}

}  // namespace

Wanted Wanted::at(std::string connector, std::string to, std::string as) {
  Wanted wanted;
  wanted.connector_ = std::move(connector);
  wanted.to_ = std::move(to);
  wanted.as_ = std::move(as);
  return wanted;
}

Wanted Wanted::within(std::string use) {
  Wanted wanted;
  wanted.use_ = std::move(use);
  return wanted;
}

Wanted& Wanted::over_loopback(bool allowed) {
  loopback_ = allowed;
  return *this;
}

Wanted& Wanted::over_private_networks(bool allowed) {
  private_networks_ = allowed;
  return *this;
}

std::string Wanted::describe() const {
  if (!use_.empty()) return use_;
  return fmt::format("{} by {} ({}{})", to_, connector_, as_,
                     ways_of(loopback_, private_networks_));
}

Purpose Purpose::of_connector(std::string connector) {
  Purpose purpose;
  purpose.connector_ = std::move(connector);
  return purpose;
}

Purpose Purpose::of_use(std::string use) {
  Purpose purpose;
  purpose.use_ = std::move(use);
  return purpose;
}

Purpose& Purpose::may_go_to(std::string url) {
  to_.insert(std::move(url));
  return *this;
}

Purpose& Purpose::may_be_put_on_as(std::string as) {
  as_.insert(std::move(as));
  return *this;
}

Purpose& Purpose::over_loopback(bool allowed) {
  loopback_ = allowed;
  return *this;
}

Purpose& Purpose::over_private_networks(bool allowed) {
  private_networks_ = allowed;
  return *this;
}

std::string Purpose::text() const {
  if (!use_.empty()) return fmt::format("use {}\n", encoded(use_));
  std::string out = fmt::format("connector {}\n", encoded(connector_));
  for (const std::string& to : to_) out += fmt::format("to {}\n", encoded(to));
  for (const std::string& as : as_) out += fmt::format("as {}\n", encoded(as));
  if (loopback_) out += "over loopback\n";
  if (private_networks_) out += "over private networks\n";
  return out;
}

std::optional<Purpose> Purpose::parse(std::string_view text) {
  Purpose purpose;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::size_t blank = rest.find(' ');
    if (end == std::string_view::npos || blank == std::string_view::npos || blank > end)
      return std::nullopt;
    const std::string_view kind = rest.substr(0, blank);
    const auto value = decoded(rest.substr(blank + 1, end - blank - 1));
    rest.remove_prefix(end + 1);
    if (!value || value->empty()) return std::nullopt;
    if (kind == "connector") {
      purpose.connector_ = *value;
    } else if (kind == "use") {
      purpose.use_ = *value;
    } else if (kind == "to") {
      purpose.to_.insert(*value);
    } else if (kind == "as") {
      purpose.as_.insert(*value);
    } else if (kind == "over" && *value == "loopback") {
      purpose.loopback_ = true;
    } else if (kind == "over" && *value == "private networks") {
      purpose.private_networks_ = true;
    } else {
      return std::nullopt;
    }
  }
  if (purpose.text() != text) return std::nullopt;  // one purpose has one text
  return purpose;
}

std::vector<Wanted> Purpose::each() const {
  std::vector<Wanted> all;
  if (!use_.empty()) all.push_back(Wanted::within(use_));
  for (const std::string& to : to_) {
    for (const std::string& as : as_) {
      Wanted one = Wanted::at(connector_, to, as);
      all.push_back(one.over_loopback(loopback_).over_private_networks(private_networks_));
    }
  }
  return all;
}

bool Purpose::allows(const Wanted& wanted) const {
  if (!use_.empty() || !wanted.use_.empty()) return use_ == wanted.use_;
  return connector_ == wanted.connector_ && to_.contains(wanted.to_) && as_.contains(wanted.as_) &&
         (loopback_ || !wanted.loopback_) && (private_networks_ || !wanted.private_networks_);
}

std::string Purpose::describe() const {
  if (!use_.empty()) return use_;
  return fmt::format("{} by {} ({}{})", fmt::join(to_, ", "), connector_, fmt::join(as_, ", "),
                     ways_of(loopback_, private_networks_));
}

}  // namespace sluice::vault
