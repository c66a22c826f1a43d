// What a file's bytes are as text: told from its beginning, or by whoever sends it, and turned into
// UTF-8 piece by piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::model {

enum class Encoding { utf8, utf16le, utf16be, windows1252 };

/// "utf-8", "utf-16le", "utf-16be", "windows-1252".
[[nodiscard]] std::string_view to_string(Encoding encoding);
/// By its name in any case, and by what it is called elsewhere: "cp1252", "latin1" and
/// "iso-8859-1" are windows-1252, as browsers have it; "us-ascii" is UTF-8.
[[nodiscard]] std::optional<Encoding> encoding_named(std::string_view name);

/// By a byte order mark; else UTF-16 where every other byte is mostly zero; else UTF-8 where it is
/// well-formed, or has more characters of several bytes than faults; else windows-1252 where all
/// bytes have a meaning in it. `beginning` may end in the middle of a character.
[[nodiscard]] Encoding guess_encoding(std::string_view beginning);

/// Turns pieces of any size into UTF-8. What has no meaning becomes a byte that is none in UTF-8
/// either, so that whoever judges the row refuses it. UTF-8 passes as it is. Holds at most three
/// bytes. Plain value, one user.
class TextDecoder {
 public:
  explicit TextDecoder(Encoding encoding) : encoding_(encoding) {}
  /// Appends to `out`.
  void decode(std::string_view bytes, std::string& out);
  void finish(std::string& out);

 private:
  void unit(std::uint32_t unit, std::string& out);
  Encoding encoding_;
  std::string held_;        ///< half of a unit
  std::uint32_t high_ = 0;  ///< the first half of a pair
};

}  // namespace sluice::model
