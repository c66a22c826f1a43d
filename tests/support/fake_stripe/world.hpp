#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "catalog.hpp"
#include "clock.hpp"
#include "dice.hpp"

namespace fake_stripe {

/// One stored object. `body` is its JSON in the pinned version WITHOUT what is composed when it
/// is served: the nested list of a parent and the embedded price of a subscription item. Thus a
/// page is made by joining strings, and a changed child or price shows everywhere at once.
struct Object {
  const Resource* resource = nullptr;
  std::string id;
  std::string body;
  std::int64_t created = 0;
  std::uint64_t number = 0;       ///< order of birth; breaks ties of `created`
  std::int64_t visible_ms = 0;    ///< events only: when lists begin to show it
  Object* parent = nullptr;       ///< children only
  const Object* price = nullptr;  ///< subscription items only
  std::vector<Object*> children;  ///< parents only, in list order
  bool deleted = false;
  bool canceled = false;  ///< subscriptions: left out unless asked for
};

/// Oldest first: lists walk it backwards.
using Ordered = std::vector<Object*>;

bool born_before(const Object* a, const Object* b);

/// A field's name and the id it holds.
using Link = std::pair<std::string_view, std::string>;

/// All objects of one resource. Guarded by the World's mutex.
class Collection {
 public:
  explicit Collection(const Resource& resource) : resource_(&resource) {}
  Collection(Collection&&) = default;
  Collection(const Collection&) = delete;

  [[nodiscard]] const Resource& resource() const { return *resource_; }
  /// nullptr when there was never such an object; deleted ones are found.
  [[nodiscard]] Object* find(std::string_view id) const;
  [[nodiscard]] const Ordered& live() const { return live_; }
  /// The live objects whose `field` holds `id`.
  [[nodiscard]] const Ordered& linked(std::string_view field, std::string_view id) const;
  [[nodiscard]] std::size_t deleted_count() const { return deleted_; }

  /// Adds without ordering: call seal() when the bulk is in. Throws when the id is taken.
  Object& append(Object object, const std::vector<Link>& links);
  void seal();
  /// Adds in order.
  Object& insert(Object object, const std::vector<Link>& links);
  void relink(Object& object, const std::vector<Link>& before, const std::vector<Link>& after);
  /// Takes the object out of all lists; it can still be found.
  void erase(Object& object, const std::vector<Link>& links);

 private:
  Object& store(Object object);

  const Resource* resource_;
  std::deque<Object> storage_;
  std::unordered_map<std::string_view, Object*> by_id_;
  Ordered live_;
  std::unordered_map<std::string, Ordered> by_link_;
  std::size_t deleted_ = 0;
};

/// What the process was started with.
struct Settings {
  std::uint16_t port = 0;
  std::uint64_t seed = 1;
  std::uint64_t customers = 0;
  unsigned subscription_percent = 60;
  std::int64_t page_limit_max = 100;
  std::int64_t latency_ms = 0;
  std::int64_t now_s = 0;
  bool freeze_clock = false;
  std::string account_version = "2020-08-27";
};

/// The whole state of the fake account. The owner of the call holds `mutex`: shared to read,
/// exclusively to change.
class World {
 public:
  World(Settings settings, Clock& clock);

  [[nodiscard]] Collection& of(std::string_view type);
  [[nodiscard]] const Collection& of(std::string_view type) const;
  /// An object of any type, live or deleted; nullptr when unknown.
  [[nodiscard]] Object* find_any(std::string_view id);
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] Clock& clock() const { return clock_; }
  [[nodiscard]] const std::string& account_id() const { return account_id_; }
  /// A fresh id, deterministic in the seed and the number of ids made before.
  std::string new_id(std::string_view prefix);
  std::uint64_t next_number() { return ++last_number_; }

  mutable std::shared_mutex mutex;
  std::int64_t event_lag_ms = 0;

 private:
  Settings settings_;
  Clock& clock_;
  std::string account_id_;
  std::map<std::string_view, Collection> collections_;
  std::uint64_t ids_made_ = 0;
  std::uint64_t last_number_ = 0;
};

/// Fills a fresh world: products, prices, customers, subscriptions, invoices and their parts.
/// Deterministic in (seed, customers, start of the clock). No events are born.
void seed_world(World& world);

}  // namespace fake_stripe
