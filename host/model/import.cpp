#include "model/import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <set>
#include <unordered_map>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/exact_json.hpp"
#include "link/normalise.hpp"
#include "model/csv.hpp"
#include "model/ndjson.hpp"
#include "model/own_entities.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;

std::string import_code(FieldFault fault) {
  if (fault == FieldFault::unknown_attribute) return "import.unknown_column";
  return fmt::format("import.{}", to_string(fault));
}

[[noreturn]] void refuse_header(std::string code, std::string message, std::string hint) {
  throw Failure(Error(ErrorKind::bad_input, std::move(code), std::move(message), std::move(hint)));
}

std::pair<std::string, std::string> too_long() {
  return {"import.too_long", fmt::format("the row has more than {} bytes", kImportRecordBytesMax)};
}

/// A faulty record as code and reason.
std::pair<std::string, std::string> described(const CsvRecord& record) {
  if (record.fault == RecordFault::too_long) return too_long();
  std::string reason;
  switch (record.fault) {
    case RecordFault::text_after_quote:
      reason = "text follows a closing quote";
      break;
    case RecordFault::quote_too_long:
      reason = fmt::format("no closing quote within the {} bytes of a row", kImportRecordBytesMax);
      break;
    case RecordFault::quote_spans_too_much:
      reason = fmt::format(
          "no closing quote within {} lines, and {} lines before this one had faulty quotes",
          CsvLimits().record_lines, CsvLimits().stray_quotes);
      break;
    default:
      reason = "the file ends inside these quotes";
      break;
  }
  reason = fmt::format("quotes open on line {}: {}; a quote inside quotes is doubled",
                       record.quote_line, reason);
  if (record.lines > 1)
    reason += fmt::format("; the row begins on line {} and is refused with it", record.line);
  return {"import.bad_quotes", std::move(reason)};
}

/// Where a row stands in the file.
struct Place {
  std::int64_t line = 0;
  std::int64_t lines = 1;
  std::vector<const StoredAttribute*> unkeyed;  ///< of which it has values that give no key
};

std::vector<const StoredAttribute*> unkeyed_in(const StoredType& type, const json& values) {
  std::vector<const StoredAttribute*> unkeyed;
  for (const StoredAttribute& attribute : type.attributes) {
    if (!attribute.key_kind) continue;
    const auto value = values.find(attribute.name);
    if (value == values.end() || !value->is_string()) continue;
    if (!link::normalise(*attribute.key_kind, value->get_ref<const std::string&>()))
      unkeyed.push_back(&attribute);
  }
  return unkeyed;
}

Place place_of(const CsvRecord& record) {
  Place place;
  place.line = record.quote_line > 0 ? record.quote_line : record.line;
  place.lines = record.lines;
  return place;
}

}  // namespace

struct Importer::State {
  State(pg::Pool& pool_, CatalogPtr catalog_, const StoredType& type_, ImportOptions options_,
        std::string key_)
      : pool(pool_),
        catalog(std::move(catalog_)),
        type(type_),
        options(std::move(options_)),
        key(std::move(key_)),
        csv(options.separator) {}

  pg::Pool& pool;
  CatalogPtr catalog;  // keeps `type` alive
  const StoredType& type;
  ImportOptions options;
  std::string key;
  CsvParser csv;
  NdjsonParser ndjson;
  std::vector<const StoredAttribute*> columns;  // of the CSV header, once seen
  std::vector<OwnRow> rows;                     // the batch
  std::vector<Place> places;                    // of its rows
  std::size_t batch_bytes = 0;
  std::unordered_map<std::int64_t, std::int64_t> first_lines;  // of entities
  ImportResult result;

  void reject_reason(const Place& place, std::string attribute, std::string code,
                     std::string reason) {
    ++result.reasons;
    if (result.rejects.size() >= kImportRejectsMax) return;
    ImportReject& reject = result.rejects.emplace_back();
    reject.line = place.line;
    reject.lines = place.lines;
    reject.attribute = std::move(attribute);
    reject.code = std::move(code);
    reject.reason = std::move(reason);
  }

  void count_rejected(const Place& place) {
    ++result.rows;
    ++result.rejected;
    result.lines.refused += place.lines;
  }

  void reject(const Place& place, std::string code, std::string reason) {
    count_rejected(place);
    reject_reason(place, "", std::move(code), std::move(reason));
  }

