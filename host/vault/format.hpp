// The bytes a secret is stored as. Frozen: tests/unit/vault/vectors.json holds examples made by
// another implementation, and whatever was ever stored must open for ever. A change is a new alg.
//
// alg 1. All integers big-endian; ‖ is concatenation.
//
//   key material   k_enc ‖ k_com (32 + 32 bytes) = BLAKE2b-512(key = K, salt, personal, empty
//   message)
//                  salt      16 random bytes, new for each sealing
//                  K         secret: the workspace's data key        personal "SluiceSecretV1__"
//                            data key: the root key                  personal "SluiceDataKeyV1_"
//   ciphertext     XChaCha20-Poly1305-IETF(k_enc, nonce, AAD, plaintext): as long as the plaintext,
//   + 16 tag
//                  nonce     24 random bytes
//   commitment     HMAC-SHA-512-256(k_com, u64 length of AAD ‖ AAD ‖ salt ‖ nonce ‖ ciphertext), 32
//   bytes
//                  (crypto_auth), checked before anything is decrypted: XChaCha20-Poly1305 alone
//                  lets one ciphertext open under two keys
//   AAD            offset  size  what
//                       0     4  "SLC1"
//                       4     1  alg = 1
//                       5     1  kind: 1 secret, 2 data key
//                       6     8  workspace id
//                      14     8  connection id   (0: the workspace's own; data key: 0)
//                      22     2  length n of the name
//                      24     n  name            (data key: n = 0)
//                    24+n     8  version         (data key: its data key id)
//                    32+n     8  data key id
//                    40+n     4  root key id     (data key only)
//   root key id    first 4 bytes of BLAKE2b-128(key = root key, salt = 0…, personal
//   "SluiceRootKeyId_",
//                  empty message); written as 8 hex digits
//   fingerprint    first 8 bytes of BLAKE2b-128(key = F, message = value), 16 hex digits
//                  F = BLAKE2b-256(key = data key, salt = 0…, personal "SluiceFingerV1__", empty
//                  message)
//
// The AAD is rebuilt from where the row was found, never stored: a row that was moved to another
// workspace, connection, name or version does not open. What it cannot see is the same row put back
// in an older state; versions are never reused, so that shows in the audit chain.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "vault/secret.hpp"

namespace sluice::vault {

inline constexpr std::uint8_t kAlg = 1;
inline constexpr std::size_t kKeyBytes = 32;
inline constexpr std::size_t kTagBytes = 16;
inline constexpr std::size_t kSecretBytesMax = 64 * 1024;
inline constexpr std::size_t kSecretNameBytesMax = 128;

using DataKeyId = Id<struct DataKeyTag>;

/// Tells root keys apart without telling anything about them.
struct RootKeyId {
  std::uint32_t value = 0;
  [[nodiscard]] static RootKeyId of(const Secret& root_key);
  [[nodiscard]] static std::optional<RootKeyId> from_hex(
      std::string_view text);  ///< 8 lower-case digits
  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const RootKeyId&, const RootKeyId&) = default;
};

/// Which version of which secret.
struct SecretPlace {
  WorkspaceId workspace;
  ConnectionId connection;  ///< none: the workspace's own
  std::string name;
  std::int64_t version = 0;
};

/// What is stored of one sealed value, besides where it is.
struct Sealed {
  std::uint8_t alg = kAlg;
  std::array<std::uint8_t, 16> salt{};
  std::array<std::uint8_t, 24> nonce{};
  std::array<std::uint8_t, 32> commitment{};
  Bytes ciphertext;
  friend bool operator==(const Sealed&, const Sealed&) = default;
};

/// What a value is sealed as: the personalisation of its keys and its AAD. Made by the two
/// functions below.
struct Binding {
  std::string_view personal;  ///< 16 bytes, static
  Bytes aad;
};
[[nodiscard]] Binding bind_secret(const SecretPlace& place, DataKeyId data_key);
[[nodiscard]] Binding bind_data_key(WorkspaceId workspace, DataKeyId data_key, RootKeyId root_key);

/// With a new salt and nonce. `key` has 32 bytes, the plaintext at most kSecretBytesMax.
[[nodiscard]] Sealed seal(const Secret& key, const Binding& binding, const Secret& plaintext);
/// The same with salt and nonce given: for known-answer tests, nothing else.
[[nodiscard]] Sealed seal_with(const Secret& key, const Binding& binding, const Secret& plaintext,
                               const std::array<std::uint8_t, 16>& salt,
                               const std::array<std::uint8_t, 24>& nonce);
/// Fails with bad_input (the first: unsupported):
///   "vault.sealed.unsupported"  another alg than this program knows
///   "vault.sealed.malformed"    a ciphertext that is too short or too long
///   "vault.sealed.refused"      another key, another place, or changed bytes; it does not say
///   which
[[nodiscard]] Result<Secret> open(const Secret& key, const Binding& binding, const Sealed& sealed);

}  // namespace sluice::vault
