#include "base/entropy.hpp"

#include <sodium.h>

namespace sluice {

void SystemEntropy::fill(std::span<std::uint8_t> out) { randombytes_buf(out.data(), out.size()); }
std::uint32_t SystemEntropy::below(std::uint32_t bound) { return randombytes_uniform(bound); }

}  // namespace sluice
