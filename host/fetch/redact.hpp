// Takes out of a response what a connector must not see.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/wiped.hpp"
#include "contract/exchange.hpp"

namespace sluice::fetch {

/// Shorter texts are not searched for: they would hit by chance.
inline constexpr std::size_t kMaskBytesMin = 8;

/// Secrets as they may come back. Each is found as it is; in base64 of either alphabet, wherever it
/// stands in what was encoded, also twice, and as UTF-16; in hex, also with colons; with '+' for
/// its spaces; and each of these with any of its characters written as somebody else may write
/// them: as JSON and programs do (\/, \", \u0041, \x41, \101, also within JSON within JSON),
/// percent-encoded, as HTML does (&amp;, &#38;,
/// &#x26;), one within the other as often as one likes, or as UTF-16. Not found: what is encoded
/// otherwise, and an escaped one directly behind a half escape that its own characters complete.
/// Of one that has fewer than kMaskBytesMin characters when its own backslashes and escapes are
/// gone, it is found as it is and as JSON has it.
/// Wiped when it ends.
///
/// The work is linear in the text, whatever is in it. Masking is const, and may be done on any
/// thread.
class Masks {
 public:
  void add(std::string_view secret);
  [[nodiscard]] bool empty() const { return needles_.empty(); }

  /// Overwrites each occurrence with as many '*'; sizes stay. True when something was found.
  /// `looked`: how many bytes of text it looked at is added to it, each as often as it did.
  bool mask(std::string& text, std::uint64_t* looked = nullptr) const;

  enum class Kind { text, base64, hex };
  struct Needle {
    Kind kind = Kind::text;
    WipedText text;
    bool as_it_is = true;    ///< looked for in the text as it came
    bool decoded = true;     ///< looked for in the text without its escapes
    bool shortened = false;  ///< backslashes are gone from it: other words could be the same
    /// For each length of what matched: the longest end of it that is a beginning, too.
    std::vector<std::uint32_t> borders;
  };

 private:
  void add(Needle needle);
  void add_text(std::string_view secret);
  void add_coded(Kind kind, std::string_view text);
  void add_base64(std::string_view bytes);

  std::vector<Needle> needles_;
};

/// Removes Set-Cookie and masks the secrets in header values and body. Answers how many places had
/// one.
int redact(contract::Headers& headers, std::string& body, const Masks& masks);

}  // namespace sluice::fetch
