#include "world.hpp"

#include <algorithm>
#include <stdexcept>

namespace fake_stripe {
namespace {

std::string link_key(std::string_view field, std::string_view id) {
  std::string key(field);
  key += '=';
  key += id;
  return key;
}

void insert_ordered(Ordered& list, Object* object) {
  list.insert(std::upper_bound(list.begin(), list.end(), object, born_before), object);
}

void erase_ordered(Ordered& list, Object* object) {
  const auto at = std::lower_bound(list.begin(), list.end(), object, born_before);
  if (at != list.end() && *at == object) list.erase(at);
}

}  // namespace

bool born_before(const Object* a, const Object* b) {
  if (a->created != b->created) return a->created < b->created;
  return a->number < b->number;
}

Place place_of(const Object& object) {
  if (object.bulk != nullptr) return object.bulk_place;
  return {.created = object.created, .rank = kStoredRank, .number = object.number};
}

std::uint64_t Collection::live_count() const {
  std::uint64_t count = live_.size();
  for (const auto& bulk : bulks_) count += bulk->count() - bulk->deleted;
  return count;
}

void Collection::drop_bulks() {
  for (const auto& bulk : bulks_) {
    for (const auto& [index, object] : bulk->stored) {
      by_id_.erase(object->id);
      object->deleted = true;
    }
  }
  bulks_.clear();
}

std::optional<Found> Collection::look_up(std::string_view id) const {
  if (const Object* object = find(id)) {
    if (object->deleted) return std::nullopt;
    return Found{.object = object, .place = place_of(*object)};
  }
  for (std::size_t rank = 0; rank < bulks_.size(); ++rank) {
    const Bulk& bulk = *bulks_[rank];
    const auto index = bulk.index_of(id);
    if (!index) continue;
    return Found{.bulk = &bulk,
                 .index = *index,
                 .place = {.created = bulk.created(*index), .rank = rank, .number = *index}};
  }
  return std::nullopt;
}

Object* Collection::materialise(std::string_view id) {
  const auto found = look_up(id);
  if (!found || found->bulk == nullptr) return nullptr;
  Bulk& bulk = *bulks_[found->place.rank];
  Object& made = store({.id = std::string(id),
                        .body = bulk.text(found->index),
                        .created = found->place.created,
                        .bulk = &bulk,
                        .bulk_place = found->place});
  bulk.stored[found->index] = &made;
  return &made;
}

Object* Collection::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

const Ordered& Collection::linked(std::string_view field, std::string_view id) const {
  static const Ordered kNone;
  const auto found = by_link_.find(link_key(field, id));
  return found == by_link_.end() ? kNone : found->second;
}

Object& Collection::store(Object object) {
  if (find(object.id) != nullptr) {
    throw std::invalid_argument("fake_stripe: the id '" + object.id + "' is taken");
  }
  object.resource = resource_;
  Object& stored = storage_.emplace_back(std::move(object));
  by_id_.emplace(stored.id, &stored);
  return stored;
}

Object& Collection::append(Object object, const std::vector<Link>& links) {
  Object& stored = store(std::move(object));
  live_.push_back(&stored);
  for (const Link& link : links) by_link_[link_key(link.first, link.second)].push_back(&stored);
  return stored;
}

void Collection::seal() {
  std::sort(live_.begin(), live_.end(), born_before);
  for (auto& [key, list] : by_link_) std::sort(list.begin(), list.end(), born_before);
}

Object& Collection::insert(Object object, const std::vector<Link>& links) {
  Object& stored = store(std::move(object));
  insert_ordered(live_, &stored);
  for (const Link& link : links)
    insert_ordered(by_link_[link_key(link.first, link.second)], &stored);
  return stored;
}

void Collection::relink(Object& object, const std::vector<Link>& before,
                        const std::vector<Link>& after) {
  if (before == after || object.bulk != nullptr) return;
  for (const Link& link : before)
    erase_ordered(by_link_[link_key(link.first, link.second)], &object);
  for (const Link& link : after)
    insert_ordered(by_link_[link_key(link.first, link.second)], &object);
}

void Collection::erase(Object& object, const std::vector<Link>& links) {
  object.deleted = true;
  ++deleted_;
  deleted_ids_.push_back(object.id);
  if (object.bulk != nullptr) {
    ++object.bulk->deleted;
    return;
  }
  erase_ordered(live_, &object);
  for (const Link& link : links)
    erase_ordered(by_link_[link_key(link.first, link.second)], &object);
}

World::World(Settings settings, Clock& clock)
    : account_version(settings.account_version),
      settings_(std::move(settings)),
      clock_(clock),
      account_id_(settings_.account_id.empty()
                      ? Dice(settings_.seed, "account", 0).token("acct_1", 15)
                      : settings_.account_id) {
  for (const Resource& row : catalog()) collections_.emplace(row.type, Collection(row));
}

Collection& World::of(std::string_view type) {
  const auto found = collections_.find(type);
  if (found == collections_.end()) {
    throw std::invalid_argument("fake_stripe: unknown type '" + std::string(type) + "'");
  }
  return found->second;
}

const Collection& World::of(std::string_view type) const {
  return const_cast<World*>(this)->of(type);
}

Object* World::find_any(std::string_view id) {
  for (auto& [type, collection] : collections_) {
    if (Object* object = collection.find(id)) return object;
  }
  return nullptr;
}

Object* World::find_or_materialise(std::string_view id) {
  if (Object* object = find_any(id)) return object;
  for (auto& [type, collection] : collections_) {
    if (Object* object = collection.materialise(id)) return object;
  }
  return nullptr;
}

std::int64_t World::shown_from_ms(const Resource& row) const {
  const auto lag = list_lag_ms.find(row.type);
  return lag == list_lag_ms.end() ? 0 : clock_.now_ms() + lag->second;
}

const Object* World::find_any(std::string_view id) const {
  return const_cast<World*>(this)->find_any(id);
}

void World::await_funds(Object& transaction, std::int64_t available_on) {
  awaited_.emplace(available_on, &transaction);
  next_settlement_s_ = awaited_.begin()->first;
}

void World::settle() {
  constexpr std::string_view kPending = "\"status\":\"pending\"";
  const std::int64_t now = clock_.now_s();
  while (!awaited_.empty() && awaited_.begin()->first <= now) {
    std::string& body = awaited_.begin()->second->body;
    const auto at = body.find(kPending);
    if (at != std::string::npos) body.replace(at, kPending.size(), "\"status\":\"available\"");
    awaited_.erase(awaited_.begin());
  }
  next_settlement_s_ =
      awaited_.empty() ? std::numeric_limits<std::int64_t>::max() : awaited_.begin()->first;
}

std::string World::new_id(std::string_view prefix) {
  const int length = prefix.empty() ? 8 : prefix == "cus_" || prefix == "prod_" ? 14 : 24;
  return Dice(settings_.seed, "new id", ++ids_made_).token(prefix, length);
}

}  // namespace fake_stripe
