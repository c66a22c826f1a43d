#include "vault/format.hpp"

#include <gtest/gtest.h>
#include <sodium.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "vault/ledger.hpp"
#include "vault/purpose.hpp"
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
      json::parse(std::ifstream(SLUICE_SOURCE_DIR "/tests/unit/vault/vectors_2.json"));
  return all;
}

/// Of alg 1.
const json& vectors_before() {
  static const json all =
      json::parse(std::ifstream(SLUICE_SOURCE_DIR "/tests/unit/vault/vectors.json"));
  return all;
}

Sealed sealed_of(const json& vector) {
  Sealed sealed;
  sealed.alg = vector.at("aad").get<std::string>().starts_with("534c4331") ? kAlgBefore : kAlg;
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

Purpose purpose_of(const json& vector) {
  if (vector.contains("use")) return Purpose::of_use(vector.at("use"));
  Purpose purpose = Purpose::of_connector(vector.at("connector"));
  for (const json& to : vector.at("to")) purpose.may_go_to(to);
  for (const json& as : vector.at("as")) purpose.may_be_put_on_as(as);
  purpose.over_loopback(vector.at("loopback"));
  purpose.over_private_networks(vector.at("private_networks"));
  return purpose;
}

SecretTerms terms_of(const json& vector) {
  static const std::map<std::string, SecretState> kStates = {{"pending", SecretState::pending},
                                                             {"current", SecretState::current},
                                                             {"previous", SecretState::previous}};
  SecretTerms terms;
  terms.state = kStates.at(vector.at("state"));
  if (const std::int64_t until = vector.at("valid_until"); until != 0)
    terms.valid_until = Micros(until);
  terms.bound_to = vector.at("bound_to");
  return terms;
}

DataKeyTerms key_terms_of(const json& vector) {
  static const std::map<std::string, DataKeyState> kStates = {
      {"pending", DataKeyState::pending},
      {"active", DataKeyState::active},
      {"decrypt_only", DataKeyState::decrypt_only},
      {"retired", DataKeyState::retired}};
  DataKeyTerms terms;
  terms.state = kStates.at(vector.at("state"));
  terms.oldest_alg = vector.at("oldest_alg");
  terms.generation = vector.at("generation");
  terms.as_of = Micros(vector.at("as_of").get<std::int64_t>());
  terms.ledger_digest = fixed<32>(vector, "ledger_digest");
  return terms;
}

TEST(VaultFormat, SecretsWithDestinationsAndWithUsesAreTheFrozenVectors) {
  std::map<std::string, int> kinds;
  for (const json& vector : vectors().at("secrets")) {
    SCOPED_TRACE(vector.dump());
    ++kinds[vector.at("purpose").contains("use") ? "use" : "destinations"];
    const Purpose purpose = purpose_of(vector.at("purpose"));
    EXPECT_EQ(purpose.text(), vector.at("bound_to"));
    EXPECT_EQ(Purpose::parse(purpose.text()), purpose);
    expect_frozen(
        vector, secret_hex(vector, "data_key"),
        bind_secret(place_of(vector), DataKeyId(vector.at("data_key_id")), terms_of(vector)));
  }
  EXPECT_GE(kinds["destinations"], 30);
  EXPECT_GE(kinds["use"], 20);
}

TEST(VaultFormat, DataKeysAreTheFrozenVectors) {
  ASSERT_GE(vectors().at("data_keys").size(), 24U);
  for (const json& vector : vectors().at("data_keys")) {
    SCOPED_TRACE(vector.dump());
    const Secret root = secret_hex(vector, "root_key");
    const RootKeyId id = RootKeyId::of(root);
    EXPECT_EQ(id.to_string(), vector.at("root_key_id"));
    expect_frozen(vector, root,
                  bind_data_key(WorkspaceId(vector.at("workspace")),
                                DataKeyId(vector.at("data_key_id")), id, key_terms_of(vector)));
  }
}

TEST(VaultFormat, LedgersAreTheFrozenVectors) {
  ASSERT_GE(vectors().at("ledgers").size(), 8U);
  for (const json& vector : vectors().at("ledgers")) {
    SCOPED_TRACE(vector.dump());
    Ledger ledger;
    for (const json& entry : vector.at("entries")) {
      std::vector<LedgerVersion> versions;
      for (const json& one : entry.at("versions")) {
        versions.push_back({one.at("version"), fixed<32>(one, "commitment")});
      }
      const std::string name = entry.at("name");
      const ConnectionId connection(entry.at("connection"));
      ledger.set(connection, name, versions);
      ASSERT_NE(ledger.find(connection, name), nullptr);
      EXPECT_EQ(to_hex(*ledger.find(connection, name)), entry.at("head"));
    }
    EXPECT_EQ(to_hex(ledger.bytes()), vector.at("bytes"));
    EXPECT_EQ(to_hex(Ledger::digest(ledger.bytes())), vector.at("digest"));
    const auto read = Ledger::parse(hex(vector, "bytes"));
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->all(), ledger.all());
  }
}

