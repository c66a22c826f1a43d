#include "traffic.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <stdexcept>

#include "change.hpp"

namespace fake_stripe {
namespace {

constexpr std::array<std::string_view, 11> kUsual = {
    "customer", "product", "price",  "subscription",   "invoice",       "charge",
    "refund",   "payout",  "coupon", "payment_method", "promotion_code"};

}  // namespace

void Traffic::start(Plan plan) {
  const std::lock_guard lock(mutex_);
  halt();
  for (const std::string& type : plan.types) {
    if (find_resource(type) == nullptr || type == "event" || type == "account") {
      throw std::invalid_argument("traffic: there is no type '" + type + "'");
    }
  }
  if (plan.types.empty()) plan.types.assign(kUsual.begin(), kUsual.end());
  if (plan.per_second <= 0) return;
  running_ = true;
  thread_ = std::thread([this, plan = std::move(plan)] { run(plan); });
}

void Traffic::stop() {
  const std::lock_guard lock(mutex_);
  halt();
}

void Traffic::halt() {
  running_ = false;
  if (thread_.joinable()) thread_.join();
}

nlohmann::json Traffic::describe() const {
  return {{"running", running_.load()},
          {"created", created_.load()},
          {"changed", changed_.load()},
          {"deleted", deleted_.load()}};
}

void Traffic::run(const Plan& plan) {
  using Steady = std::chrono::steady_clock;
  Dice dice(plan.seed, "traffic", 0);
  const auto start = Steady::now();
  std::uint64_t done = 0;
  while (running_ && !stop_.requested()) {
    const double seconds = std::chrono::duration<double>(Steady::now() - start).count();
    if (static_cast<double>(done) > seconds * plan.per_second) {
      stop_.wait_ms(2);
      continue;
    }
    ++done;
    step(plan, dice);
  }
}

void Traffic::step(const Plan& plan, Dice& dice) {
  const Resource& row = *find_resource(plan.types[dice.below(plan.types.size())]);
  const std::uint64_t roll = dice.below(100);
  const std::unique_lock lock(world_.mutex);
  Changes changes(world_);
  const Ordered& live = world_.of(row.type).live();
  try {
    if (roll < plan.create_percent || live.empty()) {
      changes.create(std::string(row.type), changes.plausible_set(row, dice), {});
      ++created_;
      return;
    }
    const std::string id = live[dice.below(live.size())]->id;
    if (roll < plan.create_percent + plan.delete_percent && row.deletion != Deletion::kNever) {
      changes.remove(id, row.type == "product" || row.type == "invoice", {});
      ++deleted_;
    } else {
      changes.mutate(id, {{"metadata", {{"traffic", world_.new_id("t_")}}}}, {}, {});
      ++changed_;
    }
  } catch (const std::invalid_argument&) {
    // What cannot happen now (a second cancellation, a refund too much) does not happen.
  }
}

}  // namespace fake_stripe
