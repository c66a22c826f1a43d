#include "sync/turns.hpp"

#include <gtest/gtest.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <vector>

namespace sluice::sync {
namespace {

struct World {
  asio::io_context loop;
  Turns turns{loop.get_executor(), 1};
  std::vector<int> came;

  Task<void> wait_in_line(int who) {
    Turn turn(turns);
    co_await turn.come();
    came.push_back(who);
  }
  Task<void> hold(Turn& turn) { co_await turn.come(); }
  void settle() {
    loop.restart();
    loop.poll();
  }
};

void forget(std::exception_ptr) {}

TEST(Turns, come_in_order_one_after_the_other) {
  World world;
  for (int who = 1; who <= 3; ++who) asio::co_spawn(world.loop, world.wait_in_line(who), forget);
  world.settle();
  EXPECT_EQ(world.came, (std::vector<int>{1, 2, 3}));
}

// The bell was rung for who is cancelled in the same moment, and nobody rings it once more.
TEST(Turns, one_who_is_cancelled_as_his_turn_comes_passes_the_bell_on) {
  World world;
  auto first = std::make_unique<Turn>(world.turns);
  asio::co_spawn(world.loop, world.hold(*first), forget);
  world.settle();
  asio::cancellation_signal stop;
  asio::co_spawn(world.loop, world.wait_in_line(2),
                 asio::bind_cancellation_slot(stop.slot(), forget));
  asio::co_spawn(world.loop, world.wait_in_line(3), forget);
  world.settle();
  ASSERT_EQ(world.turns.waiting(), 2U);
  stop.emit(asio::cancellation_type::terminal);  // comes with the next round of the loop
  first.reset();
  world.settle();
  EXPECT_EQ(world.came, std::vector<int>{3});
  EXPECT_EQ(world.turns.waiting(), 0U);
}

}  // namespace
}  // namespace sluice::sync
