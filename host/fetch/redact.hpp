// Takes out of a response what a connector must not see.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/wiped.hpp"
#include "contract/exchange.hpp"

namespace sluice::fetch {

/// Shorter texts are not searched for: they would hit by chance.
inline constexpr std::size_t kMaskBytesMin = 8;

/// Secrets as they may come back. Each is found as it is; in base64 of either alphabet, wherever it
/// stands in what was encoded; in hex; and each of these with any of its characters written as JSON
/// writes them (\/, \", \u0041, also within JSON within JSON), percent-encoded, or as UTF-16. Wiped
/// when it ends.
class Masks {
 public:
  void add(std::string_view secret);
  [[nodiscard]] bool empty() const { return needles_.empty(); }

  /// Overwrites each occurrence with as many '*'; sizes stay. True when something was found.
  bool mask(std::string& text) const;

 private:
  enum class Kind { text, base64, hex };
  struct Needle {
    Kind kind = Kind::text;
    WipedText text;
  };
  void add(Kind kind, std::string_view text);
  bool mask_plain(std::string& text) const;
  bool mask_escaped(std::string& text) const;

  std::vector<Needle> needles_;
};

/// Removes Set-Cookie and masks the secrets in header values and body. Answers how many places had
/// one.
int redact(contract::Headers& headers, std::string& body, const Masks& masks);

}  // namespace sluice::fetch
