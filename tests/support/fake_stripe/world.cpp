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
  if (before == after) return;
  for (const Link& link : before)
    erase_ordered(by_link_[link_key(link.first, link.second)], &object);
  for (const Link& link : after)
    insert_ordered(by_link_[link_key(link.first, link.second)], &object);
}

void Collection::erase(Object& object, const std::vector<Link>& links) {
  object.deleted = true;
  ++deleted_;
  erase_ordered(live_, &object);
  for (const Link& link : links)
    erase_ordered(by_link_[link_key(link.first, link.second)], &object);
}

World::World(Settings settings, Clock& clock)
    : settings_(std::move(settings)),
      clock_(clock),
      account_id_(Dice(settings_.seed, "account", 0).token("acct_1", 15)) {
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

std::string World::new_id(std::string_view prefix) {
  const int length = prefix == "cus_" || prefix == "prod_" ? 14 : 24;
  return Dice(settings_.seed, "new id", ++ids_made_).token(prefix, length);
}

}  // namespace fake_stripe
