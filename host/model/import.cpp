#include "model/import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/bell.hpp"
#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/exact_json.hpp"
#include "base/task_group.hpp"
#include "link/normalise.hpp"
#include "model/csv.hpp"
#include "model/ndjson.hpp"
#include "model/other_files.hpp"
#include "model/own_entities.hpp"
#include "model/own_turns.hpp"

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

Place place_of(const CsvRecord& record) {
  Place place;
  place.line = record.quote_line > 0 ? record.quote_line : record.line;
  place.lines = record.lines;
  return place;
}

}  // namespace

struct Importer::State {
  /// Rows that are stored together.
  ///   waiting --has all that it changes--> locked --committed and counted--> ended
  struct Batch {
    enum class At { waiting, locked, ended };

    explicit Batch(const Executor& executor) : changed(executor) {}
    std::vector<PreparedRow> rows;
    std::vector<Place> places;
    std::vector<std::size_t> unique;  ///< hashes of all their unique values, in order
    std::int64_t bytes = 0;           ///< of the file, by its end
    std::int64_t line = 0;            ///< of the file, the last of its last row
    std::shared_ptr<Batch> before;    ///< the one that is stored at the same time
    At at = At::waiting;
    bool good = false;  ///< when it has ended
    asio::steady_timer changed;

    void reach(At now) {
      at = std::max(at, now);
      changed.cancel();
    }
    /// False: it did not come so far in time. Who asks holds a connection.
    static Task<bool> reached(std::shared_ptr<Batch> batch, At wanted, std::chrono::seconds most) {
      const auto until = std::chrono::steady_clock::now() + most;
      while (batch->at < wanted && std::chrono::steady_clock::now() < until) {
        batch->changed.expires_at(until);
        co_await rung(batch->changed);
      }
      co_return batch->at >= wanted;
    }
    [[nodiscard]] bool shares_with(const Batch& other) const {
      return std::any_of(unique.begin(), unique.end(), [&](std::size_t value) {
        return std::binary_search(other.unique.begin(), other.unique.end(), value);
      });
    }
  };
  static constexpr std::chrono::seconds kTurnMax{60};
  static constexpr std::chrono::seconds kTurnMaxWithLocks{3};
  /// Whoever waits so long for a connection is one of many, and takes no second one the next time.
  static constexpr std::chrono::milliseconds kCrowded{20};

  State(pg::Pool& pool_, CatalogPtr catalog_, const StoredType& type_, ImportOptions options_,
        std::string key_)
      : pool(pool_.share(catalog_->workspace.value)),
        storing(pool_.executor()),
        catalog(std::move(catalog_)),
        type(type_),
        options(std::move(options_)),
        key(std::move(key_)) {
    result.dry_run = options.dry_run;
  }

  pg::Pool pool;       // the workspace's share of it, whoever has made that
  TaskGroup storing;   // of two batches at most
  CatalogPtr catalog;  // keeps `type` alive
  const StoredType& type;
  ImportOptions options;
  std::string key;
  bool others_wait = false;  // for connections of the workspace's share, when one was taken last
  bool looked = false;       // at the beginning, which is held until then
  std::string beginning;     // as it came
  Encoding encoding = Encoding::utf8;
  TextDecoder decoder{Encoding::utf8};
  std::int64_t bytes = 0;         // of the file
  std::int64_t stored_bytes = 0;  // up to the last batch
  std::int64_t stored_line = 0;   // the same
  CsvForm form;
  int header_lines_to_come = 1;
  CsvParser csv;
  NdjsonParser ndjson;
  std::vector<PreparedRow> rows;  // the batch
  std::vector<Place> places;      // of its rows
  std::size_t batch_bytes = 0;
  std::shared_ptr<Batch> last;                                 // that was handed over to be stored
  std::unordered_map<std::int64_t, std::int64_t> first_lines;  // of entities
  /// By an attribute's position, a hash of its value.
  using Contents = std::map<std::int32_t, std::uint64_t>;
  /// Of a dry run: what the rows before would have made of an entity.
  struct Played {
    EntityId entity;  // a number of its own; the database has none yet
    bool is_new = false;
    Contents contents;
    int flush = 0;  // in which it was there first
  };
  /// Hashes that stand for a row's key, its other values, and those that no other entity has.
  struct Remembered {
    std::optional<std::uint64_t> key;
    Contents contents;
    std::vector<std::int32_t> cleared;  ///< positions of what it sets to null
    struct Unique {
      const StoredAttribute* attribute = nullptr;
      std::optional<std::uint64_t> form;  // none: null, which gives up the one before
    };
    std::vector<Unique> uniques;
  };
  std::unordered_map<std::uint64_t, Played> played;  // by the key's hash
  std::int64_t stand_ins = 0;                        // numbers that were given
  int flushes = 0;
  std::unordered_map<std::uint64_t, EntityId> taken;      // by the hash of a unique form
  std::unordered_map<std::uint64_t, std::uint64_t> held;  // the same, by entity and attribute
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

