#include "ingest/type_strategy.hpp"

#include <gtest/gtest.h>

namespace sluice::ingest {
namespace {

const ConnectionId kOne(1), kOther(2);
const EntityTypeId kInvoice(7), kItem(8);

TypeOutcome outcome(std::size_t rows, std::size_t inserted) {
  TypeOutcome page;
  page.rows = rows;
  page.inserted = inserted;
  return page;
}

TypeOutcome by_range(std::size_t rows, std::size_t matched) {
  TypeOutcome page = outcome(rows, 0);
  page.range_rows = rows;
  page.range_matched = matched;
  return page;
}

struct Lesson {
  const char* name;
  bool has_rows;  ///< when the type is first met
  std::vector<TypeOutcome> pages;
  Strategy after;
};

const Lesson kLessons[] = {
    {"an empty table is copied into", false, {}, Strategy::copy},
    {"a table with rows is looked into", true, {}, Strategy::look},
    {"copying goes on while all is new", false, {outcome(100, 100), outcome(1, 1)}, Strategy::copy},
    {"one known row ends copying", false, {outcome(100, 99)}, Strategy::insert},
    {"mostly known rows end copying", false, {outcome(100, 49)}, Strategy::look},
    {"a page half new is followed by inserts", true, {outcome(100, 50)}, Strategy::insert},
    {"a page less than half new is not", true, {outcome(100, 49)}, Strategy::look},
    {"inserts end with a known page", true, {outcome(100, 90), outcome(100, 0)}, Strategy::look},
    {"what was looked at once is copied no more", true, {outcome(10, 10)}, Strategy::insert},
};

TEST(TypeStrategies, learn_from_what_pages_showed) {
  for (const Lesson& lesson : kLessons) {
    SCOPED_TRACE(lesson.name);
    TypeStrategies strategies;
    strategies.met(kOne, kInvoice, lesson.has_rows);
    for (const TypeOutcome& page : lesson.pages) strategies.learn(kOne, kInvoice, page);
    EXPECT_EQ(strategies.of(kOne, kInvoice).strategy, lesson.after);
  }
}

TEST(TypeStrategies, are_of_one_type_of_one_connection) {
  TypeStrategies strategies;
  strategies.met(kOne, kInvoice, false);
  strategies.met(kOne, kItem, false);
  strategies.met(kOther, kInvoice, true);
  EXPECT_EQ(strategies.copied(kOne), (std::vector{kInvoice, kItem}));
  EXPECT_TRUE(strategies.copied(kOther).empty());
  strategies.stop_copying(kOne, kInvoice);
  EXPECT_EQ(strategies.copied(kOne), std::vector{kItem});
  EXPECT_EQ(strategies.of(kOne, kInvoice).strategy, Strategy::insert);
  EXPECT_FALSE(strategies.knows(kOther, kItem));
  EXPECT_EQ(strategies.of(kOther, kItem).strategy, Strategy::look);
}

TEST(TypeStrategies, a_second_meeting_changes_nothing) {
  TypeStrategies strategies;
  strategies.met(kOne, kInvoice, false);
  strategies.met(kOne, kInvoice, true);
  EXPECT_EQ(strategies.of(kOne, kInvoice).strategy, Strategy::copy);
}

TEST(TypeStrategies, scattered_rows_are_not_looked_for_by_range_for_a_while) {
  TypeStrategies strategies;
  strategies.met(kOne, kInvoice, true);
  strategies.learn(kOne, kInvoice, by_range(100, 50));
  EXPECT_EQ(strategies.of(kOne, kInvoice).scattered_pages, 0);
  strategies.learn(kOne, kInvoice, by_range(100, 49));
  for (int page = TypeStrategies::kScatteredPages; page > 0; --page) {
    EXPECT_EQ(strategies.of(kOne, kInvoice).scattered_pages, page);
    strategies.learn(kOne, kInvoice, outcome(100, 0));
  }
  EXPECT_EQ(strategies.of(kOne, kInvoice).scattered_pages, 0);
}

}  // namespace
}  // namespace sluice::ingest