  void accept(const Place& place, json values, std::size_t bytes) {
    places.push_back(place);
    places.back().unkeyed = unkeyed_in(type, values);
    OwnRow& row = rows.emplace_back();
    row.values = std::move(values);
    batch_bytes += bytes;
  }

  [[nodiscard]] bool full() const {
    return rows.size() >= kOwnBatchMax || batch_bytes >= kImportBatchBytesMax;
  }

  void read_header(const CsvRecord& record) {
    if (record.fault != RecordFault::none) {
      const auto [code, reason] = described(record);
      refuse_header("import.bad_header", fmt::format("line {}: {}", record.line, reason),
                    "the first line must name the attributes");
    }
    result.lines.header = record.lines;
    std::set<std::string_view> seen;
    for (const std::string& name : record.fields) {
      if (!is_utf8(name)) {
        refuse_header("import.bad_utf8",
                      fmt::format("line {}: the header is not UTF-8", record.line),
                      "save the file as UTF-8");
      }
      const StoredAttribute* attribute = type.find(name);
      if (!attribute) {
        refuse_header("import.unknown_column",
                      fmt::format("line {}: type {} has no attribute '{}'", record.line, type.name,
                                  name.substr(0, 80)),
                      advice_on_column(record));
      }
      if (!seen.insert(name).second) {
        refuse_header("import.duplicate_column",
                      fmt::format("line {}: the column '{}' is there twice", record.line, name),
                      "remove one of them");
      }
      columns.push_back(attribute);
    }
    if (!key.empty() && !seen.contains(key)) {
      refuse_header("import.missing_key",
                    fmt::format("line {}: there is no column '{}', by which rows are matched",
                                record.line, key),
                    "add the column, or choose another unique attribute as the key");
    }
  }

  [[nodiscard]] std::string advice_on_column(const CsvRecord& header) const {
    const std::string& whole = header.fields[0];
    for (const char c : {';', '\t', '|', ','}) {
      if (header.field_count > 1 || c == options.separator || !whole.contains(c)) continue;
      return fmt::format(
          "its fields seem to be separated by {0}: say so, --separator {1} or "
          "?separator={2}",
          c == '\t' ? "tabs" : fmt::format("'{}'", c), c == '\t' ? "tab" : fmt::format("'{}'", c),
          fmt::format("%{:02X}", static_cast<int>(c)));
    }
    return fmt::format("its attributes are {}; rename or remove the column", attribute_names());
  }

  [[nodiscard]] std::string attribute_names() const {
    std::string names;
    for (const StoredAttribute& attribute : type.attributes) {
      names += (names.empty() ? "" : ", ") + attribute.name;
    }
    return names;
  }

