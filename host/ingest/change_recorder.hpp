// What a page did to each of its rows, told: the change in the feed, the link keys, the counts.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "ingest/page.hpp"
#include "ingest/shape.hpp"
#include "ingest/tail.hpp"
#include "ingest/validate.hpp"

namespace sluice::ingest {

/// Of entities that were deleted, the external ids, by the index of their type in the manifest.
using DeletedIds = std::map<std::uint32_t, std::set<std::string, std::less<>>>;

/// One for each try to write a page; everything goes into its Tail. Context, batch, wishes and tail
/// outlive it. One loop.
class ChangeRecorder {
 public:
  /// `wishes`: why single objects were read again; nullptr when nobody asked for any.
  ChangeRecorder(const PageContext& context, const Batch& batch, const Wishes* wishes, Tail& tail);

  /// What follows is of the next round: of keys that both add and remove, the later round counts.
  void begin_round();
  void inserted(std::uint32_t row, std::int64_t id);
  /// `image`: the row as it is now, as Found::image has it of before.
  void updated(std::uint32_t row, const Found& found, std::string_view image);
  void deleted(std::uint32_t type, std::string_view external_id, const Found& found);
  /// Looks for keys inside of the documents of the rows that were told so far. What they were told
  /// with lives until then. Gives the loop back after each kInsideBytesAtOnce.
  Task<void> look_inside();

  /// Whether it was inserted or updated.
  [[nodiscard]] bool is_written(std::uint32_t row) const { return written_[row]; }
  /// What was deleted since this was asked last, and not restored, of types that something may
  /// refer to.
  [[nodiscard]] DeletedIds take_deleted();

 private:
  /// A document of a row that keys are in.
  struct Inside {
    Inside(const model::StoredType& type_, const KeyDocument& document_, std::int64_t id_)
        : type(type_), document(document_), id(id_) {}
    const model::StoredType& type;
    const KeyDocument& document;
    std::int64_t id;
    std::string_view is, was;
    bool is_plain = false;  ///< `is` is no JSON, but a text, which is all there is of itself
    bool is_new = false, was_gone = false;
  };
  void see(const Row& row, Inside& one) const;
  void keys_inside(const Inside& one);
  void rekey(const model::StoredType& type, const model::StoredAttribute& attribute,
             std::int64_t entity, const std::optional<std::string>& text);
  [[nodiscard]] bool may_have_children(std::uint32_t type) const;
  [[nodiscard]] const Wish& wish(std::uint32_t type, std::string_view external_id) const;

  const PageContext& context_;
  const Batch& batch_;
  const Wishes* wishes_;
  Tail& tail_;
  std::vector<bool> written_;   ///< by row
  std::vector<Inside> inside_;  ///< still to be looked into
  DeletedIds deleted_;
};

}  // namespace sluice::ingest
