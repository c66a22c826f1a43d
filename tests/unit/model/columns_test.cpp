#include "model/columns.hpp"

#include <gtest/gtest.h>

namespace sluice::model {
namespace {

TEST(Columns, QuotesInsideNamesAndTextsAreDoubled) {
  EXPECT_EQ(quote_name("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(quote_text("it's"), "'it''s'");
  EXPECT_EQ(quote_text("a\\b"), "E'a\\\\b'");
}

TEST(Columns, ALongNameIsShortenedWithAHashOfTheWhole) {
  const std::string stem(70, 'x');
  EXPECT_EQ(fitted_name("short"), "short");
  EXPECT_EQ(fitted_name(stem + "a").size(), kIdentifierBytesMax);
  EXPECT_NE(fitted_name(stem + "a"), fitted_name(stem + "b"));
}

TEST(Columns, EveryAttributeTypeHasAColumnTypeAndBack) {
  for (const char* name :
       {"text", "integer", "decimal", "number", "boolean", "timestamp", "date", "json", "bytes"}) {
    const auto type = contract::attribute_type(name);
    ASSERT_TRUE(type);
    EXPECT_EQ(attribute_type_of_column(column_type(*type)), type) << name;
  }
}

TEST(Columns, OnlyAnUnprotectedAttributeIsReadThroughItsOverlay) {
  StoredType type;
  StoredAttribute attribute;
  attribute.name = "total";
  attribute.type = contract::AttributeType::integer;
  EXPECT_EQ(
      value_expression(type, attribute, "e"),
      "case when e.overlay ? 'total' then (e.overlay->>'total')::bigint else e.\"total\" end");
  attribute.is_protected = true;
  EXPECT_EQ(value_expression(type, attribute, "e"), "e.\"total\"");
  type.own = true;
  EXPECT_EQ(value_expression(type, attribute, "e"), "(e.data->>'total')::bigint");
}

}  // namespace
}  // namespace sluice::model