  void take(const CsvRecord& record) {
    if (columns.empty()) return read_header(record);
    const Place place = place_of(record);
    if (record.fault != RecordFault::none) {
      auto [code, reason] = described(record);
      return reject(place, std::move(code), std::move(reason));
    }
    if (record.field_count != columns.size()) {
      return reject(
          place, "import.wrong_columns",
          fmt::format("the row has {} fields, the header {}", record.field_count, columns.size()));
    }
    json values = json::object();
    std::size_t bytes = 0;
    bool good = true;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string& field = record.fields[i];
      bytes += field.size();
      if (field.empty()) {
        if (options.empty == EmptyField::null) values[columns[i]->name] = nullptr;
        continue;
      }
      auto stored = stored_value_of_text(*columns[i], field);
      if (stored) {
        values[columns[i]->name] = std::move(*stored);
        continue;
      }
      good = false;
      reject_reason(place, stored.error().attribute, import_code(stored.error().fault),
                    stored.error().reason);
    }
    if (good) return accept(place, std::move(values), bytes);
    count_rejected(place);
  }

  void take(const NdjsonLine& line) {
    Place place;
    place.line = line.line;
    if (line.fault != RecordFault::none) {
      auto [code, reason] = too_long();
      return reject(place, std::move(code), std::move(reason));
    }
    if (!is_utf8(line.text)) return reject(place, "import.bad_utf8", "the line is not UTF-8");
    auto values = read_json(line.text, kJsonDepthMax);
    if (!values) {
      return reject(place, "import.bad_json",
                    fmt::format("no JSON: {}", values.error().describe()));
    }
    if (!values->is_object()) return reject(place, "import.bad_json", "JSON, but no object");
    accept(place, std::move(*values), line.text.size());
  }

  void tell_unkeyed(const Place& place) {
    for (const StoredAttribute* attribute : place.unkeyed) {
      ++result.without_key;
      if (result.unkeyed.size() >= kImportUnkeyedMax) continue;
      ImportUnkeyed& one = result.unkeyed.emplace_back();
      one.line = place.line;
      one.attribute = attribute->name;
      one.kind = *attribute->key_kind;
    }
  }

  /// Tells of a row that is one with an earlier one.
  void compare(const Place& place, EntityId entity) {
    const auto first = first_lines.find(entity.value);
    if (first != first_lines.end()) {
      ++result.repeated;
      if (result.repeats.size() >= kImportRejectsMax) return;
      ImportRepeat& repeat = result.repeats.emplace_back();
      repeat.line = place.line;
      repeat.first_line = first->second;
    } else if (first_lines.size() < kImportComparedMax) {
      first_lines.emplace(entity.value, place.line);
    }
  }

  [[nodiscard]] std::string reason_of(const FieldError& error) const {
    const auto line = first_lines.find(error.other.value);
    if (line == first_lines.end()) return error.reason;
    return fmt::format("{}; line {} of this file is that entity", error.reason, line->second);
  }

  void count(const std::vector<OwnOutcome>& outcomes) {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const bool refused = outcomes[i].action == OwnAction::rejected;
      (refused ? result.lines.refused : result.lines.rows) += places[i].lines;
      if (!refused && !key.empty()) compare(places[i], outcomes[i].id);
      if (!refused) tell_unkeyed(places[i]);
      ++result.rows;
      switch (outcomes[i].action) {
        case OwnAction::inserted:
          ++result.inserted;
          break;
        case OwnAction::updated:
          ++result.updated;
          break;
        case OwnAction::unchanged:
          ++result.unchanged;
          break;
        case OwnAction::removed:  // by no import
        case OwnAction::rejected:
          ++result.rejected;
          break;
      }
      for (const FieldError& error : outcomes[i].errors) {
        reject_reason(places[i], error.attribute, import_code(error.fault), reason_of(error));
      }
    }
  }

  static std::int64_t count_of(const std::vector<OwnOutcome>& outcomes, OwnAction action) {
    return std::count_if(outcomes.begin(), outcomes.end(),
                         [&](const OwnOutcome& one) { return one.action == action; });
  }

  Task<void> flush() {
    if (rows.empty()) co_return;
    std::vector<OwnRow> batch = std::move(rows);
    rows.clear();
    OwnWrite write;
    write.mode = OwnMode::upsert;
    write.key = key;
    write.run = options.run;
    if (options.beside) {
      write.beside = [this](pg::Pipeline& pipeline, const std::vector<OwnOutcome>& outcomes) {
        ImportProgress progress;
        progress.inserted = result.inserted + count_of(outcomes, OwnAction::inserted);
        progress.updated = result.updated + count_of(outcomes, OwnAction::updated);
        options.beside(pipeline, progress);
      };
    }
    auto lease = co_await pool.acquire();
    const auto outcomes =
        co_await write_own(*lease, catalog->workspace, type, std::move(batch), std::move(write));
    count(outcomes);
    places.clear();
    batch_bytes = 0;
  }

  Task<void> store_csv() {
    CsvRecord record;
    while (csv.next(record)) {
      take(record);
      if (full()) co_await flush();
      // What is behind a stray quote is read anew: not all of that in one go of the loop.
      if (record.quote_line > 0) co_await let_others_go_first();
    }
  }

  Task<void> store_ndjson(std::vector<NdjsonLine> records) {
    for (const NdjsonLine& record : records) {
      take(record);
      if (full()) co_await flush();
    }
  }

  static Task<void> let_others_go_first() {
    const auto executor = co_await asio::this_coro::executor;
    co_await asio::post(executor, asio::use_awaitable);
  }
};

