#include "vault/ledger.hpp"

#include <sodium.h>

#include <algorithm>

#include "base/check.hpp"
#include "vault/sodium.hpp"

namespace sluice::vault {
namespace {

constexpr std::string_view kPersonalHead = "SluiceSecretHead";
static_assert(kPersonalHead.size() == crypto_generichash_blake2b_PERSONALBYTES);
constexpr std::size_t kFixedBytes = 8 + 2;

void append(Bytes& out, std::uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
    out.push_back(static_cast<std::uint8_t>(value >> shift));
}

std::uint64_t read(ByteView bytes) {
  std::uint64_t value = 0;
  for (const std::uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

}  // namespace

Ledger::Head Ledger::head_of(const std::vector<LedgerVersion>& versions) {
  require_sodium();
  Bytes message;
  for (const LedgerVersion& one : versions) {
    append(message, static_cast<std::uint64_t>(one.version), 8);
    message.insert(message.end(), one.commitment.begin(), one.commitment.end());
  }
  const std::array<std::uint8_t, crypto_generichash_blake2b_SALTBYTES> no_salt{};
  Head head{};
  SLUICE_INVARIANT(crypto_generichash_blake2b_salt_personal(
                       head.data(), head.size(), message.data(), message.size(), nullptr, 0,
                       no_salt.data(), as_bytes(kPersonalHead).data()) == 0);
  return head;
}

std::optional<Ledger> Ledger::parse(ByteView bytes) {
  Ledger ledger;
  while (!bytes.empty()) {
    if (bytes.size() < kFixedBytes) return std::nullopt;
    const ConnectionId connection(static_cast<std::int64_t>(read(bytes.first(8))));
    const std::size_t length = read(bytes.subspan(8, 2));
    bytes = bytes.subspan(kFixedBytes);
    if (bytes.size() < length + std::tuple_size_v<Head>) return std::nullopt;
    std::string name(as_text(bytes.first(length)));
    bytes = bytes.subspan(length);
    Head head{};
    std::ranges::copy(bytes.first(head.size()), head.begin());
    bytes = bytes.subspan(head.size());
    ledger.heads_[Name(connection, std::move(name))] = head;
  }
  return ledger;
}

Bytes Ledger::bytes() const {
  Bytes out;
  for (const auto& [whose, head] : heads_) {
    append(out, static_cast<std::uint64_t>(whose.first.value), 8);
    append(out, whose.second.size(), 2);
    out.insert(out.end(), whose.second.begin(), whose.second.end());
    out.insert(out.end(), head.begin(), head.end());
  }
  return out;
}

std::array<std::uint8_t, 32> Ledger::digest(ByteView bytes) {
  require_sodium();
  std::array<std::uint8_t, 32> digest{};
  crypto_hash_sha256(digest.data(), bytes.data(), bytes.size());
  return digest;
}

const Ledger::Head* Ledger::find(ConnectionId connection, std::string_view name) const {
  const auto found = heads_.find(Name(connection, name));
  return found == heads_.end() ? nullptr : &found->second;
}

void Ledger::set(ConnectionId connection, std::string_view name,
                 const std::vector<LedgerVersion>& versions) {
  const Name whose(connection, name);
  if (versions.empty()) {
    heads_.erase(whose);
  } else {
    heads_[whose] = head_of(versions);
  }
}

void Ledger::keep(ConnectionId connection, std::string_view name, const Head& head) {
  heads_[Name(connection, name)] = head;
}

}  // namespace sluice::vault
