// Rows of a binary COPY, built value by value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "pg/params.hpp"

namespace sluice::pg {

/// Rows in the wire form of COPY … FROM STDIN (FORMAT binary), in one buffer, for CopyIn::rows.
/// Each row has the columns of the COPY's list, in its order, each by the function of its exact
/// type: binary COPY casts nothing. One owner, any thread. Growing past kBytesMax throws
/// Failure(bad_input, "pg.copy_too_large"): send it in parts.
class CopyRows {
 public:
  static constexpr std::size_t kBytesMax = 512u << 20;

  explicit CopyRows(std::size_t columns) : columns_(columns) {}
  void reserve(std::size_t bytes) { buffer_.reserve(bytes); }

  /// Ends the row before; its values must be complete, or an invariant breaks.
  void begin_row();
  void add_null();
  void add_boolean(bool value);
  void add_int8(std::int64_t value);
  /// A bigint that is not known yet. Returns its place for put_int8, which must come before wire().
  [[nodiscard]] std::size_t add_int8_later();
  void put_int8(std::size_t place, std::int64_t value);
  void add_float8(double value);
  void add_text(std::string_view value);
  void add_bytea(std::string_view value);
  void add_jsonb(std::string_view json);
  void add_uuid(const Uuid& value);
  void add_timestamptz(std::int64_t micros);  ///< since 1970; out of range throws as Array does
  void add_date(std::int32_t days);           ///< since 1970; the same
  /// A decimal without exponent ("-12.50"). False, and nothing is added, when it has one or is
  /// none: only PostgreSQL's own reader knows what it comes to.
  [[nodiscard]] bool add_numeric(std::string_view decimal);

  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }
  /// Valid until the next change.
  [[nodiscard]] std::string_view wire() const;

 private:
  /// For the next value's bytes, which the caller writes, all of them.
  [[nodiscard]] char* place(std::size_t size);
  template <class Unsigned>
  void add_fixed(Unsigned value);

  std::size_t columns_;
  std::size_t rows_ = 0;
  std::size_t values_ = 0;  ///< of the row begun last
  std::string buffer_;
};

}  // namespace sluice::pg
