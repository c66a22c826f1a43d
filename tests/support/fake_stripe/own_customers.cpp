#include "own_customers.hpp"

#include <algorithm>
#include <unordered_map>

#include "dice.hpp"
#include "fold.hpp"
#include "people.hpp"

namespace fake_stripe {
namespace {

struct OwnCustomer {
  std::string email;
  std::string name;
};

std::string respelled(const std::string& email, std::uint64_t row) {
  if (row % 97 == 11) return full_width_first(email);
  switch (row % 6) {
    case 1:
      return in_capitals(email);
    case 2:
      return " " + email + "\t ";
    case 3:
      return decomposed(email);
    case 4:
      return title_case(email);
    default:
      return email;
  }
}

/// Rows at which the row before is named again, spelled otherwise.
bool repeats_previous(std::uint64_t row) { return row % 25 == 16; }

bool is_stranger(std::uint64_t row) { return row % 10 >= 7; }

OwnCustomer stranger(std::uint64_t row) {
  return {.email = "stranger" + std::to_string(row) + "@own.example",
          .name = "Stranger " + std::to_string(row)};
}

/// The row's Stripe customer, spread evenly over all of them.
Person twin(const Settings& settings, std::uint64_t count, std::uint64_t row) {
  const std::uint64_t step = std::max<std::uint64_t>(1, settings.customers / count);
  return person(settings.seed, row * step);
}

OwnCustomer own_customer(const Settings& settings, std::uint64_t count, std::uint64_t row) {
  if (repeats_previous(row)) {
    const OwnCustomer previous = own_customer(settings, count, row - 1);
    const std::string plain = fold_email(previous.email);
    const std::string loud = in_capitals(plain);
    return {.email = loud == previous.email ? plain : loud, .name = previous.name};
  }
  const std::uint64_t step = std::max<std::uint64_t>(1, settings.customers / count);
  if (is_stranger(row) || row * step >= settings.customers) return stranger(row);
  const Person who = twin(settings, count, row);
  return {.email = respelled(who.email, row), .name = who.name};
}

std::string csv_field(const std::string& text) {
  const bool plain = text.find_first_of(",\"\n\r\t ") == std::string::npos;
  if (plain) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

/// Folded e-mail -> how many of our own customers have it.
std::unordered_map<std::string, int> own_by_key(const Settings& settings, std::uint64_t count) {
  std::unordered_map<std::string, int> own;
  for (std::uint64_t row = 0; row < count; ++row) {
    ++own[fold_email(own_customer(settings, count, row).email)];
  }
  return own;
}

}  // namespace

std::string own_customers_csv(const Settings& settings, std::uint64_t count) {
  constexpr const char* kPlans[] = {"free", "team", "enterprise"};
  std::string out = "email,name,plan\n";
  for (std::uint64_t row = 0; row < count; ++row) {
    const OwnCustomer own = own_customer(settings, count, row);
    out += csv_field(own.email) + "," + csv_field(own.name) + "," + kPlans[row % 3] + "\n";
  }
  return out;
}

Json expect_links(const World& world, std::uint64_t count) {
  const std::unordered_map<std::string, int> own = own_by_key(world.settings(), count);
  std::int64_t linked = 0;
  std::int64_t pending = 0;
  std::int64_t contested = 0;
  std::int64_t without_key = 0;
  for (const Object* customer : world.of("customer").live()) {
    const Json email = Json::parse(customer->body).value("email", Json());
    const std::string key = email.is_string() ? fold_email(email.get<std::string>()) : "";
    const auto found = own.find(key);
    const int matches = found == own.end() ? 0 : found->second;
    if (key.empty()) {
      ++without_key;
    } else if (matches == 0) {
      ++pending;
    } else {
      ++(matches == 1 ? linked : contested);
    }
  }
  return {{"linked", linked},
          {"pending", pending},
          {"contested", contested},
          {"without_key", without_key}};
}

}  // namespace fake_stripe
