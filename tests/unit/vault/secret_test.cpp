#include "vault/secret.hpp"

#include <fmt/ostream.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/log.hpp"

namespace sluice::vault {
namespace {

template <class T>
concept Streamable = requires(std::ostream& out, const T& value) {
  out << value;
};
template <class T>
concept Comparable = requires(const T& a, const T& b) {
  a == b;
};

static_assert(Streamable<std::string> && Comparable<std::string>);
static_assert(!Streamable<Secret>, "a Secret must not go into a stream");
static_assert(!fmt::is_formattable<Secret>::value, "nor into a format string");
static_assert(!Comparable<Secret>, "nor be compared in time that depends on the value");
static_assert(!std::is_copy_constructible_v<Secret> && !std::is_copy_assignable_v<Secret>);
static_assert(std::is_nothrow_move_constructible_v<Secret>);
static_assert(!std::is_convertible_v<Secret, std::string> &&
              !std::is_convertible_v<Secret, std::string_view> &&
              !std::is_convertible_v<Secret, ByteView> &&
              !std::is_constructible_v<std::string, Secret>);
static_assert(!std::is_convertible_v<std::string, Secret> &&
              !std::is_convertible_v<const char*, Secret>);
static_assert(!std::is_constructible_v<nlohmann::json, const Secret&>);
static_assert(!std::is_constructible_v<log::Field, const char*, const Secret&>);

TEST(Secret, TakesATextAndWipesItWhereItWas) {
  std::string text = "sk_live_0123456789_0123456789_0123456789";
  const char* where = text.data();
  const std::size_t size = text.size();
  const Secret secret = Secret::take(std::move(text));
  EXPECT_EQ(secret.expose_text(), "sk_live_0123456789_0123456789_0123456789");
  EXPECT_TRUE(text.empty());
  ASSERT_EQ(text.data(), where);  // still its buffer: looking is allowed
  text.resize(size);
  for (const char c : text) EXPECT_EQ(c, '\0');
}

TEST(Secret, WipesAShortTextToo) {
  std::string text = "short";
  const Secret secret = Secret::take(std::move(text));
  text.resize(5, 'x');
  EXPECT_EQ(text, "xxxxx");
  EXPECT_EQ(secret.size(), 5U);
}

TEST(Secret, IsEmptyAfterItWasMovedAway) {
  Secret first = Secret::copy_of(as_bytes("value"));
  Secret second = std::move(first);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(second.expose_text(), "value");
  Secret third = Secret::copy_of(as_bytes("other"));
  third = std::move(second);
  EXPECT_EQ(third.expose_text(), "value");
  EXPECT_EQ(third.clone().expose_text(), "value");
}

TEST(Secret, ComparesByContent) {
  const Secret one = Secret::copy_of(as_bytes("value"));
  EXPECT_TRUE(one.equals(as_bytes("value")));
  EXPECT_FALSE(one.equals(as_bytes("valuf")));
  EXPECT_FALSE(one.equals(as_bytes("value2")));
  EXPECT_FALSE(one.equals(Secret()));
  EXPECT_TRUE(Secret().equals(Secret()));
}

TEST(Secret, RandomOnesDiffer) { EXPECT_FALSE(Secret::random(32).equals(Secret::random(32))); }

using SecretDeathTest = ::testing::Test;
TEST(SecretDeathTest, CannotBeWrittenToOnceFilled) {
  const Secret secret = Secret::copy_of(as_bytes("value"));
  EXPECT_DEATH(const_cast<std::uint8_t*>(secret.expose().data())[0] = 'x', "");
}

TEST(SecretDeathTest, AReadPastItsEndStopsTheProcess) {
  const Secret secret = Secret::copy_of(as_bytes("value"));
  EXPECT_DEATH(
      {
        volatile std::uint8_t sink = secret.expose().data()[secret.size()];
        (void)sink;
      },
      "");
}

TEST(Fingerprint, IsEqualForEqualValuesUnderOneKeyOnly) {
  const Secret key = Secret::random(32), other_key = Secret::random(32);
  const Secret value = Secret::copy_of(as_bytes("sk_test_1"));
  const Fingerprint print = Fingerprint::of(value, key);
  EXPECT_EQ(print, Fingerprint::of(value.clone(), key));
  EXPECT_NE(print, Fingerprint::of(Secret::copy_of(as_bytes("sk_test_2")), key));
  EXPECT_NE(print, Fingerprint::of(value, other_key));
  EXPECT_EQ(print.to_string().size(), 16U);
}

}  // namespace
}  // namespace sluice::vault
