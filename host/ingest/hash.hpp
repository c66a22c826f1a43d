// What a record said, as 128 bits: equal hashes mean that there is nothing to write.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "contract/record.hpp"
#include "pg/params.hpp"

namespace sluice::ingest {

/// What is hashed. `values` are sorted by `attribute`, which must mean the same attribute for ever.
struct HashInput {
  std::span<const contract::Value> values;
  std::string_view source_url;
  std::string_view extra;  ///< JSON of discovered attributes, keys sorted; empty: none
  bool whole = false;      ///< what is stored beyond them goes
};

/// XXH3-128 over a form in which each part has its length, so that no two contents look alike.
/// Never leaves the database; changing it makes each row look changed once. `scratch` is reused
/// between calls.
[[nodiscard]] pg::Uuid content_hash(const HashInput& input, std::string& scratch);

/// The hash of a row whose record was deleted.
[[nodiscard]] pg::Uuid deleted_hash();

}  // namespace sluice::ingest
