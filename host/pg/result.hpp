// What a statement answered.
#pragma once

#include <charconv>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "pg/params.hpp"

struct pg_result;

namespace sluice::pg {

/// One result in text format (so that any type can be read); owns the PGresult. Rows and columns
/// count from 0. Views live as long as the result. Reading NULL through get<T> breaks an invariant:
/// ask is_null, or get<std::optional<T>>.
class QueryResult {
 public:
  QueryResult() = default;
  explicit QueryResult(pg_result* owned);

  [[nodiscard]] int rows() const;
  [[nodiscard]] int columns() const;
  [[nodiscard]] bool empty() const { return rows() == 0; }
  /// Rows inserted, updated, deleted or selected, as the command tag says.
  [[nodiscard]] std::int64_t affected() const;
  /// What the server says it did: "INSERT 0 3", "COMMIT"; "ROLLBACK" for a COMMIT that could not.
  [[nodiscard]] std::string_view command_tag() const;
  [[nodiscard]] bool is_null(int row, int column) const;
  [[nodiscard]] std::string_view text(int row, int column) const;
  [[nodiscard]] std::string_view column_name(int column) const;

  /// bool, integers, double, std::string, std::string_view, Bytes (bytea hex form), Uuid, Id<…>,
  /// Micros (timestamptz in UTC, as our connections answer), std::optional of those. Text that does
  /// not read as T throws Failure(internal, "pg.unreadable") without quoting it.
  template <class T>
  [[nodiscard]] T get(int row, int column) const;

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
};

namespace detail {
[[noreturn]] void unreadable(std::string_view text, int column);
Bytes bytea_from_text(std::string_view text);
std::optional<Uuid> uuid_from_text(std::string_view text);
std::optional<Micros> timestamptz_from_text(std::string_view text);
template <class T>
struct Read {
  static T from(std::string_view text, int column) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) unreadable(text, column);
    return value;
  }
};
template <>
struct Read<bool> {
  static bool from(std::string_view text, int column) {
    if (text != "t" && text != "f") unreadable(text, column);
    return text == "t";
  }
};
template <>
struct Read<std::string> {
  static std::string from(std::string_view text, int) { return std::string(text); }
};
template <>
struct Read<std::string_view> {
  static std::string_view from(std::string_view text, int) { return text; }
};
template <>
struct Read<Bytes> {
  static Bytes from(std::string_view text, int) { return bytea_from_text(text); }
};
template <>
struct Read<Uuid> {
  static Uuid from(std::string_view text, int column) {
    const auto value = uuid_from_text(text);
    if (!value) unreadable(text, column);
    return *value;
  }
};
template <>
struct Read<Micros> {
  static Micros from(std::string_view text, int column) {
    const auto value = timestamptz_from_text(text);
    if (!value) unreadable(text, column);
    return *value;
  }
};
template <class Tag>
struct Read<Id<Tag>> {
  static Id<Tag> from(std::string_view text, int column) {
    return Id<Tag>(Read<std::int64_t>::from(text, column));
  }
};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
void require_not_null(bool is_null, int row, int column);
}  // namespace detail

template <class T>
T QueryResult::get(int row, int column) const {
  if constexpr (detail::IsOptional<T>::value) {
    if (is_null(row, column)) return std::nullopt;
    return detail::Read<typename T::value_type>::from(text(row, column), column);
  } else {
    detail::require_not_null(is_null(row, column), row, column);
    return detail::Read<T>::from(text(row, column), column);
  }
}

}  // namespace sluice::pg
