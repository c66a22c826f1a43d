#include <gtest/gtest.h>
#include <sluice/sdk_record.hpp>

#include <string>

namespace sluice::sdk {
namespace {

SLUICE_FIELDS(kInner, {"x", As::text, 10}, {"y", As::integer, 11});
SLUICE_FIELDS(kFields, {"text", As::text, 0}, {"whole", As::integer, 1}, {"exact", As::decimal, 2},
              {"flag", As::boolean, 3}, {"when", As::unix_seconds, 4}, {"iso", As::rfc3339, 5},
              {"day", As::date, 6}, {"any", As::json, 7}, {"owner", As::reference, 8},
              {"rate", As::number, 9}, {"inner", kInner});

const sluice_value* find(const sluice_record& record, std::uint32_t attribute) {
  for (std::uint32_t i = 0; i < record.value_count; ++i) {
    if (record.values[i].attribute == attribute) return &record.values[i];
  }
  return nullptr;
}

class SdkRecord : public testing::Test {
 protected:
  const sluice_record& map(std::string_view text) {
    record_.begin(0, "id");
    map_object(record_, kFields, document_.parse(text));
    view_ = record_.view();
    return view_;
  }
  std::string text_of(std::uint32_t attribute) {
    const sluice_value* value = find(view_, attribute);
    return value == nullptr ? "absent" : std::string(to_view(value->text));
  }
  json::Document document_;
  Record record_;
  sluice_record view_{};
};

TEST_F(SdkRecord, each_kind_is_mapped) {
  const sluice_record& record = map(
      R"({"unknown":1,"whole":-7,"text":"t","exact":"0.10","flag":true,"when":1,"iso":"1970-01-01T00:00:02Z",
          "day":"1970-01-03","any":[ 1 ],"owner":{"id":"o1"},"rate":2.5,"inner":{"y":3,"x":null}})");
  EXPECT_EQ(record.value_count, 12u);
  EXPECT_EQ(find(record, 1)->number, -7);
  EXPECT_EQ(find(record, 2)->kind, SLUICE_DECIMAL);
  EXPECT_EQ(text_of(2), "0.10");
  EXPECT_EQ(find(record, 3)->number, 1);
  EXPECT_EQ(find(record, 4)->number, 1'000'000);
  EXPECT_EQ(find(record, 5)->number, 2'000'000);
  EXPECT_EQ(find(record, 6)->number, 2);
  EXPECT_EQ(text_of(7), "[1]");
  EXPECT_EQ(text_of(8), "o1");
  EXPECT_EQ(find(record, 9)->real, 2.5);
  EXPECT_EQ(find(record, 10)->kind, SLUICE_NULL);
  EXPECT_EQ(find(record, 11)->number, 3);
}

TEST_F(SdkRecord, absent_is_left_out_and_null_is_null) {
  const sluice_record& record = map(R"({"text":null,"inner":null})");
  EXPECT_EQ(record.value_count, 3u);
  EXPECT_EQ(find(record, 0)->kind, SLUICE_NULL);
  EXPECT_EQ(find(record, 10)->kind, SLUICE_NULL);
  EXPECT_EQ(find(record, 11)->kind, SLUICE_NULL);
  EXPECT_EQ(find(record, 1), nullptr);
}

TEST_F(SdkRecord, the_wrong_kind_is_passed_on_as_it_is_for_the_host_to_judge) {
  const sluice_record& record =
      map(R"({"text":5,"whole":"5","exact":"1e5","flag":"yes","iso":"x","owner":[1]})");
  EXPECT_EQ(find(record, 0)->kind, SLUICE_INT64);
  EXPECT_EQ(find(record, 1)->kind, SLUICE_STRING);
  EXPECT_EQ(find(record, 2)->kind, SLUICE_STRING);
  EXPECT_EQ(find(record, 3)->kind, SLUICE_STRING);
  EXPECT_EQ(find(record, 5)->kind, SLUICE_STRING);
  EXPECT_EQ(find(record, 8)->kind, SLUICE_JSON);
  const sluice_record& large = map(R"({"whole":99999999999999999999,"when":999999999999999})");
  EXPECT_EQ(find(large, 1)->kind, SLUICE_DECIMAL);
  EXPECT_EQ(find(large, 4)->kind, SLUICE_INT64) << "a second beyond the year 9999 is no timestamp";
}

SLUICE_FIELDS(kCore, {"z", As::json, 2}, {"on", As::boolean, 3});
SLUICE_FIELDS(kNested, {"x", As::text, 0}, {"y", As::decimal, 1}, {"core", kCore});
SLUICE_FIELDS(kOuter, {"nested", kNested}, {"name", As::text, 4});

/// No attribute takes what it is given here, so that the host puts the record aside by their names.
TEST_F(SdkRecord, what_should_be_an_object_and_is_none_is_given_to_all_that_would_stand_in_it) {
  for (const char* odd : {"[]", R"("")", R"("text")", "0", "1.5", "false", R"([ {"x": "1"} ])"}) {
    record_.begin(0, "id");
    map_object(record_, kOuter,
               document_.parse(std::string(R"({"name":"n","nested":)") + odd + "}"));
    view_ = record_.view();
    ASSERT_EQ(view_.value_count, 5U) << odd;
    for (const std::uint32_t attribute : {0U, 1U, 3U})
      EXPECT_EQ(find(view_, attribute)->kind, SLUICE_JSON) << odd << " " << attribute;
    EXPECT_EQ(find(view_, 2)->kind, SLUICE_RAW) << "JSON takes whatever is JSON: " << odd;
    EXPECT_EQ(text_of(0), odd[0] == '[' && odd[1] != ']' ? R"([{"x":"1"}])" : odd);
    EXPECT_EQ(text_of(4), "n");
  }
}

TEST_F(SdkRecord, an_object_that_is_mapped_by_hand_is_looked_at_the_same_way) {
  const json::Value root = document_.parse(R"({"list":[],"null":null})");
  record_.begin(0, "id");
  map_object(record_, kNested, root["list"]);
  view_ = record_.view();
  ASSERT_EQ(view_.value_count, 4U);
  EXPECT_EQ(find(view_, 0)->kind, SLUICE_JSON);
  record_.begin(0, "id");
  map_object(record_, kNested, root["null"]);
  view_ = record_.view();
  ASSERT_EQ(view_.value_count, 4U);
  EXPECT_EQ(find(view_, 0)->kind, SLUICE_NULL);
  record_.begin(0, "id");
  map_object(record_, kNested, root["absent"]);
  EXPECT_EQ(record_.view().value_count, 0U) << "what is absent stays as it is in the store";
}

TEST_F(SdkRecord, an_attribute_set_twice_keeps_the_later_value) {
  record_.begin(0, "id");
  record_.text(3, "first");
  record_.integer(1, 1);
  record_.text(3, "second");
  view_ = record_.view();
  EXPECT_EQ(view_.value_count, 2u);
  EXPECT_EQ(text_of(3), "second");
}

TEST_F(SdkRecord, nothing_stays_from_the_record_before) {
  record_.begin(1, "a");
  record_.text(3, "x");
  record_.deleted();
  record_.source_url("https://x");
  record_.begin(2, "b");
  const sluice_record record = record_.view();
  EXPECT_EQ(record.value_count, 0u);
  EXPECT_EQ(record.flags, 0u);
  EXPECT_EQ(record.source_url.size, 0u);
  EXPECT_EQ(record.type, 2u);
}

TEST_F(SdkRecord, discovered_attributes_go_by_name) {
  const json::Value root = document_.parse(R"({"a":1,"b":"x"})");
  record_.begin(0, "id");
  record_.text(0, "kept");
  record_.named("a", root["a"]);
  record_.named("b", root["b"]);
  const sluice_record record = record_.view();
  EXPECT_EQ(record.value_count, 1u);
  ASSERT_EQ(record.named_count, 2u);
  EXPECT_EQ(record.named_values[0].value.number, 1);
  EXPECT_EQ(to_view(record.named_values[1].value.text), "x");
}

/// A text that owns its bytes, as an author's own class may.
class Slug {
 public:
  explicit Slug(std::string text) : text_(std::move(text)) {}
  operator std::string_view() const { return text_; }  // NOLINT: that is what is tested

