// JSON as text: may PostgreSQL take it, what are the members of an object that PostgreSQL wrote,
// and are two values equal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

inline constexpr std::size_t kJsonTextDepthMax = 512;  ///< far below where jsonb runs out of stack
/// Of a number as jsonb prints it, without an exponent: what was taken once is taken again.
inline constexpr std::size_t kJsonNumberPrintedMax = 12'000;
inline constexpr int kJsonExponentMax = 10'000;  ///< numeric ends at 131,072 digits

struct JsonCheck {
  std::string_view problem;  ///< empty: it is JSON that jsonb can hold
  std::size_t at = 0;        ///< byte where the problem is
  std::size_t printed_bytes =
      0;                 ///< at most so many when jsonb prints it: 1e9999 has 10,000 digits
  bool has_nul = false;  ///< an escape \u0000, which jsonb refuses: see replace_unstorable
  bool has_lone_surrogate = false;
  [[nodiscard]] bool ok() const { return problem.empty(); }
};

/// Strict RFC 8259, in one pass and without building anything. The text must be UTF-8. Limits that
/// a problem names: nesting (`depth_max`), the characters of a number, its exponent.
[[nodiscard]] JsonCheck check_json(std::string_view text,
                                   std::size_t depth_max = kJsonTextDepthMax);

/// Checked JSON with each \u0000 and each unpaired surrogate escape replaced by \ufffd.
[[nodiscard]] std::string replace_unstorable(std::string_view checked_json);

/// Appends `text` as a JSON string, quotes included. U+0000 must have been replaced.
void append_json_string(std::string& out, std::string_view text);

/// The text of a JSON string, escapes undone; `quoted` is checked JSON.
[[nodiscard]] std::string text_of_json_string(std::string_view quoted);

/// Members of one object as PostgreSQL's jsonb prints it, keys as they stand between their quotes;
/// views into `object`. None of what is no object.
[[nodiscard]] std::vector<std::pair<std::string_view, std::string_view>> members(
    std::string_view object);

/// Whether two values that jsonb printed are equal as jsonb compares them: numbers as numeric, so
/// that 1.0 is 1.
[[nodiscard]] bool same_jsonb(std::string_view a, std::string_view b);

}  // namespace sluice