TEST(VaultFormat, ALedgerThatIsCutIsNone) {
  const Bytes whole = hex(vectors().at("ledgers").back(), "bytes");
  std::set<std::size_t> ends;  // of its entries
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto read = Ledger::parse(ByteView(whole).first(size));
    if (!read) continue;
    ends.insert(read->all().size());
    EXPECT_EQ(read->bytes().size(), size);
  }
  EXPECT_EQ(ends.size(), vectors().at("ledgers").back().at("entries").size());
}

TEST(VaultFormat, SecretsOfTheFormatBeforeAreItsFrozenVectors) {
  ASSERT_GE(vectors_before().at("secrets").size(), 40U);
  for (const json& vector : vectors_before().at("secrets")) {
    SCOPED_TRACE(vector.dump());
    const Secret key = secret_hex(vector, "data_key");
    expect_frozen(vector, key,
                  bind_secret_before(place_of(vector), DataKeyId(vector.at("data_key_id"))));
    EXPECT_EQ(Fingerprint::of(secret_hex(vector, "plaintext"), key).to_string(),
              vector.at("fingerprint"));
  }
}

TEST(VaultFormat, DataKeysOfTheFormatBeforeAreItsFrozenVectors) {
  ASSERT_GE(vectors_before().at("data_keys").size(), 24U);
  for (const json& vector : vectors_before().at("data_keys")) {
    SCOPED_TRACE(vector.dump());
    const std::string line = vector.at("root_key_line");
    const auto ring = RootKeyring::parse(Secret::copy_of(as_bytes(line)), "vector");
    ASSERT_TRUE(ring.has_value()) << ring.error().describe();
    EXPECT_EQ(ring->current().id.to_string(), vector.at("root_key_id"));
    EXPECT_TRUE(ring->current().bytes.equals(hex(vector, "root_key")));
    expect_frozen(vector, ring->current().bytes,
                  bind_data_key_before(WorkspaceId(vector.at("workspace")),
                                       DataKeyId(vector.at("data_key_id")), ring->current().id));
  }
}

