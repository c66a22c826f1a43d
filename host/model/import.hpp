// Files of rows into an own type: streaming, in batches, every refused row accounted for.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "model/catalog.hpp"
#include "model/sniff.hpp"
#include "pg/pool.hpp"

namespace sluice::model {

inline constexpr std::size_t kImportRejectsMax = 1000;  ///< rejects kept; all are counted
inline constexpr std::size_t kImportUnkeyedMax = 100;  ///< of values without a key; all are counted
inline constexpr std::size_t kImportComparedMax =
    250'000;  ///< entities of a file whose lines are remembered, to tell which of them are one
inline constexpr std::int64_t kImportLineMax = std::int64_t{1} << 40;  ///< of ImportOptions
inline constexpr std::size_t kImportIgnoredMax = 100;  ///< columns named that are left out
inline constexpr std::size_t kImportBatchBytesMax =
    8u << 20;  ///< a batch is full at kImportBatchRowsMax or at this size
inline constexpr std::size_t kImportBatchRowsMax = 5000;

enum class ImportFormat { csv, ndjson };
enum class EmptyField {
  absent,  ///< an empty CSV field leaves the attribute as it is
  null,    ///< it clears it
};

/// How far an import is: all of its rows up to and with a transaction.
struct ImportProgress {
  std::int64_t rows = 0, inserted = 0, updated = 0, unchanged = 0, rejected = 0;
  std::int64_t bytes = 0;  ///< of the file, as it was sent
  std::int64_t line = 0;   ///< up to and with it all is done: stored, refused, or nothing to store
};

struct ImportOptions {
  ImportFormat format = ImportFormat::csv;
  std::string key;  ///< unique attribute rows are matched by; empty: the type's first
  FormWish form;    ///< all of it for CSV; encoding and map for NDJSON, too
  EmptyField empty = EmptyField::absent;
  /// Rows that begin before it are passed over, for an import that goes on with a file of which
  /// that much is done (ImportProgress::line). The header is read all the same.
  std::int64_t from_line = 0;
  /// All is looked at and told, and nothing stored. Rows of one key are told as long as there are
  /// no more than kImportComparedMax entities.
  bool dry_run = false;
  RunId run;
  /// What goes into each transaction that stores rows, such as the import's line of the audit.
  std::function<void(pg::Pipeline&, const ImportProgress&)> beside;
};

struct ImportReject {
  std::int64_t line =
      0;  ///< where the row begins, from 1; of quotes that do not end: where they do
  std::int64_t lines = 1;  ///< how many lines the row takes; of such quotes it is the last one
  std::string attribute;   ///< attribute or column; empty: the row as a whole
  std::string code;        ///< "import.bad_value", …
  std::string reason;
};

/// Where each line of the file is: header + rows + refused + blank + skipped = total.
struct ImportLines {
  std::int64_t total = 0;
  std::int64_t header = 0;
  std::int64_t rows = 0;  ///< of rows that are stored as the file has them
  std::int64_t refused = 0;
  std::int64_t blank = 0;
  std::int64_t skipped = 0;  ///< before ImportOptions::from_line
};

/// A row with the key of an earlier row of the same file, which says the same.
struct ImportRepeat {
  std::int64_t line = 0;
  std::int64_t first_line = 0;
};

/// A value of a link key's attribute that gives no key, such as an e-mail address without an '@':
/// it is stored, and nothing is linked by it.
struct ImportUnkeyed {
  std::int64_t line = 0;  ///< where the row begins
  std::string attribute;
  contract::KeyKind kind = contract::KeyKind::email;  ///< what it is none of
};

struct ImportResult {
  std::int64_t rows = 0;  ///< data rows seen = inserted + updated + unchanged + rejected
  std::int64_t inserted = 0, updated = 0, unchanged = 0, rejected = 0;
  std::string matched_by;  ///< the unique attribute by which a row is one that was there; or empty
  ImportLines lines;
  std::vector<ImportReject>
      rejects;               ///< the first kImportRejectsMax reasons (a row may have several)
  std::int64_t reasons = 0;  ///< all reasons: larger than rejects.size() when some are left out
  std::vector<ImportRepeat> repeats;   ///< the first kImportRejectsMax
  std::int64_t repeated = 0;           ///< all of them; of a larger file than …
  std::int64_t compared = 0;           ///< … so many entities: those that repeat one of these
  std::vector<ImportUnkeyed> unkeyed;  ///< the first kImportUnkeyedMax, of rows that are stored
  std::int64_t without_key = 0;        ///< all of them
  std::int64_t empty_rows = 0;  ///< such as ";;;", which are skipped; their lines are blank ones
  bool dry_run = false;
  nlohmann::json understood;  ///< how the file was read: docs/operating/import.md
};
[[nodiscard]] nlohmann::json to_json(const ImportResult& result);

/// Takes a file in pieces of any size and stores it row by row, as if each row were written alone.
/// Of two rows with the same key the first one counts: a later one that says otherwise is refused
/// (import.repeated_key), so the same file again changes nothing (of a type with a unique
/// attribute; without one, every row is a new entity). That is known of rows within a batch, and of
/// the first kImportComparedMax entities; a row that repeats a later entity writes over it. Memory:
/// three batches, one record, and a line number for each of kImportComparedMax entities. Rows
/// stored before a failure stay; send the file again, or what is behind progress().line.
///
/// CSV: the first record names attributes, in any order; how the file is written is told from its
/// first kSniffedBytes, which are held until then, or by the options (model/sniff.hpp). A column
/// that is no attribute is left out, and told. NDJSON: one object a line, whose members are
/// attributes or mapped to them or to nothing. No line is left out of what is counted: a quote that
/// does not end costs its own line (model/csv.hpp).
/// Codes of rejects: import.bad_value, import.too_long, import.bad_utf8, import.missing_value,
/// import.unknown_column (NDJSON), import.duplicate_key (a unique value of another entity, named
/// with the line that it came from when it is this file's), import.ambiguous_key (several entities
/// of before have this key),
/// import.repeated_key (said otherwise by an earlier row), import.missing_key,
/// import.wrong_columns, import.bad_quotes, import.bad_json.
///
/// Owned by one request; used by one coroutine on the pool's loop.
class Importer {
 public:
  /// Errors: not_found "type.not_found", denied "import.read_only" (a connector's type),
  /// bad_input "entity.bad_key", "import.bad_separator", "import.bad_map" (NDJSON).
  static Result<Importer> make(pg::Pool& pool, CatalogPtr catalog, std::string_view type_name,
                               ImportOptions options);
  Importer(Importer&&) noexcept;
  ~Importer();

  /// Throws Failure(bad_input) when the file cannot be used, before any row is stored: of CSV
  /// import.missing_key and what sniff_csv() throws; and what refuse_other_files() throws. `bytes`
  /// must live until the call returns.
  Task<void> feed(std::string_view bytes);
  /// Until no batch is on its way, after feed() or what it waits for has failed: then progress()
  /// says all that is stored.
  Task<void> settle();
  /// Of what is stored by now.
  [[nodiscard]] ImportProgress progress() const;
  /// The attribute by which a row is one that is there; empty: each row is a new entity.
  [[nodiscard]] const std::string& key() const;
  /// The end of the file. Throws as feed() does; import.empty when a CSV file has no header.
  Task<ImportResult> finish();

 private:
  struct State;
  explicit Importer(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  ///< with the batch that is being stored
};

}  // namespace sluice::model
