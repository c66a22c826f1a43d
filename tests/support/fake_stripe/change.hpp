#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dice.hpp"
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
  /// Pays an open invoice: a payment, its intent and charge, and what hangs on a paid invoice.
  const Object& pay(const std::string& invoice, const Telling& telling);
  /// What a new object of that type needs to be coherent: random live ones to refer to.
  [[nodiscard]] Json plausible_set(const Resource& row, Dice& d);
  /// What generated objects are rendered from: a template with the tokens of bulk.hpp.
  [[nodiscard]] Json generated_tree(const Resource& row, const Json& set);
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
  void tell(const std::vector<std::string>& usual_types, const Json& payload, const Json& previous,
            const Telling& telling);
  void tell_update(const Object& object, const Json& before, const Telling& telling);
  const Object& emit(const std::string& type, const Json& payload, const Json& previous,
                     const Telling& telling);

  // change_effects.cpp: what one change does to other objects.
  void prepare(const Resource& row, const std::string& id, Json& set, const Telling& telling);
  void prepare_charge(const std::string& id, Json& set, const Telling& telling);
  void prepare_refund(const std::string& id, Json& set);
  void prepare_dispute(const std::string& id, Json& set);
  void prepare_credit_note(Json& set);
  std::string add_transaction(const std::string& type, const std::string& source,
                              const std::string& currency, std::int64_t amount, std::int64_t fee);
  void follow_create(const Object& made, const Telling& telling);
  void follow_update(const Object& object, const Json& before, const Telling& telling);
  /// Changes another object and tells it under `types`, or not at all.
  void adjust(const std::string& id, const Json& set, std::vector<std::string> types,
              const Telling& telling);

  World& world_;
};

/// The links by which lists of that resource filter.
std::vector<Link> links_of(const Resource& row, const Json& tree);
/// A string field; empty when it is missing or something else.
std::string text_at(const Json& tree, const std::string& field);
/// What tells the birth of an object, and what tells a change of it. Many objects have no
/// `.updated`: their events name the state they came to.
std::vector<std::string> birth_events(const Resource& row, const Json& tree);
std::vector<std::string> update_events(const Resource& row, const Json& before, const Json& after);
/// What a new status brings with it: amounts, times, reasons.
Json implied_by_status(const Resource& row, const Json& before, const std::string& status,
                       std::int64_t now);

}  // namespace fake_stripe
