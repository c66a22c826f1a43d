#include "list.hpp"

#include <algorithm>

#include "json_text.hpp"
#include "render.hpp"

namespace fake_stripe {
namespace {

/// What is left of one source: the elements [first, last), oldest first.
struct Span {
  const Ordered* list = nullptr;  ///< the stored ones, or
  const Bulk* bulk = nullptr;     ///< generated ones
  std::uint64_t rank = kStoredRank;
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  [[nodiscard]] bool empty() const { return first >= last; }
  [[nodiscard]] Place at(std::uint64_t i) const {
    if (list != nullptr) return place_of(*(*list)[i]);
    return {.created = bulk->created(i), .rank = rank, .number = i};
  }
  [[nodiscard]] Found found(std::uint64_t i) const {
    if (list != nullptr) return {.object = (*list)[i], .place = at(i)};
    const auto changed = bulk->stored.find(i);
    if (changed == bulk->stored.end()) return {.bulk = bulk, .index = i, .place = at(i)};
    return {.object = changed->second, .place = at(i)};
  }
  /// The first index from `first` on whose place is not before `place`.
  [[nodiscard]] std::uint64_t lower(const Place& place) const {
    std::uint64_t low = first;
    std::uint64_t high = last;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if (at(middle) < place) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

/// The part of the list whose `created` is in the window.
Span stored_span(const Ordered& list, const Query& query) {
  const auto first = std::partition_point(
      list.begin(), list.end(), [&](const Object* o) { return o->created < query.created_min; });
  const auto last = std::partition_point(
      first, list.end(), [&](const Object* o) { return o->created <= query.created_max; });
  return {.list = &list,
          .first = static_cast<std::uint64_t>(first - list.begin()),
          .last = static_cast<std::uint64_t>(last - list.begin())};
}

std::vector<Span> spans_of(const Ordered& list, const Bulks& bulks, const Query& query,
                           const std::optional<Place>& cursor) {
  std::vector<Span> spans = {stored_span(list, query)};
  for (std::size_t rank = 0; rank < bulks.size(); ++rank) {
    const auto [first, last] = bulks[rank]->window(query.created_min, query.created_max);
    spans.push_back({.bulk = bulks[rank].get(), .rank = rank, .first = first, .last = last});
  }
  if (!cursor) return spans;
  for (Span& span : spans) {
    const std::uint64_t at = span.lower(*cursor);
    if (query.ending_before.empty()) {
      span.last = at;
    } else {
      span.first = at < span.last && span.at(at) == *cursor ? at + 1 : at;
    }
  }
  return spans;
}

/// Takes one object; false when the page was full already.
bool take(Page& page, const Found& found, std::size_t limit, const Accepts& accepts) {
  if (found.object != nullptr && found.object->deleted) return true;
  if (found.object != nullptr && accepts && !accepts(*found.object)) return true;
  if (page.objects.size() == limit) {
    page.has_more = true;
    return false;
  }
  page.objects.push_back(found);
  return true;
}

}  // namespace

Page page_newest_first(const Ordered& list, const Bulks& bulks, const Query& query,
                       const std::optional<Place>& cursor, const Accepts& accepts) {
  std::vector<Span> spans = spans_of(list, bulks, query, cursor);
  const auto limit = static_cast<std::size_t>(query.limit);
  const bool upwards = !query.ending_before.empty();
  Page page;
  while (true) {
    Span* next = nullptr;
    for (Span& span : spans) {
      if (span.empty()) continue;
      if (next == nullptr || (upwards ? span.at(span.first) < next->at(next->first)
                                      : next->at(next->last - 1) < span.at(span.last - 1))) {
        next = &span;
      }
    }
    if (next == nullptr) break;
    const std::uint64_t i = upwards ? next->first++ : --next->last;
    if (!take(page, next->found(i), limit, accepts)) break;
  }
  if (upwards) std::reverse(page.objects.begin(), page.objects.end());
  return page;
}

Page page_in_order(const std::vector<Object*>& list, const Query& query, const Object* cursor) {
  Page page;
  const auto limit = static_cast<std::size_t>(query.limit);
  const auto at = std::find(list.begin(), list.end(), cursor);
  if (!query.ending_before.empty()) {
    for (auto before = std::make_reverse_iterator(at); before != list.rend(); ++before) {
      if (!take(page, {.object = *before}, limit, {})) break;
    }
    std::reverse(page.objects.begin(), page.objects.end());
    return page;
  }
  for (auto i = cursor == nullptr ? list.begin() : at + 1; i != list.end(); ++i) {
    if (!take(page, {.object = *i}, limit, {})) break;
  }
  return page;
}

void append_found(std::string& out, const Found& found) {
  if (found.object != nullptr) {
    append_object(out, *found.object);
  } else {
    found.bulk->append(out, found.index);
  }
}

std::string page_text(const Page& page, std::string_view url, std::string_view padding) {
  std::string out;
  std::size_t size = 100 + url.size();
  for (const Found& found : page.objects) {
    size += (found.object == nullptr ? 1100 : found.object->body.size()) + padding.size() + 3;
  }
  out.reserve(size);
  out += "{\"object\":\"list\",\"data\":[";
  bool first = true;
  for (const Found& found : page.objects) {
    if (!first) out += ',';
    first = false;
    append_found(out, found);
    if (padding.empty()) continue;
    out.back() = ',';
    out += padding;
    out += '}';
  }
  out += "],\"has_more\":";
  out += page.has_more ? "true" : "false";
  out += ",\"url\":";
  append_json_string(out, url);
  out += '}';
  return out;
}

}  // namespace fake_stripe
