#include "list.hpp"

#include <algorithm>

#include "json_text.hpp"
#include "render.hpp"

namespace fake_stripe {
namespace {

/// The part of the list whose `created` is in the window, as indexes [first, last).
std::pair<std::size_t, std::size_t> window(const Ordered& list, const Query& query) {
  const auto first = std::partition_point(
      list.begin(), list.end(), [&](const Object* o) { return o->created < query.created_min; });
  const auto last = std::partition_point(
      first, list.end(), [&](const Object* o) { return o->created <= query.created_max; });
  return {static_cast<std::size_t>(first - list.begin()),
          static_cast<std::size_t>(last - list.begin())};
}

/// Takes one object; false when the page was full already.
bool take(Page& page, const Object& object, std::size_t limit, const Accepts& accepts) {
  if (accepts && !accepts(object)) return true;
  if (page.objects.size() == limit) {
    page.has_more = true;
    return false;
  }
  page.objects.push_back(&object);
  return true;
}

}  // namespace

Page page_newest_first(const Ordered& list, const Query& query, const Object* cursor,
                       const Accepts& accepts) {
  Page page;
  auto [first, last] = window(list, query);
  const auto limit = static_cast<std::size_t>(query.limit);
  if (!query.ending_before.empty()) {
    const auto after = std::upper_bound(list.begin(), list.end(), cursor, born_before);
    first = std::max(first, static_cast<std::size_t>(after - list.begin()));
    for (std::size_t i = first; i < last; ++i) {
      if (!take(page, *list[i], limit, accepts)) break;
    }
    std::reverse(page.objects.begin(), page.objects.end());
    return page;
  }
  if (cursor != nullptr) {
    const auto at = std::lower_bound(list.begin(), list.end(), cursor, born_before);
    last = std::min(last, static_cast<std::size_t>(at - list.begin()));
  }
  for (std::size_t i = last; i > first; --i) {
    if (!take(page, *list[i - 1], limit, accepts)) break;
  }
  return page;
}

Page page_in_order(const std::vector<Object*>& list, const Query& query, const Object* cursor) {
  Page page;
  const auto limit = static_cast<std::size_t>(query.limit);
  const auto at = std::find(list.begin(), list.end(), cursor);
  if (!query.ending_before.empty()) {
    for (auto before = std::make_reverse_iterator(at); before != list.rend(); ++before) {
      if (!take(page, **before, limit, {})) break;
    }
    std::reverse(page.objects.begin(), page.objects.end());
    return page;
  }
  for (auto i = cursor == nullptr ? list.begin() : at + 1; i != list.end(); ++i) {
    if (!take(page, **i, limit, {})) break;
  }
  return page;
}

std::string page_text(const Page& page, std::string_view url) {
  std::string out;
  std::size_t size = 100 + url.size();
  for (const Object* object : page.objects) size += object->body.size() + 2;
  out.reserve(size);
  out += "{\"object\":\"list\",\"data\":[";
  for (const Object* object : page.objects) {
    if (out.back() != '[') out += ',';
    append_object(out, *object);
  }
  out += "],\"has_more\":";
  out += page.has_more ? "true" : "false";
  out += ",\"url\":";
  append_json_string(out, url);
  out += '}';
  return out;
}

}  // namespace fake_stripe
