#include "sync/slots.hpp"

#include <gtest/gtest.h>

#include "sync/due.hpp"

namespace sluice::sync {
namespace {

constexpr WorkspaceId kEvil(1), kOther(2), kThird(3);

/// As many as it may have.
std::size_t take_all(FairShare& share, WorkspaceId workspace) {
  std::size_t taken = 0;
  for (; share.may_take(workspace); ++taken) share.take(workspace);
  return taken;
}

TEST(FairShare, leaves_some_free_however_much_one_workspace_wants) {
  FairShare share(64);
  EXPECT_EQ(take_all(share, kEvil), 48U);
  EXPECT_EQ(share.free(), 16U);
  EXPECT_EQ(take_all(share, kOther), 12U);
  EXPECT_TRUE(share.may_take(kThird));
}

TEST(FairShare, gives_all_of_a_few_to_one_and_of_four_keeps_one) {
  FairShare one(1);
  EXPECT_EQ(take_all(one, kEvil), 1U);
  EXPECT_FALSE(one.may_take(kOther));
  FairShare four(4);
  EXPECT_EQ(take_all(four, kEvil), 3U);
  EXPECT_TRUE(four.may_take(kOther));
}

TEST(FairShare, counts_who_comes_back_beyond_the_whole_and_lets_nobody_new_in_meanwhile) {
  FairShare share(2);
  share.take(kEvil);
  share.take(kEvil);
  share.take(kEvil);
  EXPECT_EQ(share.free(), 0U);
  share.give_back(kEvil);
  EXPECT_FALSE(share.may_take(kOther));
  share.give_back(kEvil);
  EXPECT_TRUE(share.may_take(kOther));
}

TEST(ConnectionSlots, a_slot_is_free_for_others_while_all_of_a_connection_pauses) {
  Slots slots(1);
  ConnectionSlots one(slots, kEvil);
  AtWork& work = one.at_work(Lane::loads);
  work.begin();
  EXPECT_FALSE(slots.may_begin(kOther, Lane::loads));
  {
    const AtWork::Waits rate(&work);
    EXPECT_TRUE(slots.may_begin(kOther, Lane::loads));
    EXPECT_TRUE(one.may_begin(Lane::loads));
    const AtWork::Busy request(&work);
    EXPECT_FALSE(slots.may_begin(kOther, Lane::loads));
  }
  EXPECT_FALSE(slots.may_begin(kOther, Lane::loads));
  work.end();
  EXPECT_TRUE(slots.may_begin(kOther, Lane::loads));
}

TEST(ConnectionSlots, loads_take_no_slot_of_changes) {
  Slots slots(1);
  ConnectionSlots load(slots, kEvil);
  load.keep(Lane::loads);
  EXPECT_FALSE(slots.may_begin(kOther, Lane::loads));
  EXPECT_TRUE(slots.may_begin(kOther, Lane::changes));
  EXPECT_TRUE(load.may_begin(Lane::changes));
}

TEST(ConnectionSlots, what_was_kept_for_the_first_look_goes_back_and_everything_at_the_end) {
  Slots slots(1);
  {
    ConnectionSlots one(slots, kEvil);
    one.keep(Lane::changes);
    one.at_work(Lane::changes).begin();
    one.looked();
    EXPECT_FALSE(slots.may_begin(kOther, Lane::changes));
    one.at_work(Lane::changes).end();
    EXPECT_TRUE(slots.may_begin(kOther, Lane::changes));
    one.keep(Lane::loads);
  }
  EXPECT_TRUE(slots.may_begin(kOther, Lane::loads));
  EXPECT_EQ(slots.leases().taken(), 0U);
}

DueConnection due(WorkspaceId workspace, std::int64_t connection) {
  DueConnection one;
  one.workspace = workspace;
  one.connection = ConnectionId(connection);
  return one;
}

TEST(InTurn, one_of_each_workspace_after_the_other_however_many_one_has) {
  std::vector<DueConnection> all = {due(kEvil, 1), due(kEvil, 2), due(kEvil, 3), due(kOther, 4),
                                    due(kOther, 5)};
  std::string order;
  for (const DueConnection& one :
       in_turn(all, [](WorkspaceId a, WorkspaceId b) { return a == kOther && b != kOther; }))
    order += std::to_string(one.connection.value);
  EXPECT_EQ(order, "41523");
}

}  // namespace
}  // namespace sluice::sync
