// What the feed is told of links: who got one, and who lost one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ids.hpp"
#include "journal/append.hpp"

namespace sluice::link {

/// Changes of links, collected by a transaction and told as its last statement.
class LinkChanges {
 public:
  /// One change for what is no longer so and one for what is; none when the two are equal.
  void retarget(std::string_view rule, std::int64_t source_type, std::int64_t source,
                std::optional<std::int64_t> before, std::optional<std::int64_t> after);
  [[nodiscard]] bool empty() const { return changes_.empty(); }
  /// The last step before COMMIT; leaves none here. Nothing when there is nothing to tell.
  void append_to(pg::Pipeline& pipeline, WorkspaceId workspace);

 private:
  journal::Changes changes_;
};

}  // namespace sluice::link
