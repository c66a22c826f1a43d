#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "query.hpp"
#include "world.hpp"

namespace fake_stripe {

/// One page, in the order it is shown.
struct Page {
  std::vector<Found> objects;
  bool has_more = false;
};

using Accepts = std::function<bool(const Object&)>;
using Bulks = std::vector<std::unique_ptr<Bulk>>;

/// A page of `list` (oldest first) and of the generated objects beside it, shown newest first.
/// `cursor` is the place of the object named by starting_after or ending_before; it need not be
/// in the list any more. An empty `accepts` takes everything; generated objects are not asked.
Page page_newest_first(const Ordered& list, const Bulks& bulks, const Query& query,
                       const std::optional<Place>& cursor, const Accepts& accepts);

/// A page of children in their own order. `cursor` must be one of them, or nullptr.
Page page_in_order(const std::vector<Object*>& list, const Query& query, const Object* cursor);

void append_found(std::string& out, const Found& found);

/// `{"object":"list",...}` of the page by joining stored texts. `padding`, when it is not empty,
/// is a member ("name":value) that every object gets.
std::string page_text(const Page& page, std::string_view url, std::string_view padding = {});

}  // namespace fake_stripe
