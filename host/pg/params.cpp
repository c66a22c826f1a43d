#include "pg/params.hpp"

#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/check.hpp"
#include "base/error.hpp"
#include "base/exact_json.hpp"

namespace sluice::pg {
namespace {

// Array header: dimensions, has-null flag, element type, then per dimension its size and lower
// bound.
constexpr std::size_t kHeaderBytes = 20;
constexpr std::size_t kEmptyHeaderBytes = 12;
constexpr std::size_t kDimensionsAt = 0;
constexpr std::size_t kHasNullAt = 4;
constexpr std::size_t kElementAt = 8;
constexpr std::size_t kCountAt = 12;
constexpr std::size_t kLowerBoundAt = 16;

constexpr std::int32_t kNullLength = -1;
constexpr char kJsonbVersion = 1;
// PostgreSQL counts from 2000-01-01.
constexpr std::int64_t kEpochMicros = 946'684'800'000'000;
constexpr std::int32_t kEpochDays = 10'957;

template <class Unsigned>
void put_at(char* out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
    out[i] = static_cast<char>(value >> (8 * (sizeof(Unsigned) - 1 - i)));
  }
}

template <class Unsigned>
std::string big_endian(Unsigned value) {
  std::string bytes(sizeof(Unsigned), '\0');
  put_at(bytes.data(), value);
  return bytes;
}

std::string json_text(const nlohmann::json& value) {
  std::optional<std::string> text = write_utf8_json(value);
  if (text) return std::move(*text);
  throw Failure(Error(ErrorKind::bad_input, "pg.json_not_utf8",
                      "a JSON value holds text that is not UTF-8",
                      "check the text with is_utf8 before it becomes JSON"));
}

}  // namespace

std::uint64_t postgres_micros(std::int64_t since_1970) {
  std::int64_t value = 0;
  if (__builtin_sub_overflow(since_1970, kEpochMicros, &value)) {
    throw Failure(Error(ErrorKind::bad_input, "pg.time_out_of_range",
                        "a time is before what PostgreSQL's timestamptz can hold",
                        "PostgreSQL stores 4713 BC to 294276 AD"));
  }
  return static_cast<std::uint64_t>(value);
}

std::uint32_t postgres_days(std::int32_t since_1970) {
  std::int32_t value = 0;
  if (__builtin_sub_overflow(since_1970, kEpochDays, &value)) {
    throw Failure(Error(ErrorKind::bad_input, "pg.date_out_of_range",
                        "a day is before what PostgreSQL's date can hold",
                        "PostgreSQL stores 4713 BC to 5874897 AD"));
  }
  return static_cast<std::uint32_t>(value);
}

Array::Array(Oid element) : element_(element), buffer_(kHeaderBytes, '\0') {}

Oid Array::array_type() const {
  switch (element_) {
    case Oid::boolean:
      return Oid::boolean_array;
    case Oid::bytea:
      return Oid::bytea_array;
    case Oid::int4:
      return Oid::int4_array;
    case Oid::text:
      return Oid::text_array;
    case Oid::int8:
      return Oid::int8_array;
    case Oid::float8:
      return Oid::float8_array;
    case Oid::date:
      return Oid::date_array;
    case Oid::timestamptz:
      return Oid::timestamptz_array;
    case Oid::uuid:
      return Oid::uuid_array;
    case Oid::jsonb:
      return Oid::jsonb_array;
    default:
      SLUICE_INVARIANT(!"an array of this element type has no binary form here");
  }
  return Oid{0};
}

void Array::append_raw(const void* data, std::size_t size) {
  buffer_.append(static_cast<const char*>(data), size);
}

void Array::begin_element(std::uint32_t length) {
  if (buffer_.size() + length + sizeof(length) > kBytesMax) {
    throw Failure(Error(ErrorKind::bad_input, "pg.array_too_large",
                        "one array parameter grew past 512 MiB", "send smaller batches"));
  }
  char bytes[sizeof(length)];
  put_at(bytes, length);
  append_raw(bytes, sizeof(bytes));
  ++count_;
}

void Array::add_null() {
  begin_element(0);
  put_at(buffer_.data() + buffer_.size() - sizeof(kNullLength),
         static_cast<std::uint32_t>(kNullLength));
  has_null_ = true;
}

void Array::add(bool value) {
  SLUICE_INVARIANT(element_ == Oid::boolean);
  begin_element(1);
  buffer_.push_back(value ? 1 : 0);
}

void Array::add(std::int32_t value) {
  SLUICE_INVARIANT(element_ == Oid::int4 || element_ == Oid::date);
  char bytes[sizeof(value)];
  put_at(bytes, element_ == Oid::date ? postgres_days(value) : static_cast<std::uint32_t>(value));
  begin_element(sizeof(bytes));
  append_raw(bytes, sizeof(bytes));
}