json to_json(const ImportResult& result) {
  json out = json::object();
  out["rows"] = result.rows;
  out["inserted"] = result.inserted;
  out["updated"] = result.updated;
  out["unchanged"] = result.unchanged;
  out["rejected"] = result.rejected;
  out["reasons"] = result.reasons;
  out["matched_by"] = result.matched_by.empty() ? json(nullptr) : json(result.matched_by);
  json lines = json::object();
  lines["total"] = result.lines.total;
  lines["header"] = result.lines.header;
  lines["rows"] = result.lines.rows;
  lines["refused"] = result.lines.refused;
  lines["blank"] = result.lines.blank;
  out["lines"] = std::move(lines);
  out["repeated"] = result.repeated;
  out["compared"] = result.compared;
  out["repeats"] = json::array();
  for (const ImportRepeat& repeat : result.repeats) {
    json item = json::object();
    item["line"] = repeat.line;
    item["first_line"] = repeat.first_line;
    out["repeats"].push_back(std::move(item));
  }
  out["without_key"] = result.without_key;
  out["unkeyed"] = json::array();
  for (const ImportUnkeyed& unkeyed : result.unkeyed) {
    json item = json::object();
    item["line"] = unkeyed.line;
    item["attribute"] = unkeyed.attribute;
    item["kind"] = contract::to_string(unkeyed.kind);
    out["unkeyed"].push_back(std::move(item));
  }
  out["rejects"] = json::array();
  for (const ImportReject& reject : result.rejects) {
    json item = json::object();
    item["line"] = reject.line;
    item["lines"] = reject.lines;
    item["attribute"] = reject.attribute;
    item["code"] = reject.code;
    item["reason"] = reject.reason;
    out["rejects"].push_back(std::move(item));
  }
  return out;
}

Importer::Importer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Importer::Importer(Importer&&) noexcept = default;
Importer::~Importer() = default;

Result<Importer> Importer::make(pg::Pool& pool, CatalogPtr catalog, std::string_view type_name,
                                ImportOptions options) {
  const StoredType* type = catalog->find(type_name);
  if (!type) {
    return fail(ErrorKind::not_found, "type.not_found",
                fmt::format("the workspace has no type {}", type_name), "create it first");
  }
  if (!type->own) {
    return fail(ErrorKind::unsupported, "import.read_only",
                fmt::format("{} comes from a connector and is read-only", type_name),
                "import into a type of your own, and link the two");
  }
  if (options.separator == '"' || options.separator == '\r' || options.separator == '\n') {
    return fail(ErrorKind::bad_input, "import.bad_separator",
                "a quote or a newline cannot separate fields", "use a comma, a semicolon or a tab");
  }
  auto key = upsert_key(*type, options.key);
  if (!key) return std::unexpected(key.error());
  return Importer(std::make_unique<State>(pool, std::move(catalog), *type, std::move(options),
                                          std::move(*key)));
}

// One record may be as large as the whole piece, so a piece is taken in slices: what waits to be
// stored stays within a slice and a batch.
Task<void> Importer::feed(std::string_view bytes) {
  constexpr std::size_t kSliceBytes = 256 * 1024;
  while (!bytes.empty()) {
    const std::string_view slice = bytes.substr(0, kSliceBytes);
    bytes.remove_prefix(slice.size());
    if (state_->options.format == ImportFormat::csv) {
      state_->csv.feed(slice);
      co_await state_->store_csv();
    } else {
      std::vector<NdjsonLine> lines;
      state_->ndjson.feed(slice, lines);
      co_await state_->store_ndjson(std::move(lines));
    }
  }
}

Task<ImportResult> Importer::finish() {
  if (state_->options.format == ImportFormat::csv) {
    state_->csv.end();
    co_await state_->store_csv();
    if (state_->columns.empty()) {
      refuse_header("import.empty", "the file is empty", "the first line must name the attributes");
    }
  } else {
    std::vector<NdjsonLine> lines;
    state_->ndjson.finish(lines);
    co_await state_->store_ndjson(std::move(lines));
  }
  co_await state_->flush();
  state_->result.matched_by = state_->key;
  const bool csv = state_->options.format == ImportFormat::csv;
  ImportLines& in_file = state_->result.lines;
  in_file.total = csv ? state_->csv.lines() : state_->ndjson.lines();
  in_file.blank = csv ? state_->csv.blank_lines() : state_->ndjson.blank_lines();
  SLUICE_INVARIANT(in_file.header + in_file.rows + in_file.refused + in_file.blank ==
                   in_file.total);
  state_->result.compared = static_cast<std::int64_t>(state_->first_lines.size());
  std::stable_sort(state_->result.rejects.begin(), state_->result.rejects.end(),
                   [](const ImportReject& a, const ImportReject& b) { return a.line < b.line; });
  co_return std::move(state_->result);
}

}  // namespace sluice::model
