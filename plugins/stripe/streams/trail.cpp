#include "streams/trail.hpp"

#include <sluice/sdk_text.hpp>

namespace stripe {
namespace {

constexpr std::uint64_t kDigestMask = (1ull << 48) - 1;
constexpr std::size_t kDigestChars = 8;
constexpr std::size_t kCountChars = 4;
constexpr std::size_t kStretchChars = 2 * kDigestChars + kCountChars;
constexpr std::uint32_t kCountMax = (1u << 24) - 1;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void put(std::string& text, std::uint64_t number, std::size_t chars) {
  for (std::size_t i = 0; i < chars; ++i, number >>= 6) text += kAlphabet[number & 63];
}

std::optional<std::uint64_t> take(std::string_view& text, std::size_t chars) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < chars; ++i) {
    const std::size_t digit = kAlphabet.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    number |= static_cast<std::uint64_t>(digit) << (6 * i);
  }
  text.remove_prefix(chars);
  return number;
}

}  // namespace

std::uint64_t event_digest(std::string_view id) {
  const std::uint64_t digest = sluice::sdk::stable_hash(id) & kDigestMask;
  return digest == 0 ? 1 : digest;
}

void Trail::add(std::uint64_t digest) {
  if (!stretches_.empty() && stretches_.back().count < room_) {
    stretches_.back().sum ^= digest;
    ++stretches_.back().count;
    return;
  }
  if (stretches_.size() == kStretchesMax) {
    for (std::size_t i = 0; i < kStretchesMax / 2; ++i) {
      Stretch joined = stretches_[2 * i];
      joined.sum ^= stretches_[2 * i + 1].sum;
      joined.count += stretches_[2 * i + 1].count;
      stretches_[i] = joined;
    }
    stretches_.resize(kStretchesMax / 2);
    room_ *= 2;
  }
  Stretch stretch;
  stretch.first = digest;
  stretch.sum = digest;
  stretch.count = 1;
  stretches_.push_back(stretch);
}

const Stretch* Trail::beginning_with(std::uint64_t digest) const {
  for (const Stretch& stretch : stretches_) {
    if (stretch.first == digest) return &stretch;
  }
  return nullptr;
}

std::string Trail::text() const {
  std::string text;
  text.reserve(stretches_.size() * kStretchChars);
  for (const Stretch& stretch : stretches_) {
    put(text, stretch.first, kDigestChars);
    put(text, stretch.sum, kDigestChars);
    put(text, stretch.count < kCountMax ? stretch.count : kCountMax, kCountChars);
  }
  return text;
}

std::optional<Trail> Trail::parse(std::string_view text) {
  if (text.size() % kStretchChars != 0 || text.size() > kStretchesMax * kStretchChars)
    return std::nullopt;
  Trail trail;
  while (!text.empty()) {
    const auto first = take(text, kDigestChars);
    const auto sum = first ? take(text, kDigestChars) : std::nullopt;
    const auto count = sum ? take(text, kCountChars) : std::nullopt;
    if (!count || *count == 0) return std::nullopt;
    Stretch stretch;
    stretch.first = *first;
    stretch.sum = *sum;
    stretch.count = static_cast<std::uint32_t>(*count);
    // A trail that is gone on with: all but the last are full.
    if (stretch.count > trail.room_) trail.room_ = stretch.count;
    trail.stretches_.push_back(stretch);
  }
  return trail;
}

}  // namespace stripe