void Array::add(std::int64_t value) {
  SLUICE_INVARIANT(element_ == Oid::int8 || element_ == Oid::timestamptz);
  char bytes[sizeof(value)];
  put_at(bytes,
         element_ == Oid::timestamptz ? postgres_micros(value) : static_cast<std::uint64_t>(value));
  begin_element(sizeof(bytes));
  append_raw(bytes, sizeof(bytes));
}

void Array::add(double value) {
  SLUICE_INVARIANT(element_ == Oid::float8);
  char bytes[sizeof(value)];
  put_at(bytes, std::bit_cast<std::uint64_t>(value));
  begin_element(sizeof(bytes));
  append_raw(bytes, sizeof(bytes));
}

void Array::add(std::string_view value) {
  SLUICE_INVARIANT(element_ == Oid::text || element_ == Oid::jsonb);
  const bool versioned = element_ == Oid::jsonb;
  const std::size_t length = value.size() + (versioned ? 1 : 0);
  begin_element(static_cast<std::uint32_t>(std::min(length, kBytesMax)));
  if (versioned) buffer_.push_back(kJsonbVersion);
  append_raw(value.data(), value.size());
}

void Array::add(ByteView value) {
  SLUICE_INVARIANT(element_ == Oid::bytea);
  begin_element(static_cast<std::uint32_t>(std::min(value.size(), kBytesMax)));
  append_raw(value.data(), value.size());
}

void Array::add(const Uuid& value) {
  SLUICE_INVARIANT(element_ == Oid::uuid);
  begin_element(sizeof(value.bytes));
  append_raw(value.bytes, sizeof(value.bytes));
}

void Array::reserve(std::size_t elements, std::size_t bytes) {
  buffer_.reserve(kHeaderBytes + elements * sizeof(std::uint32_t) + bytes);
}

void Array::clear() {
  buffer_.resize(kHeaderBytes);
  count_ = 0;
  has_null_ = false;
}

ByteView Array::wire() const {
  const bool empty = count_ == 0;
  char* out = buffer_.data();
  put_at(out + kDimensionsAt, std::uint32_t{empty ? 0u : 1u});
  put_at(out + kHasNullAt, std::uint32_t{has_null_ ? 1u : 0u});
  put_at(out + kElementAt, static_cast<std::uint32_t>(element_));
  put_at(out + kCountAt, static_cast<std::uint32_t>(count_));
  put_at(out + kLowerBoundAt, std::uint32_t{1});
  return as_bytes(std::string_view(buffer_).substr(0, empty ? kEmptyHeaderBytes : buffer_.size()));
}

std::string Array::take() {
  std::string bytes = std::move(buffer_);
  bytes.resize(count_ == 0 ? kEmptyHeaderBytes : bytes.size());
  buffer_.assign(kHeaderBytes, '\0');
  count_ = 0;
  has_null_ = false;
  return bytes;
}

Params& Params::add_bytes(Oid type, std::string bytes) {
  Value value;
  value.type = type;
  value.bytes = std::move(bytes);
  values_.push_back(std::move(value));
  return *this;
}

Params& Params::add_null(Oid type) {
  Value value;
  value.type = type;
  value.is_null = true;
  values_.push_back(std::move(value));
  return *this;
}

Params& Params::add(std::nullptr_t) { return add_null(Oid{0}); }

Params& Params::add(bool value) { return add_bytes(Oid::boolean, std::string(1, value ? 1 : 0)); }

Params& Params::add(std::int32_t value) {
  return add_bytes(Oid::int4, big_endian(static_cast<std::uint32_t>(value)));
}

Params& Params::add(std::int64_t value) {
  return add_bytes(Oid::int8, big_endian(static_cast<std::uint64_t>(value)));
}

Params& Params::add(double value) {
  return add_bytes(Oid::float8, big_endian(std::bit_cast<std::uint64_t>(value)));
}

Params& Params::add(std::string_view value) { return add_bytes(Oid::text, std::string(value)); }

Params& Params::add(ByteView value) { return add_bytes(Oid::bytea, std::string(as_text(value))); }

Params& Params::add(const Uuid& value) {
  return add_bytes(Oid::uuid, std::string(as_text(value.bytes)));
}

Params& Params::add(Micros value) {
  return add_bytes(Oid::timestamptz, big_endian(postgres_micros(value.count())));
}

Params& Params::add(const nlohmann::json& value) {
  return add_bytes(Oid::jsonb, kJsonbVersion + json_text(value));
}

Params& Params::add(const Array& value) {
  return add_bytes(value.array_type(), std::string(as_text(value.wire())));
}

Params& Params::add(Array&& value) {
  static_cast<void>(value.wire());
  const Oid type = value.array_type();
  return add_bytes(type, value.take());
}

}  // namespace sluice::pg
