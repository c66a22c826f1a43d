#include "vault/secret.hpp"

#include <sodium.h>

#include <array>
#include <cstring>

#include "base/check.hpp"
#include "base/error.hpp"
#include "vault/sodium.hpp"

namespace sluice::vault {

Secret::Secret(std::size_t size) : size_(size) {
  if (size == 0) return;
  require_sodium();
  data_ = static_cast<std::uint8_t*>(sodium_malloc(size));
  if (data_ == nullptr) {
    throw Failure(Error(ErrorKind::internal, "vault.memory",
                        fmt::format("no guarded memory for {} bytes of a secret", size),
                        "The machine is out of memory, or vm.max_map_count is too small"));
  }
  std::memset(data_, 0, size);
}

Secret::~Secret() { sodium_free(data_); }

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    sodium_free(data_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void Secret::seal() {
  if (data_ != nullptr) SLUICE_INVARIANT(sodium_mprotect_readonly(data_) == 0);
}

Secret Secret::take(std::string&& text) {
  Secret secret = copy_of(as_bytes(text));
  wipe(text);
  return secret;
}

Secret Secret::take(Bytes&& bytes) {
  Secret secret = copy_of(bytes);
  wipe(bytes);
  return secret;
}

Secret Secret::copy_of(ByteView bytes) {
  return make(bytes.size(),
              [&](std::span<std::uint8_t> memory) { std::ranges::copy(bytes, memory.begin()); });
}

Secret Secret::random(std::size_t size) {
  return make(
      size, [](std::span<std::uint8_t> memory) { randombytes_buf(memory.data(), memory.size()); });
}

bool Secret::equals(ByteView other) const {
  if (size_ != other.size()) return false;
  return size_ == 0 || sodium_memcmp(data_, other.data(), size_) == 0;
}

void wipe(std::string& text) {
  text.resize(text.capacity());  // within the capacity: stays where it is
  sodium_memzero(text.data(), text.size());
  text.clear();
}

void wipe(Bytes& bytes) {
  bytes.resize(bytes.capacity());
  sodium_memzero(bytes.data(), bytes.size());
  bytes.clear();
}

Fingerprint Fingerprint::of(const Secret& value, const Secret& data_key) {
  constexpr std::string_view kPersonal = "SluiceFingerV1__";
  static_assert(kPersonal.size() == crypto_generichash_blake2b_PERSONALBYTES);
  const std::array<std::uint8_t, crypto_generichash_blake2b_SALTBYTES> no_salt{};
  const Secret key = Secret::make(32, [&](std::span<std::uint8_t> out) {
    const auto exposed = data_key.expose();
    SLUICE_INVARIANT(crypto_generichash_blake2b_salt_personal(
                         out.data(), out.size(), nullptr, 0, exposed.data(), exposed.size(),
                         no_salt.data(), as_bytes(kPersonal).data()) == 0);
  });
  std::array<std::uint8_t, 16> digest{};
  SLUICE_INVARIANT(crypto_generichash_blake2b(digest.data(), digest.size(), value.expose().data(),
                                              value.size(), key.expose().data(), key.size()) == 0);
  Fingerprint fingerprint;
  for (std::size_t i = 0; i < 8; ++i) fingerprint.bits = fingerprint.bits << 8 | digest[i];
  return fingerprint;
}

std::string Fingerprint::to_string() const { return fmt::format("{:016x}", bits); }

}  // namespace sluice::vault
