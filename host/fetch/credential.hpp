// Where fetch gets the secret of a request from. sync/ adapts the vault to it; tests hand out
// constants.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/async.hpp"
#include "base/error.hpp"

namespace sluice::fetch {

/// The bytes of one secret, for as long as one request needs them. Move-only, never printed, wiped
/// when it ends. Owner: the coroutine that sends the request.
class Credential {
 public:
  Credential() = default;
  /// Copies the bytes. The caller wipes its own copy.
  explicit Credential(std::string_view bytes);
  ~Credential();
  Credential(Credential&& other) noexcept;
  Credential& operator=(Credential&& other) noexcept;
  Credential(const Credential&) = delete;
  Credential& operator=(const Credential&) = delete;

  /// Valid until this object is moved from or destroyed. Do not keep, log or copy it into an Error.
  [[nodiscard]] std::string_view reveal() const { return {bytes_.get(), size_}; }

 private:
  void wipe() noexcept;

  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
};

/// Which secret a request is to carry, and where to.
struct SecretUse {
  SecretUse(std::string secret_name, std::string url, std::string put_on)
      : name(std::move(secret_name)), to(std::move(url)), as(std::move(put_on)) {}
  std::string name;  ///< AuthSlot::secret: "api_key"
  std::string to;    ///< Destination::url(): "https://api.stripe.com"
  std::string as;    ///< put_on_as(): "bearer"
};

/// During a rotation a secret has two usable versions: the one in force and, for a while, the one
/// before.
enum class CredentialVersion { current, previous };

/// Answers with a secret of ONE connection. Called on the loop thread, once per attempt at most.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  /// ErrorKind::not_found: no such secret, or (previous) no version before the current one that is
  /// still valid. Any other error: it is not for this use.
  virtual Task<Result<Credential>> credential(SecretUse use, CredentialVersion version) = 0;
};

}  // namespace sluice::fetch
