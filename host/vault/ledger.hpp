// Which versions of a workspace's secrets are the ones.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "vault/format.hpp"

namespace sluice::vault {

/// One live version in its place: what a head is made of.
struct LedgerVersion {
  std::int64_t version = 0;
  std::array<std::uint8_t, 32> commitment{};
};

/// For each secret that has live versions a digest of all of them, newest first. Stored beside the
/// workspace's active data key and authenticated by it (format.hpp): what was rotated out, or comes
/// from an older dump, has another head than the one that stands here. A value; pure.
///
/// Its bytes: for each secret, by connection and name, u64 connection ‖ u16 length of the name ‖
/// name ‖ head. A head is BLAKE2b-256(personal "SluiceSecretHead", u64 version ‖ commitment ‖ …).
class Ledger {
 public:
  using Head = std::array<std::uint8_t, 32>;
  using Name = std::pair<ConnectionId, std::string>;

  /// Newest first.
  [[nodiscard]] static Head head_of(const std::vector<LedgerVersion>& versions);
  [[nodiscard]] static std::optional<Ledger> parse(ByteView bytes);
  [[nodiscard]] Bytes bytes() const;
  [[nodiscard]] static std::array<std::uint8_t, 32> digest(ByteView bytes);

  [[nodiscard]] const Head* find(ConnectionId connection, std::string_view name) const;
  /// No versions: the secret has none any more.
  void set(ConnectionId connection, std::string_view name,
           const std::vector<LedgerVersion>& versions);
  /// As another ledger has it.
  void keep(ConnectionId connection, std::string_view name, const Head& head);
  [[nodiscard]] const std::map<Name, Head>& all() const { return heads_; }

 private:
  std::map<Name, Head> heads_;
};

}  // namespace sluice::vault
