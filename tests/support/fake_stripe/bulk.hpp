#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fake_stripe {

struct Object;

/// Very many objects of one type that exist only as a formula: each is rendered from its index
/// when it is asked for, the same bytes every time. Ids look random and lead back to the index.
/// Index 0 is the oldest; `created` never falls with the index. Guarded by the World's mutex.
///
/// The text comes from a tree whose strings may hold tokens: `@@id@@`, `@@index@@`, `@@hex@@`
/// (32 random digits), `@@ref:<name>@@` (one of the ids given for that name), and, as whole
/// values that become numbers, `@@created@@` and `@@number@@` (1 to 99999).
class Bulk {
 public:
  struct Spec {
    std::uint64_t count = 0;
    std::int64_t created_from = 0;
    std::int64_t created_to = 0;
    std::uint64_t seed = 1;
    std::string id_prefix;
    std::unordered_map<std::string, std::vector<std::string>> references;
  };

  /// Throws std::invalid_argument for a token that is not known.
  Bulk(Spec spec, const nlohmann::json& tree);

  [[nodiscard]] std::uint64_t count() const { return spec_.count; }
  [[nodiscard]] std::string id(std::uint64_t index) const;
  /// nullopt for an id that is not one of these.
  [[nodiscard]] std::optional<std::uint64_t> index_of(std::string_view id) const;
  [[nodiscard]] std::int64_t created(std::uint64_t index) const;
  /// The indexes [first, last) whose `created` is in [min, max].
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> window(std::int64_t min,
                                                               std::int64_t max) const;
  void append(std::string& out, std::uint64_t index) const;
  [[nodiscard]] std::string text(std::uint64_t index) const;

  /// Those that a change has turned into stored objects, deleted ones included.
  std::unordered_map<std::uint64_t, Object*> stored;
  std::uint64_t deleted = 0;
  std::string event_type;  ///< events only

 private:
  enum class Kind { kLiteral, kId, kIndex, kHex, kReference, kCreated, kNumber };
  struct Piece {
    Kind kind = Kind::kLiteral;
    std::string literal;
    const std::vector<std::string>* ids = nullptr;
  };

  void split(std::string_view text);
  void append_id(std::string& out, std::uint64_t index) const;
  [[nodiscard]] std::uint64_t random(std::uint64_t index, std::uint64_t purpose) const;

  Spec spec_;
  std::uint64_t key_ = 0;
  std::vector<Piece> pieces_;
  std::size_t size_ = 0;
};

}  // namespace fake_stripe