  /// It was told of, and is not to be looked at again.
  bool passes_over(const Place& place) {
    if (place.line >= options.from_line) return false;
    result.lines.skipped += place.lines;
    return true;
  }

  void accept(const Place& place, PreparedRow row, std::size_t size) {
    places.push_back(place);
    for (const KeyedValue& value : row.by.keys)
      if (!value.normal) places.back().unkeyed.push_back(value.attribute);
    rows.push_back(std::move(row));
    batch_bytes += size;
  }

  [[nodiscard]] bool full() const {
    return rows.size() >= kImportBatchRowsMax || batch_bytes >= kImportBatchBytesMax;
  }

  /// What the file's beginning says of the whole of it.
  void look_at_beginning(bool whole) {
    looked = true;
    refuse_other_files(beginning, options.format == ImportFormat::csv);
    encoding = options.form.encoding.value_or(guess_encoding(beginning));
    decoder = TextDecoder(encoding);
    if (options.format != ImportFormat::csv) return;
    std::string text;
    TextDecoder first(encoding);
    first.decode(beginning, text);
    if (whole) first.finish(text);
    form = sniff_csv(text, whole, type, options.form);
    header_lines_to_come = form.separator_line ? 2 : 1;
    csv = CsvParser(form.separator, CsvLimits(), form.space_behind_separator);
  }

  void read_header(const CsvRecord& record) {
    result.lines.header += record.lines;
    if (--header_lines_to_come > 0) return;
    if (record.fault != RecordFault::none) {
      const auto [code, reason] = described(record);
      refuse_header("import.bad_header", fmt::format("line {}: {}", record.line, reason),
                    "the first line must name the attributes");
    }
    if (form.columns.empty()) form.columns = columns_of(record, type, options.form);
    for (std::size_t i = 0; i < form.columns.size(); ++i)
      if (!form.columns[i].must_be_empty) form.fields_min = i + 1;
    const bool has_key =
        key.empty() ||
        std::any_of(form.columns.begin(), form.columns.end(), [&](const FormColumn& column) {
          return column.attribute != nullptr && column.attribute->name == key;
        });
    if (has_key) return;
    refuse_header(
        "import.missing_key",
        fmt::format("line {}: there is no column for '{}', by which rows are matched", record.line,
                    key),
        "add the column, map one to it (--map COLUMN=ATTRIBUTE, ?map=), or choose another "
        "unique attribute as the key");
  }

  /// Fewer fields than columns with names, or something behind the last column.
  [[nodiscard]] bool has_wrong_fields(const CsvRecord& record) const {
    if (record.field_count < form.fields_min || record.field_count > record.fields.size())
      return true;
    for (std::size_t i = 0; i < record.fields.size(); ++i) {
      const bool has_column = i < form.columns.size() && !form.columns[i].must_be_empty;
      if (!has_column && !trimmed(record.fields[i]).empty()) return true;
    }
    return false;
  }

