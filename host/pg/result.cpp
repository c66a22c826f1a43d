#include "pg/result.hpp"

#include <libpq-fe.h>

#include <array>
#include <chrono>
#include <limits>

#include "base/check.hpp"
#include "base/error.hpp"

namespace sluice::pg {

QueryResult::QueryResult(pg_result* owned) : result_(owned) {}

void QueryResult::Clear::operator()(pg_result* result) const { PQclear(result); }

int QueryResult::rows() const { return PQntuples(result_.get()); }

int QueryResult::columns() const { return PQnfields(result_.get()); }

std::int64_t QueryResult::affected() const {
  const std::string_view text = result_ ? PQcmdTuples(result_.get()) : "";
  std::int64_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

bool QueryResult::is_null(int row, int column) const {
  SLUICE_INVARIANT(row >= 0 && row < rows() && column >= 0 && column < columns());
  return PQgetisnull(result_.get(), row, column) != 0;
}

std::string_view QueryResult::text(int row, int column) const {
  SLUICE_INVARIANT(row >= 0 && row < rows() && column >= 0 && column < columns());
  return {PQgetvalue(result_.get(), row, column),
          static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

std::string_view QueryResult::column_name(int column) const {
  SLUICE_INVARIANT(column >= 0 && column < columns());
  return PQfname(result_.get(), column);
}

std::string_view QueryResult::command_tag() const {
  return result_ ? PQcmdStatus(result_.get()) : "";
}

namespace detail {
namespace {

// Reads the digits at the front of `text` and drops them; nullopt when there are none or too many.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || text.empty() || text.front() == '-') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

// ".5" is 500000; up to six digits, all that timestamptz has.
std::optional<std::int64_t> take_fraction(std::string_view& text) {
  if (!take(text, ".")) return 0;
  const std::size_t before = text.size();
  auto value = take_number(text);
  const std::size_t digits = before - text.size();
  if (!value || digits > 6) return std::nullopt;
  for (std::size_t i = digits; i < 6; ++i) *value *= 10;
  return value;
}

}  // namespace

void unreadable(std::string_view text, int column) {
  throw Failure(Error(ErrorKind::internal, "pg.unreadable",
                      "column " + std::to_string(column) + " of a result holds text of " +
                          std::to_string(text.size()) + " bytes that is not of the type asked for",
                      "cast the column in the SQL, or read it as another type"));
}

Bytes bytea_from_text(std::string_view text) {
  if (!text.starts_with("\\x")) unreadable(text, 0);
  auto bytes = from_hex(text.substr(2));
  if (!bytes) unreadable(text, 0);
  return std::move(*bytes);
}

std::optional<Uuid> uuid_from_text(std::string_view text) {
  // A page of rows has a thousand of them: no copies, and no branch for each digit.
  constexpr std::size_t kTextSize = 36;
  static constexpr std::uint8_t kNone = 0xFF;
  static constexpr auto kDigits = [] {
    std::array<std::uint8_t, 256> digits{};
    digits.fill(kNone);
    for (std::uint8_t i = 0; i < 10; ++i) digits['0' + i] = i;
    for (std::uint8_t i = 0; i < 6; ++i) digits['a' + i] = static_cast<std::uint8_t>(10 + i);
    for (std::uint8_t i = 0; i < 6; ++i) digits['A' + i] = static_cast<std::uint8_t>(10 + i);
    return digits;
  }();
  if (text.size() != kTextSize) return std::nullopt;
  Uuid value;
  std::uint8_t all = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < sizeof(value.bytes); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      if (text[at++] != '-') return std::nullopt;
    }
    const std::uint8_t high = kDigits[static_cast<std::uint8_t>(text[at++])];
    const std::uint8_t low = kDigits[static_cast<std::uint8_t>(text[at++])];
    all |= high | low;
    value.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  if (all > 0x0F) return std::nullopt;
  return value;
}

// "2026-11-23 05:16:54.123456+00", perhaps " BC" behind it; the session's time zone is UTC.
std::optional<Micros> timestamptz_from_text(std::string_view text) {
  if (text == "infinity") return Micros::max();
  if (text == "-infinity") return Micros::min();
  auto year = take_number(text);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = take_number(text);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = take_number(text);
  if (!day || !take(text, " ")) return std::nullopt;
  const auto hour = take_number(text);
  if (!hour || !take(text, ":")) return std::nullopt;
  const auto minute = take_number(text);
  if (!minute || !take(text, ":")) return std::nullopt;
  const auto second = take_number(text);
  if (!second) return std::nullopt;
  const auto fraction = take_fraction(text);
  if (!fraction || !take(text, "+00")) return std::nullopt;
  if (take(text, " BC")) year = 1 - *year;
  if (!text.empty()) return std::nullopt;

  // chrono's calendar ends at year 32767; 400 years always have 146097 days.
  const std::int64_t cycles = *year / 400;
  const std::chrono::year_month_day date{std::chrono::year{static_cast<int>(*year - cycles * 400)},
                                         std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  const std::int64_t days =
      std::chrono::sys_days{date}.time_since_epoch().count() + cycles * 146'097;
  const std::int64_t seconds = ((days * 24 + *hour) * 60 + *minute) * 60 + *second;
  return Micros(seconds * 1'000'000 + *fraction);
}

void require_not_null(bool is_null, int, int) { SLUICE_INVARIANT(!is_null); }

}  // namespace detail
}  // namespace sluice::pg
