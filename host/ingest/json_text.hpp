// JSON as text: may PostgreSQL take it, and what are the members of an object that PostgreSQL
// wrote.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::ingest {

inline constexpr std::size_t kJsonDepthMax = 512;  ///< far below where jsonb runs out of stack
inline constexpr std::size_t kJsonNumberBytesMax = 1000;
inline constexpr int kJsonExponentMax = 10'000;  ///< numeric ends at 131,072 digits

struct JsonCheck {
  std::string_view problem;  ///< empty: it is JSON that jsonb can hold
  std::size_t at = 0;        ///< byte where the problem is
  bool has_nul = false;      ///< an escape \u0000, which jsonb refuses: see replace_unstorable
  bool has_lone_surrogate = false;
  [[nodiscard]] bool ok() const { return problem.empty(); }
};

/// Strict RFC 8259, in one pass and without building anything. The text must be UTF-8.
[[nodiscard]] JsonCheck check_json(std::string_view text);

/// Checked JSON with each \u0000 and each unpaired surrogate escape replaced by \ufffd.
[[nodiscard]] std::string replace_unstorable(std::string_view checked_json);

/// Appends `text` as a JSON string, quotes included. U+0000 must have been replaced.
void append_json_string(std::string& out, std::string_view text);

/// Members of one object as PostgreSQL's jsonb prints it, keys without escapes; views into
/// `object`.
[[nodiscard]] std::vector<std::pair<std::string_view, std::string_view>> members(
    std::string_view object);

}  // namespace sluice::ingest
