#include "model/import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bytes.hpp"
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

/// A faulty record as code and reason.
std::pair<std::string, std::string> described(RecordFault fault) {
  switch (fault) {
    case RecordFault::unclosed_quote:
      return {"import.bad_quotes",
              "the file ends inside a quoted field: a closing quote is missing"};
    case RecordFault::text_after_quote:
      return {"import.bad_quotes",
              "text follows a closing quote; a quote inside quotes is doubled"};
    default:
      return {"import.too_long",
              fmt::format("the row has more than {} bytes", kImportRecordBytesMax)};
  }
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
  std::vector<std::int64_t> lines;
  std::size_t batch_bytes = 0;
  ImportResult result;

  void reject_reason(std::int64_t line, std::string attribute, std::string code,
                     std::string reason) {
    ++result.reasons;
    if (result.rejects.size() >= kImportRejectsMax) return;
    ImportReject& reject = result.rejects.emplace_back();
    reject.line = line;
    reject.attribute = std::move(attribute);
    reject.code = std::move(code);
    reject.reason = std::move(reason);
  }

  void reject(std::int64_t line, std::string code, std::string reason) {
    ++result.rows;
    ++result.rejected;
    reject_reason(line, "", std::move(code), std::move(reason));
  }

  void accept(std::int64_t line, json values, std::size_t bytes) {
    OwnRow& row = rows.emplace_back();
    row.values = std::move(values);
    lines.push_back(line);
    batch_bytes += bytes;
  }

  [[nodiscard]] bool full() const {
    return rows.size() >= kOwnBatchMax || batch_bytes >= kImportBatchBytesMax;
  }

  void read_header(const CsvRecord& record) {
    if (record.fault != RecordFault::none) {
      const auto [code, reason] = described(record.fault);
      refuse_header("import.bad_header", fmt::format("line {}: {}", record.line, reason),
                    "the first line must name the attributes");
    }
    std::set<std::string_view> seen;
    for (const std::string& name : record.fields) {
      if (!is_utf8(name)) {
        refuse_header("import.bad_utf8",
                      fmt::format("line {}: the header is not UTF-8", record.line),
                      "save the file as UTF-8");
      }
      const StoredAttribute* attribute = type.find(name);
      if (!attribute) {
        refuse_header(
            "import.unknown_column",
            fmt::format("line {}: type {} has no attribute '{}'", record.line, type.name,
                        name.substr(0, 80)),
            fmt::format("its attributes are {}; rename or remove the column", attribute_names()));
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

  [[nodiscard]] std::string attribute_names() const {
    std::string names;
    for (const StoredAttribute& attribute : type.attributes) {
      names += (names.empty() ? "" : ", ") + attribute.name;
    }
    return names;
  }

  void take(const CsvRecord& record) {
    if (columns.empty()) return read_header(record);
    if (record.fault != RecordFault::none) {
      auto [code, reason] = described(record.fault);
      return reject(record.line, std::move(code), std::move(reason));
    }
    if (record.fields.size() != columns.size()) {
      return reject(record.line, "import.wrong_columns",
                    fmt::format("the row has {} fields, the header {}", record.fields.size(),
                                columns.size()));
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
      reject_reason(record.line, stored.error().attribute, import_code(stored.error().fault),
                    stored.error().reason);
    }
    if (good) return accept(record.line, std::move(values), bytes);
    ++result.rows;
    ++result.rejected;
  }

  void take(const NdjsonLine& line) {
    if (line.fault != RecordFault::none) {
      auto [code, reason] = described(line.fault);
      return reject(line.line, std::move(code), std::move(reason));
    }
    if (!is_utf8(line.text)) return reject(line.line, "import.bad_utf8", "the line is not UTF-8");
    auto values = parse_json(line.text);
    if (!values || !values->is_object()) {
      return reject(
          line.line, "import.bad_json",
          fmt::format("the line is no JSON object (nested {} deep at most)", kJsonDepthMax));
    }
    accept(line.line, std::move(*values), line.text.size());
  }

  void count(const std::vector<OwnOutcome>& outcomes) {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
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
        reject_reason(lines[i], error.attribute, import_code(error.fault), error.reason);
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
    lines.clear();
    batch_bytes = 0;
  }

  template <class Record>
  Task<void> store(std::vector<Record> records) {
    for (const Record& record : records) {
      take(record);
      if (full()) co_await flush();
    }
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
  out["rejects"] = json::array();
  for (const ImportReject& reject : result.rejects) {
    json item = json::object();
    item["line"] = reject.line;
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
      std::vector<CsvRecord> records;
      state_->csv.feed(slice, records);
      co_await state_->store(std::move(records));
    } else {
      std::vector<NdjsonLine> lines;
      state_->ndjson.feed(slice, lines);
      co_await state_->store(std::move(lines));
    }
  }
}

Task<ImportResult> Importer::finish() {
  if (state_->options.format == ImportFormat::csv) {
    std::vector<CsvRecord> records;
    state_->csv.finish(records);
    co_await state_->store(std::move(records));
    if (state_->columns.empty()) {
      refuse_header("import.empty", "the file is empty", "the first line must name the attributes");
    }
  } else {
    std::vector<NdjsonLine> lines;
    state_->ndjson.finish(lines);
    co_await state_->store(std::move(lines));
  }
  co_await state_->flush();
  std::stable_sort(state_->result.rejects.begin(), state_->result.rejects.end(),
                   [](const ImportReject& a, const ImportReject& b) { return a.line < b.line; });
  co_return std::move(state_->result);
}

}  // namespace sluice::model
