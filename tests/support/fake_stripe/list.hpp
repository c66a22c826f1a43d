#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "query.hpp"
#include "world.hpp"

namespace fake_stripe {

/// One page, in the order it is shown.
struct Page {
  std::vector<const Object*> objects;
  bool has_more = false;
};

using Accepts = std::function<bool(const Object&)>;

/// A page of `list` (oldest first), shown newest first. `cursor` is the object named by
/// starting_after or ending_before, already found; it need not be in the list any more.
/// An empty `accepts` takes everything.
Page page_newest_first(const Ordered& list, const Query& query, const Object* cursor,
                       const Accepts& accepts);

/// A page of children in their own order. `cursor` must be one of them, or nullptr.
Page page_in_order(const std::vector<Object*>& list, const Query& query, const Object* cursor);

/// `{"object":"list",...}` of the page by joining stored texts.
std::string page_text(const Page& page, std::string_view url);

}  // namespace fake_stripe
