// Entities as lines of a file: CSV or NDJSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/catalog.hpp"

namespace sluice::api {

enum class EntityForm { json, csv, ndjson };

/// What a request's Accept header likes best of what there is; JSON where it likes nothing of it.
[[nodiscard]] EntityForm entity_form(std::string_view accept);
/// "text/csv"; of CSV also whether its first line names the columns (RFC 4180).
[[nodiscard]] std::string content_type_of(EntityForm form, bool has_header);

struct LineWish {
  EntityForm form = EntityForm::csv;
  std::vector<std::string> fields;  ///< only these attributes, in this order; none: all
  bool with_deleted = false;        ///< a column says when they were
  /// Begins with a byte order mark, and a text that a spreadsheet would take for a formula gets an
  /// apostrophe before it: no longer what is stored, so nothing to import again.
  bool for_spreadsheets = false;
};

/// One type's. CSV is as RFC 4180 has it, in UTF-8; its columns are id, of a vendor's type
/// external_id and connection, then the attribute that is shown for it, then the others as they
/// were declared, an amount in its currency behind the one in the smallest unit. Null is nothing
/// between two commas, an empty text is ""; JSON is text. A line of NDJSON is an entity as a page
/// has it (feed/entities.hpp).
class EntityLines {
 public:
  EntityLines(const model::StoredType& type, LineWish wish);

  /// The line that names the columns; nothing in NDJSON.
  [[nodiscard]] std::string header() const;
  /// Throws Failure(internal, "entity.unreadable") in CSV, which has no place for a problem.
  [[nodiscard]] std::string lines(const std::vector<nlohmann::json>& entities) const;

 private:
  struct Column {
    std::string title;
    nlohmann::json::json_pointer place;
    bool is_text = true;   ///< may be what a spreadsheet takes for a formula
    bool is_json = false;  ///< a text in it keeps its quotes, so that it comes back as it was
  };
  void add_line(const nlohmann::json& entity, std::string& text) const;

  LineWish wish_;
  std::vector<Column> columns_;
};

}  // namespace sluice::api