 private:
  std::string text_;
};

TEST_F(SdkRecord, texts_that_are_put_together_are_there_when_the_record_is_emitted) {
  const std::string first = "Ann", last = "Lee";  // short: their bytes lie in what is reused
  const json::Value value = document_.parse(R"({"v": 7})");
  std::string reused = "one";
  char buffer[8] = "buf";
  record_.begin(0, first + "-id");
  record_.text(0, first + " A" + last);
  record_.text(1, last + "-code");
  record_.decimal(2, std::to_string(12) + ".5");
  record_.json(3, std::string("[") + "1]");
  record_.raw(4, std::string("raw ") + last);
  record_.text(5, Slug(first + "-slug"));
  record_.text(6, (first + "-c").c_str());
  record_.text(7, reused);
  record_.text(8, buffer);
  record_.named(first + "-name", value["v"]);
  record_.source_url("https://example.com/" + last);
  reused = "two";
  buffer[0] = 'x';
  const std::string noise = std::string("what lies on") + " the stack now";
  view_ = record_.view();
  EXPECT_EQ(to_view(view_.external_id), "Ann-id");
  const char* const expected[] = {"Ann ALee", "Lee-code", "12.5", "[1]", "raw Lee",
                                  "Ann-slug", "Ann-c",    "one",  "buf"};
  for (std::uint32_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(text_of(i), expected[i]) << i;
  EXPECT_EQ(to_view(view_.named_values[0].name), "Ann-name");
  EXPECT_EQ(to_view(view_.source_url), "https://example.com/Lee");
}

template <class Text>
concept CanBeBorrowed = requires(Text&& text) {
  to_bytes(std::forward<Text>(text));
};
static_assert(!CanBeBorrowed<std::string>, "it is gone before the host looks at it");
static_assert(CanBeBorrowed<std::string&> && CanBeBorrowed<const std::string&>);
static_assert(CanBeBorrowed<std::string_view> && CanBeBorrowed<const char*>);

TEST_F(SdkRecord, views_are_borrowed_and_an_id_may_come_from_the_record_before) {
  const std::string page = "a text of the page";
  record_.begin(0, "id");
  record_.text(0, std::string_view(page));
  view_ = record_.view();
  EXPECT_EQ(find(view_, 0)->text.data, to_bytes(page).data) << "values of a reply cost no copy";
  record_.begin(0, record_.scratch().join("composed", "-", "1"));
  record_.text(0, record_.scratch().keep("something else"));
  EXPECT_EQ(to_view(record_.view().external_id), "composed-1");
  record_.begin(0, record_.external_id());
  EXPECT_EQ(record_.external_id(), "composed-1");
}

}  // namespace
}  // namespace sluice::sdk
