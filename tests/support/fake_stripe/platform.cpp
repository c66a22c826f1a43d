#include "platform.hpp"

#include <stdexcept>

#include "change.hpp"

namespace fake_stripe {

Platform::Platform(Settings settings, Clock& clock)
    : clock_(clock), own_(std::make_unique<World>(std::move(settings), clock)) {
  seed_world(*own_);
}

World* Platform::find(std::string_view account) {
  if (account == own_->account_id()) return own_.get();
  const std::lock_guard lock(mutex_);
  const auto found = connected_.find(account);
  return found == connected_.end() || found->second->revoked ? nullptr : found->second.get();
}

World& Platform::connect(Settings settings) {
  auto world = std::make_unique<World>(std::move(settings), clock_);
  seed_world(*world);
  const std::string id = world->account_id();
  const std::string body = world->of("account").find(id)->body;
  {
    const std::unique_lock own_lock(own_->mutex);
    Collection& accounts = own_->of("account");
    if (accounts.find(id) != nullptr) {
      throw std::invalid_argument("the account '" + id + "' is connected already");
    }
    accounts.insert({.id = id,
                     .body = body,
                     .created = world->of("account").find(id)->created,
                     .number = own_->next_number()},
                    {});
  }
  const std::lock_guard lock(mutex_);
  return *connected_.emplace(id, std::move(world)).first->second;
}

bool Platform::disconnect(std::string_view account) {
  World* world = account == own_->account_id() ? nullptr : find(account);
  if (world == nullptr) return false;
  world->revoked = true;
  const std::unique_lock lock(own_->mutex);
  Changes(*own_).remove(std::string(account), true, {});
  return true;
}

std::vector<World*> Platform::all() {
  std::vector<World*> worlds = {own_.get()};
  const std::lock_guard lock(mutex_);
  for (auto& [id, world] : connected_) {
    if (!world->revoked) worlds.push_back(world.get());
  }
  return worlds;
}

}  // namespace fake_stripe
