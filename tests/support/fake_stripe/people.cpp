#include "people.hpp"

#include <array>
#include <string_view>

#include "dice.hpp"
#include "fold.hpp"

namespace fake_stripe {
namespace {

constexpr std::array<std::string_view, 12> kFirst = {"ann",  "bob",    "carla",  "dmitri",
                                                     "elsa", "fatima", "george", "hana",
                                                     "ivan", "julia",  "kofi",   "lena"};
constexpr std::array<std::string_view, 12> kLast = {"smith", "jones", "garcia", "kim",
                                                    "novak", "rossi", "weber",  "silva",
                                                    "olsen", "brown", "tanaka", "singh"};
constexpr std::array<std::string_view, 8> kAccentedFirst = {"zoë", "ünal",     "željko", "łukasz",
                                                            "åsa", "françois", "íñigo",  "søren"};
constexpr std::array<std::string_view, 8> kAccentedLast = {
    "strauß", "müller", "dvořák", "nuñez", "ångström", "lefèvre", "şahin", "o'brien"};
constexpr std::array<std::string_view, 4> kDomains = {"example.com", "example.org",
                                                      "mail.example.net", "shop.example"};

template <std::size_t N>
std::string_view pick(const std::array<std::string_view, N>& from, Dice& dice) {
  return from[dice.below(N)];
}

/// The first letter, which may take two bytes, in capitals.
std::string capitalised(std::string_view word) {
  const std::size_t first = static_cast<unsigned char>(word[0]) < 0x80 ? 1 : 2;
  return in_capitals(word.substr(0, first)) + std::string(word.substr(first));
}

}  // namespace

Person person(std::uint64_t seed, std::uint64_t index) {
  Dice dice(seed, "person", index);
  const bool accented = index % 13 == 6;
  const std::string_view first = accented ? pick(kAccentedFirst, dice) : pick(kFirst, dice);
  const std::string_view last = accented ? pick(kAccentedLast, dice) : pick(kLast, dice);
  std::string email(first);
  email += '.';
  email += last;
  email += std::to_string(index);
  email += '@';
  email += pick(kDomains, dice);
  return {.name = capitalised(first) + " " + capitalised(last), .email = email};
}

std::string title_case(const std::string& email) {
  const auto at = email.find('@');
  const auto dot = email.find('.');
  return capitalised(email.substr(0, dot)) + "." +
         capitalised(email.substr(dot + 1, at - dot - 1)) + in_capitals(email.substr(at));
}

std::optional<std::string> stripe_email(std::uint64_t seed, std::uint64_t index) {
  const std::string plain = person(seed, index).email;
  if (index % 37 == 5) return std::nullopt;
  if (index % 211 == 7) return "   ";
  if (index % 50 == 49 || index == 2) return in_capitals(person(seed, index - 1).email);
  if (index % 29 == 4) return "  " + plain + " ";
  if (index % 39 == 19) return decomposed(plain);
  if (index % 39 == 32) return in_capitals(plain);
  if (index % 11 == 3) return title_case(plain);
  return plain;
}

}  // namespace fake_stripe
