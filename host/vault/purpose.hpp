// What a secret is sealed for, and what somebody wants it for.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace sluice::vault {

inline constexpr std::size_t kPurposeBytesMax = 16 * 1024;

/// One use of a secret: a request of a connector that is to carry it to a place, or a use within
/// this host. A value.
class Wanted {
 public:
  /// `to` is the whole base URL, scheme, host, port and path ("https://api.stripe.com"); `as` how
  /// it is put on ("bearer", "header X-Api-Key"). The connection that carries it may dial loopback,
  /// or private networks, when it says so.
  [[nodiscard]] static Wanted at(std::string connector, std::string to, std::string as);
  [[nodiscard]] static Wanted within(std::string use);
  Wanted& over_loopback(bool allowed);
  Wanted& over_private_networks(bool allowed);

  [[nodiscard]] const std::string& to() const { return to_; }
  /// "http://127.0.0.1:4010 (bearer)", for messages.
  [[nodiscard]] std::string describe() const;

 private:
  friend class Purpose;
  Wanted() = default;
  std::string connector_, to_, as_, use_;
  bool loopback_ = false, private_networks_ = false;
};

/// Everything that a secret may be used for. It is stored beside the sealed value as text, of which
/// every byte is authenticated (format.hpp): who changes it makes a row that does not open. A
/// value.
///
///   connector stripe
///   to https://api.stripe.com
///   as bearer
///   over loopback
/// or, of a secret that goes nowhere, such as one that signatures are checked with:
///   use webhook.signature
///
/// One line each, sorted by kind and then by bytes; control characters, '%' and what is no ASCII
/// are percent-encoded.
class Purpose {
 public:
  [[nodiscard]] static Purpose of_connector(std::string connector);
  [[nodiscard]] static Purpose of_use(std::string use);
  Purpose& may_go_to(std::string url);
  Purpose& may_be_put_on_as(std::string as);
  Purpose& over_loopback(bool allowed);
  Purpose& over_private_networks(bool allowed);

  [[nodiscard]] std::string text() const;
  /// nullopt for what text() never makes.
  [[nodiscard]] static std::optional<Purpose> parse(std::string_view text);
  [[nodiscard]] bool allows(const Wanted& wanted) const;
  /// Each single thing that this allows.
  [[nodiscard]] std::vector<Wanted> each() const;
  /// "https://api.stripe.com (bearer)", for messages.
  [[nodiscard]] std::string describe() const;

  friend bool operator==(const Purpose&, const Purpose&) = default;

 private:
  Purpose() = default;
  std::string connector_, use_;
  std::set<std::string> to_, as_;
  bool loopback_ = false, private_networks_ = false;
};

}  // namespace sluice::vault
