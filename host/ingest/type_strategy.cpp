#include "ingest/type_strategy.hpp"

namespace sluice::ingest {

TypeState TypeStrategies::of(ConnectionId connection, EntityTypeId type) const {
  const auto found = states_.find(Key{connection, type});
  return found == states_.end() ? TypeState() : found->second;
}

bool TypeStrategies::knows(ConnectionId connection, EntityTypeId type) const {
  return states_.contains(Key{connection, type});
}

void TypeStrategies::met(ConnectionId connection, EntityTypeId type, bool has_rows) {
  TypeState state;
  state.strategy = has_rows ? Strategy::look : Strategy::copy;
  states_.try_emplace(Key{connection, type}, state);
}

void TypeStrategies::stop_copying(ConnectionId connection, EntityTypeId type) {
  states_[Key{connection, type}].strategy = Strategy::insert;
}

void TypeStrategies::learn(ConnectionId connection, EntityTypeId type, const TypeOutcome& page) {
  TypeState& state = states_[Key{connection, type}];
  const bool goes_on_copying = state.strategy == Strategy::copy && page.inserted == page.rows;
  if (!goes_on_copying)
    state.strategy = page.inserted * 2 >= page.rows ? Strategy::insert : Strategy::look;
  if (state.scattered_pages > 0) --state.scattered_pages;
  if (page.range_matched * 2 < page.range_rows) state.scattered_pages = kScatteredPages;
}

std::vector<EntityTypeId> TypeStrategies::copied(ConnectionId connection) const {
  std::vector<EntityTypeId> types;
  for (auto at = states_.lower_bound(Key{connection, EntityTypeId()});
       at != states_.end() && at->first.connection == connection; ++at) {
    if (at->second.strategy == Strategy::copy) types.push_back(at->first.type);
  }
  return types;
}

}  // namespace sluice::ingest
