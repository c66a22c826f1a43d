// Randomness as an input, so that a run can be repeated from a seed.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace sluice {

/// One per process, owned by main. Keys and nonces of the vault do not come from here but from
/// libsodium directly: they must never be repeatable.
class Entropy {
 public:
  virtual ~Entropy() = default;
  virtual void fill(std::span<std::uint8_t> out) = 0;
  /// Uniform in [0, bound); bound > 0.
  virtual std::uint32_t below(std::uint32_t bound) = 0;
};

class SystemEntropy final : public Entropy {
 public:
  void fill(std::span<std::uint8_t> out) override;
  std::uint32_t below(std::uint32_t bound) override;
};

}  // namespace sluice
