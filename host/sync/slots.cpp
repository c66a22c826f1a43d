#include "sync/slots.hpp"

#include <utility>

namespace sluice::sync {

ConnectionSlots::Held::~Held() {
  if (busy()) share_.give_back(workspace_);
}

void ConnectionSlots::Held::begin() {
  if (busy_++ == 0) share_.take(workspace_);
}

void ConnectionSlots::Held::end() {
  SLUICE_INVARIANT(busy_ > 0);
  if (--busy_ == 0) share_.give_back(workspace_);
}

ConnectionSlots::ConnectionSlots(Slots& slots, WorkspaceId workspace)
    : slots_(slots),
      workspace_(workspace),
      lanes_{Held(slots.of(Lane::changes), workspace), Held(slots.of(Lane::loads), workspace)} {
  slots_.leases().take(workspace_);
}

ConnectionSlots::~ConnectionSlots() { slots_.leases().give_back(workspace_); }

void ConnectionSlots::keep(Lane lane) {
  Held& held = lanes_[static_cast<std::size_t>(lane)];
  if (!std::exchange(held.kept, true)) held.begin();
}

void ConnectionSlots::looked() {
  for (Held& held : lanes_) {
    if (std::exchange(held.kept, false)) held.end();
  }
}

bool ConnectionSlots::may_begin(Lane lane) const {
  return lanes_[static_cast<std::size_t>(lane)].may_begin();
}

}  // namespace sluice::sync
