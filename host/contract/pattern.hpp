// Regular expressions that somebody else wrote, matched in time linear in the text: RE2, behind one
// door.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace sluice::contract {

/// One compiled pattern, of at most so many bytes and so much memory. A plain value; matching is
/// const and safe on any thread.
///
/// The syntax is RE2's: what ECMA-262 has and RE2 has not (lookaround, backreferences, \uXXXX) is
/// refused, because nothing matches it in linear time.
class Pattern {
 public:
  static constexpr std::size_t kBytesMax = 500;

  explicit Pattern(std::string_view text);

  /// Empty, or why there is no such pattern; then it matches nothing.
  [[nodiscard]] const std::string& refused() const { return refused_; }
  /// Somewhere in the text, as JSON Schema has it: '^' and '$' are for the author to write.
  [[nodiscard]] bool found_in(std::string_view text) const;
  /// Instructions of the program: what it takes of memory, sixteen bytes each.
  [[nodiscard]] std::uint64_t size() const;
  /// What a look at a text of so many bytes may cost at most, in steps of about a microsecond.
  [[nodiscard]] std::uint64_t cost(std::size_t text_bytes) const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::string refused_;
  std::shared_ptr<const re2::RE2> compiled_;
};

}  // namespace sluice::contract
