#include "truth.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <stdexcept>

#include "poison.hpp"

namespace fake_stripe {
namespace {

const Collection& collection_of(const World& world, const std::string& type) {
  if (find_resource(type) == nullptr) throw std::out_of_range("there is no type '" + type + "'");
  return world.of(type);
}

/// Calls for each live generated object, newest bulk and newest object first, from the `from`th on.
void each_generated(const Collection& all, std::uint64_t from, std::uint64_t count,
                    const std::function<void(const Bulk&, std::uint64_t)>& call) {
  for (auto bulk = all.bulks().rbegin(); bulk != all.bulks().rend(); ++bulk) {
    for (std::uint64_t i = (*bulk)->count(); i > 0 && count > 0; --i) {
      const auto changed = (*bulk)->stored.find(i - 1);
      if (changed != (*bulk)->stored.end() && changed->second->deleted) continue;
      if (from > 0) {
        --from;
        continue;
      }
      --count;
      call(**bulk, i - 1);
    }
  }
}

void append_generated(std::string& out, const Bulk& bulk, std::uint64_t index, Nested nested) {
  const auto changed = bulk.stored.find(index);
  if (changed == bulk.stored.end()) {
    bulk.append(out, index);
  } else {
    append_object(out, *changed->second, nested);
  }
}

std::int64_t integer_in(std::string_view text, std::string_view key) {
  const auto at = text.find(key);
  if (at == std::string_view::npos) return 0;
  std::int64_t value = 0;
  std::from_chars(text.data() + at + key.size(), text.data() + text.size(), value);
  return value;
}

}  // namespace

Json truth_counts(const World& world) {
  Json counts;
  Json deleted;
  for (const Resource& row : catalog()) {
    const Collection& all = world.of(row.type);
    counts[std::string(row.type)] = all.live_count();
    deleted[std::string(row.type)] = all.deleted_count();
  }
  counts["deleted"] = deleted;
  return counts;
}

std::string truth_lines(const World& world, const std::string& type, std::uint64_t from,
                        std::uint64_t count) {
  const Collection& all = collection_of(world, type);
  const std::uint64_t generated = all.live_count() - all.live().size();
  if (std::min(generated, count) > kTruthMax) {
    throw std::invalid_argument("there are " + std::to_string(generated) + " generated " + type +
                                " objects; ask for a part of them with from= and count=");
  }
  std::string out;
  for (auto at = all.live().rbegin(); at != all.live().rend(); ++at) {
    append_object(out, **at, Nested::kComplete);
    out += '\n';
  }
  each_generated(all, from, count, [&](const Bulk& bulk, std::uint64_t i) {
    append_generated(out, bulk, i, Nested::kComplete);
    out += '\n';
  });
  if (world.has_poison) poison(out, Dose::kParsable);
  return out;
}

std::string truth_ids(const World& world, const std::string& type) {
  const Collection& all = collection_of(world, type);
  std::string out;
  for (auto at = all.live().rbegin(); at != all.live().rend(); ++at) out += (*at)->id + "\n";
  each_generated(all, 0, all.live_count(),
                 [&](const Bulk& bulk, std::uint64_t i) { out += bulk.id(i) + "\n"; });
  return out;
}

Json truth_sum(const World& world, const std::string& type, const std::string& field) {
  const Collection& all = collection_of(world, type);
  const std::string key = "\"" + field + "\":";
  std::uint64_t count = 0;
  std::int64_t sum = 0;
  for (const Object* object : all.live()) {
    ++count;
    sum += integer_in(object->body, key);
  }
  std::string text;
  each_generated(all, 0, all.live_count(), [&](const Bulk& bulk, std::uint64_t i) {
    text.clear();
    append_generated(text, bulk, i, Nested::kTruncated);
    ++count;
    sum += integer_in(text, key);
  });
  return {{"count", count}, {"sum", sum}};
}

Json minimum_requests(const World& world, std::uint64_t limit) {
  Json lists = Json::object();
  Json nested = Json::object();
  const auto pages = [limit](std::uint64_t objects) { return (objects + limit - 1) / limit; };
  for (const Resource& row : catalog()) {
    const Collection& all = world.of(row.type);
    if (row.parent_field.empty()) {
      const std::uint64_t objects = all.live_count() - (row.type == "account" ? 1 : 0);
      lists[std::string(row.type)] = {{"path", "/v1/" + std::string(row.path)},
                                      {"objects", objects},
                                      {"pages", std::max<std::uint64_t>(1, pages(objects))}};
      continue;
    }
    std::uint64_t parents = 0;
    std::uint64_t more = 0;
    for (const Object* parent : world.of(row.parent_type).live()) {
      if (parent->children.size() <= kEmbeddedMax) continue;
      ++parents;
      more += pages(parent->children.size());
    }
    nested[std::string(row.type)] = {{"parents", parents}, {"pages", more}};
  }
  return {{"limit", limit}, {"lists", lists}, {"nested", nested}};
}

}  // namespace fake_stripe
