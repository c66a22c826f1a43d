// Which events were seen, in at most 1,200 bytes whatever their number: needed because each poll
// reads a little of the past again.
//
// The list has one order, newest first. A trail divides what was seen of it into at most sixty
// stretches, each known by the digest of its first event, how many it has, and all their digests
// xor-ed. Up to sixty events each is a stretch of its own; beyond, neighbours are joined and
// stretches grow by doubling. Reading the list again, a stretch that is the same was seen; in one
// that differs, because an event was listed late, every event counts as new: at worst something is
// looked at twice, nothing is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stripe {

/// Of an event's id: 48 bits, never 0.
std::uint64_t event_digest(std::string_view id);

struct Stretch {
  std::uint64_t first = 0;
  std::uint64_t sum = 0;
  std::uint32_t count = 0;
};

class Trail {
 public:
  static constexpr std::size_t kStretchesMax = 60;

  /// The next older event.
  void add(std::uint64_t digest);
  void clear() {
    stretches_.clear();
    room_ = 1;
  }
  /// The stretch that begins with this event; nullptr when none does.
  [[nodiscard]] const Stretch* beginning_with(std::uint64_t digest) const;
  /// Base64 digits, 20 a stretch.
  [[nodiscard]] std::string text() const;
  static std::optional<Trail> parse(std::string_view text);

 private:
  std::vector<Stretch> stretches_;
  std::uint32_t room_ = 1;  ///< events that a stretch takes
};

}  // namespace stripe
