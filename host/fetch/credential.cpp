#include "fetch/credential.hpp"

#include <sodium.h>

#include <cstring>

namespace sluice::fetch {

Credential::Credential(std::string_view bytes)
    : bytes_(std::make_unique<char[]>(bytes.size() + 1)), size_(bytes.size()) {
  if (!bytes.empty()) std::memcpy(bytes_.get(), bytes.data(), bytes.size());
}

Credential::~Credential() { wipe(); }

Credential::Credential(Credential&& other) noexcept
    : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Credential& Credential::operator=(Credential&& other) noexcept {
  if (this != &other) {
    wipe();
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void Credential::wipe() noexcept {
  if (bytes_) sodium_memzero(bytes_.get(), size_);
  bytes_.reset();
  size_ = 0;
}

}  // namespace sluice::fetch