SecretTerms terms() {
  SecretTerms made;
  made.state = SecretState::previous;
  made.valid_until = Micros(1'790'000'000'123'456);
  made.bound_to = "connector stripe\nto https://api.stripe.com\nas bearer\n";
  return made;
}

struct Example {
  Secret key = Secret::random(32);
  SecretPlace place{WorkspaceId(3), ConnectionId(5), "api_key", 2};
  DataKeyId data_key{7};
  Binding binding = bind_secret(place, data_key, terms());
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
    expect_refused(example.key, bind_secret(place, data_key, terms()), example.sealed,
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

TEST(VaultFormat, RefusesOtherTerms) {
  const Example example;
  const std::vector<std::pair<const char*, std::function<void(SecretTerms&)>>> changes = {
      {"current again", [](SecretTerms& one) { one.state = SecretState::current; }},
      {"current for ever",
       [](SecretTerms& one) {
         one.state = SecretState::current;
         one.valid_until.reset();
       }},
      {"pending", [](SecretTerms& one) { one.state = SecretState::pending; }},
      {"longer valid", [](SecretTerms& one) { *one.valid_until += Micros(1); }},
      {"without an end", [](SecretTerms& one) { one.valid_until.reset(); }},
      {"another host", [](SecretTerms& one) { one.bound_to.replace(21, 3, "http"); }},
      {"one host more", [](SecretTerms& one) { one.bound_to += "to https://evil.example\n"; }},
      {"for a use", [](SecretTerms& one) { one.bound_to = "use webhook.signature\n"; }},
      {"for nothing", [](SecretTerms& one) { one.bound_to.clear(); }},
  };
  for (const auto& [what, change] : changes) {
    SCOPED_TRACE(what);
    SecretTerms other = terms();
    change(other);
    expect_refused(example.key, bind_secret(example.place, example.data_key, other), example.sealed,
                   "vault.sealed.refused");
  }
  expect_refused(example.key, bind_secret_before(example.place, example.data_key), example.sealed,
                 "vault.sealed.refused");
}

TEST(VaultFormat, AWrappedKeyIsBoundToItsTerms) {
  const Secret root = Secret::random(32);
  const RootKeyId root_id = RootKeyId::of(root);
  const DataKeyTerms good;
  const auto bound = [&](const DataKeyTerms& one) {
    return bind_data_key(WorkspaceId(4), DataKeyId(2), root_id, one);
  };
  const Sealed sealed = seal(root, bound(good), Secret::random(32));
  EXPECT_TRUE(open(root, bound(good), sealed).has_value());
  const std::vector<std::function<void(DataKeyTerms&)>> changes = {
      [](DataKeyTerms& one) { one.state = DataKeyState::decrypt_only; },
      [](DataKeyTerms& one) { one.oldest_alg = kAlgBefore; },
      [](DataKeyTerms& one) { ++one.generation; },
      [](DataKeyTerms& one) { one.as_of += Micros(1); },
      [](DataKeyTerms& one) { one.ledger_digest[31] ^= 1; },
  };
  for (const auto& change : changes) {
    DataKeyTerms other = good;
    change(other);
    expect_refused(root, bound(other), sealed, "vault.sealed.refused");
  }
}

TEST(VaultFormat, AWrappedKeyIsBoundToWorkspaceNumberAndRootKey) {
  const Secret root = Secret::random(32);
  const WorkspaceId workspace(4);
  const DataKeyId id(2);
  const RootKeyId root_id = RootKeyId::of(root);
  const Sealed sealed = seal(root, bind_data_key(workspace, id, root_id, {}), Secret::random(32));
  EXPECT_TRUE(open(root, bind_data_key(workspace, id, root_id, {}), sealed).has_value());
  for (int bit = 0; bit < 64; ++bit) {
    const auto flip = static_cast<std::int64_t>(1ULL << bit);
    expect_refused(root, bind_data_key(WorkspaceId(4 ^ flip), id, root_id, {}), sealed,
                   "vault.sealed.refused");
    expect_refused(root, bind_data_key(workspace, DataKeyId(2 ^ flip), root_id, {}), sealed,
                   "vault.sealed.refused");
    const RootKeyId other{root_id.value ^ static_cast<std::uint32_t>(1U << bit % 32)};
    expect_refused(root, bind_data_key(workspace, id, other, {}), sealed, "vault.sealed.refused");
  }
}

TEST(VaultFormat, AWrappedKeyIsNoSecretEvenUnderTheSameBytes) {
  const Secret key = Secret::random(32);
  Binding as_secret = bind_secret({WorkspaceId(4), ConnectionId(), "", 2}, DataKeyId(2), {});
  const Binding as_key = bind_data_key(WorkspaceId(4), DataKeyId(2), RootKeyId{1}, {});
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
    expect_refused(example.key, example.binding, example.sealed,
                   alg > kAlg ? "vault.sealed.unsupported" : "vault.sealed.refused");
  }
}

// A forger who knows one key can make Poly1305 agree under a second key; the commitment is what he
// cannot.
TEST(VaultFormat, AGoodTagWithoutAGoodCommitmentIsRefused) {
  Example example;
  std::array<std::uint8_t, 64> keys{};
  ASSERT_EQ(crypto_generichash_blake2b_salt_personal(
                keys.data(), keys.size(), nullptr, 0, example.key.expose().data(), 32,
                example.sealed.salt.data(), as_bytes("SluiceSecretV2__").data()),
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
