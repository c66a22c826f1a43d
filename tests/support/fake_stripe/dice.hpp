#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fake_stripe {

/// A deterministic random source. Each object has its own dice, made from the seed, the kind of
/// object and its number, so that one object's value never depends on how many others exist.
class Dice {
 public:
  Dice(std::uint64_t seed, std::string_view kind, std::uint64_t number) : state_(seed) {
    for (const char c : kind) state_ = mix(state_ ^ static_cast<unsigned char>(c));
    state_ = mix(state_ ^ number);
  }

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    return mix(state_);
  }
  /// 0 .. bound-1; `bound` must not be 0.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool chance(unsigned percent) { return below(100) < percent; }
  /// `prefix` and then `length` letters and digits.
  std::string token(std::string_view prefix, int length) {
    static constexpr std::string_view kAlphabet =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    std::string out(prefix);
    for (int i = 0; i < length; ++i) out += kAlphabet[below(kAlphabet.size())];
    return out;
  }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }

  std::uint64_t state_;
};

}  // namespace fake_stripe
