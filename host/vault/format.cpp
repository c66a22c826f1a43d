#include "vault/format.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include <cstring>

#include "base/check.hpp"
#include "vault/sodium.hpp"

namespace sluice::vault {
namespace {

constexpr std::string_view kPersonalSecret = "SluiceSecretV2__";
constexpr std::string_view kPersonalDataKey = "SluiceDataKeyV2_";
constexpr std::string_view kPersonalSecretBefore = "SluiceSecretV1__";
constexpr std::string_view kPersonalDataKeyBefore = "SluiceDataKeyV1_";
constexpr std::string_view kPersonalRootKeyId = "SluiceRootKeyId_";
constexpr std::uint8_t kKindSecret = 1;
constexpr std::uint8_t kKindDataKey = 2;

static_assert(crypto_generichash_blake2b_PERSONALBYTES == 16 && kPersonalSecret.size() == 16 &&
              kPersonalDataKey.size() == 16 && kPersonalSecretBefore.size() == 16 &&
              kPersonalDataKeyBefore.size() == 16 && kPersonalRootKeyId.size() == 16);
static_assert(crypto_generichash_blake2b_SALTBYTES == std::tuple_size_v<decltype(Sealed::salt)>);
static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES ==
              std::tuple_size_v<decltype(Sealed::nonce)>);
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == kTagBytes);
static_assert(crypto_auth_hmacsha512256_BYTES == std::tuple_size_v<decltype(Sealed::commitment)>);

template <class Integer>
void append(Bytes& out, Integer value) {  // big-endian
  using Bits = std::make_unsigned_t<Integer>;
  for (int shift = (static_cast<int>(sizeof value) - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::uint8_t>(static_cast<Bits>(value) >> shift));
  }
}

void append_text(Bytes& out, std::string_view text) {
  out.insert(out.end(), text.begin(), text.end());
}

Bytes aad_of(std::uint8_t alg, std::uint8_t kind, const SecretPlace& place, DataKeyId data_key) {
  SLUICE_INVARIANT(place.name.size() <= kSecretNameBytesMax);
  Bytes aad;
  append_text(aad, alg == kAlg ? "SLC2" : "SLC1");
  append(aad, alg);
  append(aad, kind);
  append(aad, place.workspace.value);
  append(aad, place.connection.value);
  append(aad, static_cast<std::uint16_t>(place.name.size()));
  append_text(aad, place.name);
  append(aad, place.version);
  append(aad, data_key.value);
  return aad;
}

/// k_enc ‖ k_com.
class RowKeys {
 public:
  RowKeys(const Secret& key, std::string_view personal, const std::array<std::uint8_t, 16>& salt)
      : both_(Secret::make(2 * kKeyBytes, [&](std::span<std::uint8_t> out) {
          SLUICE_INVARIANT(key.size() == kKeyBytes && personal.size() == 16);
          SLUICE_INVARIANT(crypto_generichash_blake2b_salt_personal(
                               out.data(), out.size(), nullptr, 0, key.expose().data(), key.size(),
                               salt.data(), as_bytes(personal).data()) == 0);
        })) {}
  [[nodiscard]] const std::uint8_t* encryption() const { return both_.expose().data(); }
  [[nodiscard]] const std::uint8_t* commitment() const { return both_.expose().data() + kKeyBytes; }

 private:
  Secret both_;
};

std::array<std::uint8_t, 32> commit(const RowKeys& keys, const Bytes& aad, const Sealed& sealed) {
  Bytes length;
  append(length, static_cast<std::uint64_t>(aad.size()));
  crypto_auth_hmacsha512256_state state;
  crypto_auth_hmacsha512256_init(&state, keys.commitment(), kKeyBytes);
  const auto update = [&](ByteView bytes) {
    crypto_auth_hmacsha512256_update(&state, bytes.data(), bytes.size());
  };
  update(length);
  update(aad);
  update(sealed.salt);
  update(sealed.nonce);
  update(sealed.ciphertext);
  std::array<std::uint8_t, 32> commitment{};
  crypto_auth_hmacsha512256_final(&state, commitment.data());
  sodium_memzero(&state, sizeof state);
  return commitment;
}

std::unexpected<Error> refused() {
  return fail(
      ErrorKind::bad_input, "vault.sealed.refused",
      "the stored bytes do not open: they were sealed with another key or for another place, "
      "or were changed since");
}

}  // namespace

RootKeyId RootKeyId::of(const Secret& root_key) {
  SLUICE_INVARIANT(root_key.size() == kKeyBytes);
  const std::array<std::uint8_t, 16> no_salt{};
  std::array<std::uint8_t, 16> digest{};
  SLUICE_INVARIANT(crypto_generichash_blake2b_salt_personal(
                       digest.data(), digest.size(), nullptr, 0, root_key.expose().data(),
                       root_key.size(), no_salt.data(), as_bytes(kPersonalRootKeyId).data()) == 0);
  RootKeyId id;
  for (std::size_t i = 0; i < 4; ++i) id.value = id.value << 8 | digest[i];
  return id;
}

std::optional<RootKeyId> RootKeyId::from_hex(std::string_view text) {
  if (text.size() != 8) return std::nullopt;
  RootKeyId id;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    id.value = id.value << 4 | static_cast<std::uint32_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return id;
}

