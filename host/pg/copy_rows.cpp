#include "pg/copy_rows.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "base/check.hpp"
#include "base/error.hpp"

namespace sluice::pg {
namespace {

constexpr char kJsonbVersion = 1;
constexpr std::uint16_t kNumericNegative = 0x4000;
constexpr std::size_t kDigitsAfterPointMax = 16'383;
constexpr std::size_t kDigitsOfGroup = 4;  // numeric counts in base 10,000

template <class Unsigned>
void put_at(char* out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i)
    out[i] = static_cast<char>(value >> (8 * (sizeof(Unsigned) - 1 - i)));
}

/// As PostgreSQL keeps a number: `groups` of four digits, the first of which counts
/// 10,000^weight; `scale` digits behind the point are shown.
struct Numeric {
  bool negative = false;
  std::int64_t weight = 0;
  std::size_t scale = 0;
  std::vector<std::uint16_t> groups;
};

bool are_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<Numeric> read_numeric(std::string_view text) {
  Numeric number;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    number.negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction = point < text.size() ? text.substr(point + 1) : "";
  if (whole.empty() && fraction.empty()) return std::nullopt;
  if (!are_digits(whole) || !are_digits(fraction) || fraction.size() > kDigitsAfterPointMax)
    return std::nullopt;
  number.scale = fraction.size();
  // Groups are aligned at the point: zeros in front of the whole part and behind the fraction.
  const std::size_t whole_groups = (whole.size() + kDigitsOfGroup - 1) / kDigitsOfGroup;
  const std::size_t fraction_groups = (fraction.size() + kDigitsOfGroup - 1) / kDigitsOfGroup;
  std::string digits(whole_groups * kDigitsOfGroup - whole.size(), '0');
  digits.append(whole).append(fraction);
  digits.resize((whole_groups + fraction_groups) * kDigitsOfGroup, '0');
  for (std::size_t at = 0; at < digits.size(); at += kDigitsOfGroup) {
    int group = 0;
    for (std::size_t i = 0; i < kDigitsOfGroup; ++i) group = group * 10 + (digits[at + i] - '0');
    number.groups.push_back(static_cast<std::uint16_t>(group));
  }
  number.weight = static_cast<std::int64_t>(whole_groups) - 1;
  const auto leading =
      std::find_if(number.groups.begin(), number.groups.end(), [](auto g) { return g != 0; });
  number.weight -= leading - number.groups.begin();
  number.groups.erase(number.groups.begin(), leading);
  while (!number.groups.empty() && number.groups.back() == 0) number.groups.pop_back();
  if (number.groups.empty()) {
    number.weight = 0;
    number.negative = false;
  }
  return number;
}

}  // namespace

void CopyRows::begin_row() {
  SLUICE_INVARIANT(rows_ == 0 || values_ == columns_);
  char bytes[sizeof(std::uint16_t)];
  put_at(bytes, static_cast<std::uint16_t>(columns_));
  buffer_.append(bytes, sizeof(bytes));
  ++rows_;
  values_ = 0;
}

char* CopyRows::place(std::size_t size) {
  SLUICE_INVARIANT(values_ < columns_);
  const std::size_t before = buffer_.size();
  if (before + size > kBytesMax) {
    throw Failure(Error(ErrorKind::bad_input, "pg.copy_too_large",
                        "the rows of one COPY grew past 512 MiB", "send them in parts"));
  }
  const std::size_t length = before + sizeof(std::uint32_t) + size;
  // GCC 12's resize_and_overwrite makes room for no more than this, each time anew.
  if (length > buffer_.capacity()) buffer_.reserve(std::max(length, 2 * buffer_.capacity()));
  buffer_.resize_and_overwrite(length, [](char*, std::size_t bytes) { return bytes; });
  char* const at = buffer_.data() + before;
  put_at(at, static_cast<std::uint32_t>(size));
  ++values_;
  return at + sizeof(std::uint32_t);
}

template <class Unsigned>
void CopyRows::add_fixed(Unsigned value) {
  put_at(place(sizeof(value)), value);
}

void CopyRows::add_null() { put_at(place(0) - sizeof(std::uint32_t), ~std::uint32_t{0}); }

void CopyRows::add_boolean(bool value) { add_fixed(static_cast<std::uint8_t>(value ? 1 : 0)); }
void CopyRows::add_int8(std::int64_t value) { add_fixed(static_cast<std::uint64_t>(value)); }

std::size_t CopyRows::add_int8_later() {
  add_int8(0);
  return buffer_.size() - sizeof(std::int64_t);
}

void CopyRows::put_int8(std::size_t place, std::int64_t value) {
  SLUICE_INVARIANT(place + sizeof(value) <= buffer_.size());
  put_at(buffer_.data() + place, static_cast<std::uint64_t>(value));
}

void CopyRows::add_float8(double value) { add_fixed(std::bit_cast<std::uint64_t>(value)); }

void CopyRows::add_text(std::string_view value) { value.copy(place(value.size()), value.size()); }

void CopyRows::add_bytea(std::string_view value) { add_text(value); }

void CopyRows::add_jsonb(std::string_view json) {
  char* const at = place(json.size() + 1);
  *at = kJsonbVersion;
  json.copy(at + 1, json.size());
}

void CopyRows::add_uuid(const Uuid& value) {
  std::memcpy(place(sizeof(value.bytes)), value.bytes, sizeof(value.bytes));
}

void CopyRows::add_timestamptz(std::int64_t micros) { add_fixed(postgres_micros(micros)); }
void CopyRows::add_date(std::int32_t days) { add_fixed(postgres_days(days)); }

bool CopyRows::add_numeric(std::string_view decimal) {
  const std::optional<Numeric> number = read_numeric(decimal);
  if (!number) return false;
  char* at = place(sizeof(std::uint16_t) * (4 + number->groups.size()));
  const auto short_of = [&at](std::size_t value) {
    put_at(at, static_cast<std::uint16_t>(value));
    at += sizeof(std::uint16_t);
  };
  short_of(number->groups.size());
  short_of(static_cast<std::uint16_t>(number->weight));
  short_of(number->negative ? kNumericNegative : 0);
  short_of(number->scale);
  for (const std::uint16_t group : number->groups) short_of(group);
  return true;
}

std::string_view CopyRows::wire() const {
  SLUICE_INVARIANT(rows_ == 0 || values_ == columns_);
  return buffer_;
}

}  // namespace sluice::pg