  void take(const CsvRecord& record) {
    if (header_lines_to_come > 0) return read_header(record);
    const Place place = place_of(record);
    if (passes_over(place)) return;
    if (record.fault != RecordFault::none) {
      auto [code, reason] = described(record);
      return reject(place, std::move(code), std::move(reason));
    }
    const bool is_empty = std::all_of(record.fields.begin(), record.fields.end(),
                                      [](const std::string& f) { return trimmed(f).empty(); });
    if (is_empty && record.field_count <= record.fields.size()) {
      ++result.empty_rows;
      result.lines.blank += record.lines;
      return;
    }
    if (has_wrong_fields(record)) {
      return reject(
          place, "import.wrong_columns",
          fmt::format("the row has {} fields, the header {}", record.field_count, form.fields_min));
    }
    json values = json::object();
    std::size_t size = 0;
    bool good = true;
    for (std::size_t i = 0; i < form.columns.size() && i < record.fields.size(); ++i) {
      const FormColumn& column = form.columns[i];
      if (column.attribute == nullptr) continue;
      const std::string& field = record.fields[i];
      size += field.size();
      if (field.empty() ||
          (column.attribute->type != contract::AttributeType::text && trimmed(field).empty())) {
        if (options.empty == EmptyField::null) values[column.attribute->name] = nullptr;
        continue;
      }
      auto stored = stored_value_as_written(form, column, field);
      if (stored) {
        values[column.attribute->name] = std::move(*stored);
        continue;
      }
      good = false;
      const bool no_text = stored.error().fault == FieldFault::bad_utf8;
      reject_reason(place, stored.error().attribute, import_code(stored.error().fault),
                    no_text ? not_in_encoding() : stored.error().reason);
    }
    if (good) return accept(place, prepare_stored(type, std::move(values)), size);
    count_rejected(place);
  }

  [[nodiscard]] std::string not_in_encoding() const {
    return fmt::format("bytes that mean nothing in {}{}", to_string(encoding),
                       options.form.encoding ? ""
                                             : ", which the file's beginning is: say --encoding "
                                               "(?encoding=) if it is another");
  }

  /// Names of members as attributes have them, each by the name that the line has; false when two
  /// are one.
  bool rename(const Place& place, json& values) {
    if (options.form.map.empty()) return true;
    json renamed = json::object();
    for (auto& [member, value] : values.items()) {
      const auto mapped = options.form.map.find(member);
      const std::string& name = mapped == options.form.map.end() ? member : mapped->second;
      if (name.empty()) continue;
      if (renamed.contains(name)) {
        reject(place, "import.duplicate_column",
               fmt::format("two members of the line are {}; '{}' is one of them", name,
                           member.substr(0, 80)));
        return false;
      }
      renamed[name] = std::move(value);
    }
    values = std::move(renamed);
    return true;
  }

  void take(const NdjsonLine& line) {
    Place place;
    place.line = line.line;
    if (passes_over(place)) return;
    if (line.fault != RecordFault::none) {
      auto [code, reason] = too_long();
      return reject(place, std::move(code), std::move(reason));
    }
    if (!is_utf8(line.text)) return reject(place, "import.bad_utf8", not_in_encoding());
    auto values = read_json(line.text, kJsonDepthMax);
    if (!values) {
      return reject(place, "import.bad_json",
                    fmt::format("no JSON: {}", values.error().describe()));
    }
    if (!values->is_object()) return reject(place, "import.bad_json", "JSON, but no object");
    // As a list or an export shows an entity: its attributes are what there is to store.
    const auto attributes = values->find("attributes");
    if (attributes != values->end() && attributes->is_object() &&
        type.find("attributes") == nullptr)
      *values = json(std::move(*attributes));
    if (rename(place, *values)) accept(place, prepare(type, *values), line.text.size());
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
    const bool is_known = line != first_lines.end();
    if (error.fault == FieldFault::repeated_key) {
      return (is_known ? fmt::format("line {} ", line->second) : "an earlier row ") + error.reason;
    }
    if (!is_known) return error.reason;
    return fmt::format("{}; line {} of this file is that entity", error.reason, line->second);
  }