std::string RootKeyId::to_string() const { return fmt::format("{:08x}", value); }

Binding bind_secret(const SecretPlace& place, DataKeyId data_key, const SecretTerms& terms) {
  SLUICE_INVARIANT(terms.state != SecretState::revoked);
  Binding binding{kAlg, kPersonalSecret, aad_of(kAlg, kKindSecret, place, data_key)};
  append(binding.aad, static_cast<std::uint8_t>(1 + static_cast<int>(terms.state)));
  append(binding.aad, terms.valid_until ? std::int64_t{terms.valid_until->count()} : 0);
  append(binding.aad, static_cast<std::uint32_t>(terms.bound_to.size()));
  append_text(binding.aad, terms.bound_to);
  return binding;
}

Binding bind_data_key(WorkspaceId workspace, DataKeyId data_key, RootKeyId root_key,
                      const DataKeyTerms& terms) {
  const SecretPlace place{workspace, ConnectionId{}, "", data_key.value};
  Binding binding{kAlg, kPersonalDataKey, aad_of(kAlg, kKindDataKey, place, data_key)};
  append(binding.aad, root_key.value);
  append(binding.aad, static_cast<std::uint8_t>(1 + static_cast<int>(terms.state)));
  append(binding.aad, terms.oldest_alg);
  append(binding.aad, terms.generation);
  append(binding.aad, std::int64_t{terms.as_of.count()});
  binding.aad.insert(binding.aad.end(), terms.ledger_digest.begin(), terms.ledger_digest.end());
  return binding;
}

Binding bind_secret_before(const SecretPlace& place, DataKeyId data_key) {
  return {kAlgBefore, kPersonalSecretBefore, aad_of(kAlgBefore, kKindSecret, place, data_key)};
}

Binding bind_data_key_before(WorkspaceId workspace, DataKeyId data_key, RootKeyId root_key) {
  const SecretPlace place{workspace, ConnectionId{}, "", data_key.value};
  Binding binding{kAlgBefore, kPersonalDataKeyBefore,
                  aad_of(kAlgBefore, kKindDataKey, place, data_key)};
  append(binding.aad, root_key.value);
  return binding;
}

Sealed seal(const Secret& key, const Binding& binding, const Secret& plaintext) {
  require_sodium();
  std::array<std::uint8_t, 16> salt{};
  std::array<std::uint8_t, 24> nonce{};
  randombytes_buf(salt.data(), salt.size());
  randombytes_buf(nonce.data(), nonce.size());
  return seal_with(key, binding, plaintext, salt, nonce);
}

Sealed seal_with(const Secret& key, const Binding& binding, const Secret& plaintext,
                 const std::array<std::uint8_t, 16>& salt,
                 const std::array<std::uint8_t, 24>& nonce) {
  SLUICE_INVARIANT(plaintext.size() <= kSecretBytesMax);
  const RowKeys keys(key, binding.personal, salt);
  Sealed sealed;
  sealed.alg = binding.alg;
  sealed.salt = salt;
  sealed.nonce = nonce;
  sealed.ciphertext.resize(plaintext.size() + kTagBytes);
  unsigned long long written = 0;
  SLUICE_INVARIANT(crypto_aead_xchacha20poly1305_ietf_encrypt(
                       sealed.ciphertext.data(), &written, plaintext.expose().data(),
                       plaintext.size(), binding.aad.data(), binding.aad.size(), nullptr,
                       sealed.nonce.data(), keys.encryption()) == 0);
  SLUICE_INVARIANT(written == sealed.ciphertext.size());
  sealed.commitment = commit(keys, binding.aad, sealed);
  return sealed;
}

Result<Secret> open(const Secret& key, const Binding& binding, const Sealed& sealed) {
  if (sealed.alg > kAlg) {
    return fail(ErrorKind::unsupported, "vault.sealed.unsupported",
                fmt::format("sealed with algorithm {}; this program knows {}", sealed.alg, kAlg),
                "A newer Sluice wrote it: run that version");
  }
  if (sealed.alg != binding.alg) return refused();
  if (sealed.ciphertext.size() < kTagBytes ||
      sealed.ciphertext.size() > kSecretBytesMax + kTagBytes) {
    return fail(ErrorKind::bad_input, "vault.sealed.malformed",
                fmt::format("{} bytes of ciphertext; it has {} to {}", sealed.ciphertext.size(),
                            kTagBytes, kSecretBytesMax + kTagBytes));
  }
  const RowKeys keys(key, binding.personal, sealed.salt);
  const auto expected = commit(keys, binding.aad, sealed);
  if (sodium_memcmp(expected.data(), sealed.commitment.data(), expected.size()) != 0)
    return refused();
  bool authentic = false;
  const std::size_t size = sealed.ciphertext.size() - kTagBytes;
  Secret plaintext = Secret::make(size, [&](std::span<std::uint8_t> out) {
    authentic =
        crypto_aead_xchacha20poly1305_ietf_decrypt(
            out.data(), nullptr, nullptr, sealed.ciphertext.data(), sealed.ciphertext.size(),
            binding.aad.data(), binding.aad.size(), sealed.nonce.data(), keys.encryption()) == 0;
  });
  if (!authentic) return refused();
  return plaintext;
}

}  // namespace sluice::vault
