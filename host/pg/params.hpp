// Parameters of a statement, in PostgreSQL's binary format, built value by value.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"

namespace sluice::pg {

/// PostgreSQL type ids of what we send (pg_type.dat; stable for ever).
enum class Oid : std::uint32_t {
  boolean = 16,
  bytea = 17,
  int8 = 20,
  int4 = 23,
  text = 25,
  json = 114,
  float8 = 701,
  date = 1082,
  timestamptz = 1184,
  numeric = 1700,
  uuid = 2950,
  jsonb = 3802,
  boolean_array = 1000,
  bytea_array = 1001,
  int4_array = 1007,
  text_array = 1009,
  int8_array = 1016,
  float8_array = 1022,
  date_array = 1182,
  timestamptz_array = 1185,
  uuid_array = 2951,
  jsonb_array = 3807,
};

/// 128 bits: a content hash, a digest, an identifier of a process.
struct Uuid {
  std::uint8_t bytes[16] = {};
  friend bool operator==(const Uuid&, const Uuid&) = default;
  friend auto operator<=>(const Uuid&, const Uuid&) = default;
};

/// What PostgreSQL's binary form counts from: its own epoch, 2000-01-01. Throw Failure(bad_input)
/// for what its types cannot hold.
[[nodiscard]] std::uint64_t postgres_micros(std::int64_t since_1970);
[[nodiscard]] std::uint32_t postgres_days(std::int32_t since_1970);

/// One one-dimensional array parameter, for UNNEST: append values in row order, one array a column.
/// Appending copies into one growing buffer that is already the wire format: no second pass.
/// The add function must fit the element type; a mismatch breaks an invariant. A value that has no
/// PostgreSQL form (a date or time out of range) throws Failure(bad_input), and so does growing
/// past kBytesMax ("pg.array_too_large": send smaller batches).
class Array {
 public:
  /// PostgreSQL takes no value of 1 GiB; far below it, a batch is simply too big.
  static constexpr std::size_t kBytesMax = 512u << 20;

  explicit Array(Oid element);

  void add_null();
  void add(bool value);              ///< boolean
  void add(std::int32_t value);      ///< int4; date: days since 1970-01-01
  void add(std::int64_t value);      ///< int8; timestamptz: µs since 1970-01-01 UTC
  void add(double value);            ///< float8
  void add(std::string_view value);  ///< text; jsonb: the JSON text
  void add(ByteView value);          ///< bytea
  void add(const Uuid& value);       ///< uuid
  void reserve(std::size_t elements, std::size_t bytes);
  void clear();

  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] std::size_t byte_size() const { return buffer_.size(); }
  [[nodiscard]] Oid element() const { return element_; }
  [[nodiscard]] Oid array_type() const;
  /// The wire form; header fields are patched in. Valid until the next add or clear.
  [[nodiscard]] ByteView wire() const;

 private:
  void begin_element(std::uint32_t length);
  void append_raw(const void* data, std::size_t size);
  friend class Params;
  [[nodiscard]] std::string take();  ///< the wire form moved out; leaves an empty array
  Oid element_;
  std::size_t count_ = 0;
  bool has_null_ = false;
  mutable std::string buffer_;
};

/// The parameters $1, $2, … of one statement. Owns copies of everything, so that it may be moved
/// into a pipeline. `pg::Params(workspace, name)` or add by add.
class Params {
 public:
  Params() = default;
  template <class... Values>
  requires(sizeof...(Values) > 0 && !(std::is_same_v<std::remove_cvref_t<Values>, Params> ||
                                      ...)) explicit Params(Values&&... values) {
    (add(std::forward<Values>(values)), ...);
  }

  Params& add(std::nullptr_t);  ///< NULL of unknown type; cast in the SQL
  Params& add(bool value);
  Params& add(std::int32_t value);
  Params& add(std::int64_t value);
  Params& add(double value);
  Params& add(std::string_view value);  ///< text
  Params& add(const std::string& value) { return add(std::string_view(value)); }
  Params& add(const char* value) { return add(std::string_view(value)); }
  Params& add(ByteView value);  ///< bytea
  Params& add(const Bytes& value) { return add(ByteView(value)); }
  Params& add(const Uuid& value);
  Params& add(Micros value);  ///< timestamptz
  Params& add(
      const nlohmann::json& value);  ///< jsonb; throws Failure(bad_input) when it is not UTF-8
  Params& add(const Array& value);
  Params& add(Array&& value);
  template <class Tag>
  Params& add(Id<Tag> id) {
    return add(id.value);
  }
  template <class T>
  Params& add(const std::optional<T>& value) {
    if (value) return add(*value);
    return add_typed_null(static_cast<const T*>(nullptr));
  }

  [[nodiscard]] std::size_t size() const { return values_.size(); }

  struct Value {
    Oid type = Oid{0};  ///< 0 for an untyped NULL
    bool is_null = false;
    std::string bytes;  ///< binary format
  };
  [[nodiscard]] const std::vector<Value>& values() const { return values_; }

 private:
  template <class Tag>
  Params& add_typed_null(const Id<Tag>*) {
    return add_null(Oid::int8);
  }
  Params& add_typed_null(const bool*) { return add_null(Oid::boolean); }
  Params& add_typed_null(const std::int32_t*) { return add_null(Oid::int4); }
  Params& add_typed_null(const std::int64_t*) { return add_null(Oid::int8); }
  Params& add_typed_null(const double*) { return add_null(Oid::float8); }
  Params& add_typed_null(const std::string*) { return add_null(Oid::text); }
  Params& add_typed_null(const std::string_view*) { return add_null(Oid::text); }
  Params& add_typed_null(const Bytes*) { return add_null(Oid::bytea); }
  Params& add_typed_null(const ByteView*) { return add_null(Oid::bytea); }
  Params& add_typed_null(const Uuid*) { return add_null(Oid::uuid); }
  Params& add_typed_null(const Micros*) { return add_null(Oid::timestamptz); }
  Params& add_typed_null(const nlohmann::json*) { return add_null(Oid::jsonb); }
  Params& add_null(Oid type);
  Params& add_bytes(Oid type, std::string bytes);
  std::vector<Value> values_;
};

}  // namespace sluice::pg
