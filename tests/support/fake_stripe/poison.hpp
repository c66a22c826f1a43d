#pragma once

#include <string>
#include <string_view>

namespace fake_stripe {

/// Values that JSON libraries dislike. Objects hold them as the string `@@poison:<what>@@`, which
/// stays valid JSON through every change; it becomes the thing itself on its way out.
///
/// <what>: nul, escaped_nul, lone_surrogate, low_surrogate, bad_utf8, big:<bytes>, deep:<levels>,
/// keys:<count>, raw:<any text without quotes>.
inline constexpr std::string_view kPoisonMark = "@@poison:";

enum class Dose {
  kFull,     ///< as a vendor would send it
  kParsable  ///< those that no JSON parser takes stay as they are (the control side)
};

/// Replaces every poison in `json`.
void poison(std::string& json, Dose dose = Dose::kFull);

inline bool has_poison(std::string_view json) {
  return json.find(kPoisonMark) != std::string_view::npos;
}

}  // namespace fake_stripe
