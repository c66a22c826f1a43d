// The bytes a secret is stored as. Frozen: tests/unit/vault/vectors.json (alg 1) and vectors_2.json
// (alg 2) hold examples made by another implementation, and whatever was ever stored must open for
// ever. A change is a new alg.
//
// alg 2. All integers big-endian; ‖ is concatenation.
//
//   key material   k_enc ‖ k_com (32 + 32 bytes)
//                    = BLAKE2b-512(key = K, salt, personal, empty message)
//                  salt      16 random bytes, new for each sealing
//                  K         secret: the workspace's data key        personal "SluiceSecretV2__"
//                            data key: the root key                  personal "SluiceDataKeyV2_"
//   ciphertext     XChaCha20-Poly1305-IETF(k_enc, nonce, AAD, plaintext): as long as the
//                  plaintext, + 16 tag
//                  nonce     24 random bytes
//   commitment     HMAC-SHA-512-256(k_com, u64 length of AAD ‖ AAD ‖ salt ‖ nonce ‖ ciphertext),
//                  32 bytes (crypto_auth), checked before anything is decrypted: XChaCha20-Poly1305
//                  alone lets one ciphertext open under two keys
//   AAD            offset  size  what
//                       0     4  "SLC2"
//                       4     1  alg = 2
//                       5     1  kind: 1 secret, 2 data key
//                       6     8  workspace id
//                      14     8  connection id   (0: the workspace's own; data key: 0)
//                      22     2  length n of the name
//                      24     n  name            (data key: n = 0)
//                    24+n     8  version         (data key: its data key id)
//                    32+n     8  data key id
//                  a secret goes on with
//                    40+n     1  state: 1 pending, 2 current, 3 previous
//                    41+n     8  valid until, µs since 1970 (0: without an end)
//                    49+n     4  length m of what it is bound to
//                    53+n     m  what it is bound to: the text of a Purpose (purpose.hpp)
//                  a data key goes on with
//                      40     4  root key id
//                      44     1  state: 1 pending, 2 active, 3 decrypt_only, 4 retired
//                      45     1  the oldest alg of a secret's row that is still opened: 1 or 2
//                      46     8  generation: how often it was wrapped
//                      54     8  as of, µs since 1970: when it was wrapped
//                      62    32  SHA-256 of the ledger (ledger.hpp), which names every secret's
//                                live versions
//
// alg 1, which is opened until all of a workspace is sealed anew: the same with "SLC1", alg = 1,
// personals "SluiceSecretV1__" and "SluiceDataKeyV1_", and an AAD that ends behind the data key id
// (of a data key: behind the root key id).
//
//   root key id    first 4 bytes of BLAKE2b-128(key = root key, salt = 0…,
//                  personal "SluiceRootKeyId_", empty message); written as 8 hex digits
//   fingerprint    first 8 bytes of BLAKE2b-128(key = F, message = value); 16 hex digits
//                  F = BLAKE2b-256(key = data key, salt = 0…, personal "SluiceFingerV1__",
//                  empty message)
//
// The AAD is rebuilt from what stands in the row and where it was found: a row that was moved to
// another workspace, connection, name or version, put into another state, given more time or
// another destination does not open. The same row put back in an older state opens by itself; the
// ledger knows that it is not the one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "vault/secret.hpp"

namespace sluice::vault {

inline constexpr std::uint8_t kAlg = 2;
inline constexpr std::uint8_t kAlgBefore = 1;  ///< opened only, and sealed anew at the first start
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

/// The life of one version: pending → current → previous → revoked. Revoked versions have no value.
enum class SecretState { pending, current, previous, revoked };

/// What a version is sealed with beside its place.
struct SecretTerms {
  SecretState state = SecretState::pending;  ///< not revoked
  std::optional<Micros> valid_until;         ///< previous only
  std::string bound_to;                      ///< Purpose::text()
};

enum class DataKeyState { pending, active, decrypt_only, retired };

/// What a wrapped data key says of its workspace's secrets.
struct DataKeyTerms {
  DataKeyState state = DataKeyState::active;
  std::uint8_t oldest_alg = kAlg;
  std::int64_t generation = 0;
  Micros as_of{0};
  std::array<std::uint8_t, 32> ledger_digest{};
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

/// What a value is sealed as: the personalisation of its keys and its AAD. Made by the functions
/// below.
struct Binding {
  std::uint8_t alg = kAlg;
  std::string_view personal;  ///< 16 bytes, static
  Bytes aad;
};
[[nodiscard]] Binding bind_secret(const SecretPlace& place, DataKeyId data_key,
                                  const SecretTerms& terms);
[[nodiscard]] Binding bind_data_key(WorkspaceId workspace, DataKeyId data_key, RootKeyId root_key,
                                    const DataKeyTerms& terms);
/// As alg 1 had it.
[[nodiscard]] Binding bind_secret_before(const SecretPlace& place, DataKeyId data_key);
[[nodiscard]] Binding bind_data_key_before(WorkspaceId workspace, DataKeyId data_key,
                                           RootKeyId root_key);

/// With a new salt and nonce. `key` has 32 bytes, the plaintext at most kSecretBytesMax.
[[nodiscard]] Sealed seal(const Secret& key, const Binding& binding, const Secret& plaintext);
/// The same with salt and nonce given: for known-answer tests, nothing else.
[[nodiscard]] Sealed seal_with(const Secret& key, const Binding& binding, const Secret& plaintext,
                               const std::array<std::uint8_t, 16>& salt,
                               const std::array<std::uint8_t, 24>& nonce);
/// Fails with bad_input (the first: unsupported):
///   "vault.sealed.unsupported"  another alg than this program knows
///   "vault.sealed.malformed"    a ciphertext that is too short or too long
///   "vault.sealed.refused"      another key, place or alg, other terms, or changed bytes; it does
///                               not say which
[[nodiscard]] Result<Secret> open(const Secret& key, const Binding& binding, const Sealed& sealed);

}  // namespace sluice::vault
