#include "vault/format.hpp"

#include <gtest/gtest.h>
#include <sodium.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "vault/root_key.hpp"

namespace sluice::vault {
namespace {

using nlohmann::json;

Bytes hex(const json& vector, const char* name) {
  return *from_hex(vector.at(name).get<std::string>());
}
Secret secret_hex(const json& vector, const char* name) {
  return Secret::copy_of(hex(vector, name));
}

template <std::size_t N>
std::array<std::uint8_t, N> fixed(const json& vector, const char* name) {
  const Bytes bytes = hex(vector, name);
  std::array<std::uint8_t, N> out{};
  EXPECT_EQ(bytes.size(), N);
  std::copy_n(bytes.begin(), std::min(N, bytes.size()), out.begin());
  return out;
}

const json& vectors() {
  static const json all =
      json::parse(std::ifstream(SLUICE_SOURCE_DIR "/tests/unit/vault/vectors.json"));
  return all;
}

Sealed sealed_of(const json& vector) {
  Sealed sealed;
  sealed.salt = fixed<16>(vector, "salt");
  sealed.nonce = fixed<24>(vector, "nonce");
  sealed.commitment = fixed<32>(vector, "commitment");
  sealed.ciphertext = hex(vector, "ciphertext");
  return sealed;
}

SecretPlace place_of(const json& vector) {
  return {WorkspaceId(vector.at("workspace")), ConnectionId(vector.at("connection")),
          vector.at("name"), vector.at("version")};
}

/// Both directions: what we make is the vector, and the vector opens.
void expect_frozen(const json& vector, const Secret& key, const Binding& binding) {
  EXPECT_EQ(to_hex(binding.aad), vector.at("aad"));
  const Sealed frozen = sealed_of(vector);
  const Secret plaintext = secret_hex(vector, "plaintext");
  const Sealed made = seal_with(key, binding, plaintext, frozen.salt, frozen.nonce);
  EXPECT_EQ(to_hex(made.ciphertext), vector.at("ciphertext"));
  EXPECT_EQ(to_hex(made.commitment), vector.at("commitment"));
  const auto opened = open(key, binding, frozen);
  ASSERT_TRUE(opened.has_value()) << opened.error().describe();
  EXPECT_TRUE(opened->equals(plaintext));
}

TEST(VaultFormat, SecretsAreTheFrozenVectors) {
  ASSERT_GE(vectors().at("secrets").size(), 40U);
  for (const json& vector : vectors().at("secrets")) {
    SCOPED_TRACE(vector.dump());
    const Secret key = secret_hex(vector, "data_key");
    expect_frozen(vector, key, bind_secret(place_of(vector), DataKeyId(vector.at("data_key_id"))));
    EXPECT_EQ(Fingerprint::of(secret_hex(vector, "plaintext"), key).to_string(),
              vector.at("fingerprint"));
  }
}

TEST(VaultFormat, WrappedDataKeysAreTheFrozenVectors) {
  ASSERT_GE(vectors().at("data_keys").size(), 24U);
  for (const json& vector : vectors().at("data_keys")) {
    SCOPED_TRACE(vector.dump());
    const std::string line = vector.at("root_key_line");
    const auto ring = RootKeyring::parse(Secret::copy_of(as_bytes(line)), "vector");
    ASSERT_TRUE(ring.has_value()) << ring.error().describe();
    EXPECT_EQ(ring->current().id.to_string(), vector.at("root_key_id"));
    EXPECT_TRUE(ring->current().bytes.equals(hex(vector, "root_key")));
    expect_frozen(vector, ring->current().bytes,
                  bind_data_key(WorkspaceId(vector.at("workspace")),
                                DataKeyId(vector.at("data_key_id")), ring->current().id));
  }
}

struct Example {
  Secret key = Secret::random(32);
  SecretPlace place{WorkspaceId(3), ConnectionId(5), "api_key", 2};
  DataKeyId data_key{7};
  Binding binding = bind_secret(place, data_key);
  Sealed sealed = seal(key, binding, Secret::copy_of(as_bytes("sk_test_value")));
};

void expect_refused(const Secret& key, const Binding& binding, const Sealed& sealed,
                    const char* code) {
  const auto opened = open(key, binding, sealed);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, code);
}

template <class Container>
void expect_every_bit_counts(const Secret& key, const Binding& binding, Sealed& sealed,
                             Container& field) {
  for (std::size_t bit = 0; bit < field.size() * 8; ++bit) {
    SCOPED_TRACE(fmt::format("bit {}", bit));
    const auto mask = static_cast<std::uint8_t>(1U << bit % 8);
    field[bit / 8] = static_cast<std::uint8_t>(field[bit / 8] ^ mask);
    expect_refused(key, binding, sealed, "vault.sealed.refused");
    field[bit / 8] = static_cast<std::uint8_t>(field[bit / 8] ^ mask);
  }
  EXPECT_TRUE(open(key, binding, sealed).has_value());
}

TEST(VaultFormat, RefusesEveryFlippedBitOfEveryStoredField) {
  for (const std::string value :
       {"", "x", "sk_test_value", "exactly 16 bytes", "seventeen bytes.."}) {
    Example example;
    example.sealed = seal(example.key, example.binding, Secret::copy_of(as_bytes(value)));
    Sealed& sealed = example.sealed;
    expect_every_bit_counts(example.key, example.binding, sealed, sealed.salt);
    expect_every_bit_counts(example.key, example.binding, sealed, sealed.nonce);
    expect_every_bit_counts(example.key, example.binding, sealed, sealed.commitment);
    expect_every_bit_counts(example.key, example.binding, sealed, sealed.ciphertext);
  }
}

TEST(VaultFormat, RefusesEveryFlippedBitOfTheKeyAndOfTheAad) {
  Example example;
  expect_every_bit_counts(example.key, example.binding, example.sealed, example.binding.aad);
  Bytes raw(example.key.expose().begin(), example.key.expose().end());
  for (std::size_t bit = 0; bit < raw.size() * 8; ++bit) {
    Bytes changed = raw;
    changed[bit / 8] = static_cast<std::uint8_t>(changed[bit / 8] ^ 1U << bit % 8);
    expect_refused(Secret::take(std::move(changed)), example.binding, example.sealed,
                   "vault.sealed.refused");
  }
}

TEST(VaultFormat, RefusesEveryOtherPlace) {
  const Example example;
  const auto refused_at = [&](const SecretPlace& place, DataKeyId data_key) {
    expect_refused(example.key, bind_secret(place, data_key), example.sealed,
                   "vault.sealed.refused");
  };
  for (int bit = 0; bit < 64; ++bit) {
    const auto flip = static_cast<std::int64_t>(1ULL << bit);
    SecretPlace place = example.place;
    place.workspace.value ^= flip;
    refused_at(place, example.data_key);
    place = example.place;
    place.connection.value ^= flip;
    refused_at(place, example.data_key);
    place = example.place;
    place.version ^= flip;
    refused_at(place, example.data_key);
    refused_at(example.place, DataKeyId(example.data_key.value ^ flip));
  }
  for (std::size_t bit = 0; bit < example.place.name.size() * 8; ++bit) {
    SecretPlace place = example.place;
    place.name[bit / 8] = static_cast<char>(place.name[bit / 8] ^ 1 << bit % 8);
    refused_at(place, example.data_key);
  }
  SecretPlace longer = example.place;
  longer.name += 'x';
  refused_at(longer, example.data_key);
  SecretPlace shorter = example.place;
  shorter.name.pop_back();
  refused_at(shorter, example.data_key);
}

TEST(VaultFormat, AWrappedKeyIsBoundToWorkspaceNumberAndRootKey) {
  const Secret root = Secret::random(32);
  const WorkspaceId workspace(4);
  const DataKeyId id(2);
  const RootKeyId root_id = RootKeyId::of(root);
  const Sealed sealed = seal(root, bind_data_key(workspace, id, root_id), Secret::random(32));
  EXPECT_TRUE(open(root, bind_data_key(workspace, id, root_id), sealed).has_value());
  for (int bit = 0; bit < 64; ++bit) {
    const auto flip = static_cast<std::int64_t>(1ULL << bit);
    expect_refused(root, bind_data_key(WorkspaceId(4 ^ flip), id, root_id), sealed,
                   "vault.sealed.refused");
    expect_refused(root, bind_data_key(workspace, DataKeyId(2 ^ flip), root_id), sealed,
                   "vault.sealed.refused");
    const RootKeyId other{root_id.value ^ static_cast<std::uint32_t>(1U << bit % 32)};
    expect_refused(root, bind_data_key(workspace, id, other), sealed, "vault.sealed.refused");
  }
}

TEST(VaultFormat, AWrappedKeyIsNoSecretEvenUnderTheSameBytes) {
  const Secret key = Secret::random(32);
  Binding as_secret = bind_secret({WorkspaceId(4), ConnectionId(), "", 2}, DataKeyId(2));
  const Binding as_key = bind_data_key(WorkspaceId(4), DataKeyId(2), RootKeyId{1});
  const Sealed sealed = seal(key, as_key, Secret::random(32));
  expect_refused(key, as_secret, sealed, "vault.sealed.refused");
  as_secret.aad = as_key.aad;  // only the personalisation differs now
  expect_refused(key, as_secret, sealed, "vault.sealed.refused");
}

TEST(VaultFormat, RefusesEveryTruncationAndExtension) {
  const Example example;
  for (std::size_t size = 0; size < example.sealed.ciphertext.size(); ++size) {
    Sealed cut = example.sealed;
    cut.ciphertext.resize(size);
    expect_refused(example.key, example.binding, cut,
                   size < kTagBytes ? "vault.sealed.malformed" : "vault.sealed.refused");
  }
  Sealed longer = example.sealed;
  longer.ciphertext.push_back(0);
  expect_refused(example.key, example.binding, longer, "vault.sealed.refused");
  longer.ciphertext.resize(kSecretBytesMax + kTagBytes + 1);
  expect_refused(example.key, example.binding, longer, "vault.sealed.malformed");
}

TEST(VaultFormat, RefusesAnotherAlgorithm) {
  Example example;
  for (int alg = 0; alg < 256; ++alg) {
    if (alg == kAlg) continue;
    example.sealed.alg = static_cast<std::uint8_t>(alg);
    expect_refused(example.key, example.binding, example.sealed, "vault.sealed.unsupported");
  }
}

// A forger who knows one key can make Poly1305 agree under a second key; the commitment is what he
// cannot.
TEST(VaultFormat, AGoodTagWithoutAGoodCommitmentIsRefused) {
  Example example;
  std::array<std::uint8_t, 64> keys{};
  ASSERT_EQ(crypto_generichash_blake2b_salt_personal(
                keys.data(), keys.size(), nullptr, 0, example.key.expose().data(), 32,
                example.sealed.salt.data(), as_bytes("SluiceSecretV1__").data()),
            0);
  const std::string forged = "forged";
  example.sealed.ciphertext.resize(forged.size() + kTagBytes);
  ASSERT_EQ(crypto_aead_xchacha20poly1305_ietf_encrypt(
                example.sealed.ciphertext.data(), nullptr, as_bytes(forged).data(), forged.size(),
                example.binding.aad.data(), example.binding.aad.size(), nullptr,
                example.sealed.nonce.data(), keys.data()),
            0);
  expect_refused(example.key, example.binding, example.sealed, "vault.sealed.refused");
}

TEST(VaultFormat, SealsTheSameValueDifferentlyEachTime) {
  const Example one;
  const Secret value = Secret::copy_of(as_bytes("sk_test_value"));
  const Sealed two = seal(one.key, one.binding, value), three = seal(one.key, one.binding, value);
  EXPECT_NE(two.salt, three.salt);
  EXPECT_NE(two.nonce, three.nonce);
  EXPECT_NE(two.ciphertext, three.ciphertext);
}

TEST(VaultFormat, SealsUpToTheLimit) {
  const Example example;
  const Secret value = Secret::random(kSecretBytesMax);
  const auto opened = open(example.key, example.binding, seal(example.key, example.binding, value));
  ASSERT_TRUE(opened.has_value());
  EXPECT_TRUE(opened->equals(value));
}

}  // namespace
}  // namespace sluice::vault
