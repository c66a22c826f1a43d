// JSON Schema, behind one door: the library that judges is compiled in one source.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sluice::contract {

/// A schema, read once and asked as often as one likes; keeps nothing of the document that it was
/// read from.
class JsonSchema {
 public:
  /// Throws std::exception where the document is no schema, in the library's words.
  explicit JsonSchema(const nlohmann::json& schema);
  ~JsonSchema();
  JsonSchema(const JsonSchema&) = delete;
  JsonSchema& operator=(const JsonSchema&) = delete;

  /// What a document breaks, at its deepest place: that is where its author must look.
  struct Flaw {
    std::vector<std::string> place;  ///< member names and indexes from the root: "streams", "0"
    std::string what;                ///< empty when the library does not say
  };
  /// Nothing when the document follows the schema.
  [[nodiscard]] std::optional<Flaw> flaw_of(const nlohmann::json& document) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::contract
