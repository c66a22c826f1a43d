// A value that must not be seen: held in guarded memory, impossible to print by accident.
#pragma once

#include <fmt/core.h>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.hpp"

namespace sluice::vault {

/// Bytes of a credential or a key. Lives in libsodium's guarded memory: locked into RAM where the
/// limit allows, left out of core dumps, between inaccessible pages, read-only once filled, wiped
/// when destroyed. Each one costs four pages or more, so hold few and briefly. Move-only: copying
/// is spelled out with clone(). It has no stream operator, no formatter and no conversion; the only
/// way to the bytes is expose(), so that a search for "expose" finds every place that sees a value.
///
/// What expose() returns must not outlive the Secret and must not be copied into a string that is
/// logged or kept. Any thread, as any value.
class Secret {
 public:
  /// Empty. A moved-from Secret is empty too.
  Secret() = default;

  /// Copies the text and wipes it where it was, with all its capacity; `text` is empty afterwards.
  /// Copies that a string made earlier while growing or moving are beyond reach: build it in one
  /// piece.
  [[nodiscard]] static Secret take(std::string&& text);
  [[nodiscard]] static Secret take(Bytes&& bytes);
  /// Copies; the source stays as it is.
  [[nodiscard]] static Secret copy_of(ByteView bytes);
  /// From libsodium's generator: never repeatable.
  [[nodiscard]] static Secret random(std::size_t size);
  /// `fill` writes into the memory while it is still writable; it starts as zeros.
  template <class Fill>
  [[nodiscard]] static Secret make(std::size_t size, Fill&& fill) {
    Secret secret(size);
    std::forward<Fill>(fill)(std::span<std::uint8_t>(secret.data_, secret.size_));
    secret.seal();
    return secret;
  }

  Secret(Secret&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  [[nodiscard]] Secret clone() const { return copy_of(expose()); }

  [[nodiscard]] ByteView expose() const { return {data_, size_}; }
  [[nodiscard]] std::string_view expose_text() const { return as_text(expose()); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  /// Takes the same time wherever the first difference is. Different lengths are told apart at
  /// once.
  [[nodiscard]] bool equals(ByteView other) const;
  [[nodiscard]] bool equals(const Secret& other) const { return equals(other.expose()); }
  bool operator==(const Secret&) const = delete;  // equals() says that it is constant-time

 private:
  explicit Secret(std::size_t size);  // throws Failure(internal, "vault.memory")
  void seal();

  std::uint8_t* data_ = nullptr;  // sodium_malloc; null when empty
  std::size_t size_ = 0;
};

template <class Char, class Traits>
std::basic_ostream<Char, Traits>& operator<<(std::basic_ostream<Char, Traits>&,
                                             const Secret&) = delete;

/// Overwrites bytes in a way the compiler keeps, and leaves `text` empty.
void wipe(std::string& text);
void wipe(Bytes& bytes);

/// Says which value is stored without telling it: 64 bits of keyed BLAKE2b. Equal values have equal
/// fingerprints within one workspace only, and only as long as its data key stays.
struct Fingerprint {
  std::uint64_t bits = 0;

  /// The key is a subkey of `data_key`, used for nothing else.
  [[nodiscard]] static Fingerprint of(const Secret& value, const Secret& data_key);
  /// 16 hex digits, as stored and shown.
  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

}  // namespace sluice::vault

template <class Char>
struct fmt::formatter<sluice::vault::Secret, Char> {
  formatter() = delete;
};
