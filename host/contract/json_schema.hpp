// JSON Schema, draft 7: whether a document is what its schema asks for, in bounded time.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sluice::contract {

/// A schema, read once and asked as often as one likes; keeps nothing of the document that it was
/// read from.
///
/// It heeds every keyword of draft 7 that judges, "$ref" only to "#/definitions/…", and of "format"
/// date, time and date-time; what it does not know it passes over, as the draft says. Patterns are
/// RE2's (contract/pattern.hpp). Numbers compare as JSON's: 1 and 1.0 are equal, but only 1 is an
/// integer.
class JsonSchema {
 public:
  explicit JsonSchema(const nlohmann::json& schema);
  ~JsonSchema();
  JsonSchema(const JsonSchema&) = delete;
  JsonSchema& operator=(const JsonSchema&) = delete;

  /// A keyword that cannot be used as it stands: its value makes no sense, or RE2 refuses it.
  struct Fault {
    std::string pointer;  ///< from the schema's root: "/properties/colour/pattern"
    std::string what;
  };
  /// Everything of that kind. Documents are judged without it.
  [[nodiscard]] const std::vector<Fault>& faults() const;

  /// What a document breaks, at its deepest place: that is where its author must look. It says what
  /// is allowed and never what stands there, which might be a secret that went astray.
  struct Flaw {
    enum class Kind {
      other,
      missing,  ///< a member that is required
      unknown,  ///< a member that may not be there
    };
    Kind kind = Kind::other;
    std::vector<std::string> place;  ///< member names and indexes from the root: "streams", "0"
    std::string what;
  };
  /// So many steps of about a microsecond: far more than a document of the size allowed takes.
  static constexpr std::uint64_t kStepsMax = 2'000'000;
  /// Nothing when the document follows the schema. A document that takes more than `steps_max` to
  /// judge is refused, and so is one in which more than that must be compared.
  [[nodiscard]] std::optional<Flaw> flaw_of(const nlohmann::json& document,
                                            std::uint64_t steps_max = kStepsMax) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::contract