  void count(const std::vector<Place>& places_of_batch, const std::vector<OwnOutcome>& outcomes) {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const bool refused = outcomes[i].action == OwnAction::rejected;
      (refused ? result.lines.refused : result.lines.rows) += places_of_batch[i].lines;
      const bool is_known = outcomes[i].id != EntityId();  // not so of too many in a dry run
      if (!refused && !key.empty() && is_known) compare(places_of_batch[i], outcomes[i].id);
      if (!refused) tell_unkeyed(places_of_batch[i]);
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
        reject_reason(places_of_batch[i], error.attribute, import_code(error.fault),
                      reason_of(error));
      }
    }
  }

  /// How the file was read, for whoever sent it.
  [[nodiscard]] json understood() const {
    json told = json::object();
    told["encoding"] = to_string(encoding);
    if (options.format == ImportFormat::ndjson) {
      told["format"] = "ndjson";
      return told;
    }
    told["format"] = "csv";
    told["separator"] = std::string(1, form.separator);
    told["separator_line"] = form.separator_line;
    told["space_behind_separator"] = form.space_behind_separator;
    told["columns"] = json::array();
    told["ignored"] = json::array();
    bool numbers = false, times = false;
    for (const FormColumn& column : form.columns) {
      if (column.must_be_empty) continue;
      json one = json::object();
      one["column"] = column.name;
      one["attribute"] = column.attribute ? json(column.attribute->name) : json(nullptr);
      if (column.order) {
        one["dates"] = to_string(*column.order);
        one["dates_line"] = column.order_line > 0 ? json(column.order_line) : json(nullptr);
      }
      told["columns"].push_back(std::move(one));
      if (column.attribute == nullptr) {
        if (told["ignored"].size() < kImportIgnoredMax) told["ignored"].push_back(column.name);
        continue;
      }
      const contract::AttributeType of = column.attribute->type;
      numbers = numbers || of == contract::AttributeType::decimal ||
                of == contract::AttributeType::number || of == contract::AttributeType::integer;
      times = times || of == contract::AttributeType::timestamp;
    }
    if (numbers) {
      told["decimal"] = to_string(form.decimal);
      told["decimal_line"] = form.decimal_line > 0 ? json(form.decimal_line) : json(nullptr);
    }
    if (times) told["zone"] = offset_text(form.zone_minutes);
    return told;
  }

  [[nodiscard]] ImportProgress progress() const {
    ImportProgress so_far;
    so_far.rows = result.rows;
    so_far.inserted = result.inserted;
    so_far.updated = result.updated;
    so_far.unchanged = result.unchanged;
    so_far.rejected = result.rejected;
    so_far.bytes = stored_bytes;
    so_far.line = stored_line;
    return so_far;
  }

  static std::size_t hash_of(const UniqueValue& value) {
    return std::hash<std::string>()(value.first + '\0' + value.second);
  }

  static std::int64_t count_of(const std::vector<OwnOutcome>& outcomes, OwnAction action) {
    return std::count_if(outcomes.begin(), outcomes.end(),
                         [&](const OwnOutcome& one) { return one.action == action; });
  }

  /// Of a dry run: what a row's key and its values are, for rows of later batches.
  [[nodiscard]] Remembered remember(const PreparedRow& row) const {
    Remembered told;
    for (const UniqueValue& value : row.by.unique) {
      Remembered::Unique& one = told.uniques.emplace_back();
      one.attribute = type.find(value.first);
      one.form = hash_of(value);
      if (value.first == key) told.key = one.form;
    }
    for (const StoredAttribute& attribute : type.attributes) {
      const auto given = row.values.find(attribute.name);
      if (given == row.values.end()) continue;
      if (!given->is_null()) {
        if (attribute.name != key)
          told.contents[attribute.position] = std::hash<std::string>()(write_json(*given));
        continue;
      }
      told.cleared.push_back(attribute.position);
      if (attribute.unique) told.uniques.emplace_back().attribute = &attribute;
    }
    return told;
  }

  /// Whether all that is wrong with the row is that it leaves required values to earlier ones.
  [[nodiscard]] static bool leaves_values(const OwnOutcome& outcome) {
    return std::ranges::all_of(outcome.errors, [](const FieldError& error) {
      return error.fault == FieldFault::missing_value;
    });
  }

  /// Of a dry run: whether the row has other values than the rows before left its entity. What
  /// those did not name is nothing, or as the database has it: then a look at that has been taken.
  [[nodiscard]] static bool says_otherwise(const Remembered& row, const Played& before,
                                           const OwnOutcome& looked) {
    const bool changes = looked.action != OwnAction::unchanged;
    const bool clears_one = std::ranges::any_of(row.cleared, [&](std::int32_t position) {
      return before.contents.contains(position) || (changes && !before.is_new);
    });
    const auto differs = [&](const auto& one) {
      const auto was = before.contents.find(one.first);
      if (was == before.contents.end()) return changes || before.is_new;
      return was->second != one.second;
    };
    return clears_one || std::ranges::any_of(row.contents, differs);
  }

  /// Of a dry run: whether the entity may have the row's unique values, which it then has. What an
  /// entity of the database had before is not given up: that takes a look at its values.
  bool claim(const Remembered& row, EntityId entity, OwnOutcome& outcome) {
    for (const Remembered::Unique& one : row.uniques) {
      const auto holder = one.form ? taken.find(*one.form) : taken.end();
      if (holder == taken.end() || holder->second == entity) continue;
      FieldError& error = outcome.errors.emplace_back();
      error.fault = FieldFault::duplicate_key;
      error.attribute = one.attribute->name;
      error.reason = "a row before it has this value, and it is unique";
      error.other = holder->second;
    }
    if (!outcome.errors.empty()) {
      outcome.action = OwnAction::rejected;
      return false;
    }
    for (const Remembered::Unique& one : row.uniques) {
      const auto place = static_cast<std::uint64_t>(entity.value) << 16 |
                         static_cast<std::uint16_t>(one.attribute->position);
      if (const auto before = held.find(place); before != held.end()) {
        taken.erase(before->second);
        held.erase(before);
      }
      if (!one.form || held.size() >= kImportComparedMax) continue;
      held.emplace(place, *one.form);
      taken.emplace(*one.form, entity);
    }
    return true;
  }

  /// Of a dry run, in which the database does not have the rows of the batches before.
  void replay(std::vector<OwnOutcome>& outcomes, const std::vector<Remembered>& rows_before) {
    std::unordered_set<std::uint64_t> not_made;  // keys that this batch has as made, and are not
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const Remembered& row = rows_before[i];
      const auto before = row.key ? played.find(*row.key) : played.end();
      const bool repeats = !outcomes[i].errors.empty() &&
                           outcomes[i].errors.front().fault == FieldFault::repeated_key;
      if (repeats && row.key && not_made.contains(*row.key)) {
        outcomes[i].errors.clear();  // what it repeats was refused, so it is the first
        outcomes[i].action = OwnAction::updated;
      }
      if (outcomes[i].action == OwnAction::rejected) {
        // Of a new entity the batch has no number.
        if (repeats && before != played.end())
          outcomes[i].errors.front().other = before->second.entity;
        const bool is_there = before != played.end() && before->second.flush != flushes;
        if (repeats || !is_there || !leaves_values(outcomes[i])) continue;
        outcomes[i].errors.clear();
      }
      if (before == played.end()) {
        const EntityId stand_in(stand_ins + 1);
        if (row.key && not_made.erase(*row.key) > 0) outcomes[i].action = OwnAction::inserted;
        const bool is_new = outcomes[i].action == OwnAction::inserted;
        if (!claim(row, stand_in, outcomes[i])) {
          if (row.key && is_new) not_made.insert(*row.key);
          continue;
        }
        ++stand_ins;
        if (!row.key || played.size() >= kImportComparedMax) continue;
        played.emplace(*row.key, Played{stand_in, is_new, row.contents, flushes});
        outcomes[i].id = stand_in;
        continue;
      }
      if (before->second.flush != flushes && says_otherwise(row, before->second, outcomes[i])) {
        outcomes[i].action = OwnAction::rejected;
        FieldError& error = outcomes[i].errors.emplace_back();
        error.fault = FieldFault::repeated_key;
        error.attribute = key;
        error.reason = fmt::format("has the same {}, and not the same values", key);
        error.other = before->second.entity;
        continue;
      }
      if (!claim(row, before->second.entity, outcomes[i])) continue;
      outcomes[i].id = before->second.entity;
      if (before->second.flush != flushes) outcomes[i].action = OwnAction::unchanged;
      before->second.contents.insert(row.contents.begin(), row.contents.end());
    }
    ++flushes;
  }

  /// Hands the batch over to be stored while the next one is read, and the one before is still
  /// being stored where the two have no entity in common.
  static Task<void> flush(std::shared_ptr<State> state) {
    if (state->rows.empty()) co_return;
    auto batch = std::make_shared<Batch>(state->pool.executor());
    batch->rows = std::exchange(state->rows, {});
    batch->places = std::exchange(state->places, {});
    batch->bytes = state->bytes;
    batch->line = batch->places.back().line + batch->places.back().lines - 1;
    state->batch_bytes = 0;
    for (const PreparedRow& row : batch->rows)
      for (const UniqueValue& value : row.by.unique) batch->unique.push_back(hash_of(value));
    std::sort(batch->unique.begin(), batch->unique.end());
    co_await state->storing.wait(1);
    const std::shared_ptr<Batch> before = std::exchange(state->last, batch);
    const bool beside =
        before && !state->options.dry_run && !state->others_wait && !batch->shares_with(*before);
    if (beside && state->storing.running() > 0) {
      batch->before = before;
    } else {
      co_await state->storing.wait();
    }
    state->storing.spawn(write(state, std::move(batch)));
  }

  /// That the batch before is stored and counted.
  static Task<void> after(std::shared_ptr<Batch> before) {
    if (!before) co_return;
    const bool ended = co_await Batch::reached(before, Batch::At::ended, kTurnMax);
    if (ended && before->good) co_return;
    not_stored();
  }

  /// The same of one who holds locks meanwhile: false when it takes too long.
  static Task<bool> soon_after(std::shared_ptr<Batch> before) {
    const bool ended = co_await Batch::reached(before, Batch::At::ended, kTurnMaxWithLocks);
    if (ended && !before->good) not_stored();
    co_return ended;
  }

  [[noreturn]] static void not_stored() {
    throw Failure(
        Error(ErrorKind::retry_later, "entity.contended", "the rows before these were not stored"));
  }

  static Task<void> write(std::shared_ptr<State> state, std::shared_ptr<Batch> batch) {
    struct Ends {
      Batch& batch;
      ~Ends() { batch.reach(Batch::At::ended); }
    };
    const Ends ends{*batch};
    const std::shared_ptr<Batch> before = std::exchange(batch->before, nullptr);
    if (before) co_await Batch::reached(before, Batch::At::locked, kTurnMax);
    const bool dry_run = state->options.dry_run;
    OwnWrite write;
    write.mode = OwnMode::upsert;
    write.key = state->key;
    write.run = state->options.run;
    write.dry_run = dry_run;
    write.said_before = [state](EntityId entity) {
      return state->first_lines.contains(entity.value);
    };
    std::vector<Remembered> remembered;
    if (dry_run) {
      for (const PreparedRow& row : batch->rows) remembered.push_back(state->remember(row));
    }
    OwnTurns turns;
    turns.locked = [batch] { batch->reach(Batch::At::locked); };
    // Asked when it is this one's turn, so that all before are counted.
    if (state->options.beside) {
      write.beside = [state, bytes = batch->bytes, line = batch->line](
                         pg::Pipeline& pipeline, const std::vector<OwnOutcome>& outcomes) {
        ImportProgress with = state->progress();
        with.rows += static_cast<std::int64_t>(outcomes.size());
        with.inserted += count_of(outcomes, OwnAction::inserted);
        with.updated += count_of(outcomes, OwnAction::updated);
        with.unchanged += count_of(outcomes, OwnAction::unchanged);
        with.rejected += count_of(outcomes, OwnAction::rejected);
        with.bytes = bytes;
        with.line = line;
        state->options.beside(pipeline, with);
      };
    }
    if (before) {
      turns.before_telling = [before] { return soon_after(before); };
      turns.before_again = [before] { return after(before); };
    }
    const auto asked = std::chrono::steady_clock::now();
    auto lease = co_await state->pool.acquire();
    state->others_wait = std::chrono::steady_clock::now() - asked > kCrowded;
    auto outcomes =
        co_await write_own_in_turn(*lease, state->catalog->workspace, state->type,
                                   std::move(batch->rows), std::move(write), std::move(turns));
    co_await after(before);
    if (dry_run) state->replay(outcomes, remembered);
    state->count(batch->places, outcomes);
    state->stored_bytes = batch->bytes;
    state->stored_line = batch->line;
    batch->good = true;
  }

  /// Bytes of the file, as they came.
  static Task<void> store(std::shared_ptr<State> self, std::string_view slice) {
    if (self->encoding == Encoding::utf8) {
      co_await store_text(self, slice);
      co_return;
    }
    std::string text;
    self->decoder.decode(slice, text);
    co_await store_text(self, text);
  }

  static Task<void> store_text(std::shared_ptr<State> self, std::string_view text) {
    if (text.empty()) co_return;
    if (self->options.format == ImportFormat::csv) {
      self->csv.feed(text);
      co_await store_csv(self);
    } else {
      std::vector<NdjsonLine> lines;
      self->ndjson.feed(text, lines);
      co_await store_ndjson(self, std::move(lines));
    }
  }

  static Task<void> store_csv(std::shared_ptr<State> self) {
    CsvRecord record;
    while (self->csv.next(record)) {
      self->take(record);
      if (self->full()) co_await flush(self);
      // What is behind a stray quote is read anew: not all of that in one go of the loop.
      if (record.quote_line > 0) co_await let_others_go_first();
    }
  }

  static Task<void> store_ndjson(std::shared_ptr<State> self, std::vector<NdjsonLine> records) {
    for (const NdjsonLine& record : records) {
      self->take(record);
      if (self->full()) co_await flush(self);
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
  lines["skipped"] = result.lines.skipped;
  out["lines"] = std::move(lines);
  out["empty_rows"] = result.empty_rows;
  out["dry_run"] = result.dry_run;
  out["understood"] = result.understood;
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

Importer::Importer(std::shared_ptr<State> state) : state_(std::move(state)) {}
Importer::Importer(Importer&&) noexcept = default;
Importer::~Importer() {
  if (state_) state_->storing.cancel();
}

Task<void> Importer::settle() {
  // What the batch's end is does not matter to who asks how much is stored.
  try {
    co_await state_->storing.wait();
  } catch (const std::exception&) {
  }
}

Result<Importer> Importer::make(pg::Pool& pool, CatalogPtr catalog, std::string_view type_name,
                                ImportOptions options) {
  const StoredType* type = catalog->find(type_name);
  if (!type) {
    return fail(
        ErrorKind::not_found, "type.not_found",
        fmt::format("the workspace has no type {}", type_name),
        "have it made from the file (--create-type), or by hand: sluice entity create-type");
  }
  if (!type->own) {
    return fail(ErrorKind::denied, "import.read_only",
                fmt::format("{} comes from a connector and is read-only", type_name),
                "import into a type of your own, and link the two");
  }
  const char separator = options.form.separator.value_or(',');
  if (separator == '"' || separator == '\r' || separator == '\n') {
    return fail(ErrorKind::bad_input, "import.bad_separator",
                "a quote or a newline cannot separate fields", "use a comma, a semicolon or a tab");
  }
  if (options.format == ImportFormat::ndjson) {
    for (const auto& [member, attribute] : options.form.map) {
      if (attribute.empty() || type->find(attribute)) continue;
      return fail(ErrorKind::bad_input, "import.bad_map",
                  fmt::format("{} has no attribute '{}', which member '{}' is mapped to",
                              type->name, attribute, member),
                  "an attribute of the type, or nothing, to leave the member out");
    }
  }
  auto key = upsert_key(*type, options.key);
  if (!key) return std::unexpected(key.error());
  return Importer(std::make_shared<State>(pool, std::move(catalog), *type, std::move(options),
                                          std::move(*key)));
}

// One record may be as large as the whole piece, so a piece is taken in slices: what waits to be
// stored stays within a slice and a batch.
Task<void> Importer::feed(std::string_view bytes) {
  constexpr std::size_t kSliceBytes = 256 * 1024;
  state_->bytes += static_cast<std::int64_t>(bytes.size());
  if (!state_->looked) {
    const std::size_t missing = kSniffedBytes - state_->beginning.size();
    state_->beginning += bytes.substr(0, missing);
    bytes.remove_prefix(std::min(bytes.size(), missing));
    if (state_->beginning.size() < kSniffedBytes) co_return;
    state_->look_at_beginning(false);
    const std::string beginning = std::exchange(state_->beginning, std::string());
    co_await State::store(state_, beginning);
  }
  while (!bytes.empty()) {
    const std::string_view slice = bytes.substr(0, kSliceBytes);
    bytes.remove_prefix(slice.size());
    co_await State::store(state_, slice);
  }
}

ImportProgress Importer::progress() const { return state_->progress(); }
const std::string& Importer::key() const { return state_->key; }

Task<ImportResult> Importer::finish() {
  if (!state_->looked) {
    state_->look_at_beginning(true);
    const std::string beginning = std::exchange(state_->beginning, std::string());
    co_await State::store(state_, beginning);
  }
  std::string rest;
  state_->decoder.finish(rest);
  co_await State::store_text(state_, rest);
  if (state_->options.format == ImportFormat::csv) {
    state_->csv.end();
    co_await State::store_csv(state_);
    if (state_->header_lines_to_come > 0) {
      refuse_header("import.empty", "the file is empty", "the first line must name the attributes");
    }
  } else {
    std::vector<NdjsonLine> lines;
    state_->ndjson.finish(lines);
    co_await State::store_ndjson(state_, std::move(lines));
  }
  co_await State::flush(state_);
  co_await state_->storing.wait();
  state_->result.matched_by = state_->key;
  const bool csv = state_->options.format == ImportFormat::csv;
  ImportLines& in_file = state_->result.lines;
  in_file.total = csv ? state_->csv.lines() : state_->ndjson.lines();
  in_file.blank += csv ? state_->csv.blank_lines() : state_->ndjson.blank_lines();
  // The line behind the last one is where a file goes on that was cut behind its last row.
  if (state_->options.from_line > in_file.total + 1) {
    throw Failure(
        Error(ErrorKind::bad_input, "import.from_line_beyond_the_end",
              fmt::format("the file has {} line{}, so none is behind line {}: nothing was imported",
                          in_file.total, in_file.total == 1 ? "" : "s", state_->options.from_line),
              "is it the file that was cut? from_line (--from-line) is a line of the whole file"));
  }
  SLUICE_INVARIANT(in_file.header + in_file.rows + in_file.refused + in_file.blank +
                       in_file.skipped ==
                   in_file.total);
  state_->result.understood = state_->understood();
  state_->result.compared = static_cast<std::int64_t>(state_->first_lines.size());
  std::stable_sort(state_->result.rejects.begin(), state_->result.rejects.end(),
                   [](const ImportReject& a, const ImportReject& b) { return a.line < b.line; });
  state_->stored_bytes = state_->bytes;
  state_->stored_line = in_file.total;
  co_return state_->result;
}

}  // namespace sluice::model
