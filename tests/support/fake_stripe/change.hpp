#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "render.hpp"
#include "world.hpp"

namespace fake_stripe {

/// How a change is told in events.
struct Telling {
  std::optional<std::vector<std::string>> types;  ///< instead of the usual one; empty: no event
  std::optional<std::int64_t> lag_ms;             ///< instead of the world's
  std::string api_version;                        ///< empty: the account's default
};

/// Changes the world as the account's owner would, and lets the events be born. The caller holds
/// the world's mutex exclusively. Throws std::invalid_argument that names what is wrong.
class Changes {
 public:
  explicit Changes(World& world) : world_(world) {}

  /// A new object: a plausible one of that type with `set` merged over it. Subscriptions take
  /// `items` (a list of {price, quantity}), invoices `lines` (a number, or a list of {amount,
  /// ...}).
  const Object& create(const std::string& type, Json set, const Telling& telling);
  /// Deep merge; null sets null. `unset` removes top-level keys.
  const Object& mutate(const std::string& id, const Json& set,
                       const std::vector<std::string>& unset, const Telling& telling);
  /// What deleting means for the type (catalog.hpp). `force` skips Stripe's own conditions.
  const Object& remove(const std::string& id, bool force, const Telling& telling);
  /// An event of any type with any payload.
  const Object& emit_raw(const std::string& type, const Json& payload, const Telling& telling);

 private:
  Object& require(const std::string& id);
  Object& add(const Resource& row, const Json& tree, Object* parent);
  Json template_of(const Resource& row, const Json& set, const std::string& id);
  void add_items(Object& subscription, const Json& items);
  void add_lines(Object& invoice, const Json& lines);
  Object& create_child(const Resource& row, Json set, Object& parent);
  void apply(Object& object, Json tree);
  void cancel(Object& subscription, const Telling& telling);
  void cancel_subscriptions_of(const Object& customer);
  void detach(Object& child);
  void check_removal(const Object& object, bool force) const;
  [[nodiscard]] Json tree_for_events(const Object& object, const Telling& telling) const;
  void tell(std::string_view usual_type, const Json& payload, const Json& previous,
            const Telling& telling);
  void tell_update(const Object& object, const Json& before, const Telling& telling);
  const Object& emit(const std::string& type, const Json& payload, const Json& previous,
                     const Telling& telling);

  World& world_;
};

}  // namespace fake_stripe
