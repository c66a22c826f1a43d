// Named integers, so that a connection can never be passed where a workspace is meant.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace sluice {

/// A 64-bit identifier of one kind of thing. 0 means "none" and is never stored.
template <class Tag>
struct Id {
  std::int64_t value = 0;

  constexpr Id() = default;
  constexpr explicit Id(std::int64_t v) : value(v) {}

  [[nodiscard]] constexpr bool has_value() const { return value != 0; }
  friend constexpr auto operator<=>(const Id&, const Id&) = default;
};

/// As JSON has ids and positions of the feed: text, since most readers of JSON lose the digits of
/// numbers beyond 2^53.
[[nodiscard]] inline std::string id_text(std::int64_t id) { return std::to_string(id); }
template <class Tag>
[[nodiscard]] std::string id_text(Id<Tag> id) {
  return id_text(id.value);
}

using WorkspaceId = Id<struct WorkspaceTag>;
using ConnectionId = Id<struct ConnectionTag>;
using EntityTypeId = Id<struct EntityTypeTag>;
using EntityId = Id<struct EntityTag>;
using RunId = Id<struct RunTag>;
using RuleId = Id<struct RuleTag>;
using Epoch = Id<struct EpochTag>;

}  // namespace sluice

template <class Tag>
struct std::hash<sluice::Id<Tag>> {
  std::size_t operator()(const sluice::Id<Tag>& id) const noexcept {
    return std::hash<std::int64_t>{}(id.value);
  }
};
