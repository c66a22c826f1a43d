// A page checked ahead of its turn, while the one before it is written.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "ingest/page.hpp"
#include "ingest/shape.hpp"
#include "ingest/validate.hpp"

namespace sluice::ingest {

/// Rows of a round by type, in the round's order.
using RowsByType = std::map<std::uint32_t, std::vector<std::uint32_t>>;

/// A COPY has a round trip more than an insert: fewer rows of a type are inserted.
inline constexpr std::size_t kCopyRowsMin = 50;

/// Rows of a round that may be copied, of the types for which copied(type) says so.
template <class Copied>
[[nodiscard]] RowsByType copyable(const Batch& batch, const std::vector<std::uint32_t>& round,
                                  Copied copied) {
  RowsByType by_type;
  for (const std::uint32_t index : round) {
    const Row& row = batch.rows[index];
    if (row.insertable && !row.deleted && copied(row.type)) by_type[row.type].push_back(index);
  }
  std::erase_if(by_type, [](const auto& each) { return each.second.size() < kCopyRowsMin; });
  return by_type;
}

/// A batch and the catalogue that it refers to.
class CheckedPage {
 public:
  /// Throws as Batch does.
  CheckedPage(const contract::Manifest& of, model::CatalogPtr by, const contract::Page& page)
      : manifest(&of),
        catalog(std::move(by)),
        batch(of, *catalog, page),
        rounds(batch.rounds(&batch.notes)) {}
  CheckedPage(const CheckedPage&) = delete;
  CheckedPage& operator=(const CheckedPage&) = delete;

  /// Makes rows of the types in `check.copied` ready for COPY.
  void make_copies(const PageCheck& check);
  [[nodiscard]] bool serves(const PageContext& context) const {
    return !used && manifest == context.manifest && catalog == context.catalog;
  }

  const contract::Manifest* manifest;
  model::CatalogPtr catalog;
  Batch batch;
  std::vector<std::vector<std::uint32_t>> rounds;
  std::map<std::uint32_t, CopyPage> copies;  ///< by type
  bool used = false;                         ///< a write takes rows out of the batch
};

}  // namespace sluice::ingest
